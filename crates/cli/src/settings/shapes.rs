//! What the flags about shapes of traffic mean.

use std::sync::Arc;

use inferometer_benchmark::Structured;
use inferometer_benchmark::settings::{Replay, ShapeSettings};
use inferometer_workload::{
    DatasetSettings, LengthDistribution, MixSettings, MultiTurnSettings, MultiTurnSource,
    SharedPrefixes, SyntheticTurns,
};

use crate::args::{DatasetArgs, TrafficArgs};
use crate::exit::{Failure, OrFail};

/// Turns of synthetic conversations where the user does not say.
const USUAL_TURNS: usize = 4;
/// Tokens of an answer in synthetic conversations where the user does not say.
const USUAL_ANSWER: &str = "128";

/// Understands the flags; reads the files that they name. Takes every flag apart, so that a new one
/// does not compile before somebody reads it.
pub(super) fn resolve(
    args: &TrafficArgs,
    dataset: &DatasetArgs,
    seed: u64,
) -> Result<ShapeSettings, Failure> {
    let TrafficArgs {
        workload,
        mix,
        prefix_groups: _,      // dataset
        prefix_group_len: _,   // dataset
        prefix_zipf: _,        // dataset
        cache_hit_fraction: _, // dataset
        salt,
        multi_turn,
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
    let replay = workload.as_ref().map(|path| {
        let others = [
            (dataset.dataset_name.is_some(), "--dataset-name"),
            (dataset.dataset_path.is_some(), "--dataset-path"),
            (mix.is_some(), "--mix"),
            (*multi_turn, "--multi-turn"),
            (salt.is_some(), "--salt"),
            (structured_output.is_some(), "--structured-output"),
        ];
        if let Some((_, flag)) = others.iter().find(|(given, _)| *given) {
            return Err(Failure::usage(format!(
                "--workload {}: the file holds finished requests, so {flag} cannot change them; leave it out, \
                 or give it to inferometer workload build",
                path.display()
            )));
        }
        Replay::read(path).map(Arc::new)
    });
    let replay = replay.transpose()?;
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
    match *multi_turn_max_active {
        Some(0) => return Err(Failure::usage("--multi-turn-max-active 0: give at least 1")),
        Some(most) if !conversations => {
            return Err(Failure::usage(format!(
                "--multi-turn-max-active {most}: there are no conversations without --multi-turn; \
                 --max-concurrency limits requests"
            )));
        }
        _ => {}
    }
    Ok(ShapeSettings {
        conversations,
        max_conversations: *multi_turn_max_active,
        replay,
        structured,
        verify_lengths: !no_verify_lengths,
    })
}

fn wants_conversations(args: &TrafficArgs, dataset: &DatasetArgs) -> bool {
    args.multi_turn || dataset.dataset_name.as_deref() == Some("multi-turn")
}

/// The dataset, where it is one of ours.
pub(super) fn dataset(
    args: &TrafficArgs,
    dataset: &DatasetArgs,
) -> Result<Option<DatasetSettings>, Failure> {
    let name = dataset.dataset_name.as_deref();
    let grouped =
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
                "--mix and --dataset-name {name}: a mix is a dataset of its own; leave one of them out"
            )));
        }
        let classes = args.mix.as_deref().ok_or_else(|| {
            Failure::usage(
                "--dataset-name mix: name the classes, such as --mix 70:256/128,30:2048/512",
            )
        })?;
        let mut mix = MixSettings::parse(classes).or_usage()?;
        mix.shared = SharedPrefixes {
            // One group when only a share is asked for.
            groups: if grouped {
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
    if grouped {
        return Err(Failure::usage(
            "--prefix-groups, --prefix-group-len and --cache-hit-fraction shape a mix: give its classes too, such \
             as --mix 1:1024/128",
        ));
    }
    Ok(None)
}

fn multi_turn(args: &TrafficArgs, dataset: &DatasetArgs) -> Result<DatasetSettings, Failure> {
    let lengths = |flag: &str, text: &str| {
        text.parse::<LengthDistribution>().map_err(|error| {
            Failure::usage(format!(
                "{flag}: {}",
                error.to_string().trim_start_matches("--mix: ")
            ))
        })
    };
    let output = args.multi_turn_output_len.as_deref();
    let source = match &dataset.dataset_path {
        Some(path) => MultiTurnSource::File(path.clone()),
        None => MultiTurnSource::Synthetic(SyntheticTurns {
            turns: None,
            own_prefix: None,
            conversations: None,
            shared_prefix: args.multi_turn_prefix_len,
            first_input: lengths("--multi-turn-first-len", &args.multi_turn_first_len)?,
            input: lengths("--multi-turn-input-len", &args.multi_turn_input_len)?,
            output: lengths("--multi-turn-output-len", output.unwrap_or(USUAL_ANSWER))?,
        }),
    };
    let from_file = matches!(source, MultiTurnSource::File(_));
    let output_len = match output.filter(|_| from_file).map(str::parse::<i64>) {
        None => dataset.output_len.filter(|_| from_file),
        Some(Ok(length)) if length > 0 => Some(length),
        Some(_) => {
            return Err(Failure::usage(format!(
                "--multi-turn-output-len {}: conversations from a file take one number of at least 1 for all answers",
                output.unwrap_or_default()
            )));
        }
    };
    Ok(DatasetSettings::MultiTurn(MultiTurnSettings {
        min_turns: args.multi_turn_min_turns,
        max_turns: args.multi_turn_max_turns.unwrap_or(if from_file {
            usize::MAX
        } else {
            USUAL_TURNS.max(args.multi_turn_min_turns)
        }),
        output_len,
        think_seconds: args.multi_turn_think_time,
        ..MultiTurnSettings::new(source)
    }))
}
