//! The experiment file: any flag of `run` as a list.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use indexmap::{IndexMap, IndexSet};
use rand::seq::SliceRandom;
use serde_json::{Map, Value, json};

use crate::campaign::{
    Campaign, Cell, Form, Warmup, cell_name, cell_seed, check_count, file_part, in_repeat,
};
use crate::error::CampaignError;
use crate::files::{Keys, at};
use crate::flag_table::{Flag, FlagKind, FlagTable, FlagValue, Settings, dashed, text};
use crate::hidden_values::{file_name, plain_value};
use crate::named::{Combination, Named, named};
use crate::options::{RESERVED_FLAGS, SweepOptions, base_seed};
use crate::stop_rules::{Condition, StopRules};
use crate::work::{OurCommand, OurRun, SIMULATED, Work, is_simulated};

/// The longest pause between two runs: a day.
const MAX_COOLDOWN_S: f64 = 86_400.0;

/// The campaign of an experiment file.
pub(crate) fn campaign(
    path: &Path,
    map: Map<String, Value>,
    table: &FlagTable,
    options: &SweepOptions,
) -> Result<Campaign, CampaignError> {
    let description = Description::read(path, map, table)?;
    let repeats = options.repeats.unwrap_or(description.repeats);
    if repeats == 0 {
        return Err(at(path, "repeats", "repeats: 0: expected 1 or more"));
    }
    description.check_count(repeats)?;
    let settings = description.settings(path)?;
    let set: IndexSet<String> = settings
        .iter()
        .flat_map(|all| all.keys().map(|key| dashed(key)))
        .collect();
    options.refuse_extra(set.iter().map(String::as_str).chain(["seed"]))?;
    let fixed = description
        .run
        .fixed
        .keys()
        .filter_map(|key| table.find(key));
    let lists = fixed.filter(|flag| flag.kind == FlagKind::Many);
    options.refuse_lists(lists.map(|flag| flag.name.as_str()))?;
    let output = options.output.clone().or(description.output);
    let output = output.unwrap_or_else(|| PathBuf::from("results"));
    let maker = CellMaker {
        fixed: description.run.fixed,
        table,
        repeats,
        output: &output,
        warmup: description.warmup,
        options,
        path,
    };
    // Round after round, so that a slow drift of the server affects all settings alike.
    let mut cells = Vec::new();
    let settings = named(settings);
    for run in 1..=repeats {
        for setting in &settings {
            cells.push(maker.cell(setting, run)?);
        }
    }
    if let Some(seed) = description.shuffle_seed {
        cells.shuffle(&mut inferometer_core::random::stream(
            seed,
            "campaign order",
        ));
    }
    let campaign = Campaign {
        form: Form::Experiment,
        output,
        servers: Vec::new(),
        cells,
        cooldown: Duration::from_secs_f64(description.cooldown_s),
        stop: description.stop,
        fail_fast: options.fail_fast,
        after_command: None,
        reset_caches: false,
        notes: Vec::new(),
    };
    campaign.check()?;
    campaign.register_secrets();
    Ok(campaign)
}

/// What an experiment file holds.
struct Description {
    run: Split,
    combine: Combine,
    rows: Option<Vec<Combination>>,
    repeats: usize,
    /// The seed of the order; `None` for the order of the file.
    shuffle_seed: Option<u64>,
    cooldown_s: f64,
    /// Requests of an unmeasured run before the first one.
    warmup: Option<u64>,
    output: Option<PathBuf>,
    stop: StopRules,
}

impl Description {
    fn read(
        path: &Path,
        map: Map<String, Value>,
        table: &FlagTable,
    ) -> Result<Self, CampaignError> {
        let mut keys = Keys::new(path, "", map);
        let description = Self {
            run: split(&flags_map(&mut keys, "run", path, table)?, table),
            combine: Combine::read(&mut keys, path)?,
            rows: rows(&mut keys, path, table)?,
            repeats: keys.whole("repeats")?.unwrap_or(1) as usize,
            shuffle_seed: shuffle_seed(&mut keys, path)?,
            cooldown_s: cooldown(&mut keys, path)?,
            warmup: keys.whole("warmup_num_prompts")?,
            output: keys.text("output_dir")?.map(PathBuf::from),
            stop: stop_rules(&mut keys, path)?,
        };
        keys.end()?;
        Ok(description)
    }

    /// Refuses more runs than a campaign may have, before they are made.
    fn check_count(&self, repeats: usize) -> Result<(), CampaignError> {
        let lists = self.run.varied.values().map(Vec::len);
        let combinations: Vec<usize> = match self.combine {
            Combine::Grid => lists.collect(),
            Combine::Zip => lists.max().into_iter().collect(),
        };
        let rows = self.rows.as_ref().map_or(1, Vec::len);
        check_count(
            combinations.into_iter().chain([rows, repeats]),
            "shorten the lists of run or rows, or lower repeats",
        )
    }

    /// What varies, for each run of a round.
    fn settings(&self, path: &Path) -> Result<Vec<Combination>, CampaignError> {
        let combinations = self.combine.all(&self.run.varied, path)?;
        Ok(with_rows(&combinations, self.rows.as_deref()))
    }
}

/// How lists are combined.
enum Combine {
    Grid,
    Zip,
}

impl Combine {
    fn read(keys: &mut Keys<'_>, path: &Path) -> Result<Self, CampaignError> {
        match keys.text("combine")?.as_deref() {
            None | Some("grid") => Ok(Self::Grid),
            Some("zip") => Ok(Self::Zip),
            Some(other) => Err(at(
                path,
                "combine",
                format!("combine: unknown value {other:?}: expected \"grid\" or \"zip\""),
            )),
        }
    }

    fn all(
        &self,
        varied: &IndexMap<String, Vec<Value>>,
        path: &Path,
    ) -> Result<Vec<Combination>, CampaignError> {
        match self {
            Self::Grid => Ok(grid(varied)),
            Self::Zip => zip(varied).map_err(|problem| at(path, "combine", problem)),
        }
    }
}

/// Seconds between two runs.
fn cooldown(keys: &mut Keys<'_>, path: &Path) -> Result<f64, CampaignError> {
    const KEY: &str = "cooldown_seconds";
    let seconds = keys.number(KEY)?.unwrap_or(0.0);
    if seconds <= MAX_COOLDOWN_S {
        return Ok(seconds);
    }
    Err(at(
        path,
        KEY,
        format!("{KEY}: {seconds}: expected at most {MAX_COOLDOWN_S} seconds"),
    ))
}

/// The seed of the order; `None` for the order of the file.
fn shuffle_seed(keys: &mut Keys<'_>, path: &Path) -> Result<Option<u64>, CampaignError> {
    let order = keys.text("order")?;
    let seed = keys.whole("order_seed")?.unwrap_or(0);
    match order.as_deref() {
        None | Some("given") => Ok(None),
        Some("shuffled") => Ok(Some(seed)),
        Some(other) => Err(at(
            path,
            "order",
            format!("order: unknown value {other:?}: expected \"given\" or \"shuffled\""),
        )),
    }
}

/// Each row with each combination. A row is the most explicit, so that it wins over lists and fixed
/// values alike; where it sets what a list varies, the combinations that only differ in that are one run.
fn with_rows(combinations: &[Combination], rows: Option<&[Combination]>) -> Vec<Combination> {
    let mut settings = Vec::new();
    for row in rows.unwrap_or(&[Combination::new()]) {
        let mut known = HashSet::new();
        for combination in combinations {
            let mut all = combination.clone();
            all.extend(row.clone());
            if known.insert(json!(all).to_string()) {
                settings.push(all);
            }
        }
    }
    settings
}

struct CellMaker<'a> {
    fixed: Combination,
    table: &'a FlagTable,
    repeats: usize,
    output: &'a Path,
    warmup: Option<u64>,
    options: &'a SweepOptions,
    path: &'a Path,
}

impl CellMaker<'_> {
    fn cell(&self, named: &Named, run: usize) -> Result<Cell, CampaignError> {
        let mut all = self.fixed.clone();
        all.extend(named.values.clone());
        let name = |separator| named.name(separator, |_| true).map(|name| file_name(&name));
        let setting = name(" ").unwrap_or_else(|| "run".to_owned());
        let stem = name("-").map_or_else(|| "run".to_owned(), |name| file_part(&name));
        let seed = match all.get("seed") {
            Some(seed) => base_seed(seed)? + (run as u64 - 1),
            None => cell_seed(0, &setting, run),
        };
        all.insert("seed".to_owned(), seed.into());
        if let Some(label) = label(&all, named) {
            all.insert("label".to_owned(), label.into());
        }
        let result = in_repeat(Path::new(&format!("{stem}.json")), run, self.repeats);
        let our_run = self.our_run(&all, &result)?;
        // A simulated run has no server to warm up.
        let warmup = self
            .warmup
            .filter(|_| our_run.command() == OurCommand::Run)
            .map(|num_prompts| Warmup {
                key: String::new(),
                work: Work::Ours(Box::new(our_run.warmup(num_prompts))),
            });
        Ok(Cell {
            name: cell_name(&setting, run, self.repeats),
            setting,
            run,
            work: Work::Ours(Box::new(our_run)),
            result,
            server: None,
            served_at: None,
            warmup,
            annotations: IndexMap::new(),
        })
    }

    /// The run with these values, each checked against its flag.
    fn our_run(&self, values: &Combination, result: &Path) -> Result<OurRun, CampaignError> {
        let mut settings = Settings::new();
        let mut only_simulated = None;
        for (key, value) in values {
            let flag = self
                .table
                .find(key)
                .ok_or_else(|| at(self.path, key, format!("unknown flag {key}")))?;
            if flag.simulated {
                only_simulated = Some(key);
            }
            let value =
                FlagValue::read(flag, value).map_err(|problem| at(self.path, key, problem))?;
            settings.insert(flag.name.clone(), value);
        }
        let left = self.options.run_output(self.output, result);
        let run = OurRun::new(settings, &self.options.extra, left);
        match only_simulated.filter(|_| run.command() == OurCommand::Run) {
            Some(key) => {
                let problem = format!(
                    "{key} is a setting of the simulated engine: it needs backend: {SIMULATED}"
                );
                Err(at(self.path, key, problem))
            }
            None => Ok(run),
        }
    }
}

/// A label that tells apart what result files do not: settings that vary, other than load and
/// lengths.
fn label(all: &Combination, named: &Named) -> Option<String> {
    let mut in_file = vec![
        "request_rate",
        "max_concurrency",
        "num_prompts",
        "seed",
        "model",
    ];
    // What was simulated has the name of a real backend in its file.
    if !all
        .get("backend")
        .is_some_and(|backend| is_simulated(&text(backend)))
    {
        in_file.push("backend");
    }
    if !all.contains_key("random_range_ratio") {
        in_file.extend(["random_input_len", "random_output_len"]);
    }
    let label = named.name(" ", |key| !in_file.contains(&key));
    label.filter(|_| !all.contains_key("label"))
}

/// A map of flags, with every key known.
fn flags_map<'a>(
    keys: &mut Keys<'a>,
    key: &'a str,
    path: &Path,
    table: &FlagTable,
) -> Result<Combination, CampaignError> {
    match keys.take(key) {
        None => Ok(Combination::new()),
        Some(Value::Object(map)) => checked(path, key, map, table),
        Some(value) => Err(keys.invalid(key, &value, "a map of flags")),
    }
}

fn checked(
    path: &Path,
    place: &str,
    map: Map<String, Value>,
    table: &FlagTable,
) -> Result<Combination, CampaignError> {
    let mut settings = Combination::new();
    for (key, value) in map {
        let Some(flag) = table.find(&key) else {
            let hint = match table.suggest(&key) {
                Some(name) => format!("did you mean {name:?}?"),
                None => "inferometer run --help lists the flags".to_owned(),
            };
            return Err(at(
                path,
                &key,
                format!("{place}: unknown flag {key:?} of run: {hint}"),
            ));
        };
        if RESERVED_FLAGS.contains(&flag.name.as_str()) {
            return Err(at(
                path,
                &key,
                format!("{place}: {key} is set by the sweep itself; remove it"),
            ));
        }
        // Both spellings are one flag.
        if settings
            .insert(flag.name.replace('-', "_"), value)
            .is_some()
        {
            let name = flag.name.replace('-', "_");
            let problem =
                format!("{place}: {name} is set twice, with \"_\" and with \"-\" in its name");
            return Err(at(path, &key, problem));
        }
    }
    Ok(settings)
}

fn rows(
    keys: &mut Keys<'_>,
    path: &Path,
    table: &FlagTable,
) -> Result<Option<Vec<Combination>>, CampaignError> {
    let Some(value) = keys.take("rows") else {
        return Ok(None);
    };
    let list = match value {
        Value::Array(list) if !list.is_empty() => list,
        value => return Err(keys.invalid("rows", &value, "a list of maps of flags")),
    };
    let row = |value: Value| match value {
        Value::Object(map) => checked(path, "rows", map, table),
        value => Err(at(
            path,
            "rows",
            format!(
                "rows: invalid value {}: expected a map of flags",
                plain_value("rows", &value)
            ),
        )),
    };
    list.into_iter()
        .map(row)
        .collect::<Result<Vec<_>, _>>()
        .map(Some)
}

fn stop_rules(keys: &mut Keys<'_>, path: &Path) -> Result<StopRules, CampaignError> {
    let Some(value) = keys.take("stop") else {
        return Ok(StopRules::default());
    };
    let Value::Object(map) = value else {
        return Err(keys.invalid("stop", &value, "a map with when, max_minutes, max_failed"));
    };
    let mut keys = Keys::new(path, "stop.", map);
    let when = match keys.take("when") {
        None => Vec::new(),
        Some(Value::String(one)) => vec![Value::String(one)],
        Some(Value::Array(list)) => list,
        Some(value) => {
            return Err(keys.invalid("when", &value, "a condition or a list of conditions"));
        }
    };
    let when: Vec<Condition> = when
        .iter()
        .map(|text_value| {
            text(text_value)
                .parse()
                .map_err(|error| at(path, "when", format!("stop.when: {error}")))
        })
        .collect::<Result<_, _>>()?;
    let max_minutes = keys.number("max_minutes")?;
    let max_failed = keys.whole("max_failed")?.map(|count| count as usize);
    keys.end()?;
    Ok(StopRules {
        when,
        max_minutes,
        max_failed,
    })
}

/// The values under `run`.
struct Split {
    fixed: Combination,
    /// Lists of values that vary.
    varied: IndexMap<String, Vec<Value>>,
}

/// Separates fixed values from lists of values that vary.
fn split(run: &Combination, table: &FlagTable) -> Split {
    let mut fixed = Combination::new();
    let mut varied = IndexMap::new();
    for (key, value) in run {
        let many = table
            .find(key)
            .is_some_and(|flag: &Flag| flag.kind == FlagKind::Many);
        match value {
            // A flag with several values takes a plain list whole; lists in a list vary.
            Value::Array(items) if many && !items.iter().any(Value::is_array) => {
                fixed.insert(key.clone(), value.clone());
            }
            Value::Array(items) => {
                varied.insert(key.clone(), items.clone());
            }
            value => {
                fixed.insert(key.clone(), value.clone());
            }
        }
    }
    Split { fixed, varied }
}

/// Every value with every other; the last list changes fastest.
fn grid(varied: &IndexMap<String, Vec<Value>>) -> Vec<Combination> {
    let mut all = vec![Combination::new()];
    for (key, values) in varied {
        all = all
            .into_iter()
            .flat_map(|settings| {
                values.iter().map(move |value| {
                    let mut settings = settings.clone();
                    settings.insert(key.clone(), value.clone());
                    settings
                })
            })
            .collect();
    }
    all
}

/// The first values together, then the second ones, and so on.
fn zip(varied: &IndexMap<String, Vec<Value>>) -> Result<Vec<Combination>, String> {
    let Some((first, values)) = varied.first() else {
        return Ok(vec![Combination::new()]);
    };
    if let Some((key, other)) = varied.iter().find(|(_, other)| other.len() != values.len()) {
        return Err(format!(
            "combine: zip needs lists of the same length, but {first} has {} values and {key} has {}",
            values.len(),
            other.len()
        ));
    }
    let at = |index: usize| {
        varied
            .iter()
            .map(|(key, values)| (key.clone(), values[index].clone()))
            .collect()
    };
    Ok((0..values.len()).map(at).collect())
}
