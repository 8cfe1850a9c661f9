//! The secrets of this process, and where they are in a text.
//!
//! The search looks for one sequence of letters and digits in each secret, its *anchor*, which
//! every encoding except base64 leaves unchanged. Where an anchor is found, the characters around
//! it are compared in all their encodings. One case-insensitive pass looks for the anchors of all
//! secrets and of their base64 forms. Because the text of every answer is searched, a
//! case-sensitive search for the anchors comes first there.

use std::fmt::Write as _;
use std::ops::Range;

use aho_corasick::AhoCorasick;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

use super::MASK;
use super::names::looks_random;

/// Shortest run of letters and digits that is searched for alone.
const SHORTEST_ANCHOR: usize = 4;
/// Shorter values are compared with their case: they may be words.
const SHORTEST_IN_ANY_CASE: usize = 12;
/// Base64 with shorter runs is searched for as a whole.
const SHORTEST_RUN_OF_BASE64: usize = 16;
/// Shorter values are not searched for in base64.
const SHORTEST_IN_BASE64: usize = 8;

/// The secrets of this process.
#[derive(Debug)]
pub(super) struct Known {
    /// The longest first: a secret may begin with another.
    entries: Vec<Entry>,
    /// The anchors of the values themselves, each once.
    anchors: Vec<String>,
    /// Finds the anchors of all entries, in any case.
    search: Option<AhoCorasick>,
}

#[derive(Debug)]
struct Entry {
    value: String,
    /// The part of `value` that is searched for.
    anchor: Range<usize>,
    /// A value itself, not an encoding of one: servers show parts of it.
    is_plain: bool,
    any_case: bool,
    /// The anchor alone is enough to tell it.
    in_part: bool,
}

impl Known {
    pub(super) const fn new() -> Self {
        Self {
            entries: Vec::new(),
            anchors: Vec::new(),
            search: None,
        }
    }

    /// Adds a value and its base64 forms.
    pub(super) fn add(&mut self, value: &str) {
        if self
            .entries
            .iter()
            .any(|entry| entry.is_plain && entry.value == value)
        {
            return;
        }
        self.entries.push(Entry::new(value.to_owned(), true));
        if value.len() >= SHORTEST_IN_BASE64 {
            for form in base64_forms(value) {
                if !self.entries.iter().any(|entry| entry.value == form) {
                    self.entries.push(Entry::new(form, false));
                }
            }
        }
        self.entries
            .sort_by_key(|entry| std::cmp::Reverse(entry.value.len()));
        self.prepare();
    }

    /// True where `text` holds the run of letters and digits of a secret as it is.
    pub(super) fn may_be_in(&self, text: &str) -> bool {
        self.anchors
            .iter()
            .any(|anchor| text.contains(anchor.as_str()))
    }

    /// The values, without their encodings.
    pub(super) fn plain(&self) -> impl Iterator<Item = &str> {
        let plain = self.entries.iter().filter(|entry| entry.is_plain);
        plain.map(|entry| entry.value.as_str())
    }

    fn prepare(&mut self) {
        let plain = self.entries.iter().filter(|entry| entry.is_plain);
        self.anchors = plain.map(|entry| entry.anchor().to_owned()).collect();
        self.anchors.sort();
        self.anchors.dedup();
        let anchors = self.entries.iter().map(|entry| entry.anchor().as_bytes());
        let search = AhoCorasick::builder()
            .ascii_case_insensitive(true)
            .build(anchors)
            .expect("a handful of short words is far below the limits of the automaton");
        self.search = Some(search);
    }

    /// `text` with a mask for each secret; `None` where it holds none.
    pub(super) fn without(&self, text: &str) -> Option<String> {
        let mut plain = String::new();
        let mut copied = 0;
        while let Some(found) = self.find(text, copied) {
            plain.push_str(&text[copied..found.start]);
            plain.push_str(MASK);
            copied = found.end;
        }
        (copied > 0).then(|| plain + &text[copied..])
    }

    /// The first secret in `text` from byte `from` on.
    fn find(&self, text: &str, from: usize) -> Option<Range<usize>> {
        let search = self.search.as_ref()?;
        search
            .find_overlapping_iter(&text[from..])
            .find_map(|anchor| {
                let at = from + anchor.start();
                let found = |entry: &Entry| entry.find_around(text, at, from);
                let hits = self.entries.iter().filter_map(found);
                // A whole secret before a part of one.
                let best = hits.max_by_key(|(range, whole)| (*whole, range.len()));
                best.map(|(range, _)| range)
            })
    }
}

impl Entry {
    fn new(value: String, is_plain: bool) -> Self {
        let anchor = longest_run(&value);
        // A short anchor makes the whole search slow, and few encodings change base64.
        let shortest = if is_plain {
            SHORTEST_ANCHOR
        } else {
            SHORTEST_RUN_OF_BASE64
        };
        let anchor = if anchor.len() < shortest {
            0..value.len()
        } else {
            anchor
        };
        Self {
            in_part: looks_random(&value[anchor.clone()]),
            any_case: value.len() >= SHORTEST_IN_ANY_CASE,
            is_plain,
            anchor,
            value,
        }
    }

    /// The part of the value that is searched for.
    fn anchor(&self) -> &str {
        &self.value[self.anchor.clone()]
    }

    /// The place of the secret whose anchor is at `at`, and whether it is there as a whole; nothing
    /// before `floor` belongs to it.
    fn find_around(&self, text: &str, at: usize, floor: usize) -> Option<(Range<usize>, bool)> {
        let anchor = self.anchor().as_bytes();
        let there = text.as_bytes().get(at..at + anchor.len())?;
        let same = if self.any_case {
            there.eq_ignore_ascii_case(anchor)
        } else {
            there == anchor
        };
        if !same {
            return None;
        }
        let (mut range, mut whole) = (at..at + anchor.len(), true);
        for letter in self.value[..self.anchor.start].chars().rev() {
            let before = &text.as_bytes()[floor..range.start];
            let Some(length) = self.encoded(letter, |form| ends_with(before, form)) else {
                whole = false;
                break;
            };
            range.start -= length;
        }
        for letter in self.value[self.anchor.end..].chars() {
            let after = &text.as_bytes()[range.end..];
            let Some(length) = self.encoded(letter, |form| starts_with(after, form)) else {
                whole = false;
                break;
            };
            range.end += length;
        }
        (whole || self.in_part).then_some((range, whole))
    }

    /// Bytes of the longest form of `letter` that `is_there`.
    fn encoded(&self, letter: char, is_there: impl Fn(&[u8]) -> bool) -> Option<usize> {
        let forms = forms(letter);
        let found = forms.iter().filter(|form| is_there(form.as_bytes()));
        // The letter itself keeps its case where that matters; an encoding never does.
        let exact = |form: &&String| self.any_case || form.len() > 1 || is_there(form.as_bytes());
        found.filter(exact).map(String::len).max()
    }
}

fn starts_with(text: &[u8], form: &[u8]) -> bool {
    text.len() >= form.len() && text[..form.len()].eq_ignore_ascii_case(form)
}

fn ends_with(text: &[u8], form: &[u8]) -> bool {
    text.len() >= form.len() && text[text.len() - form.len()..].eq_ignore_ascii_case(form)
}

/// A character in the encodings of JSON (also within JSON), URLs and HTML.
fn forms(letter: char) -> Vec<String> {
    let mut forms = vec![letter.to_string()];
    if letter.is_ascii_alphanumeric() {
        return forms;
    }
    let mut percent = String::new();
    for byte in letter.to_string().bytes() {
        let _ = write!(percent, "%{byte:02X}");
    }
    let code = u32::from(letter);
    forms.extend([
        percent,
        format!("\\u{code:04x}"),
        format!("\\\\u{code:04x}"),
        format!("&#{code};"),
        format!("&#x{code:x};"),
    ]);
    let more: &[&str] = match letter {
        '"' => &["\\\"", "\\\\\\\"", "&quot;"],
        '\\' => &["\\\\", "\\\\\\\\"],
        '/' => &["\\/", "\\\\/"],
        '\'' => &["\\'", "&apos;"],
        '&' => &["&amp;"],
        '<' => &["&lt;"],
        '>' => &["&gt;"],
        ' ' => &["+"],
        _ => &[],
    };
    forms.extend(more.iter().map(|&form| form.to_owned()));
    forms
}

/// The longest run of ASCII letters and digits, which every encoding but base64 leaves as they are.
fn longest_run(value: &str) -> Range<usize> {
    let (mut longest, mut start) = (0..0, 0);
    for (at, letter) in value.char_indices().chain([(value.len(), ' ')]) {
        if !letter.is_ascii_alphanumeric() {
            if at - start > longest.len() {
                longest = start..at;
            }
            start = at + letter.len_utf8();
        }
    }
    longest
}

/// `value` as it is within a longer text in base64: by where it begins in a group of three bytes,
/// without the characters that its neighbours decide as well.
fn base64_forms(value: &str) -> Vec<String> {
    let mut forms = Vec::new();
    for (bytes_before, skipped) in [(0, 0), (1, 2), (2, 3)] {
        let mut bytes = vec![0; bytes_before];
        bytes.extend(value.bytes());
        let kept = bytes.len() * 8 / 6;
        for text in [
            STANDARD_NO_PAD.encode(&bytes),
            URL_SAFE_NO_PAD.encode(&bytes),
        ] {
            let form = text[skipped..kept].to_owned();
            if !forms.contains(&form) {
                forms.push(form);
            }
        }
    }
    forms
}
