//! The same seed gives the same bytes as NumPy, Python and the Hugging Face package under vLLM's
//! rules. `golden/make.py` makes the samples.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic")]

use std::path::{Path, PathBuf};

use inferometer_workload::{
    Compat, CustomSettings, DatasetSettings, HubSettings, PrefixRepetitionSettings, RandomSettings,
    RangeRatio, ShareGptSettings, SonnetSettings, Tokenizer, WorkloadSettings, build,
};
use serde_json::Value;
use sha2::{Digest, Sha256};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn tokenizer(name: &str) -> Tokenizer {
    let path = folder().join(name);
    let spec = if name == "builtin" {
        name
    } else {
        path.to_str().unwrap()
    };
    Tokenizer::load(spec, &HubSettings::offline()).unwrap()
}

fn dataset(name: &str, args: &Value) -> DatasetSettings {
    let number = |key: &str| args[key].as_i64().unwrap();
    match name {
        "random" => {
            let ratio = args["range_ratio"].as_f64().unwrap();
            DatasetSettings::Random(RandomSettings {
                input_len: number("input_len"),
                output_len: number("output_len"),
                prefix_len: number("prefix_len"),
                range_ratio: RangeRatio {
                    input: ratio,
                    output: ratio,
                },
                batch_size: 1,
            })
        }
        "sharegpt" => DatasetSettings::ShareGpt(ShareGptSettings {
            path: folder().join("sharegpt.json"),
            output_len: args["output_len"].as_i64(),
            ..ShareGptSettings::default()
        }),
        "custom" => DatasetSettings::Custom(CustomSettings {
            path: folder().join("custom.jsonl"),
            output_len: number("output_len"),
        }),
        "sonnet" => DatasetSettings::Sonnet(SonnetSettings {
            path: None,
            input_len: number("input_len"),
            output_len: number("output_len"),
            prefix_len: number("prefix_len"),
        }),
        "prefix_repetition" => DatasetSettings::PrefixRepetition(PrefixRepetitionSettings {
            prefix_len: number("prefix_len"),
            suffix_len: number("suffix_len"),
            num_prefixes: number("num_prefixes"),
            output_len: number("output_len"),
        }),
        other => panic!("{other}"),
    }
}

#[test]
fn samples_equal_the_golden_ones() {
    let golden = std::fs::read_to_string(folder().join("golden.jsonl")).unwrap();
    let mut checked = 0;
    for line in golden
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
    {
        let what = format!(
            "{} {} {} seed {}",
            line["tokenizer"], line["dataset"], line["args"], line["seed"]
        );
        let mut settings =
            WorkloadSettings::new(dataset(line["dataset"].as_str().unwrap(), &line["args"]));
        settings.compat = Compat::Vllm;
        settings.seed = line["seed"].as_u64().unwrap();
        settings.num_prompts = line["n"].as_i64().unwrap();
        settings.skip_chat_template = line["args"]["skip_chat_template"] == true;
        let tokenizer = tokenizer(line["tokenizer"].as_str().unwrap());
        let workload = build(&settings, Some(&tokenizer), &|_, _| {}).unwrap();
        let lengths: Vec<Value> = workload
            .requests
            .iter()
            .map(|request| serde_json::json!([request.prompt_tokens, request.output_tokens]))
            .collect();
        assert_eq!(Value::Array(lengths), line["lengths"], "{what}");
        let texts: Vec<&str> = workload
            .requests
            .iter()
            .map(|request| request.prompt.as_text().unwrap())
            .collect();
        let digest = format!("{:x}", Sha256::digest(texts.join("\0")));
        assert_eq!(digest, line["prompts_sha256"].as_str().unwrap(), "{what}");
        checked += 1;
    }
    assert_eq!(checked, 3 * 8 * 3);
}

#[test]
fn native_lengths_are_exact_with_every_kind_of_tokenizer() {
    for name in ["builtin", "underscores", "wordpiece"] {
        let tokenizer = tokenizer(name);
        for dataset in [
            DatasetSettings::Random(RandomSettings {
                input_len: 50,
                prefix_len: 10,
                range_ratio: RangeRatio {
                    input: 0.5,
                    output: 0.5,
                },
                ..RandomSettings::default()
            }),
            DatasetSettings::PrefixRepetition(PrefixRepetitionSettings {
                prefix_len: 30,
                suffix_len: 12,
                num_prefixes: 4,
                output_len: 5,
            }),
        ] {
            let settings = WorkloadSettings {
                num_prompts: 50,
                ..WorkloadSettings::new(dataset)
            };
            let workload = build(&settings, Some(&tokenizer), &|_, _| {}).unwrap();
            assert_eq!(workload.requests.len(), 50);
            for request in &workload.requests {
                let text = request.prompt.as_text().unwrap();
                assert_eq!(
                    tokenizer.count(text, true),
                    request.prompt_tokens as usize,
                    "{name}: {text}"
                );
            }
        }
    }
}
