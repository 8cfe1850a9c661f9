//! Cutting text into the words that the model sees.

use fancy_regex::Regex;

use super::pipeline::regex;

/// One step that cuts text into pieces.
#[derive(Debug)]
pub(super) enum Splitter {
    /// Every match and every stretch between matches is a piece.
    Regex {
        /// The expression.
        regex: Box<Regex>,
        /// Only the matches are kept.
        matches_only: bool,
    },
    /// Digits apart from other text: one by one or in runs.
    Digits {
        /// One by one.
        single: bool,
    },
}

/// The expression built into the byte-level step.
const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

impl Splitter {
    /// A splitter by regular expression.
    pub(super) fn pattern(pattern: &str, matches_only: bool) -> Option<Self> {
        Some(Self::Regex { regex: Box::new(regex(pattern)?), matches_only })
    }

    /// The splitter of the byte-level step.
    pub(super) fn gpt2() -> Option<Self> {
        Self::pattern(GPT2, false)
    }

    /// Appends the pieces of `text`.
    pub(super) fn split<'a>(&self, text: &'a str, out: &mut Vec<&'a str>) {
        match self {
            Self::Regex { regex, matches_only } => {
                let mut end = 0;
                // An expression that gives up (backtracking limit) ends the search, as it does in the crate.
                for found in regex.find_iter(text).map_while(Result::ok) {
                    if end < found.start() && !matches_only {
                        out.push(&text[end..found.start()]);
                    }
                    if !found.as_str().is_empty() {
                        out.push(found.as_str());
                    }
                    end = found.end();
                }
                if end < text.len() && !matches_only {
                    out.push(&text[end..]);
                }
            }
            Self::Digits { single } => {
                let mut start = 0;
                let mut in_digits = false;
                for (at, symbol) in text.char_indices() {
                    let digit = symbol.is_numeric();
                    if at > start && (digit != in_digits || digit && *single) {
                        out.push(&text[start..at]);
                        start = at;
                    }
                    in_digits = digit;
                }
                if start < text.len() {
                    out.push(&text[start..]);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(splitter: &Splitter, text: &'static str) -> Vec<&'static str> {
        let mut out = Vec::new();
        splitter.split(text, &mut out);
        out
    }

    #[test]
    fn digits_are_cut_one_by_one_or_in_runs() {
        assert_eq!(pieces(&Splitter::Digits { single: true }, "a12b"), ["a", "1", "2", "b"]);
        assert_eq!(pieces(&Splitter::Digits { single: false }, "a12b3"), ["a", "12", "b", "3"]);
    }

    #[test]
    fn words_take_the_space_before_them() {
        let gpt2 = Splitter::gpt2().unwrap();
        assert_eq!(pieces(&gpt2, "It's  a test\n\n ok"), ["It", "'s", " ", " a", " test", "\n\n", " ok"]);
    }
}
