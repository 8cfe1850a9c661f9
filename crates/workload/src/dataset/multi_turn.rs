//! `multi-turn`: conversations of several turns, recorded or synthetic.
//!
//! A request holds the user's message of its turn. The history before it is assembled during the
//! run, since it holds the server's own replies. Requests come conversation by conversation, in
//! order of turn.

mod generator;

use std::path::Path;

use inferometer_core::random::{PythonRandom, indexed_stream};
use inferometer_core::{Nanos, Prompt, Request, SessionTurn};
use rand::Rng;
use rayon::prelude::*;
use serde::Deserialize;

use super::shaped::draw;
use super::texts::{Prefixes, native_texts};
use super::{Context, Sample, request};
use crate::{MultiTurnSettings, MultiTurnSource, SyntheticTurns, Tokenizer, WorkloadError, read};

pub(super) fn sample(
    context: &Context<'_>,
    options: &MultiTurnSettings,
) -> Result<Sample, WorkloadError> {
    let tokenizer = context.tokenizer()?;
    if options.max_turns == 0 {
        return Err(WorkloadError::setting(
            "--multi-turn-max-turns",
            "must be at least 1",
        ));
    }
    if !(options.think_seconds >= 0.0 && options.think_seconds.is_finite()) {
        return Err(WorkloadError::setting(
            "--multi-turn-think-time",
            "must be a number of seconds, 0 or more",
        ));
    }
    let mut sample = Sample {
        with_ids: true,
        ..Sample::default()
    };
    let mut conversations = match &options.source {
        MultiTurnSource::File(path) => {
            sample.path.clone_from(path);
            if let Some(shape) = generator::read(path)? {
                sample.force_ignore_eos = true;
                sample.warnings.push(format!(
                    "{} describes conversations to generate: their text is synthetic, not taken from its \
                     text_files.",
                    path.display()
                ));
                synthetic(context, tokenizer, &shape, options, &mut sample.warnings)?
            } else {
                recorded(context, tokenizer, path, options)?
            }
        }
        MultiTurnSource::Synthetic(shape) => {
            sample.force_ignore_eos = true;
            synthetic(context, tokenizer, shape, options, &mut sample.warnings)?
        }
    };
    repeat(context, &mut sample, &mut conversations)?;
    let wanted = context.count_or_all(conversations.iter().map(Vec::len).sum());
    let think = Nanos::from_secs_f64(options.think_seconds);
    for (session, mut turns) in conversations.into_iter().enumerate() {
        let left = wanted - sample.requests.len();
        if left == 0 {
            break;
        }
        turns.truncate(left);
        let last = turns.len() - 1;
        for (turn, mut request) in turns.into_iter().enumerate() {
            let think = if turn == 0 { Nanos::ZERO } else { think };
            request.session = Some(SessionTurn {
                session,
                turn,
                has_next: turn < last,
                think,
            });
            sample.requests.push(request);
        }
    }
    Ok(sample)
}

/// Repeats the conversations where they have fewer turns than there are requests.
fn repeat(
    context: &Context<'_>,
    sample: &mut Sample,
    conversations: &mut Vec<Vec<Request>>,
) -> Result<(), WorkloadError> {
    let available: usize = conversations.iter().map(Vec::len).sum();
    let wanted = context.count_or_all(available);
    if wanted <= available {
        return Ok(());
    }
    if !context.settings.oversample {
        return Err(WorkloadError::TooShort {
            path: sample.path.clone(),
            usable: available,
            asked: wanted,
        });
    }
    sample.warnings.push(format!(
        "The conversations have {available} turns for {wanted} requests, so conversations are repeated."
    ));
    let rounds = wanted.div_ceil(available.max(1));
    let once = conversations.clone();
    conversations.extend(std::iter::repeat_n(once, rounds - 1).flatten());
    Ok(())
}

/// One conversation in either of the two usual layouts.
#[derive(Deserialize)]
struct Recorded {
    #[serde(default, alias = "messages")]
    conversations: Vec<Turn>,
}

#[derive(Deserialize)]
struct Turn {
    #[serde(default, alias = "role")]
    from: String,
    #[serde(default, alias = "content")]
    value: Option<String>,
}

/// A message of the user and the recorded answer.
struct Exchange {
    prompt: String,
    answer: String,
}

fn recorded(
    context: &Context<'_>,
    tokenizer: &Tokenizer,
    path: &Path,
    options: &MultiTurnSettings,
) -> Result<Vec<Vec<Request>>, WorkloadError> {
    let mut conversations: Vec<Vec<Exchange>> = Vec::new();
    let mut rows = 0;
    let parse = |bytes: &[u8]| serde_json::from_slice::<Recorded>(bytes).map(exchanges);
    read::json_array(path, parse, |line, parsed| {
        rows += 1;
        let exchanges = parsed.map_err(|error| {
            WorkloadError::format(path, Some(line), format!("not a conversation: {error}"))
        })?;
        if exchanges.len() >= options.min_turns.max(1) {
            conversations.push(exchanges);
        }
        Ok(())
    })?;
    if conversations.is_empty() {
        let message = format!(
            "none of its {rows} entries has a list `conversations` or `messages` with {} turns of a user, each \
             with an answer",
            options.min_turns.max(1)
        );
        return Err(WorkloadError::NoRows {
            path: path.to_owned(),
            message,
        });
    }
    if context.settings.shuffle {
        PythonRandom::new(context.settings.seed).shuffle(&mut conversations);
    }
    let wanted = usize::try_from(context.settings.num_prompts)
        .ok()
        .filter(|&n| n > 0);
    if let Some(wanted) = wanted {
        // Later conversations would not be used.
        conversations.truncate(wanted);
    }
    let made = conversations.par_iter().map(|exchanges| {
        let turns = exchanges.iter().take(options.max_turns);
        let turns = turns.map(|Exchange { prompt, answer }| {
            let output = options
                .output_len
                .map_or_else(|| tokenizer.count(answer, false), |len| len as usize);
            request(
                Prompt::Text(prompt.clone()),
                tokenizer.count(prompt, false),
                Some(output.max(1) as i64),
            )
        });
        turns.collect()
    });
    Ok(made.collect())
}

/// The user turns that have an answer right after them. Messages before the first one are left out.
fn exchanges(recorded: Recorded) -> Vec<Exchange> {
    let mut exchanges = Vec::new();
    let mut pending = None;
    for turn in recorded.conversations {
        let text = turn.value.unwrap_or_default();
        match turn.from.as_str() {
            "human" | "user" if !text.is_empty() => pending = Some(text),
            "gpt" | "assistant" | "chatgpt" | "bing" | "bard" => {
                let answer = text;
                exchanges.extend(pending.take().map(|prompt| Exchange { prompt, answer }));
            }
            _ => {}
        }
    }
    exchanges
}

/// Maximum turns of a synthetic conversation; a longer one fits into no model's context.
const MAX_TURNS: usize = 10_000;

/// Draws the lengths of all turns of conversation number `at`: input and output tokens of each.
fn draw_conversation(
    seed: u64,
    at: usize,
    shape: &SyntheticTurns,
    options: &MultiTurnSettings,
) -> Vec<(usize, usize)> {
    let mut rng = indexed_stream(seed, "multi-turn/shape", at as u64);
    let (least, most) = (options.min_turns.max(1), options.max_turns);
    let turns = match &shape.turns {
        Some(turns) => draw(turns, &mut rng).clamp(least, most.min(MAX_TURNS)),
        None => least + ((u64::from(rng.next_u32()) * (most - least + 1) as u64) >> 32) as usize,
    };
    let lengths = (0..turns).map(|turn| {
        let input = if turn == 0 {
            &shape.first_input
        } else {
            &shape.input
        };
        let own = shape.own_prefix.as_ref().filter(|_| turn == 0);
        let more = own.map_or(0, |own| draw(own, &mut rng));
        let input = draw(input, &mut rng) + more;
        (input, draw(&shape.output, &mut rng))
    });
    lengths.collect()
}

fn synthetic(
    context: &Context<'_>,
    tokenizer: &Tokenizer,
    shape: &SyntheticTurns,
    options: &MultiTurnSettings,
    warnings: &mut Vec<String>,
) -> Result<Vec<Vec<Request>>, WorkloadError> {
    let conversations = shape.conversations.unwrap_or(usize::MAX);
    let count = match shape.conversations {
        Some(_) => context.count_or_all(usize::MAX),
        None => context.count()?,
    };
    if options.max_turns > MAX_TURNS && shape.turns.is_none() {
        return Err(WorkloadError::setting(
            "--multi-turn-max-turns",
            format!("must be given for synthetic conversations, and be at most {MAX_TURNS}"),
        ));
    }
    if options.min_turns > options.max_turns {
        return Err(WorkloadError::setting(
            "--multi-turn-min-turns",
            "must not be above --multi-turn-max-turns",
        ));
    }
    let mut turns = Vec::new();
    let mut lengths = Vec::new();
    let mut outputs = Vec::new();
    while lengths.len() < count && turns.len() < conversations {
        let shapes = draw_conversation(context.settings.seed, turns.len(), shape, options);
        turns.push(shapes.len());
        for (input, output) in shapes {
            lengths.push(input);
            outputs.push(output);
        }
    }
    // The shared prefix is one more text, of which all conversations get a copy.
    let shared = if shape.shared_prefix > 0 {
        let lengths = [usize::try_from(shape.shared_prefix).unwrap_or(usize::MAX)];
        native_texts(context, tokenizer, Prefixes::NONE, &lengths, warnings)?.pop()
    } else {
        None
    };
    let texts = native_texts(context, tokenizer, Prefixes::NONE, &lengths, warnings)?;
    let mut made = texts
        .into_iter()
        .zip(outputs)
        .map(|((text, tokens), output)| (text, tokens, output));
    let conversations = turns.into_iter().map(|here| {
        let turns = made
            .by_ref()
            .take(here)
            .enumerate()
            .map(|(turn, (text, tokens, output))| {
                let (text, tokens) = match &shared {
                    Some((prefix, more)) if turn == 0 => {
                        (format!("{prefix} {text}"), tokens + more)
                    }
                    _ => (text, tokens),
                };
                request(Prompt::Text(text), tokens, Some(output as i64))
            });
        turns.collect()
    });
    Ok(conversations.collect())
}

#[cfg(test)]
mod tests {
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
}
