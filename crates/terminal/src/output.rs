//! Results on stdout, messages on stderr, colour only on a terminal.

use inferometer_core::redact::redact_text;
use inferometer_core::visible;

use std::io::{self, IsTerminal, Write, stderr, stdout};
use std::sync::{Arc, Mutex, PoisonError};

use ratatui::crossterm::terminal;

use crate::text::wrap;

/// The output of a command.
#[derive(Clone, Debug)]
pub struct Output {
    color: bool,
    /// What is printed while the live view occupies the terminal.
    held: Arc<Mutex<Option<Vec<Text>>>>,
    /// Why a result could not be printed.
    failed: Arc<Mutex<Option<io::Error>>>,
}

/// A text and its stream.
#[derive(Clone, Debug)]
enum Text {
    Result(String),
    Message(String),
}

impl Text {
    fn write(&self) -> io::Result<()> {
        match self {
            Self::Result(text) => {
                let mut out = stdout();
                out.write_all(text.as_bytes()).and_then(|()| out.flush())
            }
            // A closed stderr is not a failure of the command.
            Self::Message(line) => {
                drop(writeln!(stderr(), "{line}"));
                Ok(())
            }
        }
    }
}

/// `text` with every control sequence written out, except, on a terminal with colour, those that set
/// a colour or end it.
fn shown(text: &str, color: bool) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("\u{1b}[").filter(|_| color) {
        let after = &rest[start + 2..];
        let digits = after.len()
            - after
                .trim_start_matches(|c: char| c.is_ascii_digit() || c == ';')
                .len();
        let end = if after[digits..].starts_with('m') {
            out.push_str(&visible(&rest[..start]));
            out.push_str(&rest[start..=start + 2 + digits]);
            start + 3 + digits
        } else {
            out.push_str(&visible(&rest[..start + 2]));
            start + 2
        };
        rest = &rest[end..];
    }
    out.push_str(&visible(rest));
    out
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
        let held = held.unwrap_or_default();
        for text in &held {
            self.0.written(text.write());
        }
    }
}

impl Default for Output {
    fn default() -> Self {
        Self {
            color: stdout().is_terminal()
                && std::env::var_os("NO_COLOR").is_none()
                && std::env::var_os("TERM").is_none_or(|term| term != "dumb"),
            held: Arc::default(),
            failed: Arc::default(),
        }
    }
}

/// Columns of the terminal, by `COLUMNS` or else by the terminal itself.
fn terminal_columns() -> Option<usize> {
    let set = std::env::var("COLUMNS").ok();
    let set = set.and_then(|columns| columns.parse().ok());
    set.filter(|columns| *columns > 0)
        .or_else(|| terminal::size().ok().map(|(columns, _)| columns.into()))
        .filter(|columns| *columns > 0)
}

impl Output {
    /// True if stderr is a terminal, where a line can be drawn again.
    pub fn has_terminal(&self) -> bool {
        stderr().is_terminal()
    }

    /// Columns of stdout, if it is a terminal or the variable `COLUMNS` gives them.
    pub fn columns(&self) -> Option<usize> {
        (stdout().is_terminal() || std::env::var_os("COLUMNS").is_some())
            .then(terminal_columns)
            .flatten()
    }

    /// Prints a sentence on stdout, wrapped at the terminal's width.
    pub fn print_sentence(&self, sentence: &str) {
        self.print_line(&match self.columns() {
            Some(columns) => wrap(sentence, columns),
            None => sentence.to_owned(),
        });
    }

    /// A message on stderr, wrapped if that is a terminal.
    fn message(&self, line: String) {
        let columns = stderr().is_terminal().then(terminal_columns).flatten();
        self.put(Text::Message(match columns {
            Some(columns) => wrap(&line, columns),
            None => line,
        }));
    }

    /// True if stdout is a terminal that can show colours and `NO_COLOR` is not set.
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

    /// All output passes through here, so that every secret is redacted and nothing from outside
    /// controls the terminal.
    fn put(&self, text: Text) {
        let shown = |text: &str| shown(&redact_text(text), self.color);
        let text = match text {
            Text::Result(text) => Text::Result(shown(&text)),
            Text::Message(line) => Text::Message(shown(&line)),
        };
        match &mut *self.held.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(held) => held.push(text),
            None => self.written(text.write()),
        }
    }

    /// Notes how a write to stdout went. A failure does not end the command: the disk may be full, and
    /// the result must still be saved. A reader that is gone (`| head`) is not a failure.
    pub fn written(&self, result: io::Result<()>) {
        if let Err(error) = result
            && error.kind() != io::ErrorKind::BrokenPipe
        {
            let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
            failed.get_or_insert(error);
        }
    }

    /// Why a part of the command's output is missing on stdout, if it is.
    pub fn failure(&self) -> Option<String> {
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        let error = failed.as_ref()?;
        Some(format!("cannot write to stdout: {error}"))
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
        self.message(format!("note: {message}"));
    }

    /// Prints the note on stderr, if there is one.
    pub fn note_if(&self, message: Option<String>) {
        if let Some(message) = message {
            self.note(&message);
        }
    }

    /// Prints a warning on stderr.
    pub fn warn(&self, message: &str) {
        self.message(format!("warning: {message}"));
    }

    /// Prints on stderr why the command failed.
    pub fn error(&self, report: &str) {
        self.message(format!("error: {report}"));
    }

    /// Prints a line about the progress on stderr.
    pub fn progress(&self, line: &str) {
        self.message(line.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_colours_reach_the_terminal() {
        let text = "\u{1b}[1;31mINVALID\u{1b}[0m \u{1b}[2J\u{1b}]0;title\u{7}";
        assert_eq!(
            shown(text, true),
            "\u{1b}[1;31mINVALID\u{1b}[0m \\x1b[2J\\x1b]0;title\\x07"
        );
        assert!(!shown(text, false).contains('\u{1b}'));
        assert_eq!(shown("plain\n", true), "plain\n");
    }
}
