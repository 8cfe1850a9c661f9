//! Results on stdout, messages on stderr, colour only on a terminal.

use inferometer_core::redact::redact_text;

use std::io::{IsTerminal, Write, stderr, stdout};
use std::sync::{Arc, Mutex, PoisonError};

/// The output of a command.
#[derive(Clone, Debug)]
pub struct Output {
    color: bool,
    /// What is printed while the live view occupies the terminal.
    held: Arc<Mutex<Option<Vec<Text>>>>,
}

/// A text and its stream.
#[derive(Clone, Debug)]
enum Text {
    Result(String),
    Message(String),
}

impl Text {
    fn write(&self) {
        match self {
            // The reader may be gone (`| head`) or the disk full: the result must still be saved.
            Self::Result(text) => {
                let mut out = stdout();
                drop(out.write_all(text.as_bytes()).and_then(|()| out.flush()));
            }
            // A closed stderr is not a failure of the command.
            Self::Message(line) => drop(writeln!(stderr(), "{line}")),
        }
    }
}

/// Holds back all output; it is written when this is dropped.
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
        held.unwrap_or_default().iter().for_each(Text::write);
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
    /// True if stdout is a terminal and `NO_COLOR` is not set.
    pub fn color(&self) -> bool {
        self.color
    }

    /// Holds back all output until the [`Hold`] is dropped.
    pub fn hold(&self) -> Hold {
        self.held
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_or_insert_default();
        Hold(self.clone())
    }

    /// The last lines that are held back, at most `count`.
    pub fn last_held(&self, count: usize) -> Vec<String> {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let texts = held.iter().flatten().flat_map(|text| match text {
            Text::Result(text) | Text::Message(text) => text.lines(),
        });
        let lines: Vec<&str> = texts.collect();
        lines[lines.len().saturating_sub(count)..]
            .iter()
            .map(|&line| line.to_owned())
            .collect()
    }

    /// All output passes through here, so that every secret is redacted.
    fn put(&self, text: Text) {
        let text = match text {
            Text::Result(text) => Text::Result(redact_text(&text).into_owned()),
            Text::Message(line) => Text::Message(redact_text(&line).into_owned()),
        };
        match &mut *self.held.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(held) => held.push(text),
            None => text.write(),
        }
    }

    /// Prints a line on stdout, where scripts for vLLM's tool expect its lines.
    pub fn print_line(&self, line: &str) {
        self.print(&format!("{line}\n"));
    }

    /// Prints text on stdout unchanged.
    pub fn print(&self, text: &str) {
        self.put(Text::Result(text.to_owned()));
    }

    /// Prints a note on stderr.
    pub fn note(&self, message: &str) {
        self.put(Text::Message(format!("note: {message}")));
    }

    /// Prints a warning on stderr.
    pub fn warn(&self, message: &str) {
        self.put(Text::Message(format!("warning: {message}")));
    }

    /// Prints on stderr why the command failed.
    pub fn error(&self, report: &str) {
        self.put(Text::Message(format!("error: {report}")));
    }
}
