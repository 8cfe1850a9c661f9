//! The real [`World`]: child processes and a real server.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use inferometer_core::redact::redact_arguments;
use inferometer_core::{Nanos, Secret};
use inferometer_os::clock;
use inferometer_os::process::{Group, Signal};
use inferometer_wire::SideClient;

use crate::execute::{Ended, World};
use crate::journal::Identity;
use crate::plan::{Cell, OURSELVES, ServerSpec, Target};
use crate::server::{self, Reset};

/// Pause between two looks at a child.
const LOOK: Duration = Duration::from_millis(20);
/// Pause between two questions to a server that is starting.
const HEALTH_PAUSE: Duration = Duration::from_secs(1);
/// How long a server may take to end by itself.
const SERVER_GRACE: Nanos = Nanos::from_millis(10_000);
/// How often a server is asked to empty its caches before a run.
const RESET_TRIES: usize = 10;
/// Exit code of our own runs whose verdict is INVALID under `--strict`.
const STRICT: i32 = 3;
/// Arguments that are not to be seen in the list of processes: a JSON object from the position of
/// each (without the program's name) to its text.
const HIDDEN_ARGUMENTS: &str = "INFEROMETER_HIDDEN_ARGUMENTS";
/// Bytes at the end of a log in which the reason of a failure is looked for.
const TAIL: u64 = 16 << 10;

/// Carries commands out as child processes, each in a process group of its own.
#[derive(Debug)]
pub struct Children {
    settings: ChildSettings,
    server: Option<Group>,
    /// Interrupts that were passed on.
    passed_on: usize,
}

/// How children are run.
#[derive(Clone, Debug, Default)]
pub struct ChildSettings {
    /// This program, for commands that begin with [`OURSELVES`].
    pub program: PathBuf,
    /// Let children and servers talk on this program's own output instead of a log.
    pub show_stdout: bool,
    /// How long a server may take until it is healthy.
    pub server_ready_timeout: Duration,
    /// How often the user has asked to stop.
    pub interrupts: Arc<AtomicUsize>,
    /// Key for questions to the server.
    pub api_key: Option<Secret>,
    /// Further environment variables of runs.
    pub variables: Vec<(String, String)>,
    /// The log of the command that runs now.
    pub talk: Talk,
}

/// Where the command that runs now writes what it says.
#[derive(Clone, Debug, Default)]
pub struct Talk(Arc<Mutex<Option<(PathBuf, Nanos)>>>);

impl Talk {
    /// How long the command runs already and the last line that it wrote, if it wrote one; `None`
    /// while none runs.
    pub fn last(&self) -> Option<(Duration, Option<String>)> {
        let (log, started) = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()?;
        let elapsed = Duration::from_secs_f64(clock::now().since(started).as_secs_f64());
        Some((elapsed, last_line(&tail(&log))))
    }

    fn put(&self, log: Option<&Path>) {
        let talk = log.map(|log| (log.to_owned(), clock::now()));
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = talk;
    }
}

impl Children {
    /// Children of this process.
    pub fn new(settings: ChildSettings) -> Self {
        Self {
            settings,
            server: None,
            passed_on: 0,
        }
    }

    fn command(&self, words: &[String]) -> Command {
        let (program, arguments) = words
            .split_first()
            .map_or(("", [].as_slice()), |(first, rest)| (first, rest));
        let mut command = if program == OURSELVES {
            Command::new(&self.settings.program)
        } else {
            Command::new(program)
        };
        if program == OURSELVES {
            hide_secrets(&mut command, arguments);
        } else {
            command.args(arguments);
        }
        command.stdin(Stdio::null());
        command
    }

    /// Output and errors in one file, in their order.
    fn to_log(&self, command: &mut Command, log: &Path) -> Result<(), String> {
        let explain = |error: std::io::Error| format!("cannot write {}: {error}", log.display());
        if let Some(folder) = log.parent() {
            fs::create_dir_all(folder).map_err(explain)?;
        }
        let file = File::create(log).map_err(explain)?;
        if !self.settings.show_stdout {
            command.stdout(file.try_clone().map_err(explain)?);
        }
        command.stderr(file);
        Ok(())
    }

    fn interrupts(&self) -> usize {
        self.settings.interrupts.load(Ordering::Relaxed)
    }

    /// Waits for a child's end and passes interrupts on: twice gently, then the end.
    fn wait(&mut self, group: &Group) -> Result<(), String> {
        loop {
            if group.has_ended().map_err(|error| error.to_string())? {
                return Ok(());
            }
            let asked = self.interrupts();
            if asked > self.passed_on {
                self.passed_on = asked;
                let signal = if asked > 2 {
                    Signal::Kill
                } else {
                    Signal::Interrupt
                };
                group.signal(signal).map_err(|error| error.to_string())?;
            }
            std::thread::sleep(LOOK);
        }
    }

    fn side(&self, target: &Target) -> Result<SideClient, String> {
        server::client(target, self.settings.api_key.clone())
    }

    fn wait_until_healthy(&mut self, spec: &ServerSpec, log: &Path) -> Result<(), String> {
        let target = Target {
            url: spec.url.clone(),
            insecure: true,
            headers: Vec::new(),
        };
        let side = self.side(&target)?;
        let timeout = self.settings.server_ready_timeout;
        let deadline = clock::now() + timeout.into();
        loop {
            let ended = self.server.as_ref().map(Group::has_ended).transpose();
            if ended.map_err(|error| error.to_string())? != Some(false) {
                let status = self.server.take().map(Group::finish).transpose();
                let status = status
                    .ok()
                    .flatten()
                    .map(|status| status.to_string())
                    .unwrap_or_default();
                return Err(format!(
                    "the server ended before it was healthy ({status}): {}",
                    last_words(log)
                ));
            }
            if server::is_healthy(&side) {
                return Ok(());
            }
            if self.interrupted() {
                return Err("stopped while the server was starting".to_owned());
            }
            if clock::now() > deadline {
                return Err(format!(
                    "{}/health did not answer with 200 within --server-ready-timeout {}: {}",
                    spec.url,
                    timeout.as_secs(),
                    last_words(log)
                ));
            }
            self.pause(HEALTH_PAUSE);
        }
    }
}

impl World for Children {
    fn run(&mut self, words: &[String], log: &Path) -> Ended {
        let mut command = self.command(words);
        command.envs(
            self.settings
                .variables
                .iter()
                .map(|(name, value)| (name, value)),
        );
        if let Err(reason) = self.to_log(&mut command, log) {
            return Ended::Failed(reason);
        }
        let group = match Group::spawn(&mut command) {
            Ok(group) => group,
            Err(error) => {
                let program = words.first().map(String::as_str).unwrap_or_default();
                return Ended::Failed(format!("cannot start {program}: {error}"));
            }
        };
        let before = self.passed_on;
        self.settings.talk.put(Some(log));
        let waited = self.wait(&group);
        self.settings.talk.put(None);
        if let Err(reason) = waited {
            return Ended::Failed(reason);
        }
        let status = match group.finish() {
            Ok(status) => status,
            Err(error) => return Ended::Failed(error.to_string()),
        };
        // A child that was told to stop may end with code 0, but its result is only a part.
        if self.passed_on > before {
            return Ended::Interrupted;
        }
        if status.success() {
            Ended::Well
        } else if status.code() == Some(STRICT)
            && words.first().is_some_and(|word| word == OURSELVES)
        {
            Ended::Failed("the verdict is INVALID, and --strict was given".to_owned())
        } else {
            Ended::Failed(reason(&tail(log), &status.to_string()))
        }
    }

    fn start_server(&mut self, spec: &ServerSpec, log: &Path) -> Result<(), String> {
        let mut command = self.command(&spec.command);
        // vLLM offers the emptying of its caches only in this mode.
        command.env("VLLM_SERVER_DEV_MODE", "1");
        self.to_log(&mut command, log)?;
        let target = Target {
            url: spec.url.clone(),
            insecure: true,
            headers: Vec::new(),
        };
        if self.side(&target)?.get("/health").is_ok() {
            return Err(format!(
                "something listens at {} already: it would be measured in place of the server that is to be \
                 started; stop it, or give another port in --serve-cmd",
                spec.url
            ));
        }
        let program = spec.command.first().map(String::as_str).unwrap_or_default();
        let group = Group::spawn(&mut command)
            .map_err(|error| format!("cannot start {program}: {error}"))?;
        self.server = Some(group);
        self.settings.talk.put(Some(log));
        let healthy = self.wait_until_healthy(spec, log);
        self.settings.talk.put(None);
        if healthy.is_err() {
            self.stop_server();
        }
        healthy
    }

    fn stop_server(&mut self) {
        let Some(group) = self.server.take() else {
            return;
        };
        // The rest of the group is killed when it is dropped, whatever these say.
        drop(group.signal(Signal::Terminate));
        let deadline = clock::now() + SERVER_GRACE;
        while clock::now() < deadline && !group.has_ended().unwrap_or(true) {
            std::thread::sleep(LOOK);
        }
        drop(group.finish());
    }

    fn identify(&mut self, cell: &Cell) -> Result<Identity, String> {
        server::identity(&self.side(&cell.target())?)
    }

    fn reset_caches(&mut self, cell: &Cell) -> Result<(), String> {
        let side = self.side(&cell.target())?;
        let mut last = String::new();
        for _ in 0..RESET_TRIES {
            match server::reset_caches(&side) {
                Ok(()) => return Ok(()),
                Err(Reset::Impossible(reason)) => return Err(reason),
                Err(Reset::NotNow(reason)) => last = reason,
            }
            if self.interrupted() {
                break;
            }
            self.pause(HEALTH_PAUSE);
        }
        Err(format!("the server's caches could not be emptied: {last}"))
    }

    fn pause(&mut self, time: Duration) {
        let deadline = clock::now() + time.into();
        while clock::now() < deadline && !self.interrupted() {
            std::thread::sleep(LOOK.min(time));
        }
    }

    fn seconds(&self) -> f64 {
        clock::now().as_secs_f64()
    }

    fn date(&self) -> String {
        inferometer_results::rfc3339(clock::wall())
    }

    fn interrupted(&self) -> bool {
        self.interrupts() > 0
    }
}

impl Drop for Children {
    fn drop(&mut self) {
        self.stop_server();
    }
}

/// Gives a run of ours its arguments without its secrets, which every user of the machine could
/// read in the list of processes; those go by an environment variable, which only this user can
/// read.
fn hide_secrets(command: &mut Command, arguments: &[String]) {
    let shown = redact_arguments(arguments);
    let hidden: BTreeMap<usize, &String> = arguments
        .iter()
        .zip(&shown)
        .enumerate()
        .filter(|(_, (real, shown))| real != shown)
        .map(|(at, (real, _))| (at, real))
        .collect();
    command.args(&shown);
    if !hidden.is_empty() {
        command.env(HIDDEN_ARGUMENTS, serde_json::json!(hidden).to_string());
    }
}

/// The arguments of this process, without the program's name, as the campaign that started it meant
/// them.
pub fn reveal_arguments(mut arguments: Vec<String>) -> Vec<String> {
    let hidden = std::env::var(HIDDEN_ARGUMENTS).unwrap_or_default();
    let hidden: BTreeMap<usize, String> = serde_json::from_str(&hidden).unwrap_or_default();
    for (at, real) in hidden {
        // The variable may be inherited by a process that was started with other arguments.
        if let Some(shown) = arguments.get_mut(at)
            && shown.contains("***")
        {
            *shown = real;
        }
    }
    arguments
}

/// The last line of a log, for messages.
fn last_words(log: &Path) -> String {
    last_line(&tail(log)).unwrap_or_else(|| format!("see {}", log.display()))
}

/// The last line that says something, as it looks on a screen: progress bars write over their line,
/// and colours are no text.
fn last_line(log: &str) -> Option<String> {
    log.rsplit(['\n', '\r'])
        .map(|line| plain(line).trim().to_owned())
        .find(|line| !line.is_empty())
}

/// `line` without the sequences that steer terminals.
fn plain(line: &str) -> String {
    let mut text = String::new();
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        match letter {
            // A sequence ends with a letter.
            '\u{1b}' => drop(letters.find(char::is_ascii_alphabetic)),
            '\t' => text.push(' '),
            letter if letter.is_control() => {}
            letter => text.push(letter),
        }
    }
    text
}

/// The end of a log.
fn tail(log: &Path) -> String {
    let read = || -> std::io::Result<String> {
        let mut file = File::open(log)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    read().unwrap_or_default()
}

/// Why a run failed, from what it said last: our own error line, else the first failed request,
/// else the last line.
fn reason(log: &str, status: &str) -> String {
    let lines = || log.lines().map(str::trim).filter(|line| !line.is_empty());
    let said = lines()
        .rev()
        .find_map(|line| line.strip_prefix("error: ").map(str::to_owned))
        .or_else(|| {
            lines()
                .find(|line| line.starts_with("Error 0: "))
                .map(|line| format!("requests failed: {}", &line[9..]))
        })
        .or_else(|| lines().next_back().map(str::to_owned));
    match said {
        Some(said) => format!("{said} ({status})"),
        None => status.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_is_what_a_screen_would_show() {
        for (log, expected) in [
            ("", None),
            ("\n \n", None),
            ("a\nb\n\n", Some("b")),
            ("loading\n  1%|\r 50%|==  |\r", Some("50%|==  |")),
            (
                "\u{1b}[32mINFO\u{1b}[0m ready\u{1b}[K\n\u{1b}[0m\n",
                Some("INFO ready"),
            ),
        ] {
            assert_eq!(last_line(log).as_deref(), expected, "{log:?}");
        }
    }

    #[test]
    fn a_command_is_heard_while_it_runs_and_no_longer() {
        let folder = tempfile::tempdir().unwrap();
        let talk = Talk::default();
        let settings = ChildSettings {
            talk: talk.clone(),
            ..ChildSettings::default()
        };
        let go = folder.path().join("go");
        // The command goes on when it was heard.
        let script = format!(
            "echo measuring; until [ -e '{}' ]; do sleep 0.01; done",
            go.display()
        );
        let words = ["sh", "-c", &script].map(str::to_owned);
        assert_eq!(talk.last(), None);
        let log = folder.path().join("log");
        let child = std::thread::spawn(move || Children::new(settings).run(&words, &log));
        while talk.last().and_then(|(_, said)| said).as_deref() != Some("measuring") {
            assert!(!child.is_finished());
            std::thread::yield_now();
        }
        fs::write(go, "").unwrap();
        assert_eq!(child.join().unwrap(), Ended::Well);
        assert_eq!(talk.last(), None);
    }

    #[test]
    fn the_reason_of_a_failure_is_the_error_it_told() {
        for (log, expected) in [
            (
                "table\nwarning: x\nerror: no server (--base-url)\n\n",
                "no server (--base-url) (exit status: 2)",
            ),
            (
                "Error 0: http_error: 500\nError 1: b\ntable",
                "requests failed: http_error: 500 (exit status: 2)",
            ),
            (
                "Traceback\nValueError: x\n",
                "ValueError: x (exit status: 2)",
            ),
            ("", "exit status: 2"),
        ] {
            assert_eq!(reason(log, "exit status: 2"), expected);
        }
    }
}
