//! `multi-turn`: conversations of several turns, recorded or synthetic.
//!
//! A request holds what the user says in its turn. The history before it is put together while the
//! run goes on, since it holds the server's own replies. Requests come conversation by
//! conversation, in order of turn.

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
                    "{} describes conversations to be made up: their words are our own, not those of its \
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
    let available: usize = conversations.iter().map(Vec::len).sum();
    let wanted = context.count_or_all(available);
    if wanted > available {
        if !context.settings.oversample {
            return Err(WorkloadError::TooShort {
                path: sample.path,
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
    }
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

/// What the user said and what came back.
type Exchange = (String, String);

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
            WorkloadError::format(path, Some(line), format!("no conversation: {error}"))
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
        let turns = turns.map(|(prompt, answer)| {
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

/// The user's turns that have an answer right after them. What stands before the first one is left
/// out.
fn exchanges(recorded: Recorded) -> Vec<Exchange> {
    let mut exchanges = Vec::new();
    let mut pending = None;
    for turn in recorded.conversations {
        let text = turn.value.unwrap_or_default();
        match turn.from.as_str() {
            "human" | "user" if !text.is_empty() => pending = Some(text),
            "gpt" | "assistant" | "chatgpt" | "bing" | "bard" => {
                exchanges.extend(pending.take().map(|prompt| (prompt, text)));
            }
            _ => {}
        }
    }
    exchanges
}

/// Longer synthetic conversations fit into no model.
const MOST_TURNS: usize = 10_000;

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
    if options.max_turns > MOST_TURNS && shape.turns.is_none() {
        return Err(WorkloadError::setting(
            "--multi-turn-max-turns",
            format!("must be given for synthetic conversations, and be at most {MOST_TURNS}"),
        ));
    }
    if options.min_turns > options.max_turns {
        return Err(WorkloadError::setting(
            "--multi-turn-min-turns",
            "must not be above --multi-turn-max-turns",
        ));
    }
    let seed = context.settings.seed;
    let mut turns = Vec::new();
    let mut lengths = Vec::new();
    let mut outputs = Vec::new();
    while lengths.len() < count && turns.len() < conversations {
        let mut rng = indexed_stream(seed, "multi-turn/shape", turns.len() as u64);
        let (least, most) = (options.min_turns.max(1), options.max_turns);
        let here = match &shape.turns {
            Some(turns) => draw(turns, &mut rng).clamp(least, most.min(MOST_TURNS)),
            None => {
                least + ((u64::from(rng.next_u32()) * (most - least + 1) as u64) >> 32) as usize
            }
        };
        turns.push(here);
        for turn in 0..here {
            let input = if turn == 0 {
                &shape.first_input
            } else {
                &shape.input
            };
            let own = shape.own_prefix.as_ref().filter(|_| turn == 0);
            let more = own.map_or(0, |own| draw(own, &mut rng));
            lengths.push(draw(input, &mut rng) + more);
            outputs.push(draw(&shape.output, &mut rng));
        }
    }
    // The shared beginning is one text more, of which all conversations get a copy.
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

/// The input of vLLM's multi-turn script that describes conversations instead of holding them.
mod generator {
    use std::fs::File;
    use std::io::Read;
    use std::path::Path;

    use serde_json::Value;

    use crate::{LengthDistribution, SyntheticTurns, WorkloadError};

    /// Bytes of a file that are looked at to tell what it is.
    const HEAD: u64 = 4096;

    /// The shape that the file describes; `None` for a file of conversations.
    pub(super) fn read(path: &Path) -> Result<Option<SyntheticTurns>, WorkloadError> {
        let failed = |source| WorkloadError::Io {
            path: path.to_owned(),
            source,
        };
        let mut head = Vec::new();
        File::open(path)
            .map_err(failed)?
            .take(HEAD)
            .read_to_end(&mut head)
            .map_err(failed)?;
        if head.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'{') {
            return Ok(None);
        }
        let wrong = |message: String| WorkloadError::format(path, None, message);
        let text = std::fs::read_to_string(path).map_err(failed)?;
        let all: Value = serde_json::from_str(&text)
            .map_err(|error| wrong(format!("this is no JSON object: {error}")))?;
        if all["filetype"] != "generate_conversations" {
            return Err(wrong(
                "a JSON object must have \"filetype\": \"generate_conversations\"; conversations are a JSON list"
                    .into(),
            ));
        }
        let part = |pointer: &str| {
            let found = all.pointer(pointer);
            found
                .map(distribution)
                .transpose()
                .map_err(|error| wrong(format!("{pointer}: {error}")))
        };
        let needed =
            |pointer: &str| part(pointer)?.ok_or_else(|| wrong(format!("{pointer} is missing")));
        let conversations = all["num_conversations"].as_u64();
        let turns = needed("/prompt_input/num_turns")?;
        let shared = part("/prompt_input/common_prefix_num_tokens")?;
        let input = needed("/prompt_input/num_tokens")?;
        Ok(Some(SyntheticTurns {
            // There, turns of both sides are counted, and rounded to pairs.
            turns: Some(halved(turns)),
            own_prefix: part("/prompt_input/prefix_num_tokens")?,
            conversations: Some(
                conversations
                    .and_then(|n| usize::try_from(n).ok())
                    .filter(|&n| n > 0)
                    .ok_or_else(|| wrong("num_conversations must be a number above 0".into()))?,
            ),
            shared_prefix: shared.map_or(Ok(0), |shared| match shared {
                LengthDistribution::Constant(len) => Ok(len),
                _ => Err(wrong(
                    "common_prefix_num_tokens must be constant: it is the same for all".into(),
                )),
            })?,
            first_input: input.clone(),
            input,
            output: needed("/prompt_output/num_tokens")?,
        }))
    }

    /// A distribution as that script writes it.
    fn distribution(value: &Value) -> Result<LengthDistribution, String> {
        let number = |name: &str| value[name].as_f64().filter(|n| n.is_finite());
        let need = |name: &str| number(name).ok_or_else(|| format!("the number {name} is missing"));
        let kind = value["distribution"].as_str().unwrap_or_default();
        let made = match kind {
            "constant" => LengthDistribution::Constant(need("value")?.max(0.0) as u64),
            "uniform" => LengthDistribution::Uniform {
                low: need("min")?.max(0.0) as u64,
                high: need("max")?.max(need("min")?).max(1.0) as u64,
            },
            "lognormal" => match number("average") {
                Some(average) => {
                    // A median of `median_ratio` times the mean, since mean = median·exp(σ²/2).
                    let ratio = number("median_ratio").unwrap_or(0.85).clamp(1e-6, 1.0);
                    let sigma = (-2.0 * ratio.ln()).sqrt();
                    LengthDistribution::LogNormal {
                        median: average * ratio,
                        sigma,
                    }
                }
                None => LengthDistribution::LogNormal {
                    median: need("mean")?.exp(),
                    sigma: need("sigma")?.max(0.0),
                },
            },
            "zipf" => match need("alpha")? {
                alpha if alpha > 1.0 => LengthDistribution::Zipf(alpha),
                alpha => return Err(format!("alpha is {alpha}, but must be above 1")),
            },
            "poisson" => match need("alpha")? {
                alpha if alpha > 0.0 => LengthDistribution::Poisson(alpha),
                alpha => return Err(format!("alpha is {alpha}, but must be above 0")),
            },
            other => return Err(format!("{other:?} is no distribution that is known here")),
        };
        Ok(match number("max").filter(|_| kind != "uniform") {
            Some(most) => LengthDistribution::AtMost(Box::new(made), most.max(1.0) as u64),
            None => made,
        })
    }

    /// Half of every length.
    fn halved(turns: LengthDistribution) -> LengthDistribution {
        match turns {
            LengthDistribution::Constant(n) => LengthDistribution::Constant((n / 2).max(1)),
            LengthDistribution::Uniform { low, high } => LengthDistribution::Uniform {
                low: (low / 2).max(1),
                high: (high / 2).max(1),
            },
            LengthDistribution::LogNormal { median, sigma } => LengthDistribution::LogNormal {
                median: median / 2.0,
                sigma,
            },
            LengthDistribution::Poisson(mean) => LengthDistribution::Poisson(mean / 2.0),
            LengthDistribution::AtMost(inner, most) => {
                LengthDistribution::AtMost(Box::new(halved(*inner)), (most / 2).max(1))
            }
            other => other,
        }
    }
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
        let path = dir.path().join("talks.json");
        std::fs::write(&path, content).unwrap();
        let options = MultiTurnSettings {
            think_seconds: 0.5,
            ..MultiTurnSettings::new(MultiTurnSource::File(path))
        };
        run(options, count)
    }

    const TALKS: &str = r#"[
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
        let workload = from_file(TALKS, 0).unwrap();
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
        // A conversation is cut where the requests asked for end, and repeated where there are too
        // few.
        assert_eq!(places(&from_file(TALKS, 1).unwrap()), [(0, 0, false)]);
        let more = from_file(TALKS, 5).unwrap();
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
        assert!(error.contains("line 1: no conversation"), "{error}");
    }

    #[test]
    fn the_input_of_vllms_script_is_understood() {
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
            (config.replace("poisson", "cauchy"), "no distribution"),
            (config.replace("num_turns", "turns"), "num_turns is missing"),
            (config.replace("generate_", ""), "filetype"),
        ] {
            let error = from_file(&broken, 0).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn synthetic_conversations_share_their_beginning() {
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
