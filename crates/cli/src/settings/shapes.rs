//! Settings of traffic shapes.

use std::path::Path;
use std::sync::Arc;

use inferometer_benchmark::Structured;
use inferometer_benchmark::settings::{Replay, ShapeSettings};
use inferometer_workload::{
    DatasetSettings, LengthDistribution, MixSettings, MultiTurnSettings, MultiTurnSource,
    SharedPrefixes, SyntheticTurns,
};

use crate::args::{DatasetArgs, TrafficArgs};
use crate::exit::{Failure, OrFail};

/// Default number of turns of a synthetic conversation.
const DEFAULT_TURNS: usize = 4;
/// Default number of tokens of an answer in synthetic conversations.
const DEFAULT_ANSWER: &str = "128";

/// Checks and resolves the flags; reads the files that they name. Destructures them exhaustively,
/// so that a new flag does not compile until it is used.
pub(super) fn resolve(
    args: &TrafficArgs,
    dataset: &DatasetArgs,
    seed: u64,
) -> Result<ShapeSettings, Failure> {
    let TrafficArgs {
        workload,
        mix: _,                  // dataset, replay
        prefix_groups: _,        // dataset
        prefix_group_len: _,     // dataset
        prefix_zipf: _,          // dataset
        cache_hit_fraction: _,   // dataset
        salt: _,                 // replay, workload_settings
        multi_turn: _,           // wants_conversations, replay
        multi_turn_min_turns: _, // multi_turn
        multi_turn_max_turns: _, // multi_turn
        multi_turn_max_active,
        multi_turn_think_time: _, // multi_turn
        multi_turn_prefix_len: _, // multi_turn
        multi_turn_first_len: _,  // multi_turn
        multi_turn_input_len: _,  // multi_turn
        multi_turn_output_len: _, // multi_turn
        structured_output,
        structured_output_ratio,
        structured_output_file,
        no_verify_lengths,
    } = args;
    let replay = workload
        .as_ref()
        .map(|path| replay(path, args, dataset))
        .transpose()?;
    let structured = structured_output
        .map(|kind| {
            let file = structured_output_file.as_ref();
            Structured::resolve(kind.into(), *structured_output_ratio, file, seed)
        })
        .transpose()?;
    let replays_conversations = replay.as_ref().is_some_and(|replay| {
        replay
            .bundle
            .workload
            .requests
            .iter()
            .any(|request| request.session.is_some())
    });
    let conversations = replays_conversations || wants_conversations(args, dataset);
    check_max_active(*multi_turn_max_active, conversations)?;
    Ok(ShapeSettings {
        conversations,
        max_conversations: *multi_turn_max_active,
        replay,
        structured,
        verify_lengths: !no_verify_lengths,
    })
}

/// The workload file at `path`; flags that cannot change its requests are refused.
fn replay(path: &Path, args: &TrafficArgs, dataset: &DatasetArgs) -> Result<Arc<Replay>, Failure> {
    let others = [
        (dataset.dataset_name.is_some(), "--dataset-name"),
        (dataset.dataset_path.is_some(), "--dataset-path"),
        (args.mix.is_some(), "--mix"),
        (args.multi_turn, "--multi-turn"),
        (args.salt.is_some(), "--salt"),
        (args.structured_output.is_some(), "--structured-output"),
    ];
    if let Some((_, flag)) = others.iter().find(|(is_set, _)| *is_set) {
        return Err(Failure::usage(format!(
            "--workload {}: the file holds complete requests, so {flag} cannot change them; omit it, \
             or pass it to inferometer workload build",
            path.display()
        )));
    }
    Replay::read(path).map(Arc::new)
}

fn check_max_active(limit: Option<usize>, has_conversations: bool) -> Result<(), Failure> {
    match limit {
        Some(0) => Err(Failure::usage(
            "--multi-turn-max-active 0: must be at least 1",
        )),
        Some(limit) if !has_conversations => Err(Failure::usage(format!(
            "--multi-turn-max-active {limit}: needs --multi-turn; --max-concurrency limits requests"
        ))),
        _ => Ok(()),
    }
}

fn wants_conversations(args: &TrafficArgs, dataset: &DatasetArgs) -> bool {
    args.multi_turn || dataset.dataset_name.as_deref() == Some("multi-turn")
}

/// The dataset, if it is one that vLLM does not have.
pub(super) fn dataset(
    args: &TrafficArgs,
    dataset: &DatasetArgs,
) -> Result<Option<DatasetSettings>, Failure> {
    let name = dataset.dataset_name.as_deref();
    let has_groups =
        args.prefix_groups > 0 || args.cache_hit_fraction.is_some() || args.prefix_group_len > 0;
    if wants_conversations(args, dataset) {
        if let Some(name) = name.filter(|name| !matches!(*name, "multi-turn" | "sharegpt")) {
            return Err(Failure::usage(format!(
                "--multi-turn and --dataset-name {name}: conversations come from a file (--dataset-path) or are \
                 synthetic; omit --dataset-name"
            )));
        }
        return multi_turn(args, dataset).map(Some);
    }
    if args.mix.is_some() || name == Some("mix") {
        if let Some(name) = name.filter(|name| *name != "mix") {
            return Err(Failure::usage(format!(
                "--mix and --dataset-name {name}: a mix is a dataset itself; omit one of the two"
            )));
        }
        let lengths = "--mix WEIGHT:INPUT/OUTPUT";
        refuse_other_lengths(dataset, "a mix", lengths, lengths)?;
        if let Some(length) = dataset.output_len {
            return Err(Failure::usage(format!(
                "--output-len {length} has no effect on a mix: use {lengths}"
            )));
        }
        let classes = args.mix.as_deref().ok_or_else(|| {
            Failure::usage(
                "--dataset-name mix: set the classes with --mix, such as --mix 70:256/128,30:2048/512",
            )
        })?;
        let mut mix = MixSettings::parse(classes).or_usage()?;
        mix.shared = SharedPrefixes {
            // One group if only a fraction is set.
            groups: if has_groups {
                args.prefix_groups.max(1)
            } else {
                0
            },
            len: args.prefix_group_len,
            zipf: args.prefix_zipf,
            fraction: args.cache_hit_fraction,
        };
        return Ok(Some(DatasetSettings::Mix(mix)));
    }
    if has_groups {
        return Err(Failure::usage(
            "--prefix-groups, --prefix-group-len and --cache-hit-fraction need --mix: add its classes, such \
             as --mix 1:1024/128",
        ));
    }
    Ok(None)
}

/// Refuses lengths of other datasets, which a mix or conversations would ignore.
fn refuse_other_lengths(
    dataset: &DatasetArgs,
    what: &str,
    input: &str,
    output: &str,
) -> Result<(), Failure> {
    let given = [
        ("--input-len", dataset.input_len, input),
        ("--random-input-len", dataset.random_input_len, input),
        ("--random-output-len", dataset.random_output_len, output),
        ("--sharegpt-output-len", dataset.sharegpt_output_len, output),
        (
            "--random-prefix-len",
            Some(dataset.random_prefix_len).filter(|len| *len != 0),
            "",
        ),
    ];
    let found = given
        .into_iter()
        .find_map(|(flag, value, remedy)| Some((flag, value?, remedy)));
    let Some((flag, value, remedy)) = found else {
        return Ok(());
    };
    let remedy = if remedy.is_empty() {
        "omit it".to_owned()
    } else {
        format!("use {remedy}")
    };
    Err(Failure::usage(format!(
        "{flag} {value} has no effect on {what}: {remedy}"
    )))
}

fn multi_turn(args: &TrafficArgs, dataset: &DatasetArgs) -> Result<DatasetSettings, Failure> {
    refuse_other_lengths(
        dataset,
        "conversations",
        "--multi-turn-first-len and --multi-turn-input-len",
        "--multi-turn-output-len",
    )?;
    let lengths = |flag: &str, text: &str| {
        text.parse::<LengthDistribution>().map_err(|error| {
            Failure::usage(format!(
                "{flag}: {}",
                error.to_string().trim_start_matches("--mix: ")
            ))
        })
    };
    // `--output-len` sets the dataset's own option.
    let given = args
        .multi_turn_output_len
        .clone()
        .or_else(|| dataset.output_len.map(|length| length.to_string()));
    let output = given.as_deref();
    let source = match &dataset.dataset_path {
        Some(path) => MultiTurnSource::File(path.clone()),
        None => MultiTurnSource::Synthetic(SyntheticTurns {
            turns: None,
            own_prefix: None,
            conversations: None,
            shared_prefix: args.multi_turn_prefix_len,
            first_input: lengths("--multi-turn-first-len", &args.multi_turn_first_len)?,
            input: lengths("--multi-turn-input-len", &args.multi_turn_input_len)?,
            output: lengths("--multi-turn-output-len", output.unwrap_or(DEFAULT_ANSWER))?,
        }),
    };
    let from_file = matches!(source, MultiTurnSource::File(_));
    let output_len = match output.filter(|_| from_file).map(str::parse::<i64>) {
        None => None,
        Some(Ok(length)) if length > 0 => Some(length),
        Some(_) => {
            return Err(Failure::usage(format!(
                "--multi-turn-output-len {}: must be one number of at least 1 for conversations from a file",
                output.unwrap_or_default()
            )));
        }
    };
    Ok(DatasetSettings::MultiTurn(MultiTurnSettings {
        min_turns: args.multi_turn_min_turns,
        max_turns: args.multi_turn_max_turns.unwrap_or(if from_file {
            usize::MAX
        } else {
            DEFAULT_TURNS.max(args.multi_turn_min_turns)
        }),
        output_len,
        think_seconds: args.multi_turn_think_time,
        ..MultiTurnSettings::new(source)
    }))
}
