//! Encoding and decoding: by our own pipeline where every step is known, else by the crate
//! `tokenizers`.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::OnceLock;

use serde_json::Value;
use tokenizers::{AddedToken, Decoder, DecoderWrapper, PostProcessor, PostProcessorWrapper};

use super::bpe::{Bpe, char_byte};
use super::file::File;
use super::overlay::Overlay;
use super::pipeline::Pipeline;

/// The working parts of a tokenizer.
pub(super) enum Encoder {
    /// Byte-pair encoding with known steps around it.
    Fast(Box<FastEncoder>),
    /// Anything else.
    Library(Box<tokenizers::Tokenizer>),
}

/// Our own encoder and decoder.
pub(super) struct FastEncoder {
    bpe: Bpe,
    pipeline: Pipeline,
    /// Added tokens by ascending id, with the text that decoding gives.
    added: Vec<(u32, AddedToken, String)>,
    /// Ids of added tokens by content.
    added_ids: HashMap<String, u32>,
    special_around: usize,
    decoder: FastDecoder,
}

enum FastDecoder {
    /// Characters stand for bytes.
    ByteLevel(OnceLock<TokenBytes>),
    /// A decoder of the crate.
    Library(Box<DecoderWrapper>),
    /// Joins tokens with spaces.
    Spaces,
}

impl Encoder {
    /// Reads a `tokenizer.json`, as the files beside it change it; the error says what is wrong with
    /// it.
    pub(super) fn parse(json: &[u8], overlay: &Overlay) -> Result<Self, String> {
        if let Ok(file) = File::parse(json)
            && let Some(file) = file.changed(overlay)
            && let Some(fast) = FastEncoder::new(file, overlay.splits_special)
        {
            return Ok(Self::Fast(Box::new(fast)));
        }
        Self::parse_with_library(json, overlay)
    }

    /// The same with the crate alone, for tokenizers that are not recognised, and for tests.
    pub(super) fn parse_with_library(json: &[u8], overlay: &Overlay) -> Result<Self, String> {
        let rewritten = overlay.rewritten(json).map_err(|error| error.to_string())?;
        let json = rewritten.as_deref().unwrap_or(json);
        let mut tokenizer =
            tokenizers::Tokenizer::from_bytes(json).map_err(|error| error.to_string())?;
        let own: Vec<AddedToken> = tokenizer.get_added_tokens_decoder().into_values().collect();
        let added = overlay.added(&own);
        if !added.is_empty() {
            tokenizer
                .add_tokens(added)
                .map_err(|error| error.to_string())?;
        }
        tokenizer.set_encode_special_tokens(overlay.splits_special);
        tokenizer
            .with_truncation(None)
            .map_err(|error| error.to_string())?;
        tokenizer.with_padding(None);
        Ok(Self::Library(Box::new(tokenizer)))
    }

    /// Size of the model's own vocabulary.
    pub(super) fn vocab_size(&self) -> usize {
        match self {
            Self::Fast(fast) => fast.bpe.tokens.len(),
            Self::Library(tokenizer) => tokenizer.get_vocab_size(false),
        }
    }

    /// The id of a token, added tokens first.
    pub(super) fn token_to_id(&self, token: &str) -> Option<u32> {
        match self {
            Self::Fast(fast) => fast
                .added_ids
                .get(token)
                .copied()
                .or_else(|| fast.bpe.tokens.id(token)),
            Self::Library(tokenizer) => tokenizer.token_to_id(token),
        }
    }

    /// Tokens that are put around a text.
    pub(super) fn special_around(&self) -> usize {
        match self {
            Self::Fast(fast) => fast.special_around,
            Self::Library(tokenizer) => tokenizer
                .get_post_processor()
                .map_or(0, |processor| processor.added_tokens(false)),
        }
    }

    /// Appends the tokens of a text, with nothing put around it.
    pub(super) fn encode(&self, text: &str, ids: &mut Vec<u32>) {
        match self {
            Self::Fast(fast) => fast.pipeline.encode(&fast.bpe, text, ids),
            // Encoding fails only where a model has no token for unknown text; such text has no
            // tokens.
            Self::Library(tokenizer) => {
                if let Ok(encoding) = tokenizer.encode_fast(text, false) {
                    ids.extend_from_slice(encoding.get_ids());
                }
            }
        }
    }

    /// The text of tokens. Unknown ids are skipped.
    pub(super) fn decode(&self, ids: &[u32]) -> String {
        match self {
            Self::Fast(fast) => fast.decode(ids),
            // The crate's decoders do not fail for any text that a vocabulary can hold.
            Self::Library(tokenizer) => tokenizer.decode(ids, false).unwrap_or_default(),
        }
    }

    /// Ids of added tokens that are marked special, ascending.
    pub(super) fn special_added_ids(&self) -> Vec<u32> {
        match self {
            Self::Fast(fast) => fast
                .added
                .iter()
                .filter(|(_, token, _)| token.special)
                .map(|(id, ..)| *id)
                .collect(),
            Self::Library(tokenizer) => {
                let added = tokenizer.get_added_tokens_decoder();
                let mut ids: Vec<u32> = added
                    .iter()
                    .filter(|(_, token)| token.special)
                    .map(|(id, _)| *id)
                    .collect();
                ids.sort_unstable();
                ids
            }
        }
    }

    /// The ids of all tokens, added ones included, ascending (`get_vocab().values()` in Python).
    pub(super) fn all_ids(&self) -> Vec<u32> {
        let mut ids: Vec<u32> = match self {
            Self::Fast(fast) => {
                let tokens = &fast.bpe.tokens;
                let own = (0..tokens.id_bound()).filter(|&id| tokens.text(id).is_some());
                own.chain(fast.added.iter().map(|(id, ..)| *id)).collect()
            }
            Self::Library(tokenizer) => tokenizer.get_vocab(true).into_values().collect(),
        };
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    /// Visits the model's own tokens in order of id, until `visit` breaks.
    pub(super) fn for_each_token(&self, visit: &mut dyn FnMut(&str) -> ControlFlow<()>) {
        match self {
            Self::Fast(fast) => {
                let tokens = &fast.bpe.tokens;
                let _ = (0..tokens.id_bound())
                    .filter_map(|id| tokens.text(id))
                    .try_for_each(visit);
            }
            Self::Library(tokenizer) => {
                let mut tokens: Vec<(u32, String)> = tokenizer
                    .get_vocab(false)
                    .into_iter()
                    .map(|(token, id)| (id, token))
                    .collect();
                tokens.sort_unstable();
                let _ = tokens.iter().try_for_each(|(_, token)| visit(token));
            }
        }
    }
}

impl FastEncoder {
    fn new(file: File, splits_special: bool) -> Option<Self> {
        let bpe = file.bpe;
        let mut added_ids: HashMap<String, u32> = HashMap::with_capacity(file.added.len());
        let mut by_id: HashMap<u32, AddedToken> = HashMap::with_capacity(file.added.len());
        // The ids in the file do not count: a token that the model knows has the model's id, others
        // follow in the order of the file.
        let mut next = bpe.tokens.len() as u32;
        for token in file.added {
            if token.content.is_empty() {
                continue;
            }
            let known = added_ids
                .get(&token.content)
                .copied()
                .or_else(|| bpe.tokens.id(&token.content));
            let id = known.unwrap_or_else(|| {
                next += 1;
                next - 1
            });
            added_ids.insert(token.content.clone(), id);
            by_id.insert(id, token);
        }
        let mut added: Vec<(u32, AddedToken)> = by_id.into_iter().collect();
        added.sort_unstable_by_key(|(id, _)| *id);
        let found: Vec<_> = added
            .iter()
            .filter(|(_, token)| !(splits_special && token.special))
            .cloned()
            .collect();
        let pipeline = Pipeline::recognise(&file.normalizer, &file.pre_tokenizer, &found, &bpe)?;
        let added = added
            .into_iter()
            .map(|(id, token)| {
                let text = if token.normalized {
                    pipeline.normalize(&token.content).into_owned()
                } else {
                    token.content.clone()
                };
                (id, token, text)
            })
            .collect();
        let special_around = special_around(file.post_processor)?;
        let decoder = FastDecoder::new(file.decoder)?;
        Some(Self {
            bpe,
            pipeline,
            added,
            added_ids,
            special_around,
            decoder,
        })
    }

    fn token_text(&self, id: u32) -> Option<&str> {
        match self.added.binary_search_by_key(&id, |(id, ..)| *id) {
            Ok(at) => Some(&self.added[at].2),
            Err(_) => self.bpe.tokens.text(id),
        }
    }

    fn decode(&self, ids: &[u32]) -> String {
        match &self.decoder {
            FastDecoder::ByteLevel(table) => {
                let table = table.get_or_init(|| TokenBytes::new(self));
                let mut bytes = Vec::with_capacity(ids.len() * 5);
                for id in ids {
                    bytes.extend_from_slice(table.get(*id));
                }
                match String::from_utf8(bytes) {
                    Ok(text) => text,
                    Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
                }
            }
            FastDecoder::Library(decoder) => {
                let tokens = ids
                    .iter()
                    .filter_map(|id| self.token_text(*id).map(str::to_owned))
                    .collect();
                decoder.decode(tokens).unwrap_or_default()
            }
            FastDecoder::Spaces => {
                let tokens: Vec<&str> = ids.iter().filter_map(|id| self.token_text(*id)).collect();
                tokens.join(" ")
            }
        }
    }
}

/// How many tokens a post-processor puts around a text.
fn special_around(value: Value) -> Option<usize> {
    if value.is_null() || value["type"] == "ByteLevel" {
        return Some(0);
    }
    let processor: PostProcessorWrapper = serde_json::from_value(value).ok()?;
    Some(processor.added_tokens(false))
}

impl FastDecoder {
    fn new(value: Value) -> Option<Self> {
        if value.is_null() {
            return Some(Self::Spaces);
        }
        if value["type"] == "ByteLevel" {
            return Some(Self::ByteLevel(OnceLock::new()));
        }
        serde_json::from_value(value)
            .ok()
            .map(|decoder| Self::Library(Box::new(decoder)))
    }
}

/// The bytes of every token of a byte-level vocabulary.
struct TokenBytes {
    bytes: Vec<u8>,
    ends: Vec<u32>,
}

impl TokenBytes {
    fn new(fast: &FastEncoder) -> Self {
        let bound = fast
            .added
            .last()
            .map_or(0, |(id, ..)| id + 1)
            .max(fast.bpe.tokens.id_bound());
        let mut table = Self {
            bytes: Vec::with_capacity(1 << 20),
            ends: Vec::with_capacity(bound as usize),
        };
        for id in 0..bound {
            let start = table.bytes.len();
            let text = fast.token_text(id).unwrap_or_default();
            for symbol in text.chars() {
                if let Some(byte) = char_byte(symbol) {
                    table.bytes.push(byte);
                } else {
                    // With one character outside the alphabet, the whole token is plain text.
                    table.bytes.truncate(start);
                    table.bytes.extend_from_slice(text.as_bytes());
                    break;
                }
            }
            table.ends.push(table.bytes.len() as u32);
        }
        table
    }

    fn get(&self, id: u32) -> &[u8] {
        let Some(&end) = self.ends.get(id as usize) else {
            return &[];
        };
        let start = if id == 0 {
            0
        } else {
            self.ends[id as usize - 1]
        };
        &self.bytes[start as usize..end as usize]
    }
}
