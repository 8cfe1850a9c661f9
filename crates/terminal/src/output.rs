//! Who hears what: results on stdout, talk on stderr, colour only for people.

use inferometer_core::redact::redact_text;

use std::io::{IsTerminal, Write, stderr, stdout};
use std::sync::{Arc, Mutex, PoisonError};

/// The way to the user.
#[derive(Clone, Debug)]
pub struct Output {
    color: bool,
    /// What is said while the whole terminal shows something else.
    held: Arc<Mutex<Option<Vec<Said>>>>,
}

/// A text, and where it goes to.
#[derive(Clone, Debug)]
enum Said {
    Out(String),
    Talk(String),
}

impl Said {
    fn write(&self) {
        match self {
            // Nobody reads any more (`| head`), or the disk is full: the result must be saved all
            // the same.
            Self::Out(text) => {
                let mut out = stdout();
                drop(out.write_all(text.as_bytes()).and_then(|()| out.flush()));
            }
            // That nobody can read it is no failure of the command.
            Self::Talk(line) => drop(writeln!(stderr(), "{line}")),
        }
    }
}

/// Keeps what is said from the screen; it is written when this goes.
#[derive(Debug)]
pub struct Hold(Output);

impl Drop for Hold {
    fn drop(&mut self) {
        let held = self
            .0
            .held
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        held.unwrap_or_default().iter().for_each(Said::write);
    }
}

impl Default for Output {
    fn default() -> Self {
        Self {
            color: stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
            held: Arc::default(),
        }
    }
}

impl Output {
    /// True when colour codes are welcome on stdout.
    pub fn color(&self) -> bool {
        self.color
    }

    /// Keeps everything that is said from now on until the [`Hold`] goes.
    pub fn hold(&self) -> Hold {
        self.held
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_or_insert_default();
        Hold(self.clone())
    }

    /// The last lines that are being kept, at most `count`.
    pub fn last_held(&self, count: usize) -> Vec<String> {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let texts = held.iter().flatten().flat_map(|said| match said {
            Said::Out(text) | Said::Talk(text) => text.lines(),
        });
        let lines: Vec<&str> = texts.collect();
        lines[lines.len().saturating_sub(count)..]
            .iter()
            .map(|&line| line.to_owned())
            .collect()
    }

    /// Everything that this program says comes through here, so no secret gets past.
    fn put(&self, said: Said) {
        let said = match said {
            Said::Out(text) => Said::Out(redact_text(&text).into_owned()),
            Said::Talk(line) => Said::Talk(redact_text(&line).into_owned()),
        };
        match &mut *self.held.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(held) => held.push(said),
            None => said.write(),
        }
    }

    /// A line for people that scripts of vLLM's tool may also look for.
    pub fn say(&self, line: &str) {
        self.print(&format!("{line}\n"));
    }

    /// A result, as it stands.
    pub fn print(&self, text: &str) {
        self.put(Said::Out(text.to_owned()));
    }

    /// Something that the user may want to know.
    pub fn note(&self, message: &str) {
        self.put(Said::Talk(format!("note: {message}")));
    }

    /// Something that is wrong but not fatal.
    pub fn warn(&self, message: &str) {
        self.put(Said::Talk(format!("warning: {message}")));
    }

    /// Why the command failed.
    pub fn error(&self, report: &str) {
        self.put(Said::Talk(format!("error: {report}")));
    }
}
