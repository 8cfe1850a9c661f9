//! The tutorial's `combos.yaml`: every pair of lengths with every pair of concurrency and number of
//! prompts.

use std::path::{Path, PathBuf};
use std::time::Duration;

use indexmap::IndexMap;
use inferometer_results::BenchName;
use serde_json::{Map, Value};

use crate::plan::{Cell, Form, OURSELVES, Plan, cell_seed, saving};
use crate::read::Keys;
use crate::stop::StopRules;
use crate::{CampaignError, SweepOptions};

/// Flags that a sweep sets itself.
pub(crate) const OURS: [&str; 5] = [
    "save-result",
    "append-result",
    "result-dir",
    "result-filename",
    "disable-tqdm",
];

const KEYS: &str = "model, base_url, tokenizer, input_output, concurrency_prompts";

/// The plan of a combinations file.
pub(crate) fn plan(
    path: &Path,
    map: Map<String, Value>,
    options: &SweepOptions,
) -> Result<Plan, CampaignError> {
    let mut keys = Keys::new(path, "", map);
    let model = keys.text("model")?;
    let base_url = keys.text("base_url")?;
    let tokenizer = keys.text("tokenizer")?;
    let lengths = pairs(&mut keys, "input_output", "[input, output]")?;
    let loads = pairs(&mut keys, "concurrency_prompts", "[concurrency, prompts]")?;
    keys.end()?;
    refuse_extra(
        options,
        &[
            "random-input-len",
            "random-output-len",
            "max-concurrency",
            "num-prompts",
        ],
    )?;

    let mut common = vec![OURSELVES.to_owned(), "run".to_owned()];
    let mut add = |flag: &str, value: &str| common.extend([flag.to_owned(), value.to_owned()]);
    add("--backend", "vllm");
    for (flag, value) in [
        ("--model", model),
        ("--base-url", base_url),
        ("--tokenizer", tokenizer),
    ] {
        if let Some(value) = value {
            add(flag, &value);
        }
    }
    add("--dataset-name", "random");
    add("--percentile-metrics", "ttft,tpot,itl,e2el");

    let repeats = options.repeats.unwrap_or(1);
    let output = options
        .output
        .clone()
        .unwrap_or_else(|| PathBuf::from("results"));
    let seed_given = crate::flags::value_of(&options.extra, "seed").map(str::to_owned);
    let mut cells = Vec::new();
    for run in 1..=repeats {
        for &(input_len, output_len) in &lengths {
            for &(concurrency, num_prompts) in &loads {
                let name = BenchName {
                    input_len,
                    output_len,
                    concurrency,
                    num_prompts,
                };
                let setting = format!("io{input_len}x{output_len} mc{concurrency} np{num_prompts}");
                let seed = match &seed_given {
                    Some(text) => base_seed(text)? + (run as u64 - 1),
                    None => cell_seed(0, &setting, run),
                };
                let result = in_repeat(Path::new(&name.to_string()), run, repeats);
                let mut command = common.clone();
                for (flag, value) in [
                    ("--random-input-len", input_len),
                    ("--random-output-len", output_len),
                    ("--max-concurrency", concurrency),
                    ("--num-prompts", num_prompts),
                    ("--seed", seed),
                ] {
                    command.extend([flag.to_owned(), value.to_string()]);
                }
                command.extend(without_seed(&options.extra));
                crate::flags::simulate(&mut command);
                finish(&mut command, &output, &result, options);
                cells.push(Cell {
                    name: named(&setting, run, repeats),
                    setting,
                    run,
                    command,
                    result,
                    server: None,
                    served_at: None,
                    warmup: None,
                    annotations: IndexMap::new(),
                });
            }
        }
    }
    let plan = Plan {
        form: Form::Combos,
        output,
        servers: Vec::new(),
        cells,
        cooldown: Duration::ZERO,
        stop: StopRules::default(),
        fail_fast: options.fail_fast,
        after_command: None,
        reset_caches: false,
    };
    plan.check()?;
    Ok(plan)
}

/// Refuses further arguments for what the sweep sets itself: a file's name would not tell the
/// truth.
pub(crate) fn refuse_extra(options: &SweepOptions, set: &[&str]) -> Result<(), CampaignError> {
    match set
        .iter()
        .chain(&OURS)
        .find(|flag| crate::flags::has(&options.extra, flag))
    {
        Some(flag) => Err(CampaignError::setting(format!(
            "--{flag} after -- would contradict what the sweep sets for each run; change the file instead"
        ))),
        None => Ok(()),
    }
}

/// What every run of ours gets: a saved result, a run folder inside the campaign's, no bar.
pub(crate) fn finish(
    command: &mut Vec<String>,
    output: &Path,
    result: &Path,
    options: &SweepOptions,
) {
    command.extend(saving(output, result));
    if options.run_folders && !crate::flags::has(command, "runs-dir") {
        command.extend([
            "--runs-dir".to_owned(),
            output.join("runs").display().to_string(),
        ]);
    } else if !options.run_folders {
        command.push("--no-run-folder".to_owned());
    }
    command.push("--disable-tqdm".to_owned());
}

/// Repeats have a folder each, so that files keep the names that scripts know.
pub(crate) fn in_repeat(result: &Path, run: usize, repeats: usize) -> PathBuf {
    if repeats > 1 {
        Path::new(&format!("run{run}")).join(result)
    } else {
        result.to_owned()
    }
}

/// A name for people.
pub(crate) fn named(setting: &str, run: usize, repeats: usize) -> String {
    if repeats > 1 {
        format!("{setting} · run {run}")
    } else {
        setting.to_owned()
    }
}

pub(crate) fn base_seed(text: &str) -> Result<u64, CampaignError> {
    text.parse().map_err(|_| {
        CampaignError::setting(format!("seed {text}: write a whole number, zero or more"))
    })
}

fn without_seed(extra: &[String]) -> Vec<String> {
    let mut kept = Vec::new();
    let mut skip = false;
    for argument in extra {
        if std::mem::take(&mut skip) {
            continue;
        }
        skip = argument == "--seed";
        if !skip && !argument.starts_with("--seed=") {
            kept.push(argument.clone());
        }
    }
    kept
}

fn pairs<'a>(
    keys: &mut Keys<'a>,
    key: &'a str,
    form: &str,
) -> Result<Vec<(u64, u64)>, CampaignError> {
    let Some(value) = keys.take(key) else {
        return Err(keys.problem(format!(
            "{key} is missing: a list of pairs {form}; the keys are {KEYS}"
        )));
    };
    let kind = format!("a list of pairs {form} of whole numbers, one or more");
    let read = |value: &Value| -> Option<(u64, u64)> {
        let pair = value.as_array().filter(|pair| pair.len() == 2)?;
        let number = |value: &Value| value.as_u64().filter(|number| *number > 0);
        Some((number(&pair[0])?, number(&pair[1])?))
    };
    let pairs: Option<Vec<_>> = value
        .as_array()
        .and_then(|list| list.iter().map(read).collect());
    match pairs {
        Some(pairs) if !pairs.is_empty() => Ok(pairs),
        _ => Err(keys.wrong(key, &value, &kind)),
    }
}
