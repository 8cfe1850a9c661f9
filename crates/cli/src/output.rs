//! Who hears what: results on stdout, talk on stderr, colour only for people.

use std::io::{IsTerminal, Write, stderr, stdout};

/// The way to the user.
#[derive(Clone, Debug)]
pub(crate) struct Output {
    color: bool,
}

impl Default for Output {
    fn default() -> Self {
        Self { color: stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none() }
    }
}

impl Output {
    /// True when colour codes are welcome on stdout.
    pub(crate) fn color(&self) -> bool {
        self.color
    }

    /// A line for people that scripts of vLLM's tool may also look for.
    pub(crate) fn say(&self, line: &str) {
        self.print(&format!("{line}\n"));
    }

    /// A result, as it stands.
    #[expect(clippy::unused_self, reason = "all talk goes through one object")]
    pub(crate) fn print(&self, text: &str) {
        // Nobody reads any more (`| head`), or the disk is full: the result must be saved all the same.
        let mut out = stdout();
        drop(out.write_all(text.as_bytes()).and_then(|()| out.flush()));
    }

    /// Something that the user may want to know.
    #[expect(clippy::unused_self, reason = "all talk goes through one object")]
    pub(crate) fn note(&self, message: &str) {
        talk(&format!("note: {message}"));
    }

    /// Something that is wrong but not fatal.
    #[expect(clippy::unused_self, reason = "all talk goes through one object")]
    pub(crate) fn warn(&self, message: &str) {
        talk(&format!("warning: {message}"));
    }

    /// Why the command failed.
    #[expect(clippy::unused_self, reason = "all talk goes through one object")]
    pub(crate) fn error(&self, error: &anyhow::Error) {
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
        talk(&text);
    }
}

/// A line on stderr; that nobody can read it is no failure of the command.
fn talk(line: &str) {
    drop(writeln!(stderr(), "{line}"));
}
