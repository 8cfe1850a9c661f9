//! Starting the binary.

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use crate::SimProcess;

/// The [`Binary`] that cargo built for this test program. Only the tests of the package that
/// builds the binary know its path, so this is a macro, expanded there.
#[macro_export]
macro_rules! binary {
    () => {
        $crate::Binary::at(env!("CARGO_BIN_EXE_inferometer"))
    };
}

/// The binary under test.
#[derive(Clone, Copy, Debug)]
pub struct Binary {
    path: &'static str,
}

impl Binary {
    /// The binary at `path`; see [`binary!`](crate::binary).
    pub const fn at(path: &'static str) -> Self {
        Self { path }
    }

    /// Where it is, for tests that start it through another program.
    pub const fn path(self) -> &'static str {
        self.path
    }

    /// Runs it in `folder` to its end.
    pub fn call(self, folder: &Path, arguments: &[&str]) -> Output {
        self.command(folder).args(arguments).output().unwrap()
    }

    /// A command that runs it in `folder`, without the user's environment. Help is 100 columns wide,
    /// whatever the terminal is.
    pub fn command(self, folder: &Path) -> Command {
        // A shell without a terminal starts jobs in the background with these ignored, and the program keeps that.
        let mut command = Command::new("env");
        command
            .args(["--default-signal=INT,TERM", self.path])
            .current_dir(folder)
            .env_remove("OPENAI_API_KEY")
            .env("HF_HUB_OFFLINE", "1")
            .env("HF_HOME", folder.join("hf"))
            .env("XDG_CACHE_HOME", folder.join("cache"))
            .env("NO_COLOR", "1")
            .env("COLUMNS", "100");
        command
    }

    /// A run of 20 small random prompts against `url` with the built-in tokenizer, to its end.
    pub fn run(self, folder: &Path, url: &str, more: &[&str]) -> Output {
        self.command(folder)
            .args(["run", "--backend", "vllm", "--base-url", url])
            .args(["--model", "sim", "--tokenizer", "builtin"])
            .args(["--random-input-len", "16", "--random-output-len", "8"])
            .args(["--num-prompts", "20", "--disable-tqdm"])
            .args(more)
            .output()
            .unwrap()
    }

    /// Starts a run that leaves `r.json`, with the records in it; see [`finish`](crate::finish).
    pub fn start_run(self, folder: &Path, url: &str, more: &[&str]) -> Child {
        self.command(folder)
            .args(["run", "--backend", "vllm", "--base-url", url])
            .args(["--model", "sim", "--tokenizer", "builtin"])
            .args(["--random-input-len", "8", "--disable-tqdm"])
            .args(["--save-result", "--save-detailed"])
            .args(["--result-filename", "r.json"])
            .args(["--percentile-metrics", "ttft,tpot,itl,e2el"])
            .args(more)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// Starts the simulator in a process of its own, so that a test can stop it without stopping
    /// itself.
    pub fn sim(self, folder: &Path, flags: &[&str]) -> SimProcess {
        let mut command = self.command(folder);
        command.args(["sim", "--port", "0"]).args(flags);
        SimProcess::start(command)
    }
}
