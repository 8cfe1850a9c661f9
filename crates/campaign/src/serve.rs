//! vLLM's form of a sweep: a command for the server, a command for the benchmark, and parameters
//! for both.

use std::path::{Path, PathBuf};
use std::time::Duration;

use indexmap::{IndexMap, IndexSet};
use inferometer_core::names;
use serde_json::{Map, Value};

use crate::CampaignError;
use crate::flags::{override_parameter, text};
use crate::plan::{Cell, Form, Plan, ServerSpec, Warmup, file_part, host_port_url, saving, url_of};
use crate::read::document;
use crate::stop::StopRules;

/// Key under which vLLM keeps the name of a combination.
const NAME_KEY: &str = "_benchmark_name";

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

/// The plan of a sweep in vLLM's form.
pub fn serve_plan(options: &ServeOptions) -> Result<Plan, CampaignError> {
    let serve_cmd = words("--serve-cmd", &options.serve_cmd)?;
    let mut bench_cmd = words("--bench-cmd", &options.bench_cmd)?;
    if let Some(program) = bench_cmd.first_mut() {
        // Scripts from before November 2026 mean this program by its old name.
        *program = names::current(program).into_owned();
    }
    let after_command = options
        .after_bench_cmd
        .as_deref()
        .map(|text| words_or_none("--after-bench-cmd", text));
    let after_command = after_command.transpose()?;
    if options.num_runs == 0 {
        return Err(CampaignError::setting("--num-runs 0: give at least 1"));
    }
    let serve_params = parameters(options.serve_params.as_deref())?;
    let bench_params = parameters(options.bench_params.as_deref())?;
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
        let mut command = serve_cmd.clone();
        apply(&mut command, serve);
        let url = host_port_url(&command).unwrap_or_else(|| url_of(&bench_cmd));
        let name = name_of(serve);
        for bench in matching {
            cells.extend(bench_cells(
                options,
                &bench_cmd,
                serve,
                bench,
                (servers.len(), &url),
            ));
        }
        servers.push(ServerSpec { name, command, url });
    }
    if cells.is_empty() && !links.is_empty() {
        return Err(CampaignError::setting(format!(
            "--link-vars {}: no serve and bench parameters fit together",
            options.link_vars
        )));
    }
    let plan = Plan {
        form: Form::Serve,
        output: options.output.clone(),
        servers,
        cells,
        cooldown: Duration::ZERO,
        stop: StopRules::default(),
        fail_fast: options.fail_fast,
        reset_caches: after_command.is_none(),
        after_command: after_command.filter(|command| !command.is_empty()),
    };
    plan.check()?;
    Ok(plan)
}

fn bench_cells(
    options: &ServeOptions,
    bench_cmd: &[String],
    serve: &Combination,
    bench: &Combination,
    (server, url): (usize, &str),
) -> Vec<Cell> {
    let folder = folder_name(&name_of(serve), &name_of(bench));
    let setting = if folder.is_empty() {
        "benchmark".to_owned()
    } else {
        folder.clone()
    };
    let mut base = bench_cmd.to_vec();
    apply(&mut base, bench);
    override_parameter(
        &mut base,
        "percentile-metrics",
        &"ttft,tpot,itl,e2el".into(),
    );
    let with_result = |base: &[String], name: &str| {
        let mut command = base.to_vec();
        let result = Path::new(&folder).join(name);
        command.extend(saving(&options.output, &result));
        (command, result)
    };
    let warmup = (options.warmup_num_prompts > 0).then(|| {
        let mut base = base.clone();
        override_parameter(&mut base, "num-prompts", &options.warmup_num_prompts.into());
        Warmup {
            key: setting.clone(),
            command: with_result(&base, "warmup.json").0,
        }
    });
    let overrides: IndexMap<String, Value> = serve
        .iter()
        .chain(bench)
        .filter(|(key, _)| *key != NAME_KEY)
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    (0..options.num_runs)
        .map(|run| {
            let (command, result) = with_result(&base, &format!("run={run}.json"));
            let mut annotations = IndexMap::from([("run_number".to_owned(), Value::from(run))]);
            annotations.extend(overrides.clone());
            Cell {
                name: format!("{setting} · run {run}"),
                setting: setting.clone(),
                run,
                command,
                result,
                server: Some(server),
                served_at: Some(url.to_owned()),
                warmup: warmup.clone(),
                annotations,
            }
        })
        .collect()
}

/// `SERVE--{name}-BENCH--{name}`, without empty parts.
fn folder_name(serve: &str, bench: &str) -> String {
    let part =
        |kind: &str, name: &str| (!name.is_empty()).then(|| format!("{kind}--{}", file_part(name)));
    let parts: Vec<String> = [part("SERVE", serve), part("BENCH", bench)]
        .into_iter()
        .flatten()
        .collect();
    parts.join("-")
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

fn words(flag: &str, text: &str) -> Result<Vec<String>, CampaignError> {
    let words = words_or_none(flag, text)?;
    if words.is_empty() {
        return Err(CampaignError::setting(format!(
            "{flag} is empty: give a command line"
        )));
    }
    Ok(words)
}

fn words_or_none(flag: &str, text: &str) -> Result<Vec<String>, CampaignError> {
    shlex::split(text).ok_or_else(|| {
        CampaignError::setting(format!("{flag} {text}: a quotation mark has no partner"))
    })
}

/// A JSON file with a list of objects, or an object of them by name. Without a file there is one
/// combination, which changes nothing.
fn parameters(path: Option<&Path>) -> Result<Vec<Combination>, CampaignError> {
    let Some(path) = path else {
        return Ok(vec![Combination::new()]);
    };
    let wrong = || {
        CampaignError::file(
            path,
            "it must hold a list of objects, or an object of objects by name",
        )
    };
    let list: Vec<Combination> = match document(path)? {
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
    let mut names = IndexSet::new();
    for combination in &list {
        let name = name_of(combination);
        if !names.insert(name.clone()) {
            return Err(CampaignError::file(
                path,
                format!("two combinations are called {name:?}"),
            ));
        }
    }
    Ok(list)
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
                "--link-vars {link}: write SERVE_KEY=BENCH_KEY"
            ))),
        })
        .collect()
}
