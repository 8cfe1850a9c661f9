//! The words of a shell's command line, with their places.

use std::ops::Range;

/// A word of a command line.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Word {
    /// The word as a program gets it: without quotes.
    pub(super) text: String,
    /// Where it is in the line.
    pub(super) place: Range<usize>,
    /// The quotes around the whole word, if there are some.
    pub(super) quote: Option<char>,
    /// It is the first one of a command: at the start of the line or after `;`, `&&`, `|`.
    pub(super) begins_command: bool,
}

impl Word {
    /// A word by itself.
    pub(super) fn bare(text: &str) -> Self {
        Self {
            text: text.to_owned(),
            place: 0..text.len(),
            quote: None,
            begins_command: false,
        }
    }
}

/// The words of `line` by the rules of a POSIX shell, as far as they are needed to find the values of
/// options: quotes, backslashes, and what separates commands. A quotation mark that is not closed ends
/// with the line.
pub(super) fn words(line: &str) -> Vec<Word> {
    read(line).0
}

/// The number, from 1 on, of the character that opens a quotation which is not closed.
pub fn open_quote(line: &str) -> Option<usize> {
    let opened_at = read(line).1?;
    Some(line[..opened_at].chars().count() + 1)
}

/// The words, and where a quotation that is not closed begins.
fn read(line: &str) -> (Vec<Word>, Option<usize>) {
    let mut reader = Reader {
        line,
        words: Vec::new(),
        open: None,
        begins_command: true,
    };
    let mut letters = line.char_indices();
    let mut quote: Option<(usize, char)> = None;
    while let Some((at, letter)) = letters.next() {
        match (quote.map(|(_, open)| open), letter) {
            (Some(open), letter) if letter == open => quote = None,
            (None, '"' | '\'') => {
                quote = Some((at, letter));
                reader.open(at);
            }
            (None | Some('"'), '\\') => {
                let next = letters.next().map_or('\\', |(_, next)| next);
                reader.push(at, next);
            }
            (None, letter) if letter.is_whitespace() => {
                reader.end(at);
                reader.begins_command |= letter == '\n';
            }
            (None, ';' | '&' | '|' | '(' | ')' | '`' | '{' | '}') if !reader.keeps(letter) => {
                reader.end(at);
                reader.begins_command = true;
            }
            (_, letter) => reader.push(at, letter),
        }
    }
    reader.end(line.len());
    (reader.words, quote.map(|(at, _)| at))
}

struct Reader<'a> {
    line: &'a str,
    words: Vec<Word>,
    /// Where the word in progress starts, and what it holds.
    open: Option<(usize, String)>,
    begins_command: bool,
}

impl Reader<'_> {
    fn open(&mut self, at: usize) -> &mut String {
        let (_, text) = self.open.get_or_insert_with(|| (at, String::new()));
        text
    }

    fn push(&mut self, at: usize, letter: char) {
        self.open(at).push(letter);
    }

    /// True where an operator is a part of the word: in a URL with a query, and braces elsewhere than
    /// between commands.
    fn keeps(&self, operator: char) -> bool {
        let is_url = |text: &str| text.contains("://") || text.contains('?');
        match (&self.open, operator) {
            (Some(_), '{' | '}') | (None, '{') => true,
            (Some((_, text)), _) => is_url(text) || text.starts_with(['{', '[']),
            (None, _) => false,
        }
    }

    /// Ends the word in progress before byte `end`.
    fn end(&mut self, end: usize) {
        let Some((start, mut text)) = self.open.take() else {
            return;
        };
        let raw = &self.line[start..end];
        // JSON without quotes around it is not a shell's word but one of a list that was joined.
        if raw.starts_with(['{', '[']) {
            raw.clone_into(&mut text);
        }
        let quoted = |quote: &char| {
            let inner = raw
                .strip_prefix(*quote)
                .and_then(|raw| raw.strip_suffix(*quote));
            inner.is_some_and(|inner| !inner.contains(*quote))
        };
        self.words.push(Word {
            text,
            place: start..end,
            quote: ['"', '\''].into_iter().find(quoted),
            begins_command: std::mem::take(&mut self.begins_command),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_open_quote_is_found() {
        for (line, expected) in [
            ("a 'b' c", None),
            ("a 'b", Some(3)),
            ("a \"b 'c", Some(3)),
            ("é 'b' \\' \"c", Some(10)),
            ("a\\", None),
        ] {
            assert_eq!(open_quote(line), expected, "{line}");
        }
    }

    /// As `shlex.split` of Python reads them, with operators between commands left out.
    #[test]
    fn words_are_those_of_a_shell() {
        for (line, expected) in [
            ("a  b\tc\n", vec!["a", "b", "c"]),
            ("a 'b c' \"d 'e'\"", vec!["a", "b c", "d 'e'"]),
            ("A='b c'd", vec!["A=b cd"]),
            ("a\\ b \"c\\\"d\"", vec!["a b", "c\"d"]),
            ("A=1;b&&c|d", vec!["A=1", "b", "c", "d"]),
            ("(a b) & { c; }", vec!["a", "b", "{", "c"]),
            (
                "curl http://h/x?a=1&b=2 ; x",
                vec!["curl", "http://h/x?a=1&b=2", "x"],
            ),
            ("a 'b c", vec!["a", "b c"]),
            ("--x {\"a\":1} ''", vec!["--x", "{\"a\":1}", ""]),
            ("", vec![]),
        ] {
            let found: Vec<String> = words(line).into_iter().map(|word| word.text).collect();
            assert_eq!(found, expected, "{line}");
        }
    }
}
