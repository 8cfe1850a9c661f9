//! Byte-level BPE: a vocabulary in the alphabet of bytes, and how it merges.

use serde_json::{Map, Value, json};

use super::super::config::Config;
use super::super::split::GPT2;
use super::{Added, Parts, Side, around, around_by_flags, utf8};

/// The expression of Qwen.
pub(super) const QWEN: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// From `vocab.json` and `merges.txt`.
pub(super) fn from_files(
    vocab: &[u8],
    merges: &[u8],
    side: &Side,
    config: &mut Config,
) -> Result<Parts, String> {
    let vocab: Map<String, Value> = serde_json::from_slice(vocab)
        .map_err(|error| format!("vocab.json: {error}; expected an object of tokens and ids"))?;
    if vocab.keys().any(|token| token.ends_with("</w>")) {
        return Err(
            "its tokens end in </w>: expected a byte-level vocabulary, such as GPT-2's".into(),
        );
    }
    let merges: Vec<Value> = utf8(merges)
        .map_err(|error| format!("merges.txt: {error}"))?
        .lines()
        .filter(|line| !line.starts_with("#version") && !line.trim().is_empty())
        .map(Value::from)
        .collect();
    let class = side.class();
    let space = side.flag("add_prefix_space").unwrap_or(false);
    let defaults: &[(&str, &str)] = match class {
        "Qwen2Tokenizer" => &[
            ("eos_token", "<|endoftext|>"),
            ("pad_token", "<|endoftext|>"),
            ("unk_token", "<|endoftext|>"),
        ],
        "RobertaTokenizer" | "BartTokenizer" => &[
            ("bos_token", "<s>"),
            ("eos_token", "</s>"),
            ("sep_token", "</s>"),
            ("cls_token", "<s>"),
            ("unk_token", "<unk>"),
            ("pad_token", "<pad>"),
            ("mask_token", "<mask>"),
        ],
        _ => &[
            ("bos_token", "<|endoftext|>"),
            ("eos_token", "<|endoftext|>"),
            ("unk_token", "<|endoftext|>"),
        ],
    };
    for (name, token) in defaults {
        config.set_default_in(name, token, &vocab);
    }
    let (normalizer, pre_tokenizer) = if class == "Qwen2Tokenizer" {
        qwen_steps(space)
    } else {
        gpt2_steps(space)
    };
    let post_processor = if matches!(class, "RobertaTokenizer" | "BartTokenizer") {
        let name = |name: &str| config.named(name).unwrap_or_default();
        around(&vocab, &[name("cls_token")], &[name("sep_token")])
    } else {
        around_by_flags(&vocab, side, config)
    };
    Ok(Parts {
        added: Added::new(&vocab).of_config(side, config),
        normalizer,
        pre_tokenizer,
        post_processor,
        ..parts(vocab, merges, false)
    })
}

/// Normalizer and pre-tokenizer of `GPT2Tokenizer`.
pub(in crate::tokenizer) fn gpt2_steps(add_prefix_space: bool) -> (Value, Value) {
    (Value::Null, split(GPT2, add_prefix_space))
}

/// Normalizer and pre-tokenizer of `Qwen2Tokenizer`.
pub(in crate::tokenizer) fn qwen_steps(add_prefix_space: bool) -> (Value, Value) {
    (json!({"type": "NFC"}), split(QWEN, add_prefix_space))
}

/// Cuts by an expression, then writes bytes in the alphabet of the vocabulary.
pub(super) fn split(pattern: &str, add_prefix_space: bool) -> Value {
    let bytes = |use_regex: bool| {
        json!({
            "type": "ByteLevel",
            "add_prefix_space": add_prefix_space,
            "trim_offsets": true,
            "use_regex": use_regex,
        })
    };
    if pattern == GPT2 {
        return bytes(true);
    }
    json!({
        "type": "Sequence",
        "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false},
            bytes(false),
        ],
    })
}

/// The model and the decoder.
pub(super) fn parts(vocab: Map<String, Value>, merges: Vec<Value>, ignore_merges: bool) -> Parts {
    let mut model = json!({
        "type": "BPE",
        "dropout": null,
        "unk_token": null,
        "continuing_subword_prefix": null,
        "end_of_word_suffix": null,
        "fuse_unk": false,
        "byte_fallback": false,
        "ignore_merges": ignore_merges,
    });
    model["vocab"] = vocab.into();
    model["merges"] = merges.into();
    Parts {
        decoder: json!({
            "type": "ByteLevel",
            "add_prefix_space": true,
            "trim_offsets": true,
            "use_regex": true,
        }),
        model,
        ..Parts::default()
    }
}
