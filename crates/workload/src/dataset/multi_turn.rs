//! `multi-turn`: conversations of several turns, recorded or synthetic.
//!
//! A request holds the user's message of its turn. The history before it is assembled during the
//! run, since it holds the server's own replies. Requests come conversation by conversation, in
//! order of turn.

mod generator;

use std::path::{Path, PathBuf};

use inferometer_core::random::{PythonRandom, indexed_stream};
use inferometer_core::{Nanos, Prompt, Request, SessionTurn};
use rand::Rng;
use rayon::prelude::*;
use serde_json::{Value, json};

use super::limits::check_tokens;
use super::shaped::draw;
use super::spec::{DatasetSpec, LengthsSpec};
use super::texts::{Prefixes, native_texts};
use super::turns::{LISTS, Row, Turn};
use super::{Context, Sample, request};
use crate::{LengthDistribution, Tokenizer, WorkloadError, read};

/// Options of `multi-turn`.
#[derive(Clone, Debug)]
pub struct MultiTurnSettings {
    /// Where the conversations come from.
    pub source: MultiTurnSource,
    /// Conversations with fewer user turns are left out; synthetic ones have at least this many.
    pub min_turns: usize,
    /// User turns after this many are left out.
    pub max_turns: usize,
    /// Output tokens for every turn; `None` takes the length of the recorded answer.
    pub output_len: Option<i64>,
    /// Pause between an answer and the next turn, in seconds.
    pub think_seconds: f64,
}

impl MultiTurnSettings {
    /// All turns of a source, without pauses.
    pub fn new(source: MultiTurnSource) -> Self {
        Self {
            source,
            min_turns: 1,
            max_turns: usize::MAX,
            output_len: None,
            think_seconds: 0.0,
        }
    }

    /// The form that the manifest keeps.
    pub(super) fn spec(&self) -> DatasetSpec {
        let Self {
            source,
            min_turns,
            max_turns,
            output_len,
            think_seconds,
        } = self;
        let mut options = json!({
            "min_turns": min_turns,
            "max_turns": (*max_turns < usize::MAX).then_some(max_turns),
            "think_s": think_seconds,
        });
        let lengths = LengthsSpec::output(*output_len);
        match source {
            MultiTurnSource::File(path) => DatasetSpec::of_file(path, lengths, options),
            MultiTurnSource::Synthetic(turns) => {
                options["synthetic"] = turns.spec();
                DatasetSpec::generated(lengths, options)
            }
        }
    }
}

/// Where conversations come from.
#[derive(Clone, Debug)]
pub enum MultiTurnSource {
    /// A JSON list in the ShareGPT layout, or with `messages` of `role` and `content`.
    File(PathBuf),
    /// Generated here.
    Synthetic(SyntheticTurns),
}

/// The shape of synthetic conversations, in tokens.
#[derive(Clone, Debug)]
pub struct SyntheticTurns {
    /// User turns in a conversation; `None` draws uniformly from `min_turns` to `max_turns`.
    pub turns: Option<LengthDistribution>,
    /// Tokens at the start of a first turn that are the conversation's own.
    pub own_prefix: Option<LengthDistribution>,
    /// Maximum number of conversations.
    pub conversations: Option<usize>,
    /// Tokens at the start of every first turn, the same for all conversations.
    pub shared_prefix: u64,
    /// The first turn, without the shared start.
    pub first_input: LengthDistribution,
    /// Later turns.
    pub input: LengthDistribution,
    /// Answers.
    pub output: LengthDistribution,
}

impl SyntheticTurns {
    fn spec(&self) -> Value {
        let Self {
            turns,
            own_prefix,
            conversations,
            shared_prefix,
            first_input,
            input,
            output,
        } = self;
        json!({
            "turns": turns.as_ref().map(ToString::to_string),
            "own_prefix": own_prefix.as_ref().map(ToString::to_string),
            "conversations": conversations,
            "shared_prefix": shared_prefix,
            "first_input": first_input.to_string(),
            "input": input.to_string(),
            "output": output.to_string(),
        })
    }
}

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
            let prefix = i64::try_from(shape.shared_prefix).unwrap_or(i64::MAX);
            check_tokens("--multi-turn-prefix-len", prefix)?;
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
    let parse = |bytes: &[u8]| {
        serde_json::from_slice::<Row>(bytes).map(|mut row| exchanges(row.take_turns()))
    };
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
            "none of its {rows} entries has a list {LISTS} with {} turns of a user, each with an answer",
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
fn exchanges(turns: Vec<Turn>) -> Vec<Exchange> {
    let mut exchanges = Vec::new();
    let mut pending = None;
    for turn in turns {
        let speaker = turn.speaker().to_owned();
        let text = turn.into_text().unwrap_or_default();
        match speaker.as_str() {
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
mod tests;
