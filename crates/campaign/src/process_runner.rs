//! The real [`World`]: child processes and a real server. The only file of this crate that reads a
//! clock.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use inferometer_core::{Nanos, Secret};
use inferometer_os::clock;
use inferometer_os::process::{ProcessGroup, Signal};
use inferometer_wire::SideClient;

use crate::campaign::ServerSpec;
use crate::hidden_arguments::hide_secrets;
use crate::journal::Identity;
use crate::left_servers::{ServerNote, left_servers};
use crate::logs::{last_line, last_words, leave_out_secrets, reason, tail};
use crate::server::{self, Reset};
use crate::target::Target;
use crate::work::{SELF_PROGRAM, Work};
use crate::world::{Exit, World};

/// Pause between two polls of a child.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// Pause between two requests to a server that is starting.
const HEALTH_PAUSE: Duration = Duration::from_secs(1);
/// How long a server may take to end after it was asked to.
const SERVER_GRACE: Nanos = Nanos::from_millis(10_000);
/// How often a server is asked to empty its caches before a run: with [`HEALTH_PAUSE`], for ten
/// seconds.
const RESET_TRIES: usize = 10;
/// Exit code of our own runs whose verdict is INVALID under `--strict`.
const STRICT: i32 = 3;

/// Runs commands as child processes, each in a process group of its own.
#[derive(Debug)]
pub struct ProcessRunner {
    settings: ProcessSettings,
    server: Option<ProcessGroup>,
    server_log: PathBuf,
    /// The note of its processes.
    note: Option<ServerNote>,
    /// Interrupts that were forwarded.
    forwarded: usize,
}

/// How children are run.
#[derive(Clone, Debug, Default)]
pub struct ProcessSettings {
    /// This program, for our own runs and for commands that begin with [`SELF_PROGRAM`].
    pub program: PathBuf,
    /// Print the output of children and servers to this program's own output instead of a log.
    pub show_stdout: bool,
    /// How long a server may take until it is healthy.
    pub server_ready_timeout: Duration,
    /// How often the user has asked to stop.
    pub interrupts: Arc<AtomicUsize>,
    /// Key for requests to the server.
    pub api_key: Option<Secret>,
    /// Further environment variables of runs: name and value.
    pub variables: Vec<(String, String)>,
    /// The log of the command that runs now.
    pub current_log: CurrentLog,
    /// Folder for notes of the servers that run: see [`left_servers`](crate::left_servers).
    pub server_notes: Option<PathBuf>,
}

/// The log of the command that runs now, shared with whoever shows it.
#[derive(Clone, Debug, Default)]
pub struct CurrentLog(Arc<Mutex<Option<OpenLog>>>);

#[derive(Clone, Debug)]
struct OpenLog {
    path: PathBuf,
    started: Nanos,
}

/// What a command has written so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogState {
    /// How long the command has been running.
    pub elapsed: Duration,
    /// The last line that it wrote, if it wrote one.
    pub last_line: Option<String>,
}

impl CurrentLog {
    /// The state of the log; `None` while no command runs.
    pub fn state(&self) -> Option<LogState> {
        let log = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()?;
        let elapsed = clock::now().since(log.started).as_secs_f64();
        Some(LogState {
            elapsed: Duration::from_secs_f64(elapsed),
            last_line: last_line(&tail(&log.path)),
        })
    }

    fn set(&self, log: Option<&Path>) {
        let log = log.map(|path| OpenLog {
            path: path.to_owned(),
            started: clock::now(),
        });
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = log;
    }
}

impl ProcessRunner {
    /// A runner without a server.
    pub fn new(settings: ProcessSettings) -> Self {
        Self {
            settings,
            server: None,
            server_log: PathBuf::new(),
            note: None,
            forwarded: 0,
        }
    }

    /// The process for some work, with its arguments.
    fn command(&self, work: &Work) -> Command {
        match work {
            Work::Ours(run) => self.our_command(&run.arguments()),
            Work::Theirs(words) => self.command_of_words(words),
        }
    }

    fn command_of_words(&self, words: &[String]) -> Command {
        match words.split_first() {
            Some((program, arguments)) if program == SELF_PROGRAM => self.our_command(arguments),
            Some((program, arguments)) => {
                let mut command = Command::new(program);
                command.args(arguments).stdin(Stdio::null());
                command
            }
            None => Command::new(""),
        }
    }

    fn our_command(&self, arguments: &[String]) -> Command {
        let mut command = Command::new(&self.settings.program);
        hide_secrets(&mut command, arguments);
        command.stdin(Stdio::null());
        command
    }

    /// Sends output and errors to one file, in their order.
    fn redirect(&self, command: &mut Command, log: &Path) -> Result<(), String> {
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

    /// Waits for a child's end and forwards interrupts: the first two as such, the third kills it.
    fn wait(&mut self, group: &ProcessGroup) -> Result<(), String> {
        loop {
            if group.has_ended().map_err(|error| error.to_string())? {
                return Ok(());
            }
            let asked = self.interrupts();
            if asked > self.forwarded {
                self.forwarded = asked;
                let signal = if asked > 2 {
                    Signal::Kill
                } else {
                    Signal::Interrupt
                };
                group.signal(signal).map_err(|error| error.to_string())?;
            }
            std::thread::sleep(POLL_INTERVAL);
        }
    }

    fn client(&self, target: &Target) -> Result<SideClient, String> {
        server::client(target, self.settings.api_key.clone())
    }

    /// A client for a server's health, which does not let one that hangs hold up an interrupt.
    fn health_client(&self, spec: &ServerSpec) -> Result<SideClient, String> {
        server::health_client(&own_server(spec), self.settings.api_key.clone())
    }

    /// Names the processes that an earlier sweep has left behind, for an error message.
    fn left_by_others(&self) -> String {
        let folder = self.settings.server_notes.as_deref();
        let left = folder.map(left_servers).unwrap_or_default();
        match left.first() {
            Some(server) => format!(
                ". An earlier sweep has left process {} ({})",
                server.pid, server.command
            ),
            None => String::new(),
        }
    }

    fn wait_until_healthy(&mut self, spec: &ServerSpec, log: &Path) -> Result<(), String> {
        let client = self.health_client(spec)?;
        let timeout = self.settings.server_ready_timeout;
        let deadline = clock::now() + timeout.into();
        loop {
            let ended = self
                .server
                .as_ref()
                .map(ProcessGroup::has_ended)
                .transpose();
            if ended.map_err(|error| error.to_string())? != Some(false) {
                let status = self.server.take().map(ProcessGroup::finish).transpose();
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
            if let Some(note) = &self.note {
                note.renew();
            }
            if server::is_healthy(&client) {
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

impl World for ProcessRunner {
    fn run(&mut self, work: &Work, log: &Path) -> Exit {
        let mut command = self.command(work);
        command.envs(
            self.settings
                .variables
                .iter()
                .map(|(name, value)| (name, value)),
        );
        if let Err(reason) = self.redirect(&mut command, log) {
            return Exit::Failed(reason);
        }
        let group = match ProcessGroup::spawn(&mut command) {
            Ok(group) => group,
            Err(error) => {
                return Exit::Failed(format!("cannot start {}: {error}", program_of(work)));
            }
        };
        let before = self.forwarded;
        self.settings.current_log.set(Some(log));
        let waited = self.wait(&group);
        self.settings.current_log.set(None);
        if let Err(reason) = waited {
            return Exit::Failed(reason);
        }
        let status = match group.finish() {
            Ok(status) => status,
            Err(error) => return Exit::Failed(error.to_string()),
        };
        leave_out_secrets(log);
        // A child that was interrupted may end with code 0, but its result is incomplete.
        if self.forwarded > before {
            return Exit::Interrupted;
        }
        if status.success() {
            Exit::Success
        } else if status.code() == Some(STRICT) && program_of(work) == SELF_PROGRAM {
            Exit::Failed("the verdict is INVALID, and --strict was given".to_owned())
        } else {
            Exit::Failed(reason(&tail(log), &status.to_string()))
        }
    }

    fn start_server(&mut self, spec: &ServerSpec, log: &Path) -> Result<(), String> {
        let mut command = self.command_of_words(&spec.command);
        // vLLM offers to empty its caches only in this mode.
        command.env("VLLM_SERVER_DEV_MODE", "1");
        self.redirect(&mut command, log)?;
        if self.health_client(spec)?.get("/health").is_ok() {
            return Err(format!(
                "a server is already listening at {}: it would be measured in place of the one to be started; \
                 stop it, or choose another port in --serve-cmd{}",
                spec.url,
                self.left_by_others()
            ));
        }
        let program = spec.command.first().map(String::as_str).unwrap_or_default();
        let group = ProcessGroup::spawn(&mut command)
            .map_err(|error| format!("cannot start {program}: {error}"))?;
        self.note = ServerNote::begin(self.settings.server_notes.as_deref(), group.id());
        self.server = Some(group);
        log.clone_into(&mut self.server_log);
        self.settings.current_log.set(Some(log));
        let healthy = self.wait_until_healthy(spec, log);
        self.settings.current_log.set(None);
        if healthy.is_err() {
            self.stop_server();
        }
        healthy
    }

    fn stop_server(&mut self) {
        let Some(group) = self.server.take() else {
            return;
        };
        // The rest of the group is killed when it is dropped, whether or not these succeed.
        drop(group.signal(Signal::Terminate));
        let deadline = clock::now() + SERVER_GRACE;
        while clock::now() < deadline && !group.has_ended().unwrap_or(true) {
            std::thread::sleep(POLL_INTERVAL);
        }
        drop(group.finish());
        leave_out_secrets(&self.server_log);
        self.note = None;
    }

    fn identify(&mut self, target: &Target) -> Result<Identity, String> {
        server::identity(&self.client(target)?)
    }

    fn reset_caches(&mut self, target: &Target) -> Result<(), String> {
        let client = self.client(target)?;
        let mut last = String::new();
        for _ in 0..RESET_TRIES {
            match server::reset_caches(&client) {
                Ok(()) => return Ok(()),
                Err(Reset::Impossible(reason)) => return Err(reason),
                Err(Reset::NotNow(reason)) => last = reason,
            }
            if self.interrupted() {
                break;
            }
            self.pause(HEALTH_PAUSE);
        }
        Err(format!("the server's caches could not be reset: {last}"))
    }

    fn pause(&mut self, time: Duration) {
        let deadline = clock::now() + time.into();
        while clock::now() < deadline && !self.interrupted() {
            std::thread::sleep(POLL_INTERVAL.min(time));
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

impl Drop for ProcessRunner {
    fn drop(&mut self) {
        self.stop_server();
    }
}

/// The program that some work starts, by the name that commands give it.
fn program_of(work: &Work) -> &str {
    match work {
        Work::Ours(_) => SELF_PROGRAM,
        Work::Theirs(words) => words.first().map_or("", String::as_str),
    }
}

/// Where a server that the campaign starts is reached.
fn own_server(spec: &ServerSpec) -> Target {
    Target {
        url: spec.url.clone(),
        insecure: true,
        headers: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_is_shown_while_its_command_runs_and_no_longer() {
        let folder = tempfile::tempdir().unwrap();
        let current = CurrentLog::default();
        let settings = ProcessSettings {
            current_log: current.clone(),
            ..ProcessSettings::default()
        };
        let go = folder.path().join("go");
        // The command continues when its line was seen.
        let script = format!(
            "echo measuring; until [ -e '{}' ]; do sleep 0.01; done",
            go.display()
        );
        let work = Work::Theirs(["sh", "-c", &script].map(str::to_owned).into());
        assert_eq!(current.state(), None);
        let log = folder.path().join("log");
        let child = std::thread::spawn(move || ProcessRunner::new(settings).run(&work, &log));
        while current.state().and_then(|log| log.last_line).as_deref() != Some("measuring") {
            assert!(!child.is_finished());
            std::thread::yield_now();
        }
        fs::write(go, "").unwrap();
        assert_eq!(child.join().unwrap(), Exit::Success);
        assert_eq!(current.state(), None);
    }
}
