//! The form of the block after the table.

use std::fmt::Write as _;

use super::{display_width, wrap};
use crate::Lang;

/// Columns of running text in the block on a wide terminal and in files: longer lines are hard to read.
const WIDTH: usize = 100;
/// Columns that are used even on a narrower terminal, so that the indented text has room.
const MIN_WIDTH: usize = 40;

/// Labelled entries, wrapped at the width of the terminal.
pub(super) struct Block {
    pub(super) text: String,
    pub(super) lang: Lang,
    width: usize,
}

impl Block {
    /// For a terminal of this many columns; `None` where nothing limits them.
    pub(super) fn new(lang: Lang, columns: Option<usize>) -> Self {
        Self {
            text: String::new(),
            lang,
            width: columns.unwrap_or(WIDTH).clamp(MIN_WIDTH, WIDTH),
        }
    }

    /// `label: text`, continuation lines indented below the text.
    pub(super) fn entry(&mut self, label: &str, text: &str) {
        const LABEL_WIDTH: usize = 18;
        let colon = self.lang.pick(":", "：");
        let label = format!("{label}{colon}");
        let pad = LABEL_WIDTH.saturating_sub(display_width(&label)).max(1);
        let lead = format!("{label}{}", " ".repeat(pad));
        self.hanging(&lead, text);
    }

    pub(super) fn bullet(&mut self, lead: &str, text: &str) {
        self.hanging(&format!("  {lead}"), text);
    }

    fn hanging(&mut self, lead: &str, text: &str) {
        let indent = display_width(lead);
        for (number, line) in wrap(text, self.width.saturating_sub(indent))
            .iter()
            .enumerate()
        {
            if number == 0 {
                let _ = writeln!(self.text, "{lead}{line}");
            } else {
                let _ = writeln!(self.text, "{}{line}", " ".repeat(indent));
            }
        }
    }
}
