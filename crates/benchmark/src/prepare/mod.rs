//! From settings to a plan: server, tokenizer, workload, schedule. The last moment to refuse.

mod limits;
mod server;
mod wire;
mod workload;

use std::sync::Arc;

use inferometer_core::redact::{MASK, is_secret_name, redact_url};
use inferometer_core::{Nanos, Request, Workload};
use inferometer_engine::RunInput;
use inferometer_metrics::Kind;
use inferometer_results::{MetadataClash, WorkloadInfo, is_result_name, metadata_clash};
use inferometer_telemetry::Environment;
use inferometer_wire::{Prepared, ServerFacts, Wire};
use inferometer_workload::{DatasetSettings, Tokenizer};

pub use self::workload::{arrivals, offline};
use crate::error::Error;
use crate::observer::Observer;
use crate::request_adjust::Adjust;
use crate::run_records::events_in_memory;
use crate::server::ModelNames;
use crate::settings::{Replay, Settings};
use crate::threads::{check_threads, not_started};
use crate::{align, compat, lengths};

/// How long to wait for requests in flight after the first Ctrl-C. Chosen, not measured.
const DRAIN: Nanos = Nanos::from_millis(5_000);

/// Everything that a run needs, ready to start.
#[derive(Debug)]
pub struct Ready {
    /// The job of the load generator: serialised requests, schedule, slots, workers.
    pub plan: RunInput,
    /// What is sent. Of a run against a server only the first request is kept: [`Ready::plan`] holds
    /// all of them serialised.
    pub workload: Workload,
    /// The workload as the manifest describes it: number of requests and hash.
    pub workload_info: WorkloadInfo,
    /// Requests for the ready check and the warm-up, none of which is measured.
    pub extra_requests: Vec<Prepared>,
    /// Counts tokens after the run; `None` with `--skip-tokenizer-init`.
    pub tokenizer: Option<Tokenizer>,
    /// What the tokenizer was loaded from.
    pub tokenizer_id: Option<String>,
    /// SHA-256 of the tokenizer's vocabulary.
    pub tokenizer_sha256: Option<String>,
    /// Names of the model in requests and in results.
    pub model: ModelNames,
    /// What the server reported of itself; empty in a simulation.
    pub facts: ServerFacts,
    /// Host and process, captured while the tokenizer was loading.
    pub environment: Environment,
    /// Messages for the user.
    pub lines: Vec<String>,
    /// Warnings for the user.
    pub warnings: Vec<String>,
}

/// Does everything that can fail before the first measured request.
///
/// # Errors
///
/// Usage errors name the setting, what was expected, and the remedy. Nothing has been measured.
pub fn prepare(settings: &Settings, observer: &dyn Observer) -> Result<Ready, Error> {
    limits::check_memory(settings)?;
    limits::check_descriptors(settings)?;
    check_threads(0)?;
    let known = ask(settings)?;
    assemble(settings, known, observer)
}

/// [`prepare`] for a run without a server: nothing is asked, and nothing will be sent. `model` is the
/// model's name in results unless the settings name one.
pub(crate) fn prepare_without_server(
    settings: &Settings,
    model: &str,
    observer: &dyn Observer,
) -> Result<Ready, Error> {
    limits::check_memory(settings)?;
    let id = settings
        .target
        .model
        .clone()
        .unwrap_or_else(|| model.to_owned());
    let request = settings
        .target
        .served_model_name
        .clone()
        .unwrap_or_else(|| id.clone());
    let tokenizer_id = settings
        .target
        .tokenizer
        .clone()
        .filter(|_| settings.target.has_tokenizer);
    let known = Known {
        server: None,
        model: ModelNames { request, id },
        tokenizer: tokenizer_id
            .as_deref()
            .map(|spec| server::load_tokenizer(spec, settings.compat))
            .transpose()?,
        tokenizer_id,
        substitute: None,
        environment: Environment::capture(),
        lines: Vec::new(),
        warnings: Vec::new(),
    };
    assemble(settings, known, observer)
}

/// What has to be known before the workload can be built.
struct Known {
    /// What the server reports of itself; `None` without a server.
    server: Option<ServerFacts>,
    model: ModelNames,
    tokenizer: Option<Tokenizer>,
    tokenizer_id: Option<String>,
    /// Why the built-in tokenizer replaces the model's own.
    substitute: Option<String>,
    environment: Environment,
    lines: Vec<String>,
    warnings: Vec<String>,
}

/// Asks the server and loads the tokenizer at the same time: loading takes longer.
fn ask(settings: &Settings) -> Result<Known, Error> {
    let named = settings
        .target
        .tokenizer
        .clone()
        .or_else(|| settings.target.model.clone());
    let spec = named.filter(|_| settings.target.has_tokenizer);
    let (tokenizer, server, environment) = std::thread::scope(|scope| {
        let load = |spec: String| {
            let thread = std::thread::Builder::new();
            thread.spawn_scoped(scope, move || server::load_for_run(settings, &spec))
        };
        let loading = spec
            .map(load)
            .transpose()
            .map_err(|error| not_started(&error))?;
        let server = server::ask_server(settings);
        let environment = Environment::capture();
        let tokenizer = loading.map(|thread| {
            thread.join().unwrap_or_else(|_panic| {
                Err(Error::failure(
                    "the tokenizer loader panicked; please report this bug",
                ))
            })
        });
        Ok::<_, Error>((tokenizer, server, environment))
    })?;
    let server::Asked {
        facts,
        model,
        mut warnings,
    } = server?;
    warnings.extend(server::unlisted(settings, &facts, &model));
    let mut lines = Vec::new();
    if settings.target.model.is_none() {
        lines.push(format!(
            "First model name: {}, first model id: {}",
            model.request, model.id
        ));
    }
    let loaded = match tokenizer {
        Some(loaded) => Some(loaded?),
        None if settings.target.has_tokenizer => Some(server::load_for_run(settings, &model.id)?),
        None => None,
    };
    let (mut tokenizer, mut tokenizer_id, mut substitute) = (None, None, None);
    if let Some(loaded) = loaded {
        tokenizer = Some(loaded.tokenizer);
        tokenizer_id = Some(loaded.id);
        substitute = loaded.substitute;
    }
    Ok(Known {
        warnings,
        server: Some(facts),
        model,
        tokenizer,
        tokenizer_id,
        substitute,
        environment,
        lines,
    })
}

/// Builds the workload and the schedule, and serialises every request.
fn assemble(
    settings: &Settings,
    mut known: Known,
    observer: &dyn Observer,
) -> Result<Ready, Error> {
    let is_substitute = known.substitute.is_some();
    let (mut workload, own_extra) =
        workload::workload(settings, known.tokenizer.as_ref(), observer)?;
    let wire = wire::wire(settings, &known.model, workload.force_ignore_eos)?;
    let large = large_replay(settings, &known);
    if let (Some(replay), None) = (&settings.shapes.replay, &known.server) {
        workload = replay.whole()?;
    }
    fit_lengths(settings, &mut known, &wire, &mut workload)?;
    known.warnings.extend(wire.unanswered_pages());
    if known.server.is_some() {
        known
            .warnings
            .extend(wire::nothing_to_omit(settings, &known.model, &workload));
    }
    let conversations =
        workload::chat_turns(&mut workload.requests, settings.shapes.max_conversations)?;
    known.warnings.append(&mut workload.warnings.clone());
    known.warnings.extend(metadata_warnings(settings));
    known.warnings.extend(unlisted_name(settings));
    let mut requests = match large {
        Some(large) => wire::serialise_to_file(&wire, large, settings.saving.runs_dir.as_deref())?,
        None => wire::serialise(&wire, &workload.requests)?,
    };
    workload::mark_cancellations(settings, &mut requests);
    let schedule = workload::schedule(settings, &workload)?;
    let workload_info = match large.and_then(|replay| replay.large.clone()) {
        Some(large) => large,
        None => WorkloadInfo::of(&workload),
    };
    let is_measured = known.server.is_some();
    let mut extra_requests = Vec::new();
    if is_measured {
        let extra = workload::extra_requests(settings, &workload, own_extra);
        extra_requests = wire::serialise(&wire, &extra)?;
        // A million requests take half a gigabyte.
        workload.requests.truncate(1);
        workload.requests.shrink_to_fit();
    }
    Ok(Ready {
        plan: RunInput {
            requests: requests.into(),
            conversations,
            max_concurrency: settings.load.max_concurrency,
            workers: if is_measured {
                limits::workers(settings, &schedule)?
            } else {
                1
            },
            pin: settings.load.pin.filter(|_| is_measured),
            schedule: Arc::new(schedule),
            wire,
            events_in_memory: if is_measured {
                events_in_memory()?
            } else {
                usize::MAX
            },
            drain: DRAIN,
        },
        workload,
        workload_info,
        extra_requests,
        tokenizer_sha256: known
            .tokenizer
            .as_ref()
            .map(|tokenizer| tokenizer.sha256().to_owned()),
        // A vocabulary that is not the model's would count its answers wrongly: events are closer.
        tokenizer: known.tokenizer.filter(|_| !is_substitute),
        tokenizer_id: known.tokenizer_id,
        model: known.model,
        facts: known.server.unwrap_or_default(),
        environment: known.environment,
        lines: known.lines,
        warnings: known.warnings,
    })
}

/// The workload file, if its bodies are too large to hold in memory.
fn large_replay<'a>(settings: &'a Settings, known: &Known) -> Option<&'a Replay> {
    let replay = settings.shapes.replay.as_deref();
    replay.filter(|replay| replay.large.is_some() && known.server.is_some())
}

/// Corrects prompts to the requested lengths by the server's tokenizer, and applies adapters,
/// structures and token ids. Requests of a workload file are finished and stay as they are.
fn fit_lengths(
    settings: &Settings,
    known: &mut Known,
    wire: &Arc<Wire>,
    workload: &mut Workload,
) -> Result<(), Error> {
    if let DatasetSettings::TimedTrace(trace) = &settings.workload.dataset
        && settings.compat.is_vllm()
        && known.server.is_some()
    {
        known.lines.push(compat::trace_line(trace));
    }
    if settings.shapes.replay.is_some() {
        return Ok(());
    }
    known
        .warnings
        .extend(lengths_without_tokenizer(settings, workload));
    if let Some(reason) = known.substitute.take() {
        let line = fit_substitute(settings, known, wire, workload, &reason)?;
        known.warnings.push(line);
    } else if known.server.is_some() {
        if settings.compat.aligns_prompts()
            && settings.shapes.verify_lengths
            && settings.workload.dataset.info().aligned_by_vllm
        {
            let url = redact_url(&settings.target.base_url);
            let line = align::align(wire, &url, &known.model.id, &mut workload.requests)?;
            known.lines.extend(line);
        } else if !settings.compat.is_vllm() && verifies(settings) {
            verify_lengths(wire, &known.model.id, workload)?;
        }
    }
    Adjust::new(settings).apply(known.tokenizer.as_ref(), &mut workload.requests)
}

/// Corrects or counts prompts of the built-in tokenizer, which replaces the model's own, by the
/// server's tokenizer. The returned line says what was done.
fn fit_substitute(
    settings: &Settings,
    known: &Known,
    wire: &Arc<Wire>,
    workload: &mut Workload,
    reason: &str,
) -> Result<String, Error> {
    let model = &known.model.id;
    let mut done = None;
    if settings.shapes.verify_lengths {
        if settings.workload.dataset.info().exact_lengths {
            done = lengths::verify(wire, model, &mut workload.requests)?;
        } else if lengths::count(wire, model, &mut workload.requests)? {
            done = Some(serde_json::json!({"counted": workload.requests.len()}));
        }
    }
    let how = if done.is_some() {
        "the server's /tokenize gives the prompt lengths"
    } else {
        "without the server's /tokenize, the prompt lengths by the model's tokenizer are unknown"
    };
    if let Some(done) = done {
        workload.about.insert("lengths".to_owned(), done);
    }
    Ok(format!(
        "The tokenizer of {model} cannot be loaded ({reason}), so the built-in one is used; {how}. Name the \
         model's own with --tokenizer FOLDER."
    ))
}

/// Warnings of `--metadata` entries that meet keys of the result file.
fn metadata_warnings(settings: &Settings) -> impl Iterator<Item = String> {
    let is_pooling = settings.target.kind() == Kind::Pooling;
    let saving = &settings.saving;
    let metadata = saving.metadata.iter().filter(|_| saving.save);
    metadata.filter_map(move |(key, value)| {
        let what = match metadata_clash(key, is_pooling) {
            Some(MetadataClash::Replaces) => {
                "this entry replaces the result's own value of this key"
            }
            Some(MetadataClash::Lost) => {
                "the result has a key of this name, which replaces this entry"
            }
            None if is_secret_name(key) && value == MASK => {
                "by its name, the value is a secret, and *** is stored in its place; where it is none"
            }
            None => return None,
        };
        Some(format!("--metadata {key}: {what}; rename the entry"))
    })
}

/// Says that a result gets a name by which it is left out of tables. Sweeps give one to their warm-up runs.
fn unlisted_name(settings: &Settings) -> Option<String> {
    let named = settings.saving.result_filename.as_ref();
    let name = named.filter(|_| settings.saving.save)?.file_name()?;
    let name = name.to_string_lossy();
    (!is_result_name(&name) && name != "warmup.json").then(|| {
        format!(
            "--result-filename {name}: inferometer aggregate and visualize leave files of this name out when they \
             search a folder; choose another name that ends in .json"
        )
    })
}

/// Says that requested lengths have no effect, where without a tokenizer, as in vLLM, each request asks for
/// one token.
fn lengths_without_tokenizer(settings: &Settings, workload: &Workload) -> Option<String> {
    let asks_for_one = |request: &Request| request.output_tokens == Some(1);
    let all = !workload.requests.is_empty() && workload.requests.iter().all(asks_for_one);
    let generates = settings.target.kind() == Kind::Generation;
    (all && generates && !settings.target.has_tokenizer).then(|| {
        "--skip-tokenizer-init: every request asks for 1 output token, as in vLLM; the lengths of the dataset and \
         --custom-output-len have no effect"
            .to_owned()
    })
}

/// True when the lengths of prompts are checked with the server's tokenizer: the dataset has exact
/// lengths, and the settings do not forbid it.
fn verifies(settings: &Settings) -> bool {
    settings.shapes.verify_lengths
        && settings.target.has_tokenizer
        && settings.workload.dataset.info().exact_lengths
}

/// Checks and corrects the lengths of prompts, and notes the outcome in the workload.
fn verify_lengths(wire: &Arc<Wire>, model: &str, workload: &mut Workload) -> Result<(), Error> {
    let Some(found) = lengths::verify(wire, model, &mut workload.requests)? else {
        return Ok(());
    };
    let number = |name: &str| found[name].as_u64().unwrap_or_default();
    if number("corrected") > 0 || number("wrong") > 0 {
        workload.warnings.push(format!(
            "The server's tokenizer counts differently from the client's: {} prompts were corrected to their length by \
             the server's count; {} could not be corrected.",
            number("corrected"),
            number("wrong")
        ));
    }
    workload.about.insert("lengths".to_owned(), found);
    Ok(())
}
