//! Checks against real tokenizers and datasets, which are too large for the project.
//!
//! `INFEROMETER_TEST_DATA` names a folder with `tokenizers/NAME/tokenizer.json` and `datasets/`
//! (the files that `datasets/golden*.jsonl` speaks of). Without it these tests say so and pass.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "helpers of tests may panic, and say that they skip"
)]

use std::fs;
use std::path::PathBuf;

use inferometer_core::{Prompt, Workload};
use inferometer_workload::{
    BurstGptSettings, Compat, CustomSettings, DatasetSettings, HfSettings, HubSettings,
    PrefixRepetitionSettings, RandomSettings, ShareGptSettings, SpecBenchSettings,
    TimedTraceSettings, Tokenizer, WorkloadSettings, build,
};
use serde_json::Value;
use sha2::{Digest, Sha256};

fn data() -> Option<PathBuf> {
    let folder = std::env::var_os("INFEROMETER_TEST_DATA").map(PathBuf::from);
    if folder.is_none() {
        println!(
            "skipped: INFEROMETER_TEST_DATA does not name a folder with tokenizers and datasets"
        );
    }
    folder
}

fn tokenizer(name: &str) -> Option<Tokenizer> {
    let path = data()?.join("tokenizers").join(name);
    Some(Tokenizer::load(path.to_str().unwrap(), &HubSettings::offline()).unwrap())
}

const TOKENIZERS: [&str; 6] = [
    "smollm2",
    "gpt2",
    "qwen3",
    "deepseek_v4",
    "mistral_v3",
    "minilm_bert",
];

/// Texts with everything that splitting and merging can trip over.
fn probes() -> Vec<String> {
    let mut texts: Vec<String> = [
        "",
        " ",
        "Hello world",
        "  leading and trailing  ",
        "I'm you're we'll they'd it's DON'T I'VE",
        "line one\r\nline two\r\n\r\n   \t tabs\t\t\n",
        "12345 1,234.56 3rd ٣٤٥ Ⅷ ½",
        "naïve café e\u{301}clair A\u{30a}ngstrom ﬁ",
        "中文测试,日本語のテキスト、カタカナ 한국어 텍스트",
        "🎉👩‍👩‍👧‍👦 flags 🇩🇪 \u{200b}zero\u{feff}width",
        "fn main() { println!(\"{}\", x+=1); } // 注释",
        "<|im_start|>user\nHi<|im_end|><s></s>[INST] <unk><|endoftext|>",
        "\0\u{1}\u{7f}\u{80}\u{a0}\u{2028}",
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        "▁ underscore▁▁inside ▁",
        "!!!???...,,,---===___ ###[link](http://x.y/z?a=b&c=d)",
        "Привет мир Ελληνικά עברית العربية हिन्दी ไทย",
        "\u{1100}\u{1161}\u{11a8}",
    ]
    .map(str::to_owned)
    .to_vec();
    // Random stretches of all the above, cut at character borders.
    let all: Vec<char> = texts.concat().chars().collect();
    let mut state = 1_u64;
    let mut next = |n: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % n
    };
    for _ in 0..300 {
        let len = 1 + next(60);
        texts.push((0..len).map(|_| all[next(all.len())]).collect());
    }
    texts
}

#[test]
fn fast_encoding_equals_the_crates() {
    let Some(folder) = data() else { return };
    for name in TOKENIZERS {
        let ours = tokenizer(name).unwrap();
        let file = folder.join("tokenizers").join(name).join("tokenizer.json");
        let mut theirs = tokenizers::Tokenizer::from_file(&file).unwrap();
        theirs.with_truncation(None).unwrap();
        theirs.with_padding(None);
        for text in probes() {
            let expected = theirs.encode_fast(text.as_str(), false).unwrap();
            let ids = ours.encode(&text);
            assert_eq!(ids, expected.get_ids(), "{name}: {text:?}");
            assert_eq!(
                ours.decode(&ids),
                theirs.decode(&ids, false).unwrap(),
                "{name}: {text:?}"
            );
            let special = theirs.encode_fast(text.as_str(), true).unwrap();
            assert_eq!(
                ours.count(&text, true),
                special.get_ids().len(),
                "{name}: {text:?}"
            );
        }
        assert_eq!(ours.vocab_size(), theirs.get_vocab_size(false), "{name}");
    }
}

#[test]
fn a_long_template_renders_as_in_python() {
    let Some(tokenizer) = tokenizer("qwen3") else {
        return;
    };
    let messages = serde_json::json!([
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi <b>&</b>"},
        {"role": "assistant", "content": "<think>\nhm\n</think>\n\nHello"},
        {"role": "user", "content": "More"},
    ]);
    let render = |kwargs: Value| {
        tokenizer
            .apply_chat_template(messages.as_array().unwrap(), kwargs.as_object().unwrap())
            .unwrap()
    };
    let chat = "<|im_start|>user\nHi <b>&</b><|im_end|>\n<|im_start|>assistant\nHello<|im_end|>\n\
                <|im_start|>user\nMore<|im_end|>\n<|im_start|>assistant\n";
    let plain = render(serde_json::json!({"enable_thinking": false}));
    assert_eq!(
        plain,
        format!("<|im_start|>system\nBe brief.<|im_end|>\n{chat}<think>\n\n</think>\n\n")
    );
    let tools = serde_json::json!([{"type": "function", "function": {
        "name": "f", "parameters": {"type": "object", "properties": {"x": {"type": "number"}}}}}]);
    let with_tools = render(serde_json::json!({"tools": tools}));
    let line = "{\"type\": \"function\", \"function\": {\"name\": \"f\", \"parameters\": {\"type\": \"object\", \
                \"properties\": {\"x\": {\"type\": \"number\"}}}}}";
    assert!(with_tools.contains(line), "{with_tools}");
    assert!(with_tools.ends_with(chat), "{with_tools}");
}

#[test]
fn native_random_prompts_are_exact_for_every_tokenizer() {
    for name in TOKENIZERS {
        let Some(tokenizer) = tokenizer(name) else {
            return;
        };
        let options = RandomSettings {
            input_len: 256,
            prefix_len: 16,
            range_ratio: "0.5".parse().unwrap(),
            ..Default::default()
        };
        let settings = WorkloadSettings {
            num_prompts: 200,
            ..WorkloadSettings::new(DatasetSettings::Random(options))
        };
        let workload = build(&settings, Some(&tokenizer), &|_, _| {}).unwrap();
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

/// The settings that a golden line's arguments stand for; `None` for datasets of other tests.
fn settings(args: &str, folder: &std::path::Path) -> Option<WorkloadSettings> {
    let words: Vec<&str> = args.split_whitespace().collect();
    let value = |flag: &str| {
        words
            .iter()
            .position(|word| *word == flag)
            .map(|at| words[at + 1])
    };
    let number = |flag: &str| value(flag).map(|text| text.parse::<i64>().unwrap());
    let path = || {
        folder
            .join("datasets")
            .join(value("--dataset-path").unwrap())
    };
    let dataset = match value("--dataset-name")? {
        "random" => DatasetSettings::Random(RandomSettings {
            input_len: number("--random-input-len").unwrap_or(1024),
            output_len: number("--random-output-len").unwrap_or(128),
            prefix_len: number("--random-prefix-len").unwrap_or(0),
            range_ratio: value("--random-range-ratio")
                .unwrap_or("0")
                .parse()
                .unwrap(),
            batch_size: 1,
        }),
        "sharegpt" => DatasetSettings::ShareGpt(ShareGptSettings {
            path: path(),
            output_len: number("--sharegpt-output-len"),
            ..ShareGptSettings::default()
        }),
        "custom" => DatasetSettings::Custom(CustomSettings {
            path: path(),
            output_len: number("--custom-output-len").unwrap_or(256),
        }),
        "burstgpt" => DatasetSettings::BurstGpt(BurstGptSettings { path: path() }),
        "spec_bench" => DatasetSettings::SpecBench(SpecBenchSettings {
            path: path(),
            ..Default::default()
        }),
        "prefix_repetition" => DatasetSettings::PrefixRepetition(PrefixRepetitionSettings {
            prefix_len: number("--prefix-repetition-prefix-len").unwrap(),
            suffix_len: number("--prefix-repetition-suffix-len").unwrap(),
            num_prefixes: number("--prefix-repetition-num-prefixes").unwrap(),
            output_len: number("--prefix-repetition-output-len").unwrap(),
        }),
        "timed_trace" => DatasetSettings::TimedTrace(TimedTraceSettings {
            path: path(),
            ..Default::default()
        }),
        "hf" => {
            let mut options = HfSettings::new(path().to_str().unwrap(), HubSettings::offline());
            options.name = value("--hf-name").map(str::to_owned);
            options.split = value("--hf-split").map(str::to_owned);
            DatasetSettings::Hf(options)
        }
        _ => return None,
    };
    let mut settings = WorkloadSettings::new(dataset);
    settings.compat = Compat::Vllm;
    settings.shuffle = !words.contains(&"--disable-shuffle");
    settings.oversample = !words.contains(&"--no-oversample");
    settings.is_chat = value("--backend") == Some("openai-chat");
    Some(settings)
}

fn sha256(prompt: &Prompt) -> String {
    let text = match prompt {
        Prompt::Text(text) => text.clone(),
        other => serde_json::to_string(other).unwrap(),
    };
    format!("{:x}", Sha256::digest(text))
}

fn compare(line: &Value, workload: &Workload) -> Result<(), String> {
    let expected = line["requests"].as_array().unwrap();
    if expected.len() != workload.requests.len() {
        return Err(format!(
            "{} requests instead of {}",
            workload.requests.len(),
            expected.len()
        ));
    }
    for (at, (request, expected)) in workload.requests.iter().zip(expected).enumerate() {
        let lengths = (
            u64::from(request.prompt_tokens),
            u64::from(request.output_tokens.unwrap()),
        );
        let wanted = (
            expected["prompt_len"].as_u64().unwrap(),
            expected["output_len"].as_u64().unwrap(),
        );
        if lengths != wanted {
            return Err(format!(
                "request {at}: lengths {lengths:?} instead of {wanted:?}"
            ));
        }
        if let Some(seconds) = expected["timestamp"].as_f64() {
            // The token ids of a timed trace differ from process to process in vLLM; times do not.
            let at = request.trace_at.unwrap().as_secs_f64();
            if (at - seconds).abs() > 1e-9 {
                return Err(format!("request {at}: at {at} s instead of {seconds} s"));
            }
            continue;
        }
        if sha256(&request.prompt) != expected["prompt_sha256"] {
            let head: String = request
                .prompt
                .as_text()
                .unwrap_or_default()
                .chars()
                .take(60)
                .collect();
            return Err(format!(
                "request {at}: {head:?} instead of {}",
                expected["prompt_head"]
            ));
        }
    }
    Ok(())
}

#[test]
fn the_same_seed_gives_the_same_bytes_as_vllm() {
    let Some(folder) = data() else { return };
    let golden = fs::read_to_string(folder.join("datasets/golden_vllm_0.32.jsonl")).unwrap();
    let mut failures = Vec::new();
    let mut checked = 0;
    for line in golden
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
    {
        let args = line["args"].as_str().unwrap();
        let Some(mut settings) = settings(args, &folder) else {
            continue;
        };
        settings.seed = line["seed"].as_u64().unwrap();
        settings.num_prompts = line["num_prompts"].as_i64().unwrap();
        let tokenizer = tokenizer(line["tokenizer"].as_str().unwrap());
        let result = build(&settings, tokenizer.as_ref(), &|_, _| {})
            .map_err(|error| error.to_string())
            .and_then(|workload| compare(&line, &workload));
        checked += 1;
        if let Err(message) = result {
            failures.push(format!("{args} ({}): {message}", line["tokenizer"]));
        }
    }
    assert!(
        failures.is_empty(),
        "{} of {checked} differ:\n{}",
        failures.len(),
        failures.join("\n")
    );
    assert!(checked == 15);
}
