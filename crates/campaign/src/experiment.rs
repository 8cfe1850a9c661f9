//! The experiment file: any flag of `run` as a list.

use std::path::{Path, PathBuf};
use std::time::Duration;

use indexmap::{IndexMap, IndexSet};
use rand::seq::SliceRandom;
use serde_json::{Map, Value};

use crate::combos::{OURS, base_seed, finish, in_repeat, named, refuse_extra};
use crate::flags::{
    Flag, FlagKind, FlagTable, SIMULATED, dashed, is_simulated, override_parameter, simulate, text,
};
use crate::plan::{Cell, Form, OURSELVES, Plan, Warmup, cell_seed, file_part};
use crate::read::{Keys, at};
use crate::stop::{Condition, StopRules};
use crate::{CampaignError, SweepOptions};

/// One combination of flags, by their names with underscores.
type Settings = IndexMap<String, Value>;

/// The plan of an experiment file.
pub(crate) fn plan(
    path: &Path,
    map: Map<String, Value>,
    table: &FlagTable,
    options: &SweepOptions,
) -> Result<Plan, CampaignError> {
    let mut keys = Keys::new(path, "", map);
    let run = flags_map(&mut keys, "run", path, table)?;
    let combine = keys.text("combine")?.unwrap_or_else(|| "grid".to_owned());
    let rows = rows(&mut keys, path, table)?;
    let repeats = options
        .repeats
        .or(keys.whole("repeats")?.map(|repeats| repeats as usize))
        .unwrap_or(1);
    let order = keys.text("order")?.unwrap_or_else(|| "given".to_owned());
    let order_seed = keys.whole("order_seed")?.unwrap_or(0);
    let cooldown = keys.number("cooldown_seconds")?.unwrap_or(0.0);
    let warmup = keys.whole("warmup_num_prompts")?;
    let output = keys.text("output_dir")?.map(PathBuf::from);
    let stop = stop_rules(&mut keys, path)?;
    if repeats == 0 {
        return Err(at(
            path,
            "repeats",
            "repeats: 0 runs make no campaign; write 1 or more",
        ));
    }
    let (fixed, varied) = split(&run, table);
    let combinations = match combine.as_str() {
        "grid" => grid(&varied),
        "zip" => zip(&varied).map_err(|problem| at(path, "combine", problem))?,
        _ => {
            return Err(at(
                path,
                "combine",
                format!("combine: {combine:?} is neither \"grid\" nor \"zip\""),
            ));
        }
    };
    let mut settings: Vec<Settings> = Vec::new();
    for row in rows.unwrap_or_else(|| vec![Settings::new()]) {
        for combination in &combinations {
            // A row is the most explicit, so that it wins over lists and fixed values alike.
            let mut all = combination.clone();
            all.extend(row.clone());
            settings.push(all);
        }
    }
    let set: IndexSet<String> = settings
        .iter()
        .flat_map(|all| all.keys().map(|key| dashed(key)))
        .collect();
    refuse_extra(
        options,
        &set.iter()
            .map(String::as_str)
            .chain(["seed"])
            .collect::<Vec<_>>(),
    )?;
    let shuffled = match order.as_str() {
        "given" => false,
        "shuffled" => true,
        _ => {
            return Err(at(
                path,
                "order",
                format!("order: {order:?} is neither \"given\" nor \"shuffled\""),
            ));
        }
    };
    keys.end()?;

    let output = options
        .output
        .clone()
        .or(output)
        .unwrap_or_else(|| PathBuf::from("results"));
    let maker = Maker {
        fixed,
        table,
        repeats,
        output: &output,
        warmup,
        options,
        path,
    };
    // Round after round, so that a slow drift of the server touches all settings alike.
    let mut cells = Vec::new();
    for run in 1..=repeats {
        for settings in &settings {
            cells.push(maker.cell(settings, run)?);
        }
    }
    if shuffled {
        cells.shuffle(&mut inferometer_core::random::stream(
            order_seed,
            "campaign order",
        ));
    }
    let plan = Plan {
        form: Form::Experiment,
        output,
        servers: Vec::new(),
        cells,
        cooldown: Duration::from_secs_f64(cooldown),
        stop,
        fail_fast: options.fail_fast,
        after_command: None,
        reset_caches: false,
    };
    plan.check()?;
    Ok(plan)
}

struct Maker<'a> {
    fixed: Settings,
    table: &'a FlagTable,
    repeats: usize,
    output: &'a Path,
    warmup: Option<u64>,
    options: &'a SweepOptions,
    path: &'a Path,
}

impl Maker<'_> {
    fn cell(&self, varied: &Settings, run: usize) -> Result<Cell, CampaignError> {
        let mut all = self.fixed.clone();
        all.extend(varied.clone());
        let parts: Vec<String> = varied
            .iter()
            .map(|(key, value)| format!("{key}={}", text(value)))
            .collect();
        let setting = if parts.is_empty() {
            "run".to_owned()
        } else {
            parts.join(" ")
        };
        let stem = file_part(&if parts.is_empty() {
            "run".to_owned()
        } else {
            parts.join("-")
        });
        let result = in_repeat(Path::new(&format!("{stem}.json")), run, self.repeats);
        let seed = match all.get("seed") {
            Some(seed) => base_seed(&text(seed))? + (run as u64 - 1),
            None => cell_seed(0, &setting, run),
        };
        all.insert("seed".to_owned(), seed.into());
        if let Some(label) = label(&all, varied) {
            all.insert("label".to_owned(), label.into());
        }
        let mut command = vec![OURSELVES.to_owned(), "run".to_owned()];
        let mut only_simulated = None;
        for (key, value) in &all {
            let flag = self
                .table
                .find(key)
                .ok_or_else(|| at(self.path, key, format!("unknown flag {key}")))?;
            if flag.simulated {
                only_simulated = Some(key);
            }
            let arguments = FlagTable::arguments(flag, value);
            command.extend(arguments.map_err(|problem| at(self.path, key, problem))?);
        }
        command.extend(self.options.extra.iter().cloned());
        let simulated = simulate(&mut command);
        if let Some(key) = only_simulated.filter(|_| !simulated) {
            let problem = format!(
                "{key} is a setting of the simulated engine: it needs backend: {SIMULATED}"
            );
            return Err(at(self.path, key, problem));
        }
        // There is no server that could be warmed up.
        let warmup = self.warmup.filter(|_| !simulated).map(|num_prompts| {
            let mut command = command.clone();
            override_parameter(&mut command, "num_prompts", &num_prompts.into());
            command.extend(["--no-run-folder", "--disable-tqdm"].map(str::to_owned));
            Warmup {
                key: String::new(),
                command,
            }
        });
        finish(&mut command, self.output, &result, self.options);
        let name = named(&setting, run, self.repeats);
        Ok(Cell {
            name,
            setting,
            run,
            command,
            result,
            warmup,
            ..Cell::default()
        })
    }
}

/// A label that tells apart what result files do not: settings that vary, other than load and
/// lengths.
fn label(all: &Settings, varied: &Settings) -> Option<String> {
    let mut told = vec![
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
        told.push("backend");
    }
    if !all.contains_key("random_range_ratio") {
        told.extend(["random_input_len", "random_output_len"]);
    }
    let parts: Vec<String> = varied
        .iter()
        .filter(|(key, _)| !told.contains(&key.as_str()))
        .map(|(key, value)| format!("{key}={}", text(value)))
        .collect();
    (!all.contains_key("label") && !parts.is_empty()).then(|| parts.join(" "))
}

/// A map of flags, with every key known.
fn flags_map<'a>(
    keys: &mut Keys<'a>,
    key: &'a str,
    path: &Path,
    table: &FlagTable,
) -> Result<Settings, CampaignError> {
    match keys.take(key) {
        None => Ok(Settings::new()),
        Some(Value::Object(map)) => checked(path, key, map, table),
        Some(value) => Err(keys.wrong(key, &value, "a map of flags")),
    }
}

fn checked(
    path: &Path,
    place: &str,
    map: Map<String, Value>,
    table: &FlagTable,
) -> Result<Settings, CampaignError> {
    let mut settings = Settings::new();
    for (key, value) in map {
        let Some(flag) = table.find(&key) else {
            let hint = match table.suggest(&key) {
                Some(name) => format!("did you mean {name:?}?"),
                None => "inferometer run --help lists the flags".to_owned(),
            };
            return Err(at(
                path,
                &key,
                format!("{place}: {key:?} is no flag of run: {hint}"),
            ));
        };
        if OURS.contains(&flag.name.as_str()) {
            return Err(at(
                path,
                &key,
                format!("{place}: {key} is set by the sweep itself; leave it out"),
            ));
        }
        settings.insert(flag.name.replace('-', "_"), value);
    }
    Ok(settings)
}

fn rows(
    keys: &mut Keys<'_>,
    path: &Path,
    table: &FlagTable,
) -> Result<Option<Vec<Settings>>, CampaignError> {
    let Some(value) = keys.take("rows") else {
        return Ok(None);
    };
    let list = match value {
        Value::Array(list) if !list.is_empty() => list,
        value => return Err(keys.wrong("rows", &value, "a list of maps of flags")),
    };
    let row = |value: Value| match value {
        Value::Object(map) => checked(path, "rows", map, table),
        value => Err(at(
            path,
            "rows",
            format!("rows: {value} is not a map of flags"),
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
        return Err(keys.wrong("stop", &value, "a map with when, max_minutes, max_failed"));
    };
    let mut keys = Keys::new(path, "stop.", map);
    let when = match keys.take("when") {
        None => Vec::new(),
        Some(Value::String(one)) => vec![Value::String(one)],
        Some(Value::Array(list)) => list,
        Some(value) => {
            return Err(keys.wrong("when", &value, "a condition or a list of conditions"));
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

/// Fixed values, and lists of values to go through.
fn split(run: &Settings, table: &FlagTable) -> (Settings, IndexMap<String, Vec<Value>>) {
    let mut fixed = Settings::new();
    let mut varied = IndexMap::new();
    for (key, value) in run {
        let many = table
            .find(key)
            .is_some_and(|flag: &Flag| flag.kind == FlagKind::Many);
        match value {
            // A flag with several values takes a plain list whole; lists in a list are to go
            // through.
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
    (fixed, varied)
}

/// Every value with every other; the last list changes fastest.
fn grid(varied: &IndexMap<String, Vec<Value>>) -> Vec<Settings> {
    let mut all = vec![Settings::new()];
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
fn zip(varied: &IndexMap<String, Vec<Value>>) -> Result<Vec<Settings>, String> {
    let Some((first, values)) = varied.first() else {
        return Ok(vec![Settings::new()]);
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
