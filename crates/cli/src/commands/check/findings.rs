//! The findings of a check, with their remedies.

use inferometer_benchmark::check::{Finding, Level};
use inferometer_terminal::Output;

use crate::exit::Exit;

/// The findings so far; each is printed immediately.
pub(super) struct Findings<'a> {
    output: &'a Output,
    list: Vec<Finding>,
}

impl<'a> Findings<'a> {
    /// No findings yet.
    pub(super) fn new(output: &'a Output) -> Self {
        Self {
            output,
            list: Vec::new(),
        }
    }

    /// Something works.
    pub(super) fn good(&mut self, what: &'static str, detail: impl AsRef<str>) {
        self.add(Finding::good(what, detail.as_ref()));
    }

    /// Something that is worth knowing.
    pub(super) fn note(&mut self, what: &'static str, detail: impl AsRef<str>, remedy: &str) {
        self.add(Finding::note(what, detail.as_ref(), remedy));
    }

    /// Something does not work.
    pub(super) fn bad(&mut self, what: &'static str, detail: impl AsRef<str>, remedy: &str) {
        self.add(Finding::bad(what, detail.as_ref(), remedy));
    }

    /// Prints a finding and keeps it for the end.
    pub(super) fn add(&mut self, finding: Finding) {
        let word = match finding.level {
            Level::Good => "ok",
            Level::Note => "note",
            Level::Bad => "FAILED",
        };
        let Finding { what, detail, .. } = &finding;
        self.output
            .print_line(&format!("{word:<7}{what:<20} {detail}"));
        self.list.push(finding);
    }

    /// Prints text on stdout.
    pub(super) fn print(&self, text: &str) {
        self.output.print(text);
    }

    /// Prints a line of progress.
    pub(super) fn print_line(&self, text: &str) {
        self.output.print_line(text);
    }

    /// Prints the remedies, and returns how the check ended.
    pub(super) fn conclude(&self) -> Exit {
        let count = |level| {
            self.list
                .iter()
                .filter(|finding| finding.level == level)
                .count()
        };
        let (good, bad) = (count(Level::Good), count(Level::Bad));
        self.output
            .print_line(&format!("\n{good} of {} checks passed.", self.list.len()));
        for finding in &self.list {
            if let Some(remedy) = &finding.remedy {
                let word = if finding.level == Level::Bad {
                    "fix"
                } else {
                    "note"
                };
                self.output
                    .print_line(&format!("  {word}: {}: {remedy}", finding.what));
            }
        }
        if bad > 0 { Exit::RunFailed } else { Exit::Good }
    }
}
