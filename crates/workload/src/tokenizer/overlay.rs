//! What the files beside a `tokenizer.json` change in it, as transformers 5.19 does.
//!
//! It adds the tokens that the configuration names to those of the file, and some of its classes
//! take nothing but the vocabulary and the post-processor from the file and have steps of their
//! own. The classes here are those of most models on the hub whose class builds its own steps; with
//! any other class, the steps of the file are used.

use serde_json::{Map, Value, json};
use tokenizers::AddedToken;

use super::bpe::BpeOptions;
use super::config::NAMED;
use super::formats::{Side, gpt2_steps, qwen_steps};

/// The changes of one tokenizer.
#[derive(Debug, Default)]
pub(super) struct Overlay {
    /// Tokens that take the place of those of the same text in the file, or follow them.
    listed: Vec<AddedToken>,
    /// Tokens that follow where the file has none of the same text.
    named: Vec<AddedToken>,
    /// The steps of the class in place of those of the file.
    pub(super) steps: Option<Steps>,
    /// The tokens of the file do not count: the class starts without any.
    pub(super) drops_added: bool,
    /// Special tokens in a text are text.
    pub(super) splits_special: bool,
}

/// The steps around a vocabulary.
#[derive(Clone, Debug)]
pub(super) struct Steps {
    pub(super) normalizer: Value,
    pub(super) pre_tokenizer: Value,
    pub(super) decoder: Value,
    /// The settings of the model, beside its vocabulary and merges.
    pub(super) model: Map<String, Value>,
}

impl Steps {
    /// The settings of a byte-pair model.
    pub(super) fn bpe_options(&self) -> BpeOptions {
        let flag = |name: &str| self.model.get(name) == Some(&Value::Bool(true));
        BpeOptions {
            fuse_unk: flag("fuse_unk"),
            byte_fallback: flag("byte_fallback"),
            ..BpeOptions::default()
        }
    }
}

/// The classes with steps of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    Llama,
    Gpt2,
    Qwen2,
    Bert,
}

impl Class {
    fn of_name(name: &str) -> Option<Self> {
        Some(match name.strip_suffix("Fast").unwrap_or(name) {
            "LlamaTokenizer" => Self::Llama,
            "GPT2Tokenizer" => Self::Gpt2,
            "Qwen2Tokenizer" => Self::Qwen2,
            "BertTokenizer" => Self::Bert,
            _ => return None,
        })
    }

    /// The class that `AutoTokenizer` takes: that of the files, unless the kind of the model has
    /// another or is known to be published with a wrong one.
    pub(super) fn of(side: &Side) -> Option<Self> {
        let named = [&side.config, &side.model]
            .into_iter()
            .find_map(|file| file["tokenizer_class"].as_str());
        let kind = side.model["model_type"].as_str().unwrap_or_default();
        let own = registered(kind);
        match (named, own) {
            (None, Some(Registered::Class(class))) => Some(class),
            (None, _) | (Some(_), Some(Registered::Generic)) => None,
            (Some(_), Some(Registered::Class(class))) if MISNAMED.contains(&kind) => Some(class),
            (Some(name), _) => Self::of_name(name),
        }
    }

    /// The special tokens that it has where the files name none.
    pub(super) fn default_tokens(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Llama => &[
                ("bos_token", "<s>"),
                ("eos_token", "</s>"),
                ("unk_token", "<unk>"),
            ],
            Self::Gpt2 => &[
                ("bos_token", "<|endoftext|>"),
                ("eos_token", "<|endoftext|>"),
                ("unk_token", "<|endoftext|>"),
            ],
            Self::Qwen2 => &[
                ("eos_token", "<|endoftext|>"),
                ("unk_token", "<|endoftext|>"),
                ("pad_token", "<|endoftext|>"),
            ],
            Self::Bert => &[
                ("unk_token", "[UNK]"),
                ("sep_token", "[SEP]"),
                ("pad_token", "[PAD]"),
                ("cls_token", "[CLS]"),
                ("mask_token", "[MASK]"),
            ],
        }
    }

    fn steps(self, config: &Value) -> Steps {
        let flag = |name: &str| config[name].as_bool();
        let space = flag("add_prefix_space");
        let mut model = Map::new();
        let byte_level = |(normalizer, pre_tokenizer), model| Steps {
            normalizer,
            pre_tokenizer,
            decoder: json!({
                "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true,
            }),
            model,
        };
        match self {
            Self::Gpt2 => byte_level(gpt2_steps(space.unwrap_or(false)), model),
            Self::Qwen2 => byte_level(qwen_steps(space.unwrap_or(false)), model),
            Self::Llama => {
                let space = space.unwrap_or(true);
                let prepend = match (space, flag("legacy").unwrap_or(false)) {
                    (false, _) => "never",
                    (true, false) => "first",
                    (true, true) => "always",
                };
                let mut decoders = vec![
                    json!({"type": "Replace", "pattern": {"String": "▁"}, "content": " "}),
                    json!({"type": "ByteFallback"}),
                    json!({"type": "Fuse"}),
                ];
                if space {
                    decoders.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
                }
                model.insert("fuse_unk".into(), true.into());
                model.insert("byte_fallback".into(), true.into());
                Steps {
                    normalizer: Value::Null,
                    pre_tokenizer: json!({
                        "type": "Metaspace", "replacement": "▁", "prepend_scheme": prepend, "split": false,
                    }),
                    decoder: json!({"type": "Sequence", "decoders": decoders}),
                    model,
                }
            }
            Self::Bert => {
                let unk = token(&config["unk_token"]).map_or("[UNK]".into(), |token| token.content);
                model.insert("unk_token".into(), unk.into());
                model.insert("continuing_subword_prefix".into(), "##".into());
                model.insert("max_input_chars_per_word".into(), 100.into());
                Steps {
                    normalizer: json!({
                        "type": "BertNormalizer",
                        "clean_text": true,
                        "handle_chinese_chars": flag("tokenize_chinese_chars").unwrap_or(true),
                        "strip_accents": flag("strip_accents"),
                        "lowercase": flag("do_lower_case").unwrap_or(true),
                    }),
                    pre_tokenizer: json!({"type": "BertPreTokenizer"}),
                    decoder: json!({"type": "WordPiece", "prefix": "##", "cleanup": true}),
                    model,
                }
            }
        }
    }
}

/// What transformers registers for a kind of model.
enum Registered {
    Class(Class),
    /// The file counts, whatever class is named.
    Generic,
}

/// The registered class of a kind of model (`TOKENIZER_MAPPING_NAMES` of transformers 5.19, without
/// the kinds whose class is none of ours, where the name in the files decides).
fn registered(kind: &str) -> Option<Registered> {
    Some(match kind {
        "idefics" | "idefics2" => Registered::Class(Class::Llama),
        "blip-2"
        | "codegen"
        | "dbrx"
        | "emu3"
        | "gpt2"
        | "gpt_neo"
        | "gptj"
        | "hyperclovax_vision_v2"
        | "instructblip"
        | "instructblipvideo"
        | "jais2"
        | "opt"
        | "phi"
        | "starcoder2" => Registered::Class(Class::Gpt2),
        "align" | "bark" | "bert" | "blip" | "bros" | "chinese_clip" | "convbert"
        | "distilbert" | "electra" | "ernie" | "flava" | "git" | "grounding-dino" | "layoutlm"
        | "megatron-bert" | "mm-grounding-dino" | "nezha" | "nomic_bert" | "qdqbert" | "realm"
        | "retribert" | "squeezebert" | "tvp" | "vilt" | "visual_bert" => {
            Registered::Class(Class::Bert)
        }
        "audioflamingo3" | "colqwen2" | "cosmos3_omni" | "fun_asr_nano" | "hunyuan_vl"
        | "internvl" | "lighton_ocr" | "ovis2" | "qianfan_ocr" | "qwen2" | "qwen2_5_omni"
        | "qwen2_5_vl" | "qwen2_audio" | "qwen2_moe" | "qwen2_vl" | "qwen3" | "qwen3_asr"
        | "qwen3_moe" | "qwen3_next" | "qwen3_omni_moe" | "qwen3_vl" | "qwen3_vl_moe"
        | "vibevoice" => Registered::Class(Class::Qwen2),
        kind if GENERIC.contains(&kind) => Registered::Generic,
        _ => return None,
    })
}

/// Kinds of models of which a wrong class is published, and the right one is among ours.
const MISNAMED: [&str; 2] = ["qwen2", "hyperclovax_vision_v2"];

/// Kinds of models of which the file counts: those without a class of their own, and those of which
/// transformers knows that a wrong class is published and whose right one has no steps here.
const GENERIC: [&str; 91] = [
    "EvollaModel",
    "arctic",
    "aria",
    "bigbird_pegasus",
    "camembertv2-base",
    "canary",
    "chameleon",
    "chatlm",
    "cohere_asr",
    "deepseek_ocr",
    "deepseek_ocr2",
    "deepseek_v2",
    "deepseek_v3",
    "deepseek_v32",
    "deepseek_v4",
    "deepseek_vl",
    "deepseek_vl_hybrid",
    "deepseek_vl_v2",
    "ernie4_5",
    "ernie4_5_moe",
    "flex_olmo",
    "fuyu",
    "glm",
    "glm4",
    "glm4_moe",
    "glm4_moe_lite",
    "glm4v",
    "glm4v_moe",
    "glm_image",
    "glmasr",
    "got_ocr2",
    "gpt_bigcode",
    "granite",
    "granitemoe",
    "granitemoehybrid",
    "granitemoeshared",
    "h2ovl_chat",
    "hyperclovax",
    "hyperclovax_vlm",
    "internlm2",
    "jamba",
    "janus",
    "kimi_k25",
    "kimi_linear",
    "kosmos-2",
    "llava",
    "llava_next",
    "mimo_v2_flash",
    "minicpm3",
    "minicpmv",
    "minicpmv4_6",
    "minicpmv4_7",
    "minimax_m2",
    "ministral",
    "ministral3",
    "mistral",
    "mistral3",
    "mixtral",
    "modernbert",
    "modernbert-decoder",
    "molmo",
    "molmo2",
    "nemotron",
    "nvfp4",
    "nystromformer",
    "olmo2",
    "olmo3",
    "olmo_hybrid",
    "opencua",
    "openvla",
    "paddleocr_vl",
    "pegasus_x",
    "persimmon",
    "phi3",
    "phi3_v",
    "phimoe",
    "pix2struct",
    "pixtral",
    "qwen3_5",
    "qwen3_5_moe",
    "qwen3_5_moe_text",
    "qwen4_exp",
    "smolvlm",
    "stablelm",
    "step3_vl",
    "step3p5",
    "umt5",
    "vipllava",
    "voxtral",
    "voxtral_realtime",
    "xlm-roberta-xl",
];

/// A token as text or as an object.
fn token(value: &Value) -> Option<AddedToken> {
    if let Some(text) = value.as_str() {
        return Some(AddedToken::from(text, true));
    }
    let content = value["content"].as_str()?;
    let flag = |name: &str| value[name].as_bool();
    let special = flag("special").unwrap_or(false);
    Some(AddedToken {
        content: content.to_owned(),
        single_word: flag("single_word").unwrap_or(false),
        lstrip: flag("lstrip").unwrap_or(false),
        rstrip: flag("rstrip").unwrap_or(false),
        normalized: flag("normalized").unwrap_or(!special),
        special,
    })
}

impl Overlay {
    /// What the files say. `special` is `special_tokens_map.json`, which counts only where the
    /// configuration lists no tokens with their ids.
    pub(super) fn new(side: &Side, special: &Value) -> Self {
        let config = &side.config;
        let class = Class::of(side);
        let ids = config["added_tokens_decoder"].as_object();
        let special = if ids.is_none() { special } else { &Value::Null };
        let value = |name: &str| match &special[name] {
            Value::Null => &config[name],
            found => found,
        };
        let mut listed: Vec<(u64, AddedToken)> = ids
            .into_iter()
            .flatten()
            .filter_map(|(id, value)| Some((id.parse().ok()?, token(value)?)))
            .collect();
        listed.sort_by_key(|(id, _)| *id);

        let mut named = Vec::new();
        for name in NAMED {
            let default = class.and_then(|class| {
                let default = class
                    .default_tokens()
                    .iter()
                    .find(|(key, _)| *key == name)?;
                (config.get(name).is_none() && special.get(name).is_none()).then_some(default.1)
            });
            named.extend(token(value(name)));
            named.extend(default.map(|text| AddedToken::from(text, true)));
        }
        for (name, value) in config.as_object().into_iter().flatten() {
            if name.ends_with("_token") && !NAMED.contains(&name.as_str()) {
                named.extend(token(value));
            }
        }
        let extra = [
            value("extra_special_tokens"),
            value("additional_special_tokens"),
        ]
        .into_iter()
        .find(|list| !list.is_null() && **list != json!([]) && **list != json!({}));
        match extra {
            Some(Value::Array(list)) => named.extend(list.iter().filter_map(token)),
            Some(Value::Object(map)) => named.extend(map.values().filter_map(token)),
            _ => {}
        }
        for token in &mut named {
            token.special = true;
        }
        if ids.is_none() {
            named.splice(0..0, older(&side.added, &named));
        }
        Self {
            listed: listed.into_iter().map(|(_, token)| token).collect(),
            named,
            steps: class.map(|class| class.steps(config)),
            drops_added: class.is_some() && ids.is_some(),
            splits_special: config["split_special_tokens"] == true,
        }
    }

    /// The tokens to be added to those in the file.
    pub(super) fn added(&self, file: &[AddedToken]) -> Vec<AddedToken> {
        let mut added = self.listed.clone();
        let known = |added: &[AddedToken], token: &AddedToken| {
            let same = |other: &AddedToken| other.content == token.content;
            (!self.drops_added && file.iter().any(same)) || added.iter().any(same)
        };
        for token in &self.named {
            if !known(&added, token) {
                added.push(token.clone());
            }
        }
        added
    }

    /// A `tokenizer.json` with the steps of the class. Tokens are left to [`Self::added`].
    pub(super) fn rewritten(&self, json: &[u8]) -> Result<Option<Vec<u8>>, serde_json::Error> {
        let Some(steps) = &self.steps else {
            return Ok(None);
        };
        let mut file: Value = serde_json::from_slice(json)?;
        file["normalizer"] = steps.normalizer.clone();
        file["pre_tokenizer"] = steps.pre_tokenizer.clone();
        file["decoder"] = steps.decoder.clone();
        if let Value::Object(model) = &mut file["model"] {
            model.retain(|key, _| matches!(key.as_str(), "type" | "vocab" | "merges"));
            model.extend(steps.model.clone());
        }
        if self.drops_added {
            file["added_tokens"] = json!([]);
        }
        serde_json::to_vec(&file).map(Some)
    }
}

/// The tokens of `added_tokens.json` in the order of their ids.
fn older(added: &Value, named: &[AddedToken]) -> Vec<AddedToken> {
    let mut listed: Vec<(u64, &String)> = added
        .as_object()
        .into_iter()
        .flatten()
        .filter_map(|(content, id)| Some((id.as_u64()?, content)))
        .collect();
    listed.sort_unstable();
    listed
        .into_iter()
        .map(|(_, content)| {
            let special = named.iter().any(|token| token.content == *content);
            AddedToken::from(content.as_str(), special)
        })
        .collect()
}
