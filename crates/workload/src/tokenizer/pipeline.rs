//! From text to tokens for the common pipelines, without the offsets that the crate `tokenizers`
//! keeps.
//!
//! The crate tracks the origin of every byte through every step. Counting tokens needs none of
//! that. A pipeline is recognised only when each of its steps is one of those below; every other
//! tokenizer goes through the crate. The results are equal token for token (`tests/local_data.rs`).

use std::borrow::Cow;

use daachorse::{DoubleArrayAhoCorasick, DoubleArrayAhoCorasickBuilder, MatchKind};
use serde_json::Value;
use tokenizers::AddedToken;
use unicode_normalization_alignments::{IsNormalized, UnicodeNormalization, is_nfc_quick};

use super::bpe::{Bpe, UNDERSCORE};
use super::split::{GPT2, Splitter};

/// A recognised pipeline around a byte-pair model.
pub(super) struct Pipeline {
    /// Finds added tokens in the text as it is.
    plain_added: Option<DoubleArrayAhoCorasick<u32>>,
    /// Finds added tokens in the normalised text.
    normalized_added: Option<DoubleArrayAhoCorasick<u32>>,
    normalizers: Vec<Normalizer>,
    splitters: Vec<Splitter>,
    byte_level: bool,
    /// Words end before each run of `▁`, whatever follows.
    underscore_is_border: bool,
}

/// Patterns that the search automaton refuses (an added token given twice).
struct Unbuildable;

#[derive(Debug)]
enum Normalizer {
    Nfc,
    Prepend(String),
    Replace { from: String, to: String },
}

impl Pipeline {
    /// The pipeline of a tokenizer; `None` when it has a step that is not known here.
    pub(super) fn recognise(
        normalizer: &Value,
        pre_tokenizer: &Value,
        added: &[(u32, AddedToken)],
        bpe: &Bpe,
    ) -> Option<Self> {
        let mut normalizers = Vec::new();
        collect_normalizers(normalizer, &mut normalizers)?;
        let mut splitters = Vec::new();
        let mut byte_level = false;
        collect_splitters(pre_tokenizer, &mut splitters, &mut byte_level)?;
        if added
            .iter()
            .any(|(_, token)| token.single_word || token.lstrip || token.rstrip)
        {
            return None;
        }
        let mut pipeline = Self {
            plain_added: None,
            normalized_added: None,
            normalizers,
            splitters,
            byte_level,
            underscore_is_border: !byte_level && bpe.underscore_is_border(),
        };
        let (normalized, plain): (Vec<_>, Vec<_>) =
            added.iter().partition(|(_, token)| token.normalized);
        let plain = plain
            .iter()
            .map(|(id, token)| (token.content.clone(), *id))
            .collect();
        let normalized = normalized
            .iter()
            .map(|(id, token)| (pipeline.normalize(&token.content).into_owned(), *id))
            .collect();
        pipeline.plain_added = automaton(plain).ok()?;
        pipeline.normalized_added = automaton(normalized).ok()?;
        Some(pipeline)
    }

    /// The tokens of a text, without special tokens around it.
    pub(super) fn encode(&self, bpe: &Bpe, text: &str, out: &mut Vec<u32>) {
        for_each_part(self.plain_added.as_ref(), text, out, &mut |part, out| {
            let normalized = self.normalize(part);
            for_each_part(
                self.normalized_added.as_ref(),
                &normalized,
                out,
                &mut |part, out| {
                    self.encode_part(bpe, part, out);
                },
            );
        });
    }

    fn encode_part(&self, bpe: &Bpe, part: &str, out: &mut Vec<u32>) {
        if self.splitters.is_empty() {
            return self.encode_pretoken(bpe, part, out);
        }
        let mut pretokens = vec![part];
        let mut split = Vec::new();
        for splitter in &self.splitters {
            for pretoken in pretokens.drain(..) {
                splitter.split(pretoken, &mut split);
            }
            std::mem::swap(&mut pretokens, &mut split);
        }
        for pretoken in pretokens {
            self.encode_pretoken(bpe, pretoken, out);
        }
    }

    fn encode_pretoken(&self, bpe: &Bpe, pretoken: &str, out: &mut Vec<u32>) {
        if self.byte_level {
            bpe.encode_bytes(pretoken, out);
        } else if self.underscore_is_border {
            let mut rest = pretoken;
            while !rest.is_empty() {
                let (word, after) = rest.split_at(underscore_border(rest));
                bpe.encode_word(word, out);
                rest = after;
            }
        } else {
            bpe.encode_word(pretoken, out);
        }
    }

    /// The text as the model's vocabulary writes it.
    pub(super) fn normalize<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut text = Cow::Borrowed(text);
        for normalizer in &self.normalizers {
            match normalizer {
                Normalizer::Nfc => {
                    if !text.is_ascii() && is_nfc_quick(text.chars()) != IsNormalized::Yes {
                        text = Cow::Owned(text.nfc().map(|(symbol, _)| symbol).collect());
                    }
                }
                Normalizer::Prepend(prefix) => {
                    if !text.is_empty() {
                        text.to_mut().insert_str(0, prefix);
                    }
                }
                Normalizer::Replace { from, to } => {
                    if text.contains(from.as_str()) {
                        text = Cow::Owned(text.replace(from.as_str(), to));
                    }
                }
            }
        }
        text
    }
}

/// Where the first word of `text` ends: before the next `▁` that follows another character.
fn underscore_border(text: &str) -> usize {
    let start = text.len() - text.trim_start_matches(UNDERSCORE).len();
    text[start..]
        .find(UNDERSCORE)
        .map_or(text.len(), |at| start + at)
}

/// The automaton that finds the patterns; `Ok(None)` without patterns.
fn automaton(
    patterns: Vec<(String, u32)>,
) -> Result<Option<DoubleArrayAhoCorasick<u32>>, Unbuildable> {
    let patterns: Vec<_> = patterns
        .into_iter()
        .filter(|(content, _)| !content.is_empty())
        .collect();
    if patterns.is_empty() {
        return Ok(None);
    }
    let built = DoubleArrayAhoCorasickBuilder::new()
        .match_kind(MatchKind::LeftmostLongest)
        .build_with_values(patterns);
    built.map(Some).map_err(|_| Unbuildable)
}

/// Calls `visit` for the text between added tokens, and appends the ids of those.
fn for_each_part(
    added: Option<&DoubleArrayAhoCorasick<u32>>,
    text: &str,
    out: &mut Vec<u32>,
    visit: &mut dyn FnMut(&str, &mut Vec<u32>),
) {
    let mut start = 0;
    if let Some(added) = added {
        for found in added.leftmost_find_iter(text) {
            if start < found.start() {
                visit(&text[start..found.start()], out);
            }
            out.push(found.value());
            start = found.end();
        }
    }
    if start < text.len() {
        visit(&text[start..], out);
    }
}

fn collect_normalizers(value: &Value, out: &mut Vec<Normalizer>) -> Option<()> {
    if value.is_null() {
        return Some(());
    }
    match value["type"].as_str()? {
        "Sequence" => {
            for member in value["normalizers"].as_array()? {
                collect_normalizers(member, out)?;
            }
        }
        "NFC" => out.push(Normalizer::Nfc),
        "Prepend" => out.push(Normalizer::Prepend(value["prepend"].as_str()?.to_owned())),
        "Replace" => {
            let from = value["pattern"]["String"]
                .as_str()
                .filter(|from| !from.is_empty())?
                .to_owned();
            out.push(Normalizer::Replace {
                from,
                to: value["content"].as_str()?.to_owned(),
            });
        }
        _ => return None,
    }
    Some(())
}

fn collect_splitters(value: &Value, out: &mut Vec<Splitter>, byte_level: &mut bool) -> Option<()> {
    if value.is_null() {
        return Some(());
    }
    // Nothing can follow the step that changes the alphabet.
    if *byte_level {
        return None;
    }
    match value["type"].as_str()? {
        "Sequence" => {
            for member in value["pretokenizers"].as_array()? {
                collect_splitters(member, out, byte_level)?;
            }
        }
        "Split" => {
            let isolated = value["behavior"] == "Isolated" && value["invert"] == false;
            let removed_inverse = value["behavior"] == "Removed" && value["invert"] == true;
            if !isolated && !removed_inverse {
                return None;
            }
            let pattern = match (&value["pattern"]["Regex"], &value["pattern"]["String"]) {
                (Value::String(regex), _) => regex.clone(),
                (_, Value::String(text)) => fancy_regex::escape(text).into_owned(),
                _ => return None,
            };
            out.push(Splitter::pattern(&pattern, removed_inverse)?);
        }
        "Digits" => out.push(Splitter::Digits {
            single: value["individual_digits"].as_bool()?,
        }),
        "ByteLevel" => {
            if value["add_prefix_space"].as_bool()? {
                return None;
            }
            if value["use_regex"].as_bool().unwrap_or(true) {
                out.push(Splitter::pattern(GPT2, false)?);
            }
            *byte_level = true;
        }
        _ => return None,
    }
    Some(())
}
