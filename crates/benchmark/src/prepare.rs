//! From settings to a plan: server, tokenizer, workload, schedule. The last moment to refuse.

use std::path::Path;
use std::sync::Arc;

use inferometer_arrival::ArrivalSettings;
use inferometer_core::random::indexed_stream;
use inferometer_core::{Nanos, Prompt, Request, Schedule, Workload};
use inferometer_engine::{Conversations, Job};
use inferometer_os::{limits, thread};
use inferometer_results::WorkloadInfo;
use inferometer_telemetry::Environment;
use inferometer_wire::{
    BodyFile, BodySettings, ClientSettings, KeepText, Prepared, ServerFacts, SideClient, Wire,
};
use inferometer_workload::{
    DatasetSettings, HubSettings, Tokenizer, WorkloadError, build, build_in_chunks,
};
use rayon::prelude::*;

use crate::error::{Error, OrError};
use crate::observer::Observer;
use crate::request_adjust::Adjust;
use crate::run_records::events_in_memory;
use crate::server::{ModelNames, inspect, model_names};
use crate::settings::{Cancellation, Replay, Settings};
use crate::{align, compat, lengths};

/// How long to wait for requests in flight after the first Ctrl-C.
const DRAIN: Nanos = Nanos::from_millis(5_000);
/// Descriptors needed beside the connections: standard streams, timers, files, runtimes.
const OTHER_FILES: u64 = 64;
/// Runs of up to so many requests keep their answers' text until the tokens are counted.
const SMALL_RUN: i64 = 2_000;
/// Streams that one worker carries easily.
const STREAMS_PER_WORKER: usize = 2_000;
/// Requests per second that one worker sends easily.
const RATE_PER_WORKER: f64 = 5_000.0;

/// Everything that a run needs, ready to start.
#[derive(Debug)]
pub struct Ready {
    /// What to do.
    pub plan: Job,
    /// What is sent. Of a run against a server only the first request is kept: [`Ready::plan`] has
    /// all of them serialised.
    pub workload: Workload,
    /// The workload for the manifest.
    pub workload_info: WorkloadInfo,
    /// Requests for the ready check and the warm-up, none of which is measured.
    pub extra_requests: Vec<Prepared>,
    /// Counts tokens after the run; `None` with `--skip-tokenizer-init`.
    pub tokenizer: Option<Tokenizer>,
    /// What the tokenizer was loaded from.
    pub tokenizer_id: Option<String>,
    /// Names of the model.
    pub model: ModelNames,
    /// What the server said.
    pub facts: ServerFacts,
    /// Host and process, looked at while the tokenizer was loading.
    pub environment: Environment,
    /// Lines for the user.
    pub lines: Vec<String>,
    /// What may be wrong with the run.
    pub warnings: Vec<String>,
}

/// Does everything that can fail before the first measured request.
///
/// # Errors
///
/// Usage errors name the setting, what was expected, and the remedy. Nothing has been measured.
pub fn prepare(settings: &Settings, observer: &dyn Observer) -> Result<Ready, Error> {
    check_descriptors(settings)?;
    let known = ask(settings)?;
    assemble(settings, known, observer)
}

/// The same for a run in which no server takes part: nothing is asked, and nothing will be sent.
/// `model` is the name that results have unless the settings name one.
pub(crate) fn prepare_without_server(
    settings: &Settings,
    model: &str,
    observer: &dyn Observer,
) -> Result<Ready, Error> {
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
        tokenizer: tokenizer_id.as_deref().map(load_tokenizer).transpose()?,
        tokenizer_id,
        environment: Environment::capture(),
        lines: Vec::new(),
        warnings: Vec::new(),
    };
    assemble(settings, known, observer)
}

/// What has to be known before the workload can be made.
struct Known {
    /// What the server reports of itself; `None` where none takes part.
    server: Option<ServerFacts>,
    model: ModelNames,
    tokenizer: Option<Tokenizer>,
    tokenizer_id: Option<String>,
    environment: Environment,
    lines: Vec<String>,
    warnings: Vec<String>,
}

/// Asks the server and loads the tokenizer, both at once: loading takes longer.
fn ask(settings: &Settings) -> Result<Known, Error> {
    let named = settings
        .target
        .tokenizer
        .clone()
        .or_else(|| settings.target.model.clone());
    let spec = named.filter(|_| settings.target.has_tokenizer);
    let (tokenizer, server, environment) = std::thread::scope(|scope| {
        let loading = spec
            .clone()
            .map(|spec| scope.spawn(move || load_tokenizer(&spec)));
        let server = ask_server(settings);
        let environment = Environment::capture();
        let tokenizer = loading.map(|thread| {
            thread.join().unwrap_or_else(|_panic| {
                Err(Error::failure(
                    "the tokenizer loader panicked; please report this bug",
                ))
            })
        });
        (tokenizer, server, environment)
    });
    let (facts, model) = server?;
    let mut lines = Vec::new();
    if settings.target.model.is_none() {
        lines.push(format!(
            "First model name: {}, first model id: {}",
            model.request, model.id
        ));
    }
    let tokenizer_id = settings
        .target
        .has_tokenizer
        .then(|| spec.unwrap_or_else(|| model.id.clone()));
    let tokenizer = match (tokenizer, &tokenizer_id) {
        (Some(tokenizer), _) => Some(tokenizer?),
        (None, Some(id)) => Some(load_tokenizer(id)?),
        (None, None) => None,
    };
    Ok(Known {
        warnings: unlisted(settings, &facts, &model).into_iter().collect(),
        server: Some(facts),
        model,
        tokenizer,
        tokenizer_id,
        environment,
        lines,
    })
}

/// Makes the workload and the schedule, and serialises every request.
fn assemble(
    settings: &Settings,
    mut known: Known,
    observer: &dyn Observer,
) -> Result<Ready, Error> {
    let (mut workload, own_extra) = workload(settings, known.tokenizer.as_ref(), observer)?;
    let wire = wire(settings, &known.model, workload.force_ignore_eos)?;
    let large = large_replay(settings, &known);
    if let (Some(replay), None) = (&settings.shapes.replay, &known.server) {
        workload = replay.whole()?;
    }
    fit_lengths(settings, &mut known, &wire, &mut workload)?;
    if known.server.is_some() {
        known
            .warnings
            .extend(nothing_to_omit(settings, &known.model, &workload));
    }
    let conversations = chat_turns(&mut workload.requests, settings.shapes.max_conversations)?;
    known.warnings.append(&mut workload.warnings.clone());
    let mut requests = match large {
        Some(replay) => serialise_to_file(&wire, replay, settings.saving.runs_dir.as_deref())?,
        None => serialise(&wire, &workload.requests)?,
    };
    mark_cancellations(settings, &mut requests);
    let schedule = schedule(settings, &workload)?;
    let workload_info = match large.and_then(|replay| replay.large.clone()) {
        Some(large) => large,
        None => WorkloadInfo::of(&workload),
    };
    let measured = known.server.is_some();
    let extra = if measured {
        serialise(&wire, &extra_requests(settings, &workload, own_extra))?
    } else {
        Vec::new()
    };
    if measured {
        // A million of them take half a gigabyte.
        workload.requests.truncate(1);
        workload.requests.shrink_to_fit();
    }
    Ok(Ready {
        plan: Job {
            requests: requests.into(),
            conversations,
            max_concurrency: settings.load.max_concurrency,
            workers: if measured {
                workers(settings, &schedule)?
            } else {
                1
            },
            pin: settings.load.pin.filter(|_| measured),
            schedule: Arc::new(schedule),
            wire,
            events_in_memory: if measured {
                events_in_memory()?
            } else {
                usize::MAX
            },
            drain: DRAIN,
        },
        workload,
        workload_info,
        extra_requests: extra,
        tokenizer: known.tokenizer,
        tokenizer_id: known.tokenizer_id,
        model: known.model,
        facts: known.server.unwrap_or_default(),
        environment: known.environment,
        lines: known.lines,
        warnings: known.warnings,
    })
}

/// The workload file, if it is one whose bodies are not held in memory.
fn large_replay<'a>(settings: &'a Settings, known: &Known) -> Option<&'a Replay> {
    let replay = settings.shapes.replay.as_deref();
    replay.filter(|replay| replay.large.is_some() && known.server.is_some())
}

/// Brings prompts to the lengths that the server's tokenizer counts, and applies what flags change
/// about requests. A workload file holds finished requests.
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
    if known.server.is_some() {
        if settings.compat.is_vllm() && settings.workload.dataset.info().aligned_by_vllm {
            let line = align::align(wire, &known.model.id, &mut workload.requests)?;
            known.lines.extend(line);
        } else if !settings.compat.is_vllm() && verifies(settings) {
            verify_lengths(wire, &known.model.id, workload)?;
        }
    }
    Adjust::new(settings).apply(known.tokenizer.as_ref(), &mut workload.requests)
}

/// Worker threads, with a check that they can be pinned as asked.
fn workers(settings: &Settings, schedule: &Schedule) -> Result<usize, Error> {
    let workers = settings
        .load
        .workers
        .unwrap_or_else(|| default_workers(settings, schedule));
    if let Some(first) = settings.load.pin {
        thread::check_pin(first, workers).map_err(|error| {
            Error::usage(format!(
                "--pin {first}: {error}; give a lower --pin or fewer --workers"
            ))
        })?;
    }
    Ok(workers)
}

/// A model that the server does not list, where that is not refused.
fn unlisted(settings: &Settings, facts: &ServerFacts, model: &ModelNames) -> Option<String> {
    let listed = facts
        .models
        .as_deref()
        .filter(|models| !models.is_empty())?;
    let known = listed.iter().any(|served| served.id == model.request);
    (settings.compat.is_vllm() && !known).then(|| {
        let names: Vec<_> = listed.iter().map(|served| served.id.as_str()).collect();
        format!(
            "the server does not list the model {}; it lists {}",
            model.request,
            names.join(", ")
        )
    })
}

/// When the requests are due.
fn schedule(settings: &Settings, workload: &Workload) -> Result<Schedule, Error> {
    if let (true, Some(replay)) = (settings.load.self_timed, &settings.shapes.replay) {
        return Ok(replay.bundle.schedule.clone());
    }
    if !settings.load.self_timed {
        return arrivals(&workload.requests, &settings.load.arrivals);
    }
    let due = workload
        .requests
        .iter()
        .map(|request| request.trace_at.unwrap_or_default())
        .collect();
    Schedule::new(due).or_usage()
}

/// A schedule by rate. Of conversations it is the conversations that arrive: all turns have the
/// instant of the first.
pub fn arrivals(requests: &[Request], settings: &ArrivalSettings) -> Result<Schedule, Error> {
    let opens = |request: &&Request| request.session.as_ref().is_none_or(|turn| turn.turn == 0);
    let schedule = inferometer_arrival::schedule(requests.iter().filter(opens).count(), settings)
        .or_usage()?;
    let mut opened = 0;
    let due = requests.iter().map(|request| {
        opened += usize::from(opens(&request));
        schedule.due(opened.max(1) - 1)
    });
    Schedule::new(due.collect()).or_usage()
}

/// The workload and schedule that a run with these settings would have, without asking a server.
/// Each request goes to `give` with its due instant; what is returned holds the rest. Datasets that
/// are synthetic need memory for one chunk only.
pub fn offline(
    settings: &Settings,
    observer: &dyn Observer,
    give: &mut dyn FnMut(Nanos, &Request) -> Result<(), Error>,
) -> Result<(Workload, Schedule), Error> {
    let named = settings
        .target
        .tokenizer
        .as_ref()
        .or(settings.target.model.as_ref());
    let tokenizer = match named.filter(|_| settings.target.has_tokenizer) {
        Some(spec) => Some(load_tokenizer(spec)?),
        None if settings.target.has_tokenizer => {
            return Err(Error::usage(
                "name a --tokenizer or a --model: no server is asked for it here (`--tokenizer builtin` needs no \
                 download)",
            ));
        }
        None => None,
    };
    let tokenizer = tokenizer.as_ref();
    let progress = |done, total| observer.preparing(done, total);
    let mut adjust = Adjust::new(settings);
    let (mut by_rate, mut own) = (None, Vec::new());
    let workload = build_in_chunks(
        &settings.workload,
        tokenizer,
        &progress,
        &mut |mut chunk, total| {
            adjust.apply(tokenizer, &mut chunk)?;
            // Conversations are in one chunk.
            chat_turns(&mut chunk, None)?;
            if settings.load.self_timed {
                return chunk.iter().try_for_each(|request| {
                    let due = request.trace_at.unwrap_or_default();
                    own.push(due);
                    give(due, request)
                });
            }
            let schedule = match &mut by_rate {
                Some(schedule) => schedule,
                none if chunk.len() == total => {
                    none.insert(arrivals(&chunk, &settings.load.arrivals)?)
                }
                none => none.insert(
                    inferometer_arrival::schedule(total, &settings.load.arrivals).or_usage()?,
                ),
            };
            chunk
                .iter()
                .try_for_each(|request| give(schedule.due(request.index), request))
        },
    )?;
    let schedule = match by_rate {
        Some(schedule) => schedule,
        None => Schedule::new(own).or_usage()?,
    };
    Ok((workload, schedule))
}

impl From<WorkloadError> for Error {
    fn from(error: WorkloadError) -> Self {
        Self::Usage(crate::error::Cause::of(error))
    }
}

/// Makes the turns of conversations chat messages, and says which follows which.
fn chat_turns(
    requests: &mut [Request],
    most: Option<usize>,
) -> Result<Option<Arc<Conversations>>, Error> {
    for request in requests
        .iter_mut()
        .filter(|request| request.session.is_some())
    {
        if let Some(text) = request.prompt.as_text() {
            request.prompt =
                Prompt::Messages(vec![serde_json::json!({"role": "user", "content": text})]);
        }
    }
    let conversations = Conversations::of(requests).or_usage()?;
    Ok(conversations.map(|mut all| {
        all.max_active = most;
        Arc::new(all)
    }))
}

/// Datasets of exact lengths, whose lengths can be checked with the server's tokenizer.
fn verifies(settings: &Settings) -> bool {
    settings.shapes.verify_lengths
        && settings.target.has_tokenizer
        && settings.workload.dataset.info().exact_lengths
}

fn verify_lengths(wire: &Arc<Wire>, model: &str, workload: &mut Workload) -> Result<(), Error> {
    let Some(found) = lengths::verify(wire, model, &mut workload.requests)? else {
        return Ok(());
    };
    let number = |name: &str| found[name].as_u64().unwrap_or_default();
    if number("corrected") > 0 || number("wrong") > 0 {
        workload.warnings.push(format!(
            "The server's tokenizer counts otherwise than the client's: {} prompts were corrected to their length by \
             the server's count; {} could not be.",
            number("corrected"),
            number("wrong")
        ));
    }
    workload.about.insert("lengths".to_owned(), found);
    Ok(())
}

/// Chooses the requests that are cancelled.
fn mark_cancellations(settings: &Settings, requests: &mut [Prepared]) {
    use rand::Rng as _;
    let Some(Cancellation { fraction, delay }) = settings.load.cancellation else {
        return;
    };
    for (index, request) in requests.iter_mut().enumerate() {
        let mut random = indexed_stream(settings.workload.seed, "cancellation", index as u64);
        let draw = f64::from(random.next_u32()) / f64::from(u32::MAX);
        if draw < fraction {
            request.cancel_after = Some(delay);
        }
    }
}

fn ask_server(settings: &Settings) -> Result<(ServerFacts, ModelNames), Error> {
    let names = ModelNames {
        request: String::new(),
        id: String::new(),
    };
    let side = SideClient::new(&wire(settings, &names, false)?).or_failure()?;
    let facts = inspect(&side, &settings.target, settings.load.ready_check)?;
    let model = model_names(&settings.target, &facts)?;
    Ok((facts, model))
}

fn load_tokenizer(spec: &str) -> Result<Tokenizer, Error> {
    Tokenizer::load(spec, &HubSettings::from_env()).or_usage()
}

fn wire(
    settings: &Settings,
    model: &ModelNames,
    force_ignore_eos: bool,
) -> Result<Arc<Wire>, Error> {
    let target = &settings.target;
    let mut client = ClientSettings {
        endpoint: Some(target.endpoint.clone()),
        base_urls: target.base_urls.clone(),
        api_key: target.api_key.clone(),
        headers: target.headers.clone(),
        body: body_settings(settings, model, force_ignore_eos),
        keep_text: keep_text(settings),
        ..ClientSettings::new(target.backend, &target.base_url, &model.request)
    };
    settings.connection.apply(&mut client);
    Wire::new(client).or_usage()
}

fn body_settings(settings: &Settings, model: &ModelNames, force_ignore_eos: bool) -> BodySettings {
    let content = &settings.content;
    let generates = settings.kind() == inferometer_metrics::Kind::Generation;
    BodySettings {
        sampling: content.sampling.clone(),
        extra_body: content.extra_body.clone(),
        ignore_eos: content.ignore_eos || (force_ignore_eos && generates),
        logprobs: content.logprobs,
        stream: content.stream,
        continuous_usage: content.continuous_usage,
        omit_fields: settings.target.omit_fields.clone(),
        ..BodySettings::new(&model.request)
    }
}

/// Fields that `--omit-field` names and the first request has not.
fn nothing_to_omit(settings: &Settings, model: &ModelNames, workload: &Workload) -> Vec<String> {
    let Some(first) = workload.requests.first() else {
        return Vec::new();
    };
    let backend = settings.target.backend;
    let with = |omit_fields| {
        let body = BodySettings {
            omit_fields,
            ..body_settings(settings, model, workload.force_ignore_eos)
        };
        backend.body(first, &body).ok().map(|body| body.bytes)
    };
    let Some(whole) = Some(&settings.target.omit_fields)
        .filter(|all| !all.is_empty())
        .and_then(|_| with(Vec::new()))
    else {
        return Vec::new();
    };
    let absent = settings
        .target
        .omit_fields
        .iter()
        .filter(|field| with(vec![(*field).clone()]).as_ref() == Some(&whole));
    absent
        .map(|field| {
            format!(
                "--omit-field {field} changes nothing: the body that {} sends has no such field.",
                backend.name()
            )
        })
        .collect()
}

/// Answers are kept for `--save-detailed`, and in runs small enough to compare the server's token
/// counts with the tokenizer's; otherwise only until the server has told its count.
fn keep_text(settings: &Settings) -> KeepText {
    let small = settings.workload.num_prompts <= SMALL_RUN;
    let needed = settings.shapes.needs_text();
    if settings.saving.detailed || small || needed {
        KeepText::Always
    } else {
        KeepText::UntilUsage
    }
}

/// The workload, and further requests for the ready check and the warm-up.
///
/// Random text has as many prompts as one likes, so those are of their own: a server that caches
/// prefixes must not have seen a measured prompt. Under vLLM's rules there are none.
fn workload(
    settings: &Settings,
    tokenizer: Option<&Tokenizer>,
    observer: &dyn Observer,
) -> Result<(Workload, Vec<Request>), Error> {
    if let Some(replay) = &settings.shapes.replay {
        return Ok((replay.bundle.workload.clone(), Vec::new()));
    }
    let own = !settings.compat.is_vllm() && settings.workload.dataset.info().has_own_warmup;
    let mut ask = settings.workload.clone();
    if own {
        ask.num_prompts += extra_wanted(settings) as i64;
    }
    let progress = |done, total| observer.preparing(done, total);
    let workload = build(&ask, tokenizer, &progress).or_usage();
    observer.prepared();
    let mut workload = workload?;
    let count = usize::try_from(settings.workload.num_prompts).unwrap_or(0);
    let extra = if own {
        workload
            .requests
            .split_off(count.min(workload.requests.len()))
    } else {
        Vec::new()
    };
    Ok((workload, extra))
}

/// Requests that are sent before the run.
fn extra_wanted(settings: &Settings) -> usize {
    settings.load.num_warmups + usize::from(!settings.load.ready_check.is_zero())
}

/// Requests to be sent before the run, without ids. Where there are none of their own, the first
/// request of the run has to serve, as in vLLM.
fn extra_requests(settings: &Settings, workload: &Workload, own: Vec<Request>) -> Vec<Request> {
    let mut extra = own;
    if extra.is_empty() {
        extra = workload
            .requests
            .first()
            .cloned()
            .into_iter()
            .cycle()
            .take(extra_wanted(settings))
            .collect();
    }
    for request in &mut extra {
        request.id = None;
        request.model = None;
        request.session = None;
    }
    extra
}

fn serialise(wire: &Wire, requests: &[Request]) -> Result<Vec<Prepared>, Error> {
    requests
        .par_iter()
        .map(|request| wire.prepare(request))
        .collect::<Result<_, _>>()
        .or_usage()
}

/// Serialises a file that is larger than it should be in memory; the bodies go to an unnamed file
/// in `folder`.
fn serialise_to_file(
    wire: &Wire,
    replay: &Replay,
    folder: Option<&Path>,
) -> Result<Vec<Prepared>, Error> {
    let place = folder.map_or_else(std::env::temp_dir, Path::to_owned);
    let failed = |error: std::io::Error| {
        Error::usage(format!(
            "cannot keep the bodies of the requests in {}: {error}; name another folder with --runs-dir",
            place.display()
        ))
    };
    std::fs::create_dir_all(&place).map_err(failed)?;
    let mut bodies = BodyFile::new(tempfile::tempfile_in(&place).map_err(failed)?);
    let mut all = Vec::with_capacity(replay.bundle.workload.requests.len());
    replay.each_chunk(|chunk| {
        for mut prepared in serialise(wire, &chunk)? {
            bodies.take(&mut prepared).map_err(failed)?;
            all.push(prepared);
        }
        Ok(())
    })?;
    Ok(all)
}

/// Refuses a load for which the process may not open enough connections.
fn check_descriptors(settings: &Settings) -> Result<(), Error> {
    let all = usize::try_from(settings.workload.num_prompts).unwrap_or(0);
    let at_once = !settings.load.arrivals.rate.is_finite();
    let (connections, flag) = match settings.load.max_concurrency {
        Some(cap) => (cap.min(all.max(1)), "--max-concurrency"),
        None => (all, "--num-prompts"),
    };
    let needed = connections as u64 + OTHER_FILES;
    let limit = limits::raise_file_limit(needed);
    let certain = at_once || settings.load.max_concurrency.is_some();
    if certain && limit.soft < needed {
        return Err(Error::usage(format!(
            "{flag} {connections} needs {needed} open files, but this process may open {} at most: raise the \
             limit (ulimit -n {needed}, or the service's LimitNOFILE), or lower {}",
            limit.hard,
            if settings.load.max_concurrency.is_some() {
                flag
            } else {
                "the load with --max-concurrency"
            },
        )));
    }
    if certain && let Some((low, high)) = limits::local_port_range() {
        let ports = usize::from(high.saturating_sub(low)) + 1;
        if connections > ports {
            return Err(Error::usage(format!(
                "{flag} {connections} needs more connections than the {ports} local ports of one address: lower \
                 it, or widen net.ipv4.ip_local_port_range"
            )));
        }
    }
    Ok(())
}

fn default_workers(settings: &Settings, schedule: &Schedule) -> usize {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let span = schedule.last().as_secs_f64();
    let rate = if span > 0.0 {
        schedule.len() as f64 / span
    } else {
        0.0
    };
    let streams = settings
        .load
        .max_concurrency
        .unwrap_or(schedule.len())
        .min(schedule.len());
    let by_streams = if schedule.is_at_once() || settings.load.max_concurrency.is_some() {
        streams.div_ceil(STREAMS_PER_WORKER)
    } else {
        1
    };
    let by_rate = (rate / RATE_PER_WORKER).ceil() as usize;
    // Half of the processors stay for the server, the kernel and the record log.
    by_streams
        .max(by_rate)
        .clamp(1, (processors / 2).clamp(1, 8))
}
