//! `combos.yaml`: every pair of lengths with every pair of concurrency and number of prompts.

use std::path::{Path, PathBuf};
use std::time::Duration;

use indexmap::IndexMap;
use inferometer_results::BenchName;
use serde_json::{Map, Value};

use crate::campaign::{Campaign, Cell, Form, cell_name, cell_seed, check_count, in_repeat};
use crate::error::CampaignError;
use crate::files::Keys;
use crate::flag_table::Settings;
use crate::flags;
use crate::options::{SweepOptions, base_seed};
use crate::stop_rules::StopRules;
use crate::work::{OurRun, Work};

const KEYS: &str = "model, base_url, tokenizer, input_output, concurrency_prompts";

/// The campaign of a combinations file.
pub(crate) fn campaign(
    path: &Path,
    map: Map<String, Value>,
    options: &SweepOptions,
) -> Result<Campaign, CampaignError> {
    let mut keys = Keys::new(path, "", map);
    let common = common_settings(&mut keys)?;
    let lengths = keys.take("input_output");
    let loads = keys.take("concurrency_prompts");
    keys.end()?;
    let lengths = pairs(&keys, "input_output", lengths, "[input, output]")?;
    let loads = pairs(
        &keys,
        "concurrency_prompts",
        loads,
        "[concurrency, prompts]",
    )?;
    options.refuse_extra([
        "random-input-len",
        "random-output-len",
        "max-concurrency",
        "num-prompts",
    ])?;
    options.refuse_lists(
        ["base-url"]
            .into_iter()
            .filter(|flag| common.contains_key(*flag)),
    )?;

    let repeats = options.repeats.unwrap_or(1);
    check_count(
        [lengths.len(), loads.len(), repeats],
        "shorten input_output or concurrency_prompts, or lower --num-runs",
    )?;
    let output = options
        .output
        .clone()
        .unwrap_or_else(|| PathBuf::from("results"));
    let (seed, extra) = take_seed(&options.extra)?;
    let maker = CellMaker {
        common,
        seed,
        extra,
        repeats,
        output: &output,
        options,
    };
    let mut cells = Vec::new();
    for run in 1..=maker.repeats {
        for &Pair(input_len, output_len) in &lengths {
            for &Pair(concurrency, num_prompts) in &loads {
                let name = BenchName {
                    input_len,
                    output_len,
                    concurrency,
                    num_prompts,
                };
                cells.push(maker.cell(&name, run));
            }
        }
    }
    let campaign = Campaign {
        form: Form::Combos,
        output,
        servers: Vec::new(),
        cells,
        cooldown: Duration::ZERO,
        stop: StopRules::default(),
        fail_fast: options.fail_fast,
        after_command: None,
        reset_caches: false,
        notes: Vec::new(),
    };
    campaign.check()?;
    Ok(campaign)
}

/// The settings that all runs share.
fn common_settings(keys: &mut Keys<'_>) -> Result<Settings, CampaignError> {
    let mut settings = Settings::new();
    let mut set = |flag: &str, value: &str| settings.insert(flag.to_owned(), value.into());
    set("backend", "vllm");
    for (flag, value) in [
        ("model", keys.text("model")?),
        ("base-url", keys.text("base_url")?),
        ("tokenizer", keys.text("tokenizer")?),
    ] {
        if let Some(value) = value {
            set(flag, &value);
        }
    }
    set("dataset-name", "random");
    set("percentile-metrics", "ttft,tpot,itl,e2el");
    Ok(settings)
}

struct CellMaker<'a> {
    common: Settings,
    /// Seed of the first repeat of every setting; without one each setting has its own.
    seed: Option<u64>,
    /// Further arguments without the seed.
    extra: Vec<String>,
    repeats: usize,
    output: &'a Path,
    options: &'a SweepOptions,
}

impl CellMaker<'_> {
    fn cell(&self, name: &BenchName, run: usize) -> Cell {
        let setting = format!(
            "io{}x{} mc{} np{}",
            name.input_len, name.output_len, name.concurrency, name.num_prompts
        );
        let seed = match self.seed {
            Some(seed) => seed + (run as u64 - 1),
            None => cell_seed(0, &setting, run),
        };
        let mut settings = self.common.clone();
        for (flag, value) in [
            ("random-input-len", name.input_len),
            ("random-output-len", name.output_len),
            ("max-concurrency", name.concurrency),
            ("num-prompts", name.num_prompts),
            ("seed", seed),
        ] {
            settings.insert(flag.to_owned(), value.into());
        }
        let result = in_repeat(Path::new(&name.to_string()), run, self.repeats);
        let left = self.options.run_output(self.output, &result);
        Cell {
            name: cell_name(&setting, run, self.repeats),
            setting,
            run,
            work: Work::Ours(Box::new(OurRun::new(settings, &self.extra, left))),
            result,
            server: None,
            served_at: None,
            warmup: None,
            annotations: IndexMap::new(),
        }
    }
}

/// The seed among further arguments, and the arguments without it: each repeat has another.
fn take_seed(extra: &[String]) -> Result<(Option<u64>, Vec<String>), CampaignError> {
    let mut extra = extra.to_vec();
    let seed = flags::value_of(&extra, "seed").map(Value::from);
    while flags::has(&extra, "seed") {
        flags::remove_last(&mut extra, "seed");
    }
    let seed = seed.as_ref().map(base_seed).transpose()?;
    Ok((seed, extra))
}

/// Two whole numbers of a list of pairs.
#[derive(Clone, Copy)]
struct Pair(u64, u64);

fn pairs(
    keys: &Keys<'_>,
    key: &str,
    value: Option<Value>,
    form: &str,
) -> Result<Vec<Pair>, CampaignError> {
    let Some(value) = value else {
        return Err(keys.problem(format!(
            "{key} is missing: expected a list of pairs {form}; the keys are {KEYS}"
        )));
    };
    let kind = format!("a list of pairs {form} of whole numbers, one or more");
    let read = |value: &Value| -> Option<Pair> {
        let pair = value.as_array().filter(|pair| pair.len() == 2)?;
        let number = |value: &Value| value.as_u64().filter(|number| *number > 0);
        Some(Pair(number(&pair[0])?, number(&pair[1])?))
    };
    let pairs: Option<Vec<_>> = value
        .as_array()
        .and_then(|list| list.iter().map(read).collect());
    match pairs {
        Some(pairs) if !pairs.is_empty() => Ok(pairs),
        _ => Err(keys.invalid(key, &value, &kind)),
    }
}
