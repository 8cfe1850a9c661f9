//! tiktoken's files and Mistral's `tekken.json`: tokens as bytes with ranks. Neighbours merge where
//! their bytes together are a token, lower ranks first.

use std::collections::HashMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Map, Value, json};

use super::super::bpe::byte_char;
use super::super::config::Config;
use super::super::split::GPT2;
use super::byte_level::{self, QWEN};
use super::{Added, Parts, Side, around, around_by_flags, utf8};

/// The expression of GPT-4 and Llama 3, which transformers takes for every file of ranks.
const GPT4: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// The expression of GPT-4o.
const GPT4O: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// The expression in `tokenization_kimi.py` of Moonshot's models.
const KIMI: &str = r"[\p{Han}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// True for text in tiktoken's form: Llama 3 ships it as `tokenizer.model`.
pub(super) fn looks_like(content: &[u8]) -> bool {
    let first = content.split(|byte| *byte == b'\n').next().unwrap_or(&[]);
    line(first).is_some()
}

/// A token and its rank.
fn line(line: &[u8]) -> Option<(Vec<u8>, u32)> {
    let (token, rank) = std::str::from_utf8(line).ok()?.trim().split_once(' ')?;
    Some((BASE64_STANDARD.decode(token).ok()?, rank.parse().ok()?))
}

/// From a file of ranks.
pub(super) fn tiktoken(
    content: &[u8],
    name: &str,
    side: &Side,
    config: &mut Config,
) -> Result<Parts, String> {
    let mut ranks = Vec::new();
    for (number, text) in utf8(content)?.lines().enumerate() {
        if text.trim().is_empty() {
            continue;
        }
        ranks.push(line(text.as_bytes()).ok_or_else(|| {
            format!(
                "line {}: expected a token in base64 and its rank",
                number + 1
            )
        })?);
    }
    let is_qwen = side.class() == "QWenTokenizer" || name.starts_with("qwen");
    let pattern = match (side.class(), name) {
        _ if is_qwen => QWEN,
        ("TikTokenTokenizer", _) => KIMI,
        (_, "o200k_base.tiktoken" | "o200k_harmony.tiktoken") => GPT4O,
        (_, "gpt2.tiktoken" | "r50k_base.tiktoken" | "p50k_base.tiktoken") => GPT2,
        _ => GPT4,
    };
    if is_qwen {
        // As `tokenization_qwen.py` has them; the repository's configuration names none.
        config.set_default("eos_token", "<|endoftext|>");
        for token in ["<|im_start|>", "<|im_end|>"] {
            config.push_special("additional_special_tokens", token);
        }
    }
    let table = Table::new(&ranks, 0)?;
    let mut added = Added::new(&table.vocab);
    for (id, token) in listed(side, table.vocab.len() as u64) {
        match token["content"].as_str() {
            Some(content) => added.push(content, token["special"] == true, token),
            // Ids between the listed ones are taken, too.
            None => added.push(&format!("<|reserved_token_{id}|>"), true, &Value::Null),
        }
    }
    let post_processor = around_by_flags(&table.vocab, side, config);
    Ok(Parts {
        added: added.of_config(side, config),
        normalizer: if is_qwen {
            json!({"type": "NFC"})
        } else {
            Value::Null
        },
        pre_tokenizer: byte_level::split(pattern, false),
        post_processor,
        ..byte_level::parts(table.vocab, table.merges, true)
    })
}

/// The added tokens of the configuration from the first id behind the vocabulary to the last one;
/// null where an id in between has none.
fn listed(side: &Side, first: u64) -> Vec<(u64, &Value)> {
    // Far more than any tokenizer has: an id out of place must not fill the memory.
    const MOST: u64 = 100_000;
    let Some(tokens) = side.config["added_tokens_decoder"].as_object() else {
        return Vec::new();
    };
    let ids = tokens.keys().filter_map(|id| id.parse::<u64>().ok());
    let last = ids.max().unwrap_or(0).min(first + MOST);
    (first..=last)
        .map(|id| (id, &side.config["added_tokens_decoder"][id.to_string()]))
        .collect()
}

/// From `tekken.json`, with the meaning of mistral-common: special tokens in a text are plain text,
/// and only the beginning is marked.
pub(super) fn tekken(content: &[u8], config: &mut Config) -> Result<Parts, String> {
    let file: Value = serde_json::from_slice(content).map_err(|error| error.to_string())?;
    let number = |name: &str| {
        file["config"][name]
            .as_u64()
            .and_then(|number| usize::try_from(number).ok())
            .ok_or_else(|| format!("`config.{name}` must be a number"))
    };
    let pattern = file["config"]["pattern"]
        .as_str()
        .ok_or("`config.pattern` must be a text")?;
    let special = number("default_num_special_tokens")?;
    // The file holds more tokens than the models use.
    let wanted = number("default_vocab_size")?.saturating_sub(special);
    let mut ranks = Vec::with_capacity(wanted.min(1 << 20));
    for (rank, token) in (0_u32..).zip(file["vocab"].as_array().into_iter().flatten()) {
        if rank as usize == wanted {
            break;
        }
        let bytes = token["token_bytes"]
            .as_str()
            .and_then(|text| BASE64_STANDARD.decode(text).ok());
        let bytes = bytes.ok_or_else(|| format!("`vocab[{rank}].token_bytes` must be base64"))?;
        ranks.push((bytes, rank));
    }
    let mut table = Table::new(&ranks, special as u32)?;
    let names = special_names(&file);
    for id in 0..special {
        let name = names.get(id).cloned().unwrap_or_default();
        let name = if name.is_empty() || table.vocab.contains_key(&name) {
            format!("<SPECIAL_{id}>")
        } else {
            name
        };
        table.vocab.insert(name, id.into());
    }
    config.set_default("bos_token", "<s>");
    config.set_default("eos_token", "</s>");
    Ok(Parts {
        pre_tokenizer: byte_level::split(pattern, false),
        post_processor: around(&table.vocab, &["<s>"], &[]),
        ..byte_level::parts(table.vocab, table.merges, true)
    })
}

/// Names of the special tokens in order of id. Older files leave them to the library.
fn special_names(file: &Value) -> Vec<String> {
    const OLDER: [&str; 10] = [
        "<unk>",
        "<s>",
        "</s>",
        "[INST]",
        "[/INST]",
        "[AVAILABLE_TOOLS]",
        "[/AVAILABLE_TOOLS]",
        "[TOOL_RESULTS]",
        "[/TOOL_RESULTS]",
        "[TOOL_CALLS]",
    ];
    let Some(listed) = file["special_tokens"].as_array() else {
        return OLDER.map(str::to_owned).to_vec();
    };
    let mut names = Vec::new();
    for (at, token) in listed.iter().enumerate() {
        let rank = token["rank"].as_u64().map_or(at, |rank| rank as usize);
        if rank >= 1 << 16 {
            continue;
        }
        if names.len() <= rank {
            names.resize(rank + 1, String::new());
        }
        token["token_str"]
            .as_str()
            .unwrap_or_default()
            .clone_into(&mut names[rank]);
    }
    names
}

/// Vocabulary and merges in the alphabet of bytes.
struct Table {
    vocab: Map<String, Value>,
    merges: Vec<Value>,
}

impl Table {
    /// `offset` is added to the ranks to make ids.
    fn new(ranks: &[(Vec<u8>, u32)], offset: u32) -> Result<Self, String> {
        let known: HashMap<&[u8], u32> = ranks
            .iter()
            .map(|(token, rank)| (token.as_slice(), *rank))
            .collect();
        if let Some(byte) = (0..=255_u8).find(|byte| !known.contains_key([*byte].as_slice())) {
            return Err(format!(
                "no token for the byte {byte}: expected all 256 bytes"
            ));
        }
        let mut sorted: Vec<_> = ranks.iter().collect();
        sorted.sort_by_key(|(_, rank)| *rank);
        let text = |bytes: &[u8]| {
            bytes
                .iter()
                .map(|byte| byte_char(*byte))
                .collect::<String>()
        };
        let mut merges = Vec::new();
        let mut vocab = Map::new();
        for (token, rank) in sorted {
            vocab.insert(text(token), (rank + offset).into());
            // Every way to make the token, in the order of transformers.
            let mut ways: Vec<(u32, u32, usize)> = (1..token.len())
                .filter_map(|at| {
                    let (left, right) = token.split_at(at);
                    Some((*known.get(left)?, *known.get(right)?, at))
                })
                .collect();
            ways.sort_unstable();
            merges.extend(ways.into_iter().map(|(_, _, at)| {
                let (left, right) = token.split_at(at);
                Value::from(format!("{} {}", text(left), text(right)))
            }));
        }
        Ok(Self { vocab, merges })
    }
}
