//! Pre-tokenisation: cutting text into the words that the model encodes one by one.
//!
//! Nearly all tokenizers in use cut by one of a handful of regular expressions. Those are written
//! out here as plain loops over character classes, which are many times faster and need no
//! compilation; the test at the bottom compares them with the expressions themselves. Any other
//! expression is left to the regex engine.

use fancy_regex::Regex;

use super::classes::{self, Class};

/// One step that cuts text into words.
#[derive(Debug)]
pub(super) enum Splitter {
    /// Every match and all text between two matches is a word.
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
    /// The expression of GPT-2.
    Gpt2,
    /// The expression of GPT-4 and its relatives (Llama 3, Qwen), with at most `digits` digits in a
    /// word.
    Gpt4 {
        /// Maximum digits in a word.
        digits: usize,
    },
    /// Runs of up to three digits apart from other text.
    ThreeDigits,
    /// Chinese and Japanese apart from other text.
    Cjk,
    /// DeepSeek's expression for the rest.
    DeepSeek,
}

/// The expression built into the byte-level step.
pub(super) const GPT2: &str =
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
const GPT4_ONE: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const GPT4_THREE: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const THREE_DIGITS: &str = r"\p{N}{1,3}";
const CJK: &str = "[一-龥\u{3040}-ゟ゠-ヿ]+";
const DEEPSEEK: &str = "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+";

impl Splitter {
    /// A splitter by regular expression; `None` for an expression that the engine does not take.
    pub(super) fn pattern(pattern: &str, matches_only: bool) -> Option<Self> {
        let known = match pattern {
            GPT2 => Some(Self::Gpt2),
            GPT4_ONE => Some(Self::Gpt4 { digits: 1 }),
            GPT4_THREE => Some(Self::Gpt4 { digits: 3 }),
            THREE_DIGITS => Some(Self::ThreeDigits),
            CJK => Some(Self::Cjk),
            DEEPSEEK => Some(Self::DeepSeek),
            _ => None,
        };
        match known {
            Some(known) if !matches_only => Some(known),
            _ => Some(Self::Regex {
                regex: Box::new(Regex::new(pattern).ok()?),
                matches_only,
            }),
        }
    }

    /// Appends the words of `text`.
    pub(super) fn split<'a>(&self, text: &'a str, out: &mut Vec<&'a str>) {
        match self {
            Self::Regex {
                regex,
                matches_only,
            } => by_regex(regex, *matches_only, text, out),
            Self::Digits { single } => {
                let longest = if *single { 1 } else { usize::MAX };
                isolate(text, out, longest, char::is_numeric);
            }
            Self::ThreeDigits => isolate(text, out, 3, |symbol| {
                classes::of(symbol).has(Class::NUMBER)
            }),
            Self::Cjk => isolate(text, out, usize::MAX, is_cjk),
            Self::Gpt2 => by_scan(text, out, gpt2),
            Self::Gpt4 { digits } => by_scan(text, out, |text, at| gpt4(text, at, *digits)),
            Self::DeepSeek => by_scan(text, out, deepseek),
        }
    }
}

fn by_regex<'a>(regex: &Regex, matches_only: bool, text: &'a str, out: &mut Vec<&'a str>) {
    let mut end = 0;
    // An expression that reaches the backtracking limit ends the search, as it does in the crate.
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

/// Separates runs of chosen characters from other text, in words of at most `longest` characters.
fn isolate<'a>(
    text: &'a str,
    out: &mut Vec<&'a str>,
    longest: usize,
    chosen: impl Fn(char) -> bool,
) {
    let mut start = 0;
    let mut run = 0;
    for (at, symbol) in text.char_indices() {
        let inside = chosen(symbol);
        let border = if inside {
            run == 0 || run == longest
        } else {
            run > 0
        };
        if border && at > start {
            out.push(&text[start..at]);
            start = at;
        }
        run = match (inside, border) {
            (true, true) => 1,
            (true, false) => run + 1,
            (false, _) => 0,
        };
    }
    if start < text.len() {
        out.push(&text[start..]);
    }
}

fn is_cjk(symbol: char) -> bool {
    matches!(symbol, '一'..='龥' | '\u{3040}'..='ヿ')
}

/// Cuts a text by a function that returns the end of the match at a place, or the place itself
/// where there is none.
fn by_scan<'a>(text: &'a str, out: &mut Vec<&'a str>, find: impl Fn(&str, usize) -> usize) {
    let mut at = 0;
    let mut unmatched = 0;
    while at < text.len() {
        let end = find(text, at);
        if end == at {
            at += first(text, at).map_or(1, char::len_utf8);
            continue;
        }
        if unmatched < at {
            out.push(&text[unmatched..at]);
        }
        out.push(&text[at..end]);
        at = end;
        unmatched = end;
    }
    if unmatched < text.len() {
        out.push(&text[unmatched..]);
    }
}

fn first(text: &str, at: usize) -> Option<char> {
    let byte = *text.as_bytes().get(at)?;
    if byte < 0x80 {
        Some(char::from(byte))
    } else {
        text[at..].chars().next()
    }
}

/// The end of the run of characters in `wanted` that starts at `at`.
fn run(text: &str, mut at: usize, wanted: Class) -> usize {
    while let Some(symbol) = first(text, at) {
        if !classes::of(symbol).has(wanted) {
            break;
        }
        at += symbol.len_utf8();
    }
    at
}

/// The end of the run of characters that are in none of `unwanted`.
fn run_without(text: &str, mut at: usize, unwanted: Class) -> usize {
    while let Some(symbol) = first(text, at) {
        if classes::of(symbol).has(unwanted) {
            break;
        }
        at += symbol.len_utf8();
    }
    at
}

fn line_ends(text: &str, mut at: usize) -> usize {
    while matches!(text.as_bytes().get(at), Some(b'\r' | b'\n')) {
        at += 1;
    }
    at
}

/// `\s*[\r\n]+|\s+(?!\S)|\s+`, or without the first part.
fn spaces(text: &str, at: usize, lines: bool) -> usize {
    let end = run(text, at, Class::SPACE);
    if lines && let Some(last) = text[at..end].rfind(['\r', '\n']) {
        return at + last + 1;
    }
    if end == text.len() {
        return end;
    }
    // The last space stays for the word behind it, unless it is the only one.
    let last = text[at..end].chars().next_back().map_or(0, char::len_utf8);
    if end - last > at { end - last } else { end }
}

/// `'s|'t|'re|'ve|'m|'ll|'d`: the length of the one at `at`, or 0.
fn contraction(text: &str, at: usize, any_case: bool) -> usize {
    let bytes = &text.as_bytes()[at + 1..];
    let lower = |index: usize| {
        bytes.get(index).map_or(0, |byte| {
            if any_case {
                byte.to_ascii_lowercase()
            } else {
                *byte
            }
        })
    };
    match (lower(0), lower(1)) {
        (b's' | b't' | b'm' | b'd', _) => 2,
        (b'r' | b'v', b'e') | (b'l', b'l') => 3,
        // The long s folds to s.
        _ if any_case && bytes.starts_with("ſ".as_bytes()) => 3,
        _ => 0,
    }
}

fn gpt2(text: &str, at: usize) -> usize {
    let Some(symbol) = first(text, at) else {
        return at;
    };
    if symbol == '\'' {
        let length = contraction(text, at, false);
        if length > 0 {
            return at + length;
        }
    }
    let body = if symbol == ' ' { at + 1 } else { at };
    match first(text, body).map(classes::of) {
        Some(class) if class.has(Class::LETTER) => run(text, body, Class::LETTER),
        Some(class) if class.has(Class::NUMBER) => run(text, body, Class::NUMBER),
        Some(class) if !class.has(Class::SPACE) => run_without(text, body, Class::WORD_OR_SPACE),
        _ => spaces(text, at, false),
    }
}

fn gpt4(text: &str, at: usize, digits: usize) -> usize {
    let Some(symbol) = first(text, at) else {
        return at;
    };
    if symbol == '\'' {
        let length = contraction(text, at, true);
        if length > 0 {
            return at + length;
        }
    }
    let class = classes::of(symbol);
    if class.has(Class::LETTER) {
        return run(text, at, Class::LETTER);
    }
    if class.has(Class::NUMBER) {
        return up_to(text, at, digits);
    }
    let next = at + symbol.len_utf8();
    let next_class = first(text, next).map(classes::of);
    if symbol != '\r' && symbol != '\n' && next_class.is_some_and(|class| class.has(Class::LETTER))
    {
        return run(text, next, Class::LETTER);
    }
    let body = if symbol == ' ' { next } else { at };
    let end = run_without(text, body, Class::WORD_OR_SPACE);
    if end > body {
        return line_ends(text, end);
    }
    spaces(text, at, true)
}

fn up_to(text: &str, at: usize, digits: usize) -> usize {
    let mut end = at;
    for _ in 0..digits {
        match first(text, end) {
            Some(symbol) if classes::of(symbol).has(Class::NUMBER) => end += symbol.len_utf8(),
            _ => break,
        }
    }
    end
}

fn deepseek(text: &str, at: usize) -> usize {
    let Some(symbol) = first(text, at) else {
        return at;
    };
    let next = at + symbol.len_utf8();
    let bytes = text.as_bytes();
    if symbol.is_ascii_punctuation() && bytes.get(next).is_some_and(u8::is_ascii_alphabetic) {
        let letters = bytes[next..]
            .iter()
            .take_while(|byte| byte.is_ascii_alphabetic())
            .count();
        return next + letters;
    }
    let class = classes::of(symbol);
    let leads = symbol != '\r' && symbol != '\n' && !class.has(Class::LETTER_OR_SIGN);
    if leads
        && first(text, next).is_some_and(|symbol| classes::of(symbol).has(Class::LETTER_OR_MARK))
    {
        return run(text, next, Class::LETTER_OR_MARK);
    }
    if class.has(Class::LETTER_OR_MARK) {
        return run(text, at, Class::LETTER_OR_MARK);
    }
    let body = if symbol == ' ' { next } else { at };
    let end = run(text, body, Class::SIGN);
    if end > body {
        return line_ends(text, end);
    }
    if class.has(Class::SPACE) {
        spaces(text, at, true)
    } else {
        at
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn words<'a>(splitter: &Splitter, text: &'a str) -> Vec<&'a str> {
        let mut out = Vec::new();
        splitter.split(text, &mut out);
        out
    }

    fn check(text: &str) {
        for pattern in [GPT2, GPT4_ONE, GPT4_THREE, THREE_DIGITS, CJK, DEEPSEEK] {
            let loops = Splitter::pattern(pattern, false).unwrap();
            let regex = Splitter::Regex {
                regex: Box::new(Regex::new(pattern).unwrap()),
                matches_only: false,
            };
            assert!(!matches!(loops, Splitter::Regex { .. }));
            assert_eq!(
                words(&loops, text),
                words(&regex, text),
                "{pattern}: {text:?}"
            );
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

        #[test]
        fn the_loops_cut_as_the_expressions_do(
            text in "([ \t\r\n\u{a0}\u{3000}]|[a-zA-Z]|'[sStTrRvVmMlLdDeEſ]|[0-9٣Ⅷ½]|[!-/:-@\\[-`{-~]|[€°×]|[éßЖ中文あ한]|[\u{300}\u{e34}]|[\0\u{7f}\u{200b}🎉]|\\PC){0,24}"
        ) {
            check(&text);
        }
    }

    #[test]
    fn the_loops_cut_known_traps_as_the_expressions_do() {
        for text in [
            "",
            " ",
            "  ",
            "\n",
            " \n",
            "\n ",
            "  a",
            " \n\n  a",
            "\t\ta",
            "a \n",
            "'",
            "''s",
            "'Re",
            "'ſx",
            "x'LL'd",
            "1234567",
            " 12",
            "¼½",
            "a\u{301}b",
            "\u{301}",
            "\u{301}1",
            "!a",
            "!!a",
            " !\r\n\r\nb",
            "中a文",
            "\0a\0",
            "\r\n",
            "don't  stop",
            "_a",
            "$a1",
            "\u{200b}a",
            "a\u{200b}\u{200b}",
            "…\n",
            "\u{85}\u{85}x",
        ] {
            check(text);
        }
    }

    #[test]
    fn digits_are_cut_one_by_one_or_in_runs() {
        assert_eq!(
            words(&Splitter::Digits { single: true }, "a12b"),
            ["a", "1", "2", "b"]
        );
        assert_eq!(
            words(&Splitter::Digits { single: false }, "a12b3"),
            ["a", "12", "b", "3"]
        );
    }
}
