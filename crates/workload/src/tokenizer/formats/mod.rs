//! Tokenizers that ship without a `tokenizer.json`, turned into one.
//!
//! The steps around each model are those that transformers 5.19 builds from the same files, or, where
//! it has none, those of the format's own library; `tests/formats.rs` compares the tokens. What comes
//! out goes through the same reader as every other tokenizer.

mod byte_level;
mod model_proto;
mod ranks;
mod sentencepiece;

use std::collections::HashSet;

use serde_json::{Map, Value, json};

pub(super) use self::byte_level::{gpt2_steps, qwen_steps};
use super::config::Config;

/// The files of a tokenizer of another format.
pub(super) enum Vocabulary {
    /// `vocab.json` and `merges.txt`: byte-level BPE.
    VocabMerges {
        /// A JSON object of tokens and ids.
        vocab: Vec<u8>,
        /// A merge per line.
        merges: Vec<u8>,
    },
    /// A SentencePiece model, or tiktoken's ranks under the name `tokenizer.model`.
    Model {
        /// The file.
        content: Vec<u8>,
        /// The file's name, which tells Mistral's versions.
        name: String,
    },
    /// tiktoken: a token in base64 and its rank per line.
    Ranks {
        /// The file.
        content: Vec<u8>,
        /// The file's name, which tells the pattern.
        name: String,
    },
    /// Mistral's `tekken.json`.
    Tekken(Vec<u8>),
    /// BERT's `vocab.txt`: a token per line.
    WordPiece(Vec<u8>),
}

/// Name patterns of the files, for messages.
pub(super) const NAMES: &str = "tokenizer.json, tekken.json, vocab.json with merges.txt, tokenizer.model, \
    spiece.model, *.tiktoken or vocab.txt";

/// What the files beside the vocabulary say.
#[derive(Debug, Default)]
pub(super) struct Side {
    /// `tokenizer_config.json`.
    pub(super) config: Value,
    /// `added_tokens.json`: tokens and ids, in older repositories.
    pub(super) added: Value,
    /// `config.json` of the model.
    pub(super) model: Value,
}

impl Side {
    /// The class that transformers takes for the tokenizer, without `Fast`; empty if nothing names
    /// one.
    fn class(&self) -> &str {
        let named = [&self.config, &self.model]
            .into_iter()
            .find_map(|file| file["tokenizer_class"].as_str());
        let class = named.unwrap_or_else(|| match self.model["model_type"].as_str() {
            Some("gpt2" | "gpt_neo" | "gptj" | "opt" | "phi" | "codegen") => "GPT2Tokenizer",
            Some("qwen2" | "qwen2_moe" | "qwen3" | "qwen3_moe") => "Qwen2Tokenizer",
            Some("roberta" | "bart") => "RobertaTokenizer",
            Some("gemma" | "gemma2" | "gemma3" | "gemma3_text") => "GemmaTokenizer",
            Some("t5" | "mt5") => "T5Tokenizer",
            Some("xlm-roberta") => "XLMRobertaTokenizer",
            // Transformers has no class of its own for the others.
            Some(_) => "TokenizersBackend",
            None => "",
        });
        class.trim_end_matches("Fast")
    }

    fn flag(&self, name: &str) -> Option<bool> {
        self.config[name].as_bool()
    }
}

/// The tokenizer as a `tokenizer.json`. Special tokens that the class implies are added to
/// `config`.
pub(super) fn tokenizer_json(
    vocabulary: Vocabulary,
    side: &Side,
    config: &mut Config,
) -> Result<Vec<u8>, String> {
    let made = match vocabulary {
        Vocabulary::VocabMerges { vocab, merges } => {
            byte_level::from_files(&vocab, &merges, side, config)?
        }
        Vocabulary::Model { content, name } if ranks::looks_like(&content) => {
            ranks::tiktoken(&content, &name, side, config)?
        }
        Vocabulary::Model { content, name } => {
            sentencepiece::convert(&content, &name, side, config)?
        }
        Vocabulary::Ranks { content, name } => ranks::tiktoken(&content, &name, side, config)?,
        Vocabulary::Tekken(content) => ranks::tekken(&content, config)?,
        Vocabulary::WordPiece(content) => word_piece(&content, side, config)?,
    };
    serde_json::to_vec(&made.json()).map_err(|error| error.to_string())
}

/// The parts of a `tokenizer.json`.
#[derive(Default)]
struct Parts {
    added: Vec<Value>,
    normalizer: Value,
    pre_tokenizer: Value,
    post_processor: Value,
    decoder: Value,
    model: Value,
}

impl Parts {
    fn json(self) -> Value {
        json!({
            "version": "1.0",
            "added_tokens": self.added,
            "normalizer": self.normalizer,
            "pre_tokenizer": self.pre_tokenizer,
            "post_processor": self.post_processor,
            "decoder": self.decoder,
            "model": self.model,
        })
    }
}

/// The tokens that are found in a text as a whole: those of the configuration, in the order in which
/// transformers adds them.
struct Added<'a> {
    list: Vec<Value>,
    /// The contents in the list, of which there may be 100,000.
    known: HashSet<String>,
    vocab: &'a Map<String, Value>,
    next: u64,
}

impl<'a> Added<'a> {
    fn new(vocab: &'a Map<String, Value>) -> Self {
        Self {
            list: Vec::new(),
            known: HashSet::new(),
            vocab,
            next: vocab.len() as u64,
        }
    }

    /// Adds a token unless there is one of this content.
    fn push(&mut self, content: &str, special: bool, flags: &Value) {
        if content.is_empty() || !self.known.insert(content.to_owned()) {
            return;
        }
        let id = self
            .vocab
            .get(content)
            .and_then(Value::as_u64)
            .unwrap_or_else(|| {
                self.next += 1;
                self.next - 1
            });
        let flag = |name: &str| flags[name].as_bool().unwrap_or(false);
        self.list.push(json!({
            "id": id,
            "content": content,
            "single_word": flag("single_word"),
            "lstrip": flag("lstrip"),
            "rstrip": flag("rstrip"),
            "normalized": flag("normalized"),
            "special": special,
        }));
    }

    /// The tokens that the side files and the configuration name.
    fn of_config(mut self, side: &Side, config: &Config) -> Vec<Value> {
        let mut listed: Vec<(u64, &Value)> = side.config["added_tokens_decoder"]
            .as_object()
            .into_iter()
            .flatten()
            .filter_map(|(id, token)| Some((id.parse().ok()?, token)))
            .collect();
        listed.sort_by_key(|(id, _)| *id);
        for (_, token) in listed {
            if let Some(content) = token["content"].as_str() {
                self.push(content, token["special"] == true, token);
            }
        }
        let mut older: Vec<(u64, &String)> = side
            .added
            .as_object()
            .into_iter()
            .flatten()
            .filter_map(|(content, id)| Some((id.as_u64()?, content)))
            .collect();
        older.sort_unstable();
        let is_special = |content: &str| config.special.iter().any(|(_, token)| token == content);
        for (_, content) in older {
            let special = is_special(content);
            self.push(content, special, &json!({"normalized": !special}));
        }
        for (_, token) in &config.special {
            self.push(token, true, &Value::Null);
        }
        self.list
    }
}

/// A post-processor that puts tokens around a text.
fn around(vocab: &Map<String, Value>, before: &[&str], after: &[&str]) -> Value {
    if before.is_empty() && after.is_empty() {
        return Value::Null;
    }
    let special = |token: &&str| json!({"SpecialToken": {"id": token, "type_id": 0}});
    let sequence = |id: &str| json!({"Sequence": {"id": id, "type_id": 0}});
    let wrapped = |id: &str| {
        let mut list: Vec<Value> = before.iter().map(special).collect();
        list.push(sequence(id));
        list.extend(after.iter().map(special));
        list
    };
    let mut tokens = Map::new();
    for token in before.iter().chain(after) {
        let id = vocab.get(*token).cloned().unwrap_or_else(|| 0.into());
        tokens.insert(
            (*token).to_owned(),
            json!({"id": token, "ids": [id], "tokens": [token]}),
        );
    }
    let pair = [wrapped("A"), wrapped("B")].concat();
    json!({
        "type": "TemplateProcessing",
        "single": wrapped("A"),
        "pair": pair,
        "special_tokens": tokens,
    })
}

/// What `add_bos_token` and `add_eos_token` of the configuration put around a text.
fn around_by_flags(vocab: &Map<String, Value>, side: &Side, config: &Config) -> Value {
    let token = |flag: &str, name: &str| {
        side.flag(flag)
            .unwrap_or(false)
            .then(|| config.named(name))
            .flatten()
    };
    let before = token("add_bos_token", "bos_token");
    let after = token("add_eos_token", "eos_token");
    around(vocab, before.as_slice(), after.as_slice())
}

/// The text of a file.
fn utf8(content: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(content).map_err(|error| format!("not UTF-8: {error}"))
}

/// BERT's tokenizer.
fn word_piece(content: &[u8], side: &Side, config: &mut Config) -> Result<Parts, String> {
    let tokens = utf8(content)?.lines();
    let vocab: Map<String, Value> = tokens
        .zip(0_u64..)
        .map(|(token, id)| (token.to_owned(), id.into()))
        .collect();
    for (name, token) in [
        ("unk_token", "[UNK]"),
        ("sep_token", "[SEP]"),
        ("pad_token", "[PAD]"),
        ("cls_token", "[CLS]"),
        ("mask_token", "[MASK]"),
    ] {
        config.set_default(name, token);
    }
    let name = |name: &str| config.named(name).unwrap_or_default();
    if !vocab.contains_key(name("unk_token")) {
        return Err(format!(
            "no token {:?} in it: expected BERT's vocabulary, a token per line",
            name("unk_token")
        ));
    }
    Ok(Parts {
        normalizer: json!({
            "type": "BertNormalizer",
            "clean_text": true,
            "handle_chinese_chars": side.flag("tokenize_chinese_chars").unwrap_or(true),
            "strip_accents": side.flag("strip_accents"),
            "lowercase": side.flag("do_lower_case").unwrap_or(true),
        }),
        pre_tokenizer: json!({"type": "BertPreTokenizer"}),
        post_processor: around(&vocab, &[name("cls_token")], &[name("sep_token")]),
        decoder: json!({"type": "WordPiece", "prefix": "##", "cleanup": true}),
        added: Added::new(&vocab).of_config(side, config),
        model: json!({
            "type": "WordPiece",
            "unk_token": name("unk_token"),
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100,
            "vocab": vocab,
        }),
    })
}
