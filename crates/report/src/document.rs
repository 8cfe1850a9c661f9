//! A small document model, written as plain text or Markdown.

use std::fmt::Write as _;

use inferometer_core::visible;

use crate::chart::escape;
use crate::console::{display_width, wrap};

/// Columns of running text in plain text.
const WIDTH: usize = 100;

/// A part of a document.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Part {
    /// A heading of level 1 or 2.
    Heading(u8, String),
    /// A paragraph.
    Text(String),
    /// List items.
    List(Vec<String>),
    /// A table: head, rows; columns from the second on are right-aligned if they hold numbers.
    Table(Vec<String>, Vec<Vec<String>>),
    /// Lines to be copied verbatim.
    Code(Vec<String>),
}

/// Parts in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Document {
    pub(crate) parts: Vec<Part>,
}

impl Document {
    pub(crate) fn heading(&mut self, level: u8, text: impl Into<String>) {
        self.parts.push(Part::Heading(level, text.into()));
    }

    pub(crate) fn text(&mut self, text: impl Into<String>) {
        self.parts.push(Part::Text(text.into()));
    }

    pub(crate) fn list(&mut self, items: Vec<String>) {
        if !items.is_empty() {
            self.parts.push(Part::List(items));
        }
    }

    pub(crate) fn table(&mut self, head: &[&str], rows: Vec<Vec<String>>) {
        self.parts.push(Part::Table(
            head.iter().map(|s| (*s).to_owned()).collect(),
            rows,
        ));
    }

    pub(crate) fn code(&mut self, lines: Vec<String>) {
        self.parts.push(Part::Code(lines));
    }

    /// As plain text, without anything that a terminal would obey: texts come from files and servers.
    pub(crate) fn to_plain(&self) -> String {
        let mut out = String::new();
        for part in &self.parts {
            if !out.is_empty() {
                out.push('\n');
            }
            match part {
                Part::Heading(level, text) => {
                    let rule = if *level == 1 { "=" } else { "-" };
                    let _ = writeln!(out, "{text}\n{}", rule.repeat(display_width(text)));
                }
                Part::Text(text) => plain_lines(&mut out, "", text),
                Part::List(items) => items
                    .iter()
                    .for_each(|item| plain_lines(&mut out, "- ", item)),
                Part::Table(head, rows) => {
                    let shown: Vec<Vec<String>> = rows
                        .iter()
                        .map(|row| row.iter().map(|cell| one_line(cell)).collect())
                        .collect();
                    plain_table(&mut out, head, &shown);
                }
                Part::Code(lines) => lines.iter().for_each(|line| {
                    let _ = writeln!(out, "    {line}");
                }),
            }
        }
        visible(&out).into_owned()
    }

    pub(crate) fn to_markdown(&self) -> String {
        let mut out = String::new();
        for part in &self.parts {
            if !out.is_empty() {
                out.push('\n');
            }
            match part {
                Part::Heading(level, text) => {
                    let _ = writeln!(
                        out,
                        "{} {}",
                        "#".repeat(usize::from(*level)),
                        markdown(text)
                    );
                }
                Part::Text(text) => {
                    let _ = writeln!(out, "{}", markdown(text));
                }
                Part::List(items) => items.iter().for_each(|item| {
                    let _ = writeln!(out, "- {}", markdown(item));
                }),
                Part::Table(head, rows) => markdown_table(&mut out, head, rows),
                Part::Code(lines) => markdown_code(&mut out, lines),
            }
        }
        visible(&out).into_owned()
    }
}

/// A cell as it is shown: in one line, because a line break would end the row.
fn one_line(cell: &str) -> String {
    visible(&cell.replace(['\n', '\r', '\t'], " ")).into_owned()
}

/// A block of code. Lines that could end a fence, or that a careless converter would take for markup,
/// make it an HTML block with everything escaped.
fn markdown_code(out: &mut String, lines: &[String]) {
    let text = lines.join("\n");
    let _ = if text.contains('<') || text.contains("```") {
        writeln!(out, "<pre><code>{}</code></pre>", escape(&text))
    } else {
        writeln!(out, "```sh\n{text}\n```")
    };
}

fn plain_lines(out: &mut String, lead: &str, text: &str) {
    for (number, line) in wrap(text, WIDTH - lead.len()).iter().enumerate() {
        let lead = if number == 0 {
            lead.to_owned()
        } else {
            " ".repeat(lead.len())
        };
        let _ = writeln!(out, "{lead}{line}");
    }
}

/// True for columns whose cells all start like numbers, or are dashes.
fn numeric_columns(head: &[String], rows: &[Vec<String>]) -> Vec<bool> {
    (0..head.len())
        .map(|column| {
            column > 0
                && rows.iter().all(|row| {
                    let cell = row.get(column).map_or("", String::as_str);
                    cell.is_empty()
                        || cell.starts_with(['–', '+', '-', '−', '∞', '<', '*'])
                        || cell.starts_with(|c: char| c.is_ascii_digit())
                })
        })
        .collect()
}

fn plain_table(out: &mut String, head: &[String], rows: &[Vec<String>]) {
    let numeric = numeric_columns(head, rows);
    let widths: Vec<usize> = (0..head.len())
        .map(|column| {
            std::iter::once(head)
                .chain(rows.iter().map(Vec::as_slice))
                .filter_map(|row| row.get(column))
                .map(|cell| display_width(cell))
                .max()
                .unwrap_or(0)
        })
        .collect();
    let mut write_row = |row: &[String]| {
        let mut line = String::new();
        for (column, width) in widths.iter().enumerate() {
            let cell = row.get(column).map_or("", String::as_str);
            let pad = " ".repeat(width.saturating_sub(display_width(cell)));
            if column > 0 {
                line.push_str("  ");
            }
            if numeric[column] {
                let _ = write!(line, "{pad}{cell}");
            } else {
                let _ = write!(line, "{cell}{pad}");
            }
        }
        let _ = writeln!(out, "{}", line.trim_end());
    };
    write_row(head);
    let rule: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
    write_row(&rule);
    for row in rows {
        write_row(row);
    }
}

fn markdown_table(out: &mut String, head: &[String], rows: &[Vec<String>]) {
    let numeric = numeric_columns(head, rows);
    let mut write_row = |cells: Vec<String>| {
        let _ = writeln!(out, "| {} |", cells.join(" | "));
    };
    write_row(head.iter().map(|cell| markdown(cell)).collect());
    write_row(
        numeric
            .iter()
            .map(|right| if *right { "---:" } else { "---" }.to_owned())
            .collect(),
    );
    for row in rows {
        write_row(
            (0..head.len())
                .map(|i| markdown(row.get(i).map_or("", String::as_str)))
                .collect(),
        );
    }
}

/// Escapes what Markdown would treat as markup. Line breaks would end a table row, so they become
/// spaces.
fn markdown(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut before = ' ';
    let mut rest = text.chars().peekable();
    while let Some(character) = rest.next() {
        // An underscore inside a word, as in keys, is not markup.
        let inside = character == '_'
            && before.is_alphanumeric()
            && rest.peek().is_some_and(|next| next.is_alphanumeric());
        before = character;
        match character {
            '_' if inside => out.push('_'),
            '\\' | '`' | '*' | '_' | '|' | '[' | ']' | '#' => {
                out.push('\\');
                out.push(character);
            }
            '<' => out.push_str("&lt;"),
            '&' => out.push_str("&amp;"),
            '\n' | '\r' => out.push(' '),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_align_wide_characters_and_numbers() {
        let mut document = Document::default();
        document.table(
            &["设置", "n"],
            vec![
                vec!["a".into(), "5".into()],
                vec!["并发 8".into(), "1024".into()],
            ],
        );
        assert_eq!(
            document.to_plain(),
            "设置       n\n------  ----\na          5\n并发 8  1024\n"
        );
    }

    #[test]
    fn text_from_results_cannot_control_a_terminal() {
        let text = "\u{1b}[31mred\u{7}\nnext";
        let mut document = Document::default();
        document.heading(1, text);
        document.text(text);
        document.list(vec![text.into()]);
        document.table(&["x"], vec![vec![text.into()]]);
        document.code(vec![
            text.into(),
            "```".into(),
            "<script>alert(1)</script>".into(),
        ]);
        for out in [document.to_plain(), document.to_markdown()] {
            assert!(!out.contains(['\u{1b}', '\u{7}']), "{out:?}");
            assert!(out.contains("\\x1b"), "{out}");
        }
        assert!(!document.to_markdown().contains("<script>"));
    }

    #[test]
    fn text_from_results_cannot_become_markup() {
        let mut document = Document::default();
        document.table(&["x"], vec![vec!["a|b<script>\n# c".into()]]);
        assert_eq!(
            document.to_markdown(),
            "| x |\n| --- |\n| a\\|b&lt;script> \\# c |\n"
        );
    }
}
