//! Who hears what: results on stdout, talk on stderr, colour only for people.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "this is the one place that prints")]

use std::io::{IsTerminal, Write};

/// The way to the user.
#[derive(Clone, Debug)]
pub(crate) struct Output {
    color: bool,
}

impl Default for Output {
    fn default() -> Self {
        Self { color: std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none() }
    }
}

impl Output {
    /// True when colour codes are welcome on stdout.
    pub(crate) fn color(&self) -> bool {
        self.color
    }

    /// A line for people that scripts of vLLM's tool may also look for.
    pub(crate) fn say(&self, line: &str) {
        println!("{line}");
        self.flush();
    }

    /// A result, as it stands.
    pub(crate) fn print(&self, text: &str) {
        print!("{text}");
        self.flush();
    }

    /// Something that the user may want to know.
    #[expect(clippy::unused_self, reason = "all talk goes through one object")]
    pub(crate) fn note(&self, message: &str) {
        eprintln!("note: {message}");
    }

    /// Something that is wrong but not fatal.
    #[expect(clippy::unused_self, reason = "all talk goes through one object")]
    pub(crate) fn warn(&self, message: &str) {
        eprintln!("warning: {message}");
    }

    /// Why the command failed.
    pub(crate) fn error(&self, error: &anyhow::Error) {
        self.flush();
        let mut text = format!("error: {error}");
        let mut last = error.to_string();
        for cause in error.chain().skip(1) {
            let cause = cause.to_string();
            // Some libraries repeat their cause in their own text.
            if !last.contains(&cause) {
                text.push_str(": ");
                text.push_str(&cause);
            }
            last = cause;
        }
        eprintln!("{text}");
    }

    #[expect(clippy::unused_self, reason = "all talk goes through one object")]
    fn flush(&self) {
        // Nobody reads any more (`| head`): nothing is lost by not telling them.
        drop(std::io::stdout().flush());
    }
}
