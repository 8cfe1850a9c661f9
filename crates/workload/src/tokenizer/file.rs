//! Reading a `tokenizer.json` with a byte-pair model.

use std::str;

use serde::Deserialize;
use serde_json::Value;
use tokenizers::AddedToken;

use super::bpe::{Bpe, BpeOptions};
use super::overlay::Overlay;
use super::scan::{self, RawMerge, Scanner, Unsupported};
use super::tables::{Merge, MergeTable, TokenTable};

/// The parts of a tokenizer file. Truncation and padding are left out, as `AutoTokenizer` does, so
/// that counts are those of the whole text.
#[derive(Debug)]
pub(super) struct File {
    pub(super) added: Vec<AddedToken>,
    pub(super) normalizer: Value,
    pub(super) pre_tokenizer: Value,
    pub(super) post_processor: Value,
    pub(super) decoder: Value,
    pub(super) bpe: Bpe,
}

/// Largest id that is read: 67 million, far beyond any real vocabulary. The table has an entry per
/// id, so that a larger one would take gigabytes.
const MAX_ID: u32 = 1 << 26;

impl File {
    /// Reads a file; whatever is not supported here leaves it to the crate.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, Unsupported> {
        // The merges make up half of the file. They are read ahead on another core, from where they
        // seem to start; the walk stops there and continues after them.
        let start = scan::guess_merges(bytes).ok_or(Unsupported)?;
        let (merges, walked) = rayon::join(
            || {
                let mut scanner = Scanner::new(bytes, start);
                scan::merges(&mut scanner).map(|merges| (merges, scanner.position()))
            },
            || {
                let mut parts = Parts {
                    merges_start: start,
                    ..Parts::default()
                };
                parts
                    .walk(&mut Scanner::new(bytes, 0), Start::Beginning)
                    .map(|at| (parts, at))
            },
        );
        let (merges, end) = merges?;
        let (mut parts, at) = walked?;
        if at != Stop::AtMerges
            || parts.walk(&mut Scanner::new(bytes, end), Start::AfterMerges)? != Stop::AtEnd
        {
            return Err(Unsupported);
        }
        let tokens = parts
            .tokens
            .take()
            .filter(|_| parts.is_bpe)
            .ok_or(Unsupported)?;
        let unk_is_missing = parts
            .options
            .unk_token
            .as_deref()
            .is_some_and(|unk| tokens.id(unk).is_none());
        let partial_fallback = parts.options.byte_fallback
            && (0..=255_u8).any(|byte| tokens.id(&format!("<0x{byte:02X}>")).is_none());
        if unk_is_missing || partial_fallback {
            return Err(Unsupported);
        }
        let merges = resolve(&tokens, &merges, parts.options.continuing_prefix.len())?;
        Ok(Self {
            added: parts.added,
            normalizer: parts.normalizer,
            pre_tokenizer: parts.pre_tokenizer,
            post_processor: parts.post_processor,
            decoder: parts.decoder,
            bpe: Bpe::new(tokens, merges, parts.options),
        })
    }
}

impl File {
    /// The file as the files beside it change it; `None` where that is left to the crate.
    pub(super) fn changed(mut self, overlay: &Overlay) -> Option<Self> {
        if let Some(steps) = &overlay.steps {
            self.normalizer = steps.normalizer.clone();
            self.pre_tokenizer = steps.pre_tokenizer.clone();
            self.decoder = steps.decoder.clone();
            self.bpe = self.bpe.with_options(steps.bpe_options())?;
        }
        let added = overlay.added(&self.added);
        if overlay.drops_added {
            self.added.clear();
        }
        self.added.extend(added);
        Some(self)
    }
}

#[derive(Default)]
struct Parts {
    added: Vec<AddedToken>,
    normalizer: Value,
    pre_tokenizer: Value,
    post_processor: Value,
    decoder: Value,
    is_bpe: bool,
    options: BpeOptions,
    tokens: Option<TokenTable>,
    /// Where the list of merges starts.
    merges_start: usize,
}

/// Where a walk over the file starts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Start {
    Beginning,
    AfterMerges,
}

/// Where a walk over the file stops.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stop {
    AtMerges,
    AtEnd,
}

impl Parts {
    fn walk(&mut self, scanner: &mut Scanner<'_>, start: Start) -> Result<Stop, Unsupported> {
        if start == Start::AfterMerges {
            if self.model(scanner, start)? == Stop::AtMerges {
                return Err(Unsupported);
            }
            if !scanner.more(b'}')? {
                return Ok(Stop::AtEnd);
            }
        } else {
            scanner.expect(b'{')?;
        }
        loop {
            let key = scanner.string()?;
            scanner.expect(b':')?;
            match &*key {
                b"version" if scanner.value()? != "1.0" => return Err(Unsupported),
                b"added_tokens" => self.added = added_tokens(scanner.raw()?)?,
                b"normalizer" => self.normalizer = scanner.value()?,
                b"pre_tokenizer" => self.pre_tokenizer = scanner.value()?,
                b"post_processor" => self.post_processor = scanner.value()?,
                b"decoder" => self.decoder = scanner.value()?,
                b"model" => {
                    if self.model(scanner, Start::Beginning)? == Stop::AtMerges {
                        return Ok(Stop::AtMerges);
                    }
                }
                b"version" => {}
                _ => drop(scanner.raw()?),
            }
            if !scanner.more(b'}')? {
                return Ok(Stop::AtEnd);
            }
        }
    }

    fn model(&mut self, scanner: &mut Scanner<'_>, start: Start) -> Result<Stop, Unsupported> {
        if start == Start::Beginning {
            scanner.expect(b'{')?;
        } else if !scanner.more(b'}')? {
            return Ok(Stop::AtEnd);
        }
        loop {
            let key = scanner.string()?;
            scanner.expect(b':')?;
            match &*key {
                b"type" => self.is_bpe = scanner.value()? == "BPE",
                b"vocab" => self.tokens = Some(vocabulary(scanner)?),
                b"merges" => {
                    scanner.peek()?;
                    return if scanner.position() == self.merges_start {
                        Ok(Stop::AtMerges)
                    } else {
                        Err(Unsupported)
                    };
                }
                b"dropout" => {
                    let dropout = scanner.value()?;
                    if !dropout.is_null() && dropout != 0.0 {
                        return Err(Unsupported);
                    }
                }
                b"unk_token" => {
                    self.options.unk_token = scanner.value()?.as_str().map(str::to_owned);
                }
                b"continuing_subword_prefix" => {
                    self.options.continuing_prefix = text(&scanner.value()?);
                }
                b"end_of_word_suffix" => {
                    self.options.word_suffix = text(&scanner.value()?);
                }
                b"fuse_unk" => self.options.fuse_unk = scanner.value()? == true,
                b"byte_fallback" => self.options.byte_fallback = scanner.value()? == true,
                b"ignore_merges" => self.options.ignore_merges = scanner.value()? == true,
                _ => drop(scanner.raw()?),
            }
            if !scanner.more(b'}')? {
                return Ok(Stop::AtEnd);
            }
        }
    }
}

/// A text, where null counts as empty.
fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn added_tokens(raw: &[u8]) -> Result<Vec<AddedToken>, Unsupported> {
    #[derive(Deserialize)]
    struct Entry {
        content: String,
        single_word: bool,
        lstrip: bool,
        rstrip: bool,
        normalized: bool,
        special: bool,
    }
    let entries: Vec<Entry> = serde_json::from_slice(raw).map_err(|_| Unsupported)?;
    let tokens = entries.into_iter().map(|entry| AddedToken {
        content: entry.content,
        single_word: entry.single_word,
        lstrip: entry.lstrip,
        rstrip: entry.rstrip,
        normalized: entry.normalized,
        special: entry.special,
    });
    Ok(tokens.collect())
}

/// Reads `{"token": id, …}`.
fn vocabulary(scanner: &mut Scanner<'_>) -> Result<TokenTable, Unsupported> {
    scanner.expect(b'{')?;
    let mut text = Vec::with_capacity(1 << 20);
    let mut entries = Vec::with_capacity(1 << 17);
    if !scanner.is_empty(b'}')? {
        loop {
            text.extend_from_slice(&scanner.string()?);
            scanner.expect(b':')?;
            let id = scanner.number()?;
            if id > MAX_ID || text.len() > u32::MAX as usize {
                return Err(Unsupported);
            }
            entries.push((text.len() as u32, id));
            if !scanner.more(b'}')? {
                break;
            }
        }
    }
    // Each token ends where the next one starts, so that valid text as a whole is not enough.
    let text = String::from_utf8(text).map_err(|_| Unsupported)?;
    if entries
        .iter()
        .any(|entry| !text.is_char_boundary(entry.0 as usize))
    {
        return Err(Unsupported);
    }
    Ok(TokenTable::new(text, &entries))
}

/// Turns merges of texts into merges of ids.
fn resolve(
    tokens: &TokenTable,
    merges: &[RawMerge<'_>],
    prefix: usize,
) -> Result<MergeTable, Unsupported> {
    let middle = merges.len() / 2;
    let part = |merges: &[RawMerge<'_>]| resolve_part(tokens, merges, prefix);
    let (first, second) = rayon::join(|| part(&merges[..middle]), || part(&merges[middle..]));
    let (first, second) = (first?, second?);
    let mut table = MergeTable::with_capacity(merges.len());
    for (rank, (left, right, id)) in first.into_iter().chain(second).enumerate() {
        table.insert(
            left,
            right,
            Merge {
                rank: rank as u32,
                id,
            },
        );
    }
    Ok(table)
}

fn resolve_part(
    tokens: &TokenTable,
    merges: &[RawMerge<'_>],
    prefix: usize,
) -> Result<Vec<(u32, u32, u32)>, Unsupported> {
    let mut resolved = Vec::with_capacity(merges.len());
    let mut joined = Vec::with_capacity(64);
    // Most vocabularies list their merged tokens in order of rank, so the next id is a good guess.
    let mut expected = 0;
    for merge in merges {
        let (left, right) = merge.text.halves();
        let left_id = tokens.id_of_member(merge.left, left).ok_or(Unsupported)?;
        let right_id = tokens.id_of_member(merge.right, right).ok_or(Unsupported)?;
        joined.clear();
        joined.extend_from_slice(left);
        joined.extend_from_slice(right.get(prefix..).ok_or(Unsupported)?);
        let id = if tokens
            .text(expected)
            .is_some_and(|token| token.as_bytes() == joined)
        {
            expected
        } else {
            tokens
                .id(str::from_utf8(&joined).map_err(|_| Unsupported)?)
                .ok_or(Unsupported)?
        };
        expected = id + 1;
        resolved.push((left_id, right_id, id));
    }
    Ok(resolved)
}
