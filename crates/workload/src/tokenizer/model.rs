//! The model inside a `tokenizer.json`: byte-pair models by our own quick reader, all others by the crate.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use tokenizers::models::bpe::BpeTrainer;
use tokenizers::{Model, ModelWrapper, Token};

use super::bpe::{Bpe, BpeOptions};
use super::tables::{Merge, MergeTable, TokenTable};

/// A tokenizer's model.
pub(super) enum QuickModel {
    /// Byte-pair encoding.
    Bpe(Box<Bpe>),
    /// Whatever else the crate knows (WordPiece, Unigram, …).
    Other(Box<ModelWrapper>),
}

impl QuickModel {
    /// Reads the `model` member of a `tokenizer.json`.
    pub(super) fn parse(raw: &str) -> Result<Self, serde_json::Error> {
        let mut reader = serde_json::Deserializer::from_str(raw);
        match BpeFile::deserialize(&mut reader) {
            Ok(BpeFile(Some(bpe))) => Ok(Self::Bpe(Box::new(bpe))),
            // Not a byte-pair model, or one with a trait that the quick reader leaves to the crate. When the
            // file is broken, the crate's reader says how.
            Ok(BpeFile(None)) | Err(_) => serde_json::from_str(raw).map(|model| Self::Other(Box::new(model))),
        }
    }

    /// The byte-pair model, if it is one.
    pub(super) fn bpe(&self) -> Option<&Bpe> {
        match self {
            Self::Bpe(bpe) => Some(bpe),
            Self::Other(_) => None,
        }
    }

    /// One more than the highest id of the model's own vocabulary.
    pub(super) fn id_bound(&self) -> u32 {
        match self {
            Self::Bpe(bpe) => bpe.tokens.id_bound(),
            Self::Other(model) => model.get_vocab().values().max().map_or(0, |id| id + 1),
        }
    }
}

impl Model for QuickModel {
    type Trainer = BpeTrainer;

    fn tokenize(&self, sequence: &str) -> tokenizers::Result<Vec<Token>> {
        match self {
            Self::Bpe(bpe) => {
                let mut ids = Vec::new();
                bpe.encode_word(sequence, &mut ids);
                // Offsets are never asked for here; the callers take ids alone.
                Ok(ids.into_iter().map(|id| Token::new(id, String::new(), (0, 0))).collect())
            }
            Self::Other(model) => model.tokenize(sequence),
        }
    }

    fn token_to_id(&self, token: &str) -> Option<u32> {
        match self {
            Self::Bpe(bpe) => bpe.tokens.id(token),
            Self::Other(model) => model.token_to_id(token),
        }
    }

    fn id_to_token(&self, id: u32) -> Option<String> {
        match self {
            Self::Bpe(bpe) => bpe.tokens.text(id).map(str::to_owned),
            Self::Other(model) => model.id_to_token(id),
        }
    }

    fn get_vocab(&self) -> HashMap<String, u32> {
        match self {
            Self::Bpe(bpe) => (0..bpe.tokens.id_bound())
                .filter_map(|id| Some((bpe.tokens.text(id)?.to_owned(), id)))
                .collect(),
            Self::Other(model) => model.get_vocab(),
        }
    }

    fn get_vocab_size(&self) -> usize {
        match self {
            Self::Bpe(bpe) => bpe.tokens.len(),
            Self::Other(model) => model.get_vocab_size(),
        }
    }

    fn save(&self, _: &Path, _: Option<&str>) -> tokenizers::Result<Vec<PathBuf>> {
        Err("a loaded tokenizer is not written back".into())
    }

    fn get_trainer(&self) -> BpeTrainer {
        BpeTrainer::default()
    }
}

/// A byte-pair model as the file holds it; `None` when it is left to the crate.
struct BpeFile(Option<Bpe>);

impl<'de> Deserialize<'de> for BpeFile {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(BpeVisitor).map(Self)
    }
}

struct BpeVisitor;

impl<'de> Visitor<'de> for BpeVisitor {
    type Value = Option<Bpe>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a byte-pair model")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Option<Bpe>, A::Error> {
        let mut options = BpeOptions::default();
        let mut is_bpe = false;
        let mut tokens = None;
        let mut early_merges: Option<&RawValue> = None;
        let mut merges = None;
        while let Some(key) = map.next_key::<&str>()? {
            match key {
                "type" => {
                    is_bpe = map.next_value::<&str>()? == "BPE";
                    if !is_bpe {
                        return Err(A::Error::custom("another kind of model"));
                    }
                }
                "dropout" => {
                    if map.next_value::<Option<f32>>()?.is_some_and(|dropout| dropout != 0.0) {
                        return Err(A::Error::custom("dropout is left to the crate"));
                    }
                }
                "unk_token" => options.unk_token = map.next_value()?,
                "continuing_subword_prefix" => {
                    options.continuing_prefix = map.next_value::<Option<String>>()?.unwrap_or_default();
                }
                "end_of_word_suffix" => {
                    options.word_suffix = map.next_value::<Option<String>>()?.unwrap_or_default();
                }
                "fuse_unk" => options.fuse_unk = map.next_value::<Option<bool>>()?.unwrap_or(false),
                "byte_fallback" => {
                    options.byte_fallback = map.next_value::<Option<bool>>()?.unwrap_or(false);
                }
                "ignore_merges" => {
                    options.ignore_merges = map.next_value::<Option<bool>>()?.unwrap_or(false);
                }
                "vocab" => tokens = Some(map.next_value_seed(Vocabulary)?),
                "merges" => match &tokens {
                    Some(tokens) => {
                        let seed = Merges { tokens, prefix: options.continuing_prefix.len() };
                        merges = Some(map.next_value_seed(seed)?);
                    }
                    None => early_merges = Some(map.next_value()?),
                },
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        let Some(tokens) = tokens.filter(|_| is_bpe) else { return Ok(None) };
        if let Some(raw) = early_merges {
            let seed = Merges { tokens: &tokens, prefix: options.continuing_prefix.len() };
            let mut reader = serde_json::Deserializer::from_str(raw.get());
            merges = Some(seed.deserialize(&mut reader).map_err(A::Error::custom)?);
        }
        let Some(merges) = merges else { return Ok(None) };
        let unk_is_missing = options.unk_token.as_deref().is_some_and(|unk| tokens.id(unk).is_none());
        let partial_fallback =
            options.byte_fallback && (0..=255u8).any(|byte| tokens.id(&format!("<0x{byte:02X}>")).is_none());
        if unk_is_missing || partial_fallback {
            return Ok(None);
        }
        Ok(Some(Bpe::new(tokens, merges, options)))
    }
}

/// Reads `{"token": id, …}`.
struct Vocabulary;

impl<'de> DeserializeSeed<'de> for Vocabulary {
    type Value = TokenTable;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<TokenTable, D::Error> {
        deserializer.deserialize_map(self)
    }
}

/// Ids far beyond any real vocabulary would ask for a table of gigabytes.
const MAX_ID: u32 = 1 << 26;

impl<'de> Visitor<'de> for Vocabulary {
    type Value = TokenTable;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map from token to id")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<TokenTable, A::Error> {
        let mut text = String::with_capacity(1 << 20);
        let mut entries = Vec::with_capacity(1 << 17);
        while map.next_key_seed(Append(&mut text))?.is_some() {
            let id: u32 = map.next_value()?;
            if id > MAX_ID {
                return Err(A::Error::custom("an id is too large"));
            }
            let end = u32::try_from(text.len()).map_err(|_| A::Error::custom("too much text"))?;
            entries.push((end, id));
        }
        Ok(TokenTable::new(text, &entries))
    }
}

/// Appends a JSON string to a text without a copy between.
struct Append<'a>(&'a mut String);

impl<'de> DeserializeSeed<'de> for Append<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Append<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        self.0.push_str(text);
        Ok(())
    }
}

/// Reads `["a b", …]` or `[["a", "b"], …]` against a known vocabulary.
struct Merges<'a> {
    tokens: &'a TokenTable,
    /// Length of the continuing-subword prefix, which a merge drops.
    prefix: usize,
}

impl<'de> DeserializeSeed<'de> for Merges<'_> {
    type Value = MergeTable;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<MergeTable, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Merges<'_> {
    type Value = MergeTable;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of merges")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<MergeTable, A::Error> {
        let mut table = MergeTable::with_capacity(self.tokens.len());
        let mut filled = 0;
        let mut scratch = String::new();
        // Most vocabularies list their merged tokens in order of rank, so the next id is a good guess.
        let mut expected = 0;
        let mut rank = 0;
        while let Some((left, right)) = seq.next_element_seed(MergePair {
            tokens: self.tokens,
            scratch: &mut scratch,
            prefix: self.prefix,
        })? {
            let joined = scratch.as_str();
            let id = if self.tokens.text(expected) == Some(joined) {
                expected
            } else {
                self.tokens.id(joined).ok_or_else(|| A::Error::custom("a merged token is missing"))?
            };
            expected = id + 1;
            table.insert(left, right, Merge { rank, id });
            rank += 1;
            filled += 1;
            if filled > self.tokens.len() {
                // More merges than tokens happen (several ways to one token): grow by filling anew.
                table = table.doubled();
                filled = 0;
            }
        }
        Ok(table)
    }
}

/// Reads one merge into the ids of its halves and, in `scratch`, the joined text.
struct MergePair<'a> {
    tokens: &'a TokenTable,
    scratch: &'a mut String,
    prefix: usize,
}

impl MergePair<'_> {
    fn take<E: serde::de::Error>(self, left: &str, right: &str) -> Result<(u32, u32), E> {
        self.scratch.clear();
        self.scratch.push_str(left);
        self.scratch.push_str(right.get(self.prefix..).unwrap_or_default());
        let id = |token: &str| {
            self.tokens.id(token).ok_or_else(|| E::custom(format_args!("{token:?} is not in the vocabulary")))
        };
        Ok((id(left)?, id(right)?))
    }
}

impl<'de> DeserializeSeed<'de> for MergePair<'_> {
    type Value = (u32, u32);

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(u32, u32), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for MergePair<'_> {
    type Value = (u32, u32);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a merge of two tokens")
    }

    fn visit_str<E: serde::de::Error>(self, merge: &str) -> Result<(u32, u32), E> {
        match merge.split_once(' ') {
            Some((left, right)) if !right.contains(' ') => self.take(left, right),
            _ => Err(E::custom(format_args!("the merge {merge:?} does not have two parts"))),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(u32, u32), A::Error> {
        let missing = || A::Error::custom("a merge does not have two parts");
        let left: std::borrow::Cow<'de, str> = borrowed(&mut seq)?.ok_or_else(missing)?;
        let right = borrowed(&mut seq)?.ok_or_else(missing)?;
        if seq.next_element::<IgnoredAny>()?.is_some() {
            return Err(missing());
        }
        self.take(&left, &right)
    }
}

/// The next string of a list, without a copy where it holds no escapes.
fn borrowed<'de, A: SeqAccess<'de>>(seq: &mut A) -> Result<Option<std::borrow::Cow<'de, str>>, A::Error> {
    #[derive(Deserialize)]
    struct Text<'a>(#[serde(borrow)] std::borrow::Cow<'a, str>);
    Ok(seq.next_element::<Text<'de>>()?.map(|text| text.0))
}
