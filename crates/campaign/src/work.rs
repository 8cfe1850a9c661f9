//! What a cell runs: a run of this program with typed settings, or a command line given as text.

use std::path::{Path, PathBuf};

use inferometer_core::redact::redact_arguments;

use crate::flag_table::{FlagValue, Settings};
use crate::flags;
use crate::load::Load;
use crate::target::{DEFAULT_URL, Target, headers, host_port_url, url_of};

/// Name by which a command means this very program.
pub const SELF_PROGRAM: &str = inferometer_core::names::NAME;
/// The backend that means the engine model on a virtual clock; `sim:NAME` also names the kind of
/// requests.
pub(crate) const SIMULATED: &str = "sim";
/// Settings that make up the load; runs that differ in nothing else form a series.
const LOAD_FLAGS: [&str; 4] = ["request-rate", "max-concurrency", "num-prompts", "seed"];
/// What a cell runs.
#[derive(Clone, Debug, PartialEq)]
pub enum Work {
    /// A run of this program.
    Ours(Box<OurRun>),
    /// A command line given as text: program and arguments. [`SELF_PROGRAM`] means this program.
    Theirs(Vec<String>),
}

/// Which command of this program makes a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OurCommand {
    /// `run`: against a server.
    Run,
    /// `simulate`: on a virtual clock, without a server.
    Simulate,
}

impl OurCommand {
    /// Its name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::Simulate => "simulate",
        }
    }
}

/// A run of this program.
#[derive(Clone, Debug, PartialEq)]
pub struct OurRun {
    command: OurCommand,
    settings: Settings,
    /// Arguments typed after `--`, which win over the settings; they are passed on as they are,
    /// since the run itself understands argparse's habits.
    extra: Vec<String>,
    /// What kind of requests a simulation makes, from `sim:NAME`; wins over the settings.
    request_kind: Option<String>,
    output: RunOutput,
    load: Load,
    target: Target,
}

/// What a run leaves on disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunOutput {
    /// Its result file; without one none is saved.
    pub result: Option<PathBuf>,
    /// Its run folder.
    pub run_folder: RunFolder,
}

/// Where a run keeps its run folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum RunFolder {
    /// Nowhere: it makes none.
    #[default]
    None,
    /// In this folder, unless the settings name another.
    In(PathBuf),
}

impl Work {
    /// How much it asks of the server.
    pub fn load(&self) -> Load {
        match self {
            Self::Ours(run) => run.load,
            Self::Theirs(words) => Load::of(self.is_simulated(), |name| {
                flags::value_of(words, name)?.parse().ok()
            }),
        }
    }

    /// Where it sends. `served_at` is the server that the campaign starts for it: another program
    /// than inferometer and vLLM that names no address is taken to mean that server.
    pub(crate) fn target(&self, served_at: Option<&str>) -> Target {
        let words = match self {
            Self::Ours(run) => return run.target.clone(),
            Self::Theirs(words) => words,
        };
        let has_default = words
            .first()
            .is_some_and(|program| matches!(program.as_str(), SELF_PROGRAM | "vllm"));
        let url = url_of(words);
        Target {
            url: match (url, served_at) {
                (Some(url), _) => url,
                (None, Some(served_at)) if !has_default => served_at.to_owned(),
                (None, _) => DEFAULT_URL.to_owned(),
            },
            insecure: flags::has(words, "insecure"),
            headers: headers(flags::values_of(words, "header")),
        }
    }

    /// True for a run on the virtual clock, in which no server takes part.
    pub fn is_simulated(&self) -> bool {
        match self {
            Self::Ours(run) => run.command == OurCommand::Simulate,
            Self::Theirs(words) => {
                matches!(words.as_slice(), [program, command, ..]
                    if program == SELF_PROGRAM && command == OurCommand::Simulate.name())
            }
        }
    }

    /// Program and arguments, as they are typed; [`SELF_PROGRAM`] means this program.
    pub fn words(&self) -> Vec<String> {
        match self {
            Self::Ours(run) => with_program(run.arguments()),
            Self::Theirs(words) => words.clone(),
        }
    }

    /// Program and arguments as they may be stored: without secrets, and without the places of
    /// files, so that a folder can be moved.
    pub(crate) fn stored_words(&self) -> Vec<String> {
        const PLACES: [&str; 3] = ["--result-dir", "--result-filename", "--runs-dir"];
        match self {
            Self::Ours(run) => redact_arguments(&with_program(run.arguments_without_places())),
            Self::Theirs(words) => flags::without(&redact_arguments(words), &PLACES),
        }
    }

    /// True when the two differ in their load and seed at most.
    pub(crate) fn is_same_series(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Ours(run), Self::Ours(other)) => {
                let rest = |run: &'_ OurRun| -> Settings {
                    let all = run.settings.iter();
                    all.filter(|(name, _)| !LOAD_FLAGS.contains(&name.as_str()))
                        .map(|(name, value)| (name.clone(), value.clone()))
                        .collect()
                };
                run.command == other.command
                    && run.request_kind == other.request_kind
                    && run.extra == other.extra
                    && rest(run) == rest(other)
            }
            (Self::Theirs(_), Self::Theirs(_)) => {
                let rest = |work: &Self| {
                    let mut words = work.stored_words();
                    for flag in LOAD_FLAGS {
                        flags::remove(&mut words, flag);
                    }
                    words
                };
                rest(self) == rest(other)
            }
            _ => false,
        }
    }
}

impl OurRun {
    /// A run with `settings`, and with `extra` arguments that win over them.
    ///
    /// The backend `sim` makes a simulation of it. A backend that was given before, which names
    /// the kind of requests, stays; so does the kind in `sim:NAME`.
    pub fn new(mut settings: Settings, extra: &[String], output: RunOutput) -> Self {
        let mut extra = extra.to_vec();
        let mut command = OurCommand::Run;
        let mut request_kind = None;
        while let Some(backend) = backend_of(&settings, &extra).filter(|name| is_simulated(name)) {
            if command == OurCommand::Run {
                command = OurCommand::Simulate;
                request_kind = backend.split_once(':').map(|(_, kind)| kind.to_owned());
            }
            if flags::has(&extra, "backend") {
                flags::remove_last(&mut extra, "backend");
            } else {
                settings.shift_remove("backend");
            }
        }
        let given = Given {
            settings: &settings,
            extra: &extra,
        };
        Self {
            load: Load::of(command == OurCommand::Simulate, |name| given.number(name)),
            target: given.target(),
            command,
            settings,
            extra,
            request_kind,
            output,
        }
    }

    /// An unmeasured run of the same settings with another number of requests, which leaves
    /// nothing on disk.
    pub(crate) fn warmup(&self, num_prompts: u64) -> Self {
        let mut run = self.clone();
        flags::remove(&mut run.extra, "num-prompts");
        run.settings
            .insert("num-prompts".to_owned(), num_prompts.into());
        run.load.num_prompts = num_prompts as f64;
        run.output = RunOutput::default();
        run
    }

    /// The command that makes the run.
    pub fn command(&self) -> OurCommand {
        self.command
    }

    /// The settings, without what is typed after `--`.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// What the run leaves on disk.
    pub fn output(&self) -> &RunOutput {
        &self.output
    }

    /// The command and its arguments, as a child process gets them after the program's name.
    pub fn arguments(&self) -> Vec<String> {
        let mut arguments = self.given_arguments(&self.settings, &self.extra);
        if let Some(result) = &self.output.result {
            let folder = result.parent().unwrap_or(Path::new(""));
            let name = result.file_name().unwrap_or_default();
            arguments.extend([
                "--save-result".to_owned(),
                "--result-dir".to_owned(),
                folder.display().to_string(),
                "--result-filename".to_owned(),
                name.to_string_lossy().into_owned(),
            ]);
        }
        match &self.output.run_folder {
            RunFolder::None => arguments.push("--no-run-folder".to_owned()),
            RunFolder::In(folder) if !self.names_runs_dir() => {
                arguments.extend(["--runs-dir".to_owned(), folder.display().to_string()]);
            }
            RunFolder::In(_) => {}
        }
        arguments.push("--disable-tqdm".to_owned());
        arguments
    }

    /// As [`Self::arguments`], without the places of files.
    fn arguments_without_places(&self) -> Vec<String> {
        let mut settings = self.settings.clone();
        settings.shift_remove("runs-dir");
        let extra = flags::without(&self.extra, &["--runs-dir"]);
        let mut arguments = self.given_arguments(&settings, &extra);
        if self.output.result.is_some() {
            arguments.push("--save-result".to_owned());
        }
        if self.output.run_folder == RunFolder::None {
            arguments.push("--no-run-folder".to_owned());
        }
        arguments.push("--disable-tqdm".to_owned());
        arguments
    }

    fn given_arguments(&self, settings: &Settings, extra: &[String]) -> Vec<String> {
        let mut arguments = vec![self.command.name().to_owned()];
        for (name, value) in settings {
            arguments.extend(value.arguments(name));
        }
        arguments.extend_from_slice(extra);
        if let Some(kind) = &self.request_kind {
            arguments.extend(["--backend".to_owned(), kind.clone()]);
        }
        arguments
    }

    fn names_runs_dir(&self) -> bool {
        self.settings.contains_key("runs-dir") || flags::has(&self.extra, "runs-dir")
    }
}

/// A command line of this program.
fn with_program(arguments: Vec<String>) -> Vec<String> {
    std::iter::once(SELF_PROGRAM.to_owned())
        .chain(arguments)
        .collect()
}

/// What a run of ours is given: settings, and arguments that win over them.
struct Given<'a> {
    settings: &'a Settings,
    extra: &'a [String],
}

impl Given<'_> {
    fn text(&self, name: &str) -> Option<String> {
        match flags::value_of(self.extra, name) {
            Some(text) => Some(text.to_owned()),
            None => self.settings.get(name)?.text(),
        }
    }

    fn number(&self, name: &str) -> Option<f64> {
        match flags::value_of(self.extra, name) {
            Some(text) => text.parse().ok(),
            None => self.settings.get(name)?.number(),
        }
    }

    fn target(&self) -> Target {
        let headers_given = if flags::has(self.extra, "header") {
            headers(flags::values_of(self.extra, "header"))
        } else {
            let texts = self.settings.get("header").map(FlagValue::texts);
            headers(texts.iter().flatten().map(String::as_str))
        };
        let insecure = self.settings.get("insecure") == Some(&FlagValue::Switch(true));
        let url = match self.text("base-url") {
            Some(url) => Some(url.trim_end_matches('/').to_owned()),
            None => host_port_url(self.text("host").as_deref(), self.text("port").as_deref()),
        };
        Target {
            url: url.unwrap_or_else(|| DEFAULT_URL.to_owned()),
            insecure: insecure || flags::has(self.extra, "insecure"),
            headers: headers_given,
        }
    }
}

/// The backend that counts.
fn backend_of(settings: &Settings, extra: &[String]) -> Option<String> {
    Given { settings, extra }.text("backend")
}

/// True for the name of the simulated backend.
pub(crate) fn is_simulated(backend: &str) -> bool {
    backend == SIMULATED
        || backend
            .strip_prefix(SIMULATED)
            .is_some_and(|rest| rest.starts_with(':'))
}

#[cfg(test)]
mod tests {
    use inferometer_core::Secret;

    use super::*;
    use serde_json::json;

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    fn run(settings: serde_json::Value, extra: &str) -> OurRun {
        let settings = serde_json::from_value::<indexmap::IndexMap<String, _>>(settings)
            .unwrap()
            .into_iter()
            .map(|(name, value)| match value {
                serde_json::Value::Array(items) => (name, FlagValue::Many(items)),
                serde_json::Value::Bool(on) => (name, FlagValue::Switch(on)),
                value => (name, FlagValue::One(value)),
            })
            .collect();
        OurRun::new(settings, &words(extra), RunOutput::default())
    }

    #[test]
    fn the_backend_sim_makes_a_simulation_of_a_run() {
        for (settings, extra, arguments) in [
            (
                json!({"backend": "vllm", "seed": 1}),
                "--backend sim",
                "simulate --backend vllm --seed 1",
            ),
            (
                json!({"backend": "sim", "seed": 1}),
                "--backend=sim",
                "simulate --seed 1",
            ),
            (
                json!({"backend": "sim:openai-chat", "seed": 1}),
                "--x",
                "simulate --seed 1 --x --backend openai-chat",
            ),
            (
                json!({"backend": "sim"}),
                "--backend vllm",
                "run --backend sim --backend vllm",
            ),
        ] {
            let found = run(settings, extra).arguments().join(" ");
            assert_eq!(found, format!("{arguments} --no-run-folder --disable-tqdm"));
        }
    }

    #[test]
    fn load_and_target_are_read_once_and_further_arguments_win() {
        let settings = json!({
            "max-concurrency": 8, "request-rate": "inf", "num-prompts": 80, "base-url": ["http://a/", "http://b"],
            "header": ["A=1"], "insecure": true,
        });
        let alone = run(settings.clone(), "");
        assert_eq!(
            (alone.load.cap, alone.load.rate, alone.load.num_prompts),
            (8.0, f64::INFINITY, 80.0)
        );
        assert_eq!(alone.target.url, "http://a");
        assert!(alone.target.insecure);
        assert_eq!(alone.target.headers, [("A".to_owned(), Secret::new("1"))]);
        let more = run(
            settings,
            "--request_rate=3 --base-url http://c --header B=2",
        );
        assert_eq!((more.load.cap, more.load.rate), (8.0, 3.0));
        assert_eq!(more.target.url, "http://c");
        assert_eq!(more.target.headers, [("B".to_owned(), Secret::new("2"))]);
        assert_eq!(run(json!({"port": 9}), "").target.url, "http://127.0.0.1:9");
        let warmup = alone.warmup(3);
        assert_eq!(warmup.load.num_prompts, 3.0);
        assert_eq!(warmup.settings()["num-prompts"].number(), Some(3.0));
    }

    #[test]
    fn runs_of_a_series_differ_in_load_and_seed_only() {
        let work = |settings| Work::Ours(Box::new(run(settings, "")));
        let base = work(json!({"model": "m", "max-concurrency": 1, "seed": 1}));
        assert!(base.is_same_series(&work(json!({"model": "m", "request-rate": 2.0, "seed": 2}))));
        assert!(!base.is_same_series(&work(json!({"model": "n", "max-concurrency": 1}))));
        let theirs = |line| Work::Theirs(words(line));
        assert!(theirs("b --seed=1 --x y").is_same_series(&theirs("b --x y --num-prompts 3")));
        assert!(!theirs("b --x y").is_same_series(&theirs("b --x z")));
        assert!(!base.is_same_series(&theirs("b --x y")));
    }
}
