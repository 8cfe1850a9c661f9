//! SentencePiece models, Unigram and BPE.

use std::collections::HashMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Map, Value, json};

use super::super::config::Config;
use super::model_proto::{Kind, ModelProto};
use super::{Added, Parts, Side, around, around_by_flags};

/// The steps that a class puts around the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// The model's own rules, as SentencePiece applies them.
    Own,
    /// What transformers does where it has no class: the model's rules without its spaces.
    Backend,
    Llama,
    Gemma,
    T5,
    XlmRoberta,
}

/// From a model.
pub(super) fn convert(
    content: &[u8],
    name: &str,
    side: &Side,
    config: &mut Config,
) -> Result<Parts, String> {
    let mut proto = ModelProto::parse(content)?;
    let is_bpe = match proto.model_type {
        1 => false,
        2 => true,
        other => {
            return Err(format!(
                "invalid model_type {other}: expected Unigram (1) or BPE (2)"
            ));
        }
    };
    if proto.space_is_suffix {
        return Err("treat_whitespace_as_suffix is set: expected spaces in front of words".into());
    }
    // `tokenizer.model.v3` and the like are for mistral-common, which asks SentencePiece itself.
    let is_mistral = name.contains(".model.v");
    let way = match (side.class(), is_bpe) {
        _ if is_mistral => Way::Own,
        ("LlamaTokenizer" | "CodeLlamaTokenizer", true) => Way::Llama,
        ("GemmaTokenizer", true) => Way::Gemma,
        ("T5Tokenizer" | "MT5Tokenizer", false) => Way::T5,
        ("XLMRobertaTokenizer", false) => Way::XlmRoberta,
        ("TokenizersBackend" | "PreTrainedTokenizer", _) => Way::Backend,
        _ => Way::Own,
    };
    if way == Way::Own && side.class().is_empty() && !is_bpe {
        hide_controls(&mut proto);
    }
    set_special(way, &proto, side, config);
    let pieces = pieces(way, &proto);
    let vocab: Map<String, Value> = pieces
        .iter()
        .zip(0_u64..)
        .map(|((text, _), id)| (text.clone(), id.into()))
        .collect();
    let mut added = Added::new(&vocab);
    for piece in &proto.pieces {
        if matches!(piece.kind, Kind::Control | Kind::UserDefined) && way != Way::Own {
            added.push(&piece.text, piece.kind == Kind::Control, &Value::Null);
        } else if piece.kind == Kind::UserDefined {
            added.push(&piece.text, false, &Value::Null);
        }
    }
    let added = match (way, side.class()) {
        // SentencePiece does not look for control tokens in a text.
        (Way::Own, "") => added.list,
        _ if is_mistral => added.list,
        _ => added.of_config(side, config),
    };
    let post_processor = match way {
        Way::T5 => around(&vocab, &[], &[config.named("eos_token").unwrap_or("</s>")]),
        Way::XlmRoberta => {
            let name = |name: &str| config.named(name).unwrap_or_default();
            around(&vocab, &[name("bos_token")], &[name("eos_token")])
        }
        _ if is_mistral => around(&vocab, &[&proto.bos_piece], &[]),
        _ => around_by_flags(&vocab, side, config),
    };
    let model = if is_bpe {
        bpe(way, &proto, vocab)
    } else {
        json!({
            "type": "Unigram",
            "unk_id": if way == Way::XlmRoberta { 3 } else { proto.unk_id },
            "vocab": pieces,
            "byte_fallback": proto.byte_fallback && matches!(way, Way::Own | Way::Backend),
        })
    };
    Ok(Parts {
        added,
        post_processor,
        model,
        ..steps(way, &proto, side)
    })
}

/// Renames the tokens that SentencePiece never finds in a text, which the Unigram model of the
/// `tokenizers` crate would: a text that spells `</s>` has no such token.
fn hide_controls(proto: &mut ModelProto) {
    // Not a character of any text.
    let hidden = |text: &str| format!("\u{ffff}{text}");
    for (id, piece) in proto.pieces.iter_mut().enumerate() {
        if piece.kind == Kind::Control || id == proto.unk_id {
            piece.text = hidden(&piece.text);
        }
    }
    for name in [
        &mut proto.unk_piece,
        &mut proto.bos_piece,
        &mut proto.eos_piece,
    ] {
        *name = hidden(name);
    }
}

/// The special tokens that the class or the model implies.
fn set_special(way: Way, proto: &ModelProto, side: &Side, config: &mut Config) {
    let implied: &[(&str, &str)] = match way {
        Way::Own | Way::Backend => {
            for (name, id, piece) in [
                ("bos_token", proto.bos_id, &proto.bos_piece),
                ("eos_token", proto.eos_id, &proto.eos_piece),
                ("unk_token", proto.unk_id as i64, &proto.unk_piece),
            ] {
                if id >= 0 {
                    config.set_default(name, piece);
                }
            }
            &[]
        }
        Way::Llama => &[
            ("unk_token", "<unk>"),
            ("bos_token", "<s>"),
            ("eos_token", "</s>"),
        ],
        Way::Gemma => &[
            ("unk_token", "<unk>"),
            ("bos_token", "<bos>"),
            ("eos_token", "<eos>"),
            ("pad_token", "<pad>"),
            ("mask_token", "<mask>"),
        ],
        Way::T5 => &[
            ("eos_token", "</s>"),
            ("unk_token", "<unk>"),
            ("pad_token", "<pad>"),
        ],
        Way::XlmRoberta => &[
            ("bos_token", "<s>"),
            ("eos_token", "</s>"),
            ("sep_token", "</s>"),
            ("cls_token", "<s>"),
            ("unk_token", "<unk>"),
            ("pad_token", "<pad>"),
            ("mask_token", "<mask>"),
        ],
    };
    for (name, token) in implied {
        config.set_default(name, token);
    }
    if way == Way::T5 && side.config.get("additional_special_tokens").is_none() {
        let extra = side.config["extra_ids"].as_u64().unwrap_or(100);
        // The highest number has the lowest id.
        for id in (0..extra.min(10_000)).rev() {
            config.push_special("additional_special_tokens", &format!("<extra_id_{id}>"));
        }
    }
}

/// Texts and scores of the tokens in order of id.
fn pieces(way: Way, proto: &ModelProto) -> Vec<(String, f32)> {
    let own = proto
        .pieces
        .iter()
        .map(|piece| (piece.text.clone(), piece.score));
    if way != Way::XlmRoberta {
        return own.collect();
    }
    // The order of fairseq, which the model was trained with.
    let first = ["<s>", "<pad>", "</s>", "<unk>"].map(|text| (text.to_owned(), 0.0));
    let mask = ("<mask>".to_owned(), 0.0);
    first.into_iter().chain(own.skip(3)).chain([mask]).collect()
}

fn bpe(way: Way, proto: &ModelProto, vocab: Map<String, Value>) -> Value {
    let unk = (way != Way::Llama).then_some(&proto.unk_piece);
    let mut model = json!({
        "type": "BPE",
        "dropout": null,
        "unk_token": unk,
        "continuing_subword_prefix": null,
        "end_of_word_suffix": null,
        "fuse_unk": true,
        "byte_fallback": proto.byte_fallback || matches!(way, Way::Llama | Way::Gemma),
        "ignore_merges": false,
    });
    model["vocab"] = vocab.into();
    model["merges"] = merges(way, proto).into();
    model
}

/// Every way to make a token of two others. The model has scores in place of merges; SentencePiece
/// goes by them, and transformers by the ids, with which they fall in most models.
fn merges(way: Way, proto: &ModelProto) -> Vec<Value> {
    let ids: HashMap<&str, usize> = proto
        .pieces
        .iter()
        .enumerate()
        .map(|(id, piece)| (piece.text.as_str(), id))
        .collect();
    let mut order: Vec<usize> = (0..proto.pieces.len()).collect();
    if way == Way::Own {
        order.retain(|id| proto.pieces[*id].kind != Kind::Control);
        order.sort_by(|one, other| {
            proto.pieces[*other]
                .score
                .total_cmp(&proto.pieces[*one].score)
        });
    }
    let mut merges = Vec::new();
    for id in order {
        let text = proto.pieces[id].text.as_str();
        if ids.get(text) != Some(&id) {
            continue;
        }
        let mut ways: Vec<(usize, usize, &str, &str)> = text
            .char_indices()
            .skip(1)
            .filter_map(|(at, _)| {
                let (left, right) = text.split_at(at);
                let lengths = (left.chars().count(), right.chars().count());
                (ids.contains_key(left) && ids.contains_key(right))
                    .then_some((lengths.0, lengths.1, left, right))
            })
            .collect();
        ways.sort_unstable();
        merges.extend(ways.iter().map(|(_, _, left, right)| json!([left, right])));
    }
    merges
}

/// The steps before and after the model.
fn steps(way: Way, proto: &ModelProto, side: &Side) -> Parts {
    let replace = |from: &str, to: &str| json!({"type": "Replace", "pattern": {"String": from}, "content": to});
    let metaspace = |scheme: &str, split: bool| json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": split});
    let charsmap = (!proto.charsmap.is_empty()).then(|| {
        json!({
            "type": "Precompiled",
            "precompiled_charsmap": BASE64_STANDARD.encode(&proto.charsmap),
        })
    });
    let decoder = |strip: bool| {
        let mut steps = vec![
            replace("▁", " "),
            json!({"type": "ByteFallback"}),
            json!({"type": "Fuse"}),
        ];
        if strip {
            steps.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
        }
        json!({"type": "Sequence", "decoders": steps})
    };
    match way {
        Way::Llama => {
            let prefix = side.flag("add_prefix_space").unwrap_or(true);
            let scheme = match (prefix, side.flag("legacy").unwrap_or(false)) {
                (false, _) => "never",
                (true, true) => "always",
                (true, false) => "first",
            };
            Parts {
                pre_tokenizer: metaspace(scheme, false),
                decoder: decoder(prefix),
                ..Parts::default()
            }
        }
        Way::Gemma => Parts {
            normalizer: replace(" ", "▁"),
            decoder: decoder(false),
            ..Parts::default()
        },
        Way::T5 | Way::XlmRoberta => Parts {
            normalizer: charsmap.unwrap_or_default(),
            pre_tokenizer: json!({
                "type": "Sequence",
                "pretokenizers": [{"type": "WhitespaceSplit"}, metaspace("always", true)],
            }),
            decoder: metaspace("always", true),
            ..Parts::default()
        },
        Way::Backend => Parts {
            normalizer: json!({
                "type": "Sequence",
                "normalizers": charsmap.into_iter().chain([replace(" ", "▁")]).collect::<Vec<_>>(),
            }),
            decoder: decoder(false),
            ..Parts::default()
        },
        Way::Own => {
            let mut normalizers: Vec<Value> = charsmap.into_iter().collect();
            if proto.removes_extra_spaces {
                for (pattern, content) in [("^ +| +$", ""), (" {2,}", " ")] {
                    normalizers.push(
                        json!({"type": "Replace", "pattern": {"Regex": pattern}, "content": content}),
                    );
                }
            }
            if proto.adds_dummy_prefix {
                normalizers.push(json!({"type": "Prepend", "prepend": "▁"}));
            }
            normalizers.push(replace(" ", "▁"));
            Parts {
                normalizer: json!({"type": "Sequence", "normalizers": normalizers}),
                decoder: decoder(proto.adds_dummy_prefix),
                ..Parts::default()
            }
        }
    }
}
