//! vLLM's form of a sweep: a command for the server, a command for the benchmark, and parameters
//! for both.

use std::path::{Path, PathBuf};
use std::time::Duration;

use indexmap::{IndexMap, IndexSet};
use inferometer_core::names;
use inferometer_core::redact::open_quote;
use serde_json::{Map, Value};

use crate::campaign::{Campaign, Cell, Form, ServerSpec, Warmup, check_count, file_part};
use crate::error::CampaignError;
use crate::files::document_with_note;
use crate::flag_table::text;
use crate::flags::override_parameter;
use crate::hidden_values::{file_name, plain_value, register_value};
use crate::stop_rules::StopRules;
use crate::target::{DEFAULT_URL, has_default_url, server_url, url_of};
use crate::work::Work;

/// Key under which vLLM keeps the name of a combination.
const NAME_KEY: &str = "_benchmark_name";

/// Longest name of a combination's folder; longer ones end in a hash.
const LONGEST_FOLDER: usize = 255;

/// The other commands of vLLM's `bench sweep`, with what to use here instead.
const OTHER_SWEEPS: [(&str, &str); 5] = [
    (
        "serve_workload",
        "write the rates or concurrencies as a list in an experiment file (inferometer help sweeps)",
    ),
    (
        "serve_sla",
        "write the rates or concurrencies as a list in an experiment file with a stop rule (inferometer help sweeps)",
    ),
    (
        "startup",
        "inferometer measures running servers only; use vLLM's own command",
    ),
    (
        "plot",
        "use inferometer aggregate and inferometer visualize",
    ),
    (
        "plot_pareto",
        "use inferometer aggregate and inferometer visualize --interactive",
    ),
];

/// Refuses the commands of vLLM's `bench sweep` that are not built here, and names what to use instead.
///
/// # Errors
///
/// For the name of such a command.
pub fn refuse_other_sweep(name: &str) -> Result<(), CampaignError> {
    match OTHER_SWEEPS.iter().find(|(other, _)| *other == name) {
        Some((_, instead)) => Err(CampaignError::setting(format!(
            "sweep {name} is not supported: {instead}"
        ))),
        None => Ok(()),
    }
}

/// The flags of vLLM's sweep.
#[derive(Clone, Debug, Default)]
pub struct ServeOptions {
    /// `--serve-cmd`.
    pub serve_cmd: String,
    /// `--bench-cmd`.
    pub bench_cmd: String,
    /// `--after-bench-cmd`.
    pub after_bench_cmd: Option<String>,
    /// `--serve-params`.
    pub serve_params: Option<PathBuf>,
    /// `--bench-params`.
    pub bench_params: Option<PathBuf>,
    /// `--link-vars`.
    pub link_vars: String,
    /// `--num-runs`.
    pub num_runs: usize,
    /// `--output-dir` and `--experiment-name` together.
    pub output: PathBuf,
    /// `--warmup-num-prompts`.
    pub warmup_num_prompts: u64,
    /// Not `--continue-on-error`.
    pub fail_fast: bool,
}

type Combination = Map<String, Value>;

/// The campaign of a sweep in vLLM's form.
///
/// # Errors
///
/// Parameter files that cannot be read, and commands that cannot be split into words.
pub fn serve_campaign(options: &ServeOptions) -> Result<Campaign, CampaignError> {
    let serve_cmd = words("--serve-cmd", &options.serve_cmd)?;
    let mut bench_cmd = words("--bench-cmd", &options.bench_cmd)?;
    if let Some(program) = bench_cmd.first_mut() {
        // Scripts from before November 2026 use the old name of this program.
        *program = names::current(program).into_owned();
    }
    let after_command = options
        .after_bench_cmd
        .as_deref()
        .map(|text| words_or_none("--after-bench-cmd", text));
    let after_command = after_command.transpose()?;
    if options.num_runs == 0 {
        return Err(CampaignError::setting("--num-runs 0: expected at least 1"));
    }
    let mut notes = Vec::new();
    let serve_params = parameters(options.serve_params.as_deref(), &mut notes)?;
    let bench_params = parameters(options.bench_params.as_deref(), &mut notes)?;
    let links = links(&options.link_vars)?;
    let mut servers = Vec::new();
    let mut cells = Vec::new();
    for serve in &serve_params {
        let matching: Vec<&Combination> = bench_params
            .iter()
            .filter(|bench| links.iter().all(|link| link.holds(serve, bench)))
            .collect();
        if matching.is_empty() {
            continue;
        }
        let remedy = "shorten --serve-params or --bench-params, or lower --num-runs";
        check_count([matching.len(), options.num_runs], remedy)?;
        check_count([cells.len() + matching.len() * options.num_runs], remedy)?;
        let mut command = serve_cmd.clone();
        apply(&mut command, serve);
        let maker = CellMaker {
            options,
            bench_cmd: &bench_cmd,
            serve,
            server: servers.len(),
            url: server_url(&command, &bench_cmd),
        };
        for bench in matching {
            cells.extend(maker.cells(bench));
        }
        servers.push(ServerSpec {
            name: name_of(serve),
            command,
            url: maker.url,
        });
    }
    if cells.is_empty() && !links.is_empty() {
        return Err(CampaignError::setting(format!(
            "--link-vars {}: no serve and bench parameters match",
            options.link_vars
        )));
    }
    let campaign = Campaign {
        form: Form::Serve,
        output: options.output.clone(),
        servers,
        cells,
        cooldown: Duration::ZERO,
        stop: StopRules::default(),
        fail_fast: options.fail_fast,
        reset_caches: after_command.is_none(),
        after_command: after_command
            .filter(|command| !command.is_empty())
            .map(Work::Theirs),
        notes,
    };
    campaign.check()?;
    campaign.register_secrets();
    Ok(campaign)
}

/// Makes the cells of one server.
struct CellMaker<'a> {
    options: &'a ServeOptions,
    bench_cmd: &'a [String],
    serve: &'a Combination,
    /// Index of the server.
    server: usize,
    /// Where it will listen.
    url: String,
}

impl CellMaker<'_> {
    /// The runs of one combination of benchmark parameters.
    fn cells(&self, bench: &Combination) -> Vec<Cell> {
        let folder = folder_name(&name_of(self.serve), &name_of(bench));
        let setting = if folder.is_empty() {
            "benchmark".to_owned()
        } else {
            folder.clone()
        };
        let mut base = self.bench_cmd.to_vec();
        apply(&mut base, bench);
        // Its own default is another address than the one where the server is waited for.
        if url_of(&base).is_none() && has_default_url(&base) && self.url != DEFAULT_URL {
            base.extend(["--base-url".to_owned(), self.url.clone()]);
        }
        override_parameter(
            &mut base,
            "percentile-metrics",
            &"ttft,tpot,itl,e2el".into(),
        );
        let warmup = self.warmup(&base, &folder, &setting);
        let overrides: IndexMap<String, Value> = self
            .serve
            .iter()
            .chain(bench)
            .filter(|(key, _)| *key != NAME_KEY)
            .map(|(key, value)| (key.clone(), plain_value(key, value)))
            .collect();
        let cell = |run: usize| {
            let result = Path::new(&folder).join(format!("run={run}.json"));
            let mut annotations = IndexMap::from([("run_number".to_owned(), Value::from(run))]);
            annotations.extend(overrides.clone());
            Cell {
                name: format!("{setting} · run {run}"),
                setting: setting.clone(),
                run,
                work: self.saving(&base, &result),
                result,
                server: Some(self.server),
                served_at: Some(self.url.clone()),
                warmup: warmup.clone(),
                annotations,
            }
        };
        (0..self.options.num_runs).map(cell).collect()
    }

    fn warmup(&self, base: &[String], folder: &str, setting: &str) -> Option<Warmup> {
        let num_prompts = self.options.warmup_num_prompts;
        let mut base = base.to_vec();
        override_parameter(&mut base, "num-prompts", &num_prompts.into());
        (num_prompts > 0).then(|| Warmup {
            key: setting.to_owned(),
            work: self.saving(&base, &Path::new(folder).join("warmup.json")),
        })
    }

    /// The command `base`, which saves its result at `result` below the campaign's folder.
    fn saving(&self, base: &[String], result: &Path) -> Work {
        let path = self.options.output.join(result);
        let folder = path.parent().unwrap_or(&self.options.output);
        let name = path.file_name().unwrap_or_default();
        let mut command = base.to_vec();
        command.extend([
            "--save-result".to_owned(),
            "--result-dir".to_owned(),
            folder.display().to_string(),
            "--result-filename".to_owned(),
            name.to_string_lossy().into_owned(),
        ]);
        Work::Theirs(command)
    }
}

/// `SERVE--{name}-BENCH--{name}`, without empty parts.
fn folder_name(serve: &str, bench: &str) -> String {
    let part =
        |kind: &str, name: &str| (!name.is_empty()).then(|| format!("{kind}--{}", file_part(name)));
    let parts: Vec<String> = [part("SERVE", serve), part("BENCH", bench)]
        .into_iter()
        .flatten()
        .collect();
    let name = parts.join("-");
    // Both names may be the longest that a file name takes.
    if name.len() <= LONGEST_FOLDER {
        return name;
    }
    file_part(&name)
}

fn name_of(combination: &Combination) -> String {
    if let Some(name) = combination.get(NAME_KEY) {
        return text(name);
    }
    let parts: Vec<String> = combination
        .iter()
        .map(|(key, value)| format!("{key}={}", text(value)))
        .collect();
    parts.join("-")
}

fn apply(command: &mut Vec<String>, combination: &Combination) {
    for (key, value) in combination.iter().filter(|(key, _)| *key != NAME_KEY) {
        override_parameter(command, key, value);
    }
}

pub(crate) fn words(flag: &str, text: &str) -> Result<Vec<String>, CampaignError> {
    let words = words_or_none(flag, text)?;
    if words.is_empty() {
        return Err(CampaignError::setting(format!(
            "{flag} is empty: expected a command line"
        )));
    }
    Ok(words)
}

fn words_or_none(flag: &str, text: &str) -> Result<Vec<String>, CampaignError> {
    // The command may hold a key, so the message does not show it.
    shlex::split(text).ok_or_else(|| {
        CampaignError::setting(match open_quote(text) {
            Some(at) => {
                format!("invalid {flag}: the quotation mark at character {at} is not closed")
            }
            None => format!("invalid {flag}: nothing follows the backslash at its end"),
        })
    })
}

/// A JSON file with a list of objects, or an object of them by name. Without a file there is one
/// combination, which changes nothing.
fn parameters(
    path: Option<&Path>,
    notes: &mut Vec<String>,
) -> Result<Vec<Combination>, CampaignError> {
    let Some(path) = path else {
        return Ok(vec![Combination::new()]);
    };
    let wrong = || {
        CampaignError::file(
            path,
            "expected a list of objects, or an object of objects by name",
        )
    };
    let (value, duplicate) = document_with_note(path)?;
    notes.extend(duplicate.map(|problem| {
        let path = path.display();
        format!("{path}: {problem}; the last value counts, as in vLLM")
    }));
    let list: Vec<Combination> = match value {
        Value::Array(list) => list
            .into_iter()
            .map(|item| {
                if let Value::Object(map) = item {
                    Ok(map)
                } else {
                    Err(wrong())
                }
            })
            .collect::<Result<_, _>>()?,
        Value::Object(map) => map
            .into_iter()
            .map(|(name, item)| {
                let Value::Object(mut map) = item else {
                    return Err(wrong());
                };
                map.insert(NAME_KEY.to_owned(), name.into());
                Ok(map)
            })
            .collect::<Result<_, _>>()?,
        _ => return Err(wrong()),
    };
    let list: Vec<Combination> = list.into_iter().map(with_plain_name).collect();
    let list = numbered(list);
    let mut names = IndexSet::new();
    for combination in &list {
        let name = name_of(combination);
        if !names.insert(name.clone()) {
            return Err(CampaignError::file(
                path,
                format!("two combinations have the name {name:?}"),
            ));
        }
    }
    Ok(list)
}

/// A combination with a name of its own where its values hold secrets: names become those of folders
/// and logs.
fn with_plain_name(mut combination: Combination) -> Combination {
    for (key, value) in &combination {
        register_value(key, value);
    }
    let plain: Combination = combination
        .iter()
        .map(|(key, value)| (key.clone(), plain_value(key, value)))
        .collect();
    if plain != combination {
        let name = file_name(&name_of(&plain));
        combination.insert(NAME_KEY.to_owned(), name.into());
    }
    combination
}

/// Combinations that differ in their secrets alone get numbers.
fn numbered(mut list: Vec<Combination>) -> Vec<Combination> {
    for at in 1..list.len() {
        let name = name_of(&list[at]);
        let same = |other: &&Combination| name_of(other) == name;
        let is_hidden = list[at]
            .iter()
            .any(|(key, value)| plain_value(key, value) != *value);
        let number = 1 + list[..at].iter().filter(same).count();
        if number > 1 && is_hidden && !list[..at].contains(&list[at]) {
            list[at].insert(NAME_KEY.to_owned(), format!("{name}-{number}").into());
        }
    }
    list
}

/// A serve parameter and a bench parameter that must be the same.
struct Link {
    serve: String,
    bench: String,
}

impl Link {
    fn holds(&self, serve: &Combination, bench: &Combination) -> bool {
        let find = |map: &Combination, key: &str| {
            let plain = |text: &str| text.replace('-', "_");
            map.iter()
                .find(|(name, _)| plain(name) == plain(key))
                .map(|(_, value)| text(value))
        };
        match (find(serve, &self.serve), find(bench, &self.bench)) {
            (Some(a), Some(b)) => a == b,
            _ => false,
        }
    }
}

fn links(text: &str) -> Result<Vec<Link>, CampaignError> {
    text.split(',')
        .map(str::trim)
        .filter(|link| !link.is_empty())
        .map(|link| match link.split_once('=') {
            Some((serve, bench)) if !serve.trim().is_empty() && !bench.trim().is_empty() => {
                Ok(Link {
                    serve: serve.trim().to_owned(),
                    bench: bench.trim().to_owned(),
                })
            }
            _ => Err(CampaignError::setting(format!(
                "invalid --link-vars {link}: expected SERVE_KEY=BENCH_KEY"
            ))),
        })
        .collect()
}
