use super::*;
use crate::{
    BurstGptSettings, Compat, CustomSettings, DatasetSettings, MixSettings,
    PrefixRepetitionSettings, RandomMmSettings, RandomSettings, RangeRatio, RerankSettings,
    SharedPrefixes, TimedTraceSettings, TraceSettings,
};

/// Makes the workload both ways and compares them; gives the number of chunks.
fn chunks_of(settings: &WorkloadSettings) -> usize {
    let tokenizer = Tokenizer::builtin().unwrap();
    let name = settings.dataset.name();
    let whole = build(settings, Some(&tokenizer), &|_, _| {}).unwrap();
    let (mut requests, mut chunks) = (Vec::new(), 0);
    let rest = build_in_chunks::<WorkloadError>(
        settings,
        Some(&tokenizer),
        &|_, _| {},
        &mut |chunk, total| {
            chunks += 1;
            assert_eq!(total, whole.requests.len(), "{name}");
            requests.extend(chunk);
            Ok(())
        },
    );
    let rest = rest.unwrap();
    assert!(whole.requests == requests, "{name}");
    assert_eq!(
        (rest.warnings, rest.about),
        (whole.warnings, whole.about),
        "{name}"
    );
    assert_eq!(rest.force_ignore_eos, whole.force_ignore_eos, "{name}");
    chunks
}

fn of(dataset: DatasetSettings, num_prompts: i64) -> WorkloadSettings {
    WorkloadSettings {
        num_prompts,
        ..WorkloadSettings::new(dataset)
    }
}

#[test]
#[expect(
    clippy::too_many_lines,
    reason = "a sequence of steps or a table of cases"
)]
fn chunks_are_the_whole() {
    let random = |input_len| RandomSettings {
        input_len,
        output_len: 5,
        range_ratio: RangeRatio {
            input: 0.5,
            output: 0.5,
        },
        prefix_len: 3,
        ..RandomSettings::default()
    };
    // Short prompts repeat by chance, so that those of later chunks must know of earlier ones.
    let short = PrefixRepetitionSettings {
        prefix_len: 8,
        suffix_len: 2,
        num_prefixes: 2,
        output_len: 4,
    };
    let mix = || MixSettings::parse("70:2/8,30:uniform(2,6)/4").unwrap();
    let mut grouped = mix();
    grouped.shared = SharedPrefixes {
        groups: 4,
        len: 5,
        zipf: 1.0,
        fraction: None,
    };
    let mut hits = mix();
    hits.shared = SharedPrefixes {
        groups: 4,
        len: 0,
        zipf: 1.0,
        fraction: Some(0.5),
    };
    let mm = RandomMmSettings {
        text: random(4),
        buckets: vec![crate::MmBucket {
            height: 8,
            width: 8,
            frames: 1,
            probability: 1.0,
        }],
        ..RandomMmSettings::default()
    };
    let rerank = RerankSettings {
        input_len: 16,
        batch_size: 3,
        ..RerankSettings::default()
    };
    let rerank = WorkloadSettings {
        is_pooling: true,
        ..of(DatasetSettings::RandomRerank(rerank), 3000)
    };
    let batches = RandomSettings {
        batch_size: 3,
        ..random(4)
    };
    let batches = WorkloadSettings {
        is_pooling: true,
        ..of(DatasetSettings::Random(batches), 3001)
    };
    let all = [
        of(DatasetSettings::Random(random(2)), 10_000),
        of(DatasetSettings::PrefixRepetition(short.clone()), 9_000),
        of(DatasetSettings::Mix(mix()), 3000),
        of(DatasetSettings::Mix(grouped), 3000),
        of(DatasetSettings::Mix(hits), 3000),
        of(DatasetSettings::RandomMm(mm), 200),
        rerank.clone(),
        batches,
    ];
    for settings in &all {
        assert!(chunks_of(settings) > 2, "{}", settings.dataset.name());
        let salted = WorkloadSettings {
            salt: Some("x".into()),
            ..settings.clone()
        };
        assert!(chunks_of(&salted) > 2, "{}", settings.dataset.name());
    }
    let vllm = |settings: WorkloadSettings| WorkloadSettings {
        compat: Compat::Vllm,
        ..settings
    };
    assert!(chunks_of(&vllm(of(DatasetSettings::Random(random(8)), 2500))) > 2);
    assert!(chunks_of(&vllm(rerank)) > 2);
    let mut ordered = vllm(of(DatasetSettings::PrefixRepetition(short), 2501));
    assert_eq!(chunks_of(&ordered), 1);
    ordered.shuffle = false;
    assert!(chunks_of(&ordered) > 2);
}

#[test]
fn chunks_of_files_are_the_whole() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: String| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let rows = |line: &dyn Fn(usize) -> String| (0..2500).map(line).collect::<String>();
    let mooncake = file(
        "trace.jsonl",
        rows(&|at| {
            format!(
                "{{\"timestamp\": {at}, \"input_length\": {}, \"output_length\": 2, \"hash_ids\": [{}]}}\n",
                3 + at % 5,
                at % 7
            )
        }),
    );
    let burst = "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n".to_owned();
    let burst = file(
        "b.csv",
        burst + &rows(&|at| format!("{at},GPT-4,{},7,27,API log\n", 2 + at % 3)),
    );
    let custom = file(
        "custom.jsonl",
        rows(&|at| {
            if at < 7 {
                format!("{{\"prompt\": \"word {at}\"}}\n")
            } else {
                String::new()
            }
        }),
    );
    let burst = of(
        DatasetSettings::BurstGpt(BurstGptSettings { path: burst }),
        3000,
    );
    let trace = TraceSettings {
        path: mooncake.clone(),
        ..TraceSettings::default()
    };
    let timed = TimedTraceSettings {
        path: mooncake,
        ..TimedTraceSettings::default()
    };
    let custom = CustomSettings {
        path: custom,
        output_len: 3,
    };
    for settings in [
        burst.clone(),
        WorkloadSettings {
            compat: Compat::Vllm,
            ..burst
        },
        of(DatasetSettings::Trace(trace), 0),
        of(DatasetSettings::TimedTrace(timed), 0),
        of(DatasetSettings::Custom(custom.clone()), 1000),
        WorkloadSettings {
            salt: Some("x".into()),
            ..of(DatasetSettings::Custom(custom.clone()), 1000)
        },
        WorkloadSettings {
            compat: Compat::Vllm,
            ..of(DatasetSettings::Custom(custom.clone()), 1000)
        },
    ] {
        assert!(chunks_of(&settings) > 2, "{}", settings.dataset.name());
    }
    assert_eq!(chunks_of(&of(DatasetSettings::Custom(custom), 5)), 1);
}

/// What the program made before it made chunks.
#[test]
fn contents_stay() {
    let tokenizer = Tokenizer::builtin().unwrap();
    for (settings, hash) in contents() {
        let made = build(&settings, Some(&tokenizer), &|_, _| {}).unwrap();
        let text = serde_json::to_vec(&made.requests).unwrap();
        let found = format!("{:x}", <sha2::Sha256 as sha2::Digest>::digest(&text));
        assert_eq!(&found[..16], hash, "{}", settings.dataset.name());
    }
}

fn contents() -> Vec<(WorkloadSettings, &'static str)> {
    let short = PrefixRepetitionSettings {
        prefix_len: 8,
        suffix_len: 2,
        num_prefixes: 2,
        output_len: 4,
    };
    let mut mix = MixSettings::parse("70:2/8,30:uniform(2,6)/4").unwrap();
    let plain = of(DatasetSettings::Mix(mix.clone()), 3000);
    mix.shared = SharedPrefixes {
        groups: 4,
        len: 5,
        zipf: 1.0,
        fraction: None,
    };
    let random = RandomSettings {
        input_len: 9,
        output_len: 5,
        prefix_len: 3,
        ..RandomSettings::default()
    };
    let random = of(DatasetSettings::Random(random), 2500);
    let prefixes = of(DatasetSettings::PrefixRepetition(short), 3000);
    let vllm = |settings: WorkloadSettings| WorkloadSettings {
        compat: Compat::Vllm,
        ..settings
    };
    let rerank = RerankSettings {
        input_len: 16,
        batch_size: 3,
        ..RerankSettings::default()
    };
    let rerank = WorkloadSettings {
        is_pooling: true,
        ..of(DatasetSettings::RandomRerank(rerank), 3000)
    };
    vec![
        (vllm(random.clone()), "dcbd7fdf0e1b274c"),
        (random, "8b4b4bcf950a8ad0"),
        (vllm(prefixes.clone()), "6d9cd63e9f729f35"),
        (prefixes, "5598391cbf03179c"),
        (plain, "2e51d19aa70d2a41"),
        (of(DatasetSettings::Mix(mix), 3000), "8b0d77e35600feb0"),
        (vllm(rerank.clone()), "068350c5081640f1"),
        (rerank, "d0efc412f2531d16"),
    ]
}
