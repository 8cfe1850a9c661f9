use super::*;
use crate::{DatasetSettings, LengthDistribution, WorkloadSettings, build};

fn run(
    options: MultiTurnSettings,
    count: i64,
) -> Result<inferometer_core::Workload, WorkloadError> {
    let settings = WorkloadSettings {
        num_prompts: count,
        shuffle: false,
        is_chat: true,
        ..WorkloadSettings::new(DatasetSettings::MultiTurn(options))
    };
    build(&settings, Some(&Tokenizer::builtin().unwrap()), &|_, _| {})
}

fn from_file(content: &str, count: i64) -> Result<inferometer_core::Workload, WorkloadError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("conversations.json");
    std::fs::write(&path, content).unwrap();
    let options = MultiTurnSettings {
        think_seconds: 0.5,
        ..MultiTurnSettings::new(MultiTurnSource::File(path))
    };
    run(options, count)
}

const CONVERSATIONS: &str = r#"[
    {"id": 1, "conversations": [{"from": "system", "value": "s"}, {"from": "human", "value": "one"},
        {"from": "gpt", "value": "first answer"}, {"from": "human", "value": "two"}, {"from": "gpt", "value": "x"},
        {"from": "human", "value": "no answer"}]},
    {"id": 2, "conversations": [{"from": "gpt", "value": "hello"}]},
    {"id": 3, "messages": [{"role": "user", "content": "three"}, {"role": "assistant", "content": "y"}]}
]"#;

fn places(workload: &inferometer_core::Workload) -> Vec<(usize, usize, bool)> {
    let turns = workload
        .requests
        .iter()
        .map(|request| request.session.clone().unwrap());
    turns
        .map(|turn| (turn.session, turn.turn, turn.has_next))
        .collect()
}

#[test]
fn recorded_conversations_keep_their_turns() {
    let workload = from_file(CONVERSATIONS, 0).unwrap();
    let prompts: Vec<_> = workload
        .requests
        .iter()
        .map(|request| request.prompt.as_text().unwrap())
        .collect();
    assert_eq!(prompts, ["one", "two", "three"]);
    assert_eq!(
        places(&workload),
        [(0, 0, true), (0, 1, false), (1, 0, false)]
    );
    assert_eq!(
        workload.requests[1].session.as_ref().unwrap().think,
        Nanos::from_millis(500)
    );
    assert_eq!(
        workload.requests[2].session.as_ref().unwrap().think,
        Nanos::ZERO
    );
    // The last conversation is cut at the number of requests; all are repeated where there are
    // too few.
    assert_eq!(
        places(&from_file(CONVERSATIONS, 1).unwrap()),
        [(0, 0, false)]
    );
    let more = from_file(CONVERSATIONS, 5).unwrap();
    assert_eq!(places(&more)[3..], [(2, 0, true), (2, 1, false)]);
    assert!(more.warnings[0].contains("repeated"));
}

#[test]
fn files_without_conversations_are_refused() {
    let error = from_file(r#"[{"conversations": []}]"#, 0)
        .unwrap_err()
        .to_string();
    assert!(error.contains("none of its 1 entries"), "{error}");
    let error = from_file("[3]", 0).unwrap_err().to_string();
    assert!(error.contains("line 1: not a conversation"), "{error}");
}

#[test]
fn the_input_of_vllms_script_is_read() {
    let config = r#"{"filetype": "generate_conversations", "num_conversations": 3, "text_files": ["x.txt"],
        "prompt_input": {"num_turns": {"distribution": "uniform", "min": 4, "max": 6},
            "common_prefix_num_tokens": {"distribution": "constant", "value": 10},
            "prefix_num_tokens": {"distribution": "constant", "value": 5},
            "num_tokens": {"distribution": "lognormal", "average": 30, "max": 40}},
        "prompt_output": {"num_tokens": {"distribution": "poisson", "alpha": 9}}}"#;
    let workload = from_file(config, 0).unwrap();
    let turns: Vec<usize> = (0..3)
        .map(|session| {
            places(&workload)
                .iter()
                .filter(|place| place.0 == session)
                .count()
        })
        .collect();
    assert!(
        turns.iter().all(|turns| (2..=3).contains(turns)),
        "{turns:?}"
    );
    assert!(workload.requests[0].prompt_tokens > 15);
    assert!(workload.requests[1].prompt_tokens <= 40);
    for (broken, part) in [
        (config.replace("poisson", "cauchy"), "unknown distribution"),
        (config.replace("num_turns", "turns"), "num_turns is missing"),
        (config.replace("generate_", ""), "filetype"),
    ] {
        let error = from_file(&broken, 0).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn synthetic_conversations_share_a_prefix() {
    let shape = SyntheticTurns {
        turns: None,
        own_prefix: None,
        conversations: None,
        shared_prefix: 30,
        first_input: LengthDistribution::Constant(20),
        input: LengthDistribution::Constant(7),
        output: LengthDistribution::Constant(5),
    };
    let endless = MultiTurnSettings::new(MultiTurnSource::Synthetic(shape.clone()));
    assert!(
        run(endless, 20)
            .unwrap_err()
            .to_string()
            .starts_with("--multi-turn-max-turns")
    );
    let options = MultiTurnSettings {
        min_turns: 2,
        max_turns: 3,
        ..MultiTurnSettings::new(MultiTurnSource::Synthetic(shape))
    };
    let workload = run(options, 20).unwrap();
    let tokenizer = Tokenizer::builtin().unwrap();
    assert_eq!(workload.requests.len(), 20);
    let first = tokenizer.encode(workload.requests[0].prompt.as_text().unwrap());
    for request in &workload.requests {
        let ids = tokenizer.encode(request.prompt.as_text().unwrap());
        assert_eq!(ids.len(), request.prompt_tokens as usize);
        if request.session.as_ref().unwrap().turn == 0 {
            assert_eq!(ids.len(), 50);
            assert_eq!(ids[..30], first[..30]);
        } else {
            assert_eq!(ids.len(), 7);
        }
    }
    assert!(workload.force_ignore_eos);
}
