use std::collections::HashSet;

use super::*;
use crate::{Compat, DatasetSettings, RangeRatio, WorkloadSettings, build};

fn settings(options: RandomSettings, count: i64, seed: u64) -> WorkloadSettings {
    WorkloadSettings {
        num_prompts: count,
        seed,
        ..WorkloadSettings::new(DatasetSettings::Random(options))
    }
}

#[test]
fn native_prompts_have_exactly_the_length_asked_for() {
    let tokenizer = Tokenizer::builtin().unwrap();
    let options = RandomSettings {
        input_len: 100,
        prefix_len: 20,
        range_ratio: RangeRatio {
            input: 0.5,
            output: 0.0,
        },
        ..RandomSettings::default()
    };
    let workload = build(&settings(options, 200, 7), Some(&tokenizer), &|_, _| {}).unwrap();
    assert_eq!(workload.requests.len(), 200);
    assert!(workload.force_ignore_eos);
    let first = tokenizer.encode(workload.requests[0].prompt.as_text().unwrap());
    let mut texts = HashSet::new();
    for request in &workload.requests {
        let text = request.prompt.as_text().unwrap();
        let ids = tokenizer.encode(text);
        assert_eq!(ids.len(), request.prompt_tokens as usize);
        assert!((70..=170).contains(&ids.len()));
        assert_eq!(ids[..20], first[..20]);
        assert_eq!(text.trim(), text, "nothing that a chat template would trim");
        assert!(texts.insert(text));
    }
}

#[test]
fn a_workload_does_not_depend_on_the_number_of_threads() {
    let tokenizer = Tokenizer::builtin().unwrap();
    for compat in [Compat::Native, Compat::Vllm] {
        let settings = WorkloadSettings {
            compat,
            ..settings(
                RandomSettings {
                    input_len: 30,
                    ..RandomSettings::default()
                },
                64,
                3,
            )
        };
        let with_threads = |threads| {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap();
            pool.install(|| {
                build(&settings, Some(&tokenizer), &|_, _| {})
                    .unwrap()
                    .requests
            })
        };
        assert_eq!(with_threads(1), with_threads(3));
    }
}

#[test]
fn short_prompts_differ_as_long_as_there_are_words() {
    let tokenizer = Tokenizer::builtin().unwrap();
    let options = RandomSettings {
        input_len: 2,
        ..RandomSettings::default()
    };
    let workload = build(
        &settings(options.clone(), 3000, 0),
        Some(&tokenizer),
        &|_, _| {},
    )
    .unwrap();
    let texts: HashSet<_> = workload
        .requests
        .iter()
        .map(|request| request.prompt.as_text())
        .collect();
    assert_eq!(texts.len(), 3000);
    assert!(workload.warnings.is_empty());
    let one = RandomSettings {
        input_len: 1,
        ..options
    };
    let workload = build(&settings(one, 5000, 0), Some(&tokenizer), &|_, _| {}).unwrap();
    assert!(workload.warnings[0].contains("repeat others"));
}

#[test]
fn lengths_that_leave_nothing_are_refused() {
    let tokenizer = Tokenizer::builtin().unwrap();
    for (options, flag) in [
        (
            RandomSettings {
                input_len: 0,
                ..RandomSettings::default()
            },
            "--random-input-len",
        ),
        (
            RandomSettings {
                input_len: -5,
                ..RandomSettings::default()
            },
            "--random-input-len",
        ),
        (
            RandomSettings {
                output_len: 0,
                ..RandomSettings::default()
            },
            "--random-output-len",
        ),
        (
            RandomSettings {
                prefix_len: -1,
                ..RandomSettings::default()
            },
            "--random-prefix-len",
        ),
        (
            RandomSettings {
                batch_size: 2,
                ..RandomSettings::default()
            },
            "--random-batch-size",
        ),
        (
            RandomSettings {
                range_ratio: RangeRatio {
                    input: f64::NAN,
                    output: 0.0,
                },
                ..RandomSettings::default()
            },
            "--random-range-ratio",
        ),
    ] {
        let error = build(&settings(options, 10, 0), Some(&tokenizer), &|_, _| {}).unwrap_err();
        assert!(error.to_string().starts_with(flag), "{error}");
    }
    let error = build(
        &settings(RandomSettings::default(), 0, 0),
        Some(&tokenizer),
        &|_, _| {},
    )
    .unwrap_err();
    assert!(error.to_string().starts_with("--num-prompts"), "{error}");
}

#[test]
fn batches_hold_several_prompts() {
    let tokenizer = Tokenizer::builtin().unwrap();
    let options = RandomSettings {
        input_len: 8,
        batch_size: 4,
        ..RandomSettings::default()
    };
    let settings = WorkloadSettings {
        is_pooling: true,
        ..settings(options, 10, 0)
    };
    let workload = build(&settings, Some(&tokenizer), &|_, _| {}).unwrap();
    let sizes: Vec<usize> = workload
        .requests
        .iter()
        .map(|request| request.prompt.sequences())
        .collect();
    assert_eq!(sizes, [4, 4, 2]);
    assert_eq!(workload.requests[0].prompt_tokens, 32);
    assert_eq!(workload.requests[0].output_tokens, Some(0));
    assert!(!workload.force_ignore_eos);
}

#[test]
fn a_range_ratio_is_a_number_or_json() {
    assert_eq!(
        "0.25".parse::<RangeRatio>().unwrap(),
        RangeRatio {
            input: 0.25,
            output: 0.25
        }
    );
    let json = r#"{"input": 0.1, "output": 0}"#;
    assert_eq!(
        json.parse::<RangeRatio>().unwrap(),
        RangeRatio {
            input: 0.1,
            output: 0.0
        }
    );
    for bad in [
        "-0.1",
        "1",
        "nan",
        "inf",
        "x",
        "{}",
        r#"{"input": 0.1}"#,
        r#"{"input": 2, "output": 0}"#,
    ] {
        let error = bad.parse::<RangeRatio>().unwrap_err().to_string();
        assert!(error.contains("--random-range-ratio"), "{bad}: {error}");
    }
}
