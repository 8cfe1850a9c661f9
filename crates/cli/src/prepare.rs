//! From settings to a plan: server, tokenizer, workload, schedule. The last moment to refuse.

use std::path::Path;
use std::sync::Arc;

use inferometer_arrival::ArrivalSettings;
use inferometer_core::random::indexed_stream;
use inferometer_core::{Nanos, Prompt, Request, Schedule, Workload};
use inferometer_engine::{Conversations, Plan};
use inferometer_os::{limits, thread};
use inferometer_results::WorkloadInfo;
use inferometer_telemetry::Environment;
use inferometer_wire::{
    BodyFile, BodySettings, ClientSettings, KeepText, Prepared, ServerFacts, SideClient, Wire,
};
use inferometer_workload::{
    DatasetSettings, HubSettings, Tokenizer, WorkloadError, build, build_in_pieces,
};
use rayon::prelude::*;

use crate::adjust::Adjust;
use crate::compat;
use crate::exit::{Failure, OrFail};
use crate::kept::events_in_memory;
use crate::lengths;
use crate::progress::SlowBar;
use crate::server::{ModelNames, inspect, model_names};
use crate::settings::{Replay, RunSettings};

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
pub(crate) struct Ready {
    /// What to do.
    pub(crate) plan: Plan,
    /// What is sent. Of a run against a server only the first request is kept: [`Ready::plan`] has
    /// all of them serialised.
    pub(crate) workload: Workload,
    /// The workload for the manifest.
    pub(crate) workload_info: WorkloadInfo,
    /// Requests for the ready check and the warm-up, none of which is measured.
    pub(crate) spare: Vec<Prepared>,
    /// Counts tokens after the run; `None` with `--skip-tokenizer-init`.
    pub(crate) tokenizer: Option<Tokenizer>,
    /// What the tokenizer was loaded from.
    pub(crate) tokenizer_id: Option<String>,
    /// Names of the model.
    pub(crate) model: ModelNames,
    /// What the server said.
    pub(crate) facts: ServerFacts,
    /// Host and process, looked at while the tokenizer was loading.
    pub(crate) environment: Environment,
    /// Lines for the user.
    pub(crate) lines: Vec<String>,
    /// What may be wrong with the run.
    pub(crate) warnings: Vec<String>,
}

/// Does everything that can fail before the first measured request.
pub(crate) fn prepare(settings: &RunSettings) -> Result<Ready, Failure> {
    check_descriptors(settings)?;
    let named = settings
        .target
        .tokenizer
        .clone()
        .or_else(|| settings.target.model.clone());
    let spec = named.filter(|_| settings.target.has_tokenizer);
    // Loading a tokenizer takes longer than asking the server, so both are done at once.
    let (tokenizer, server, environment) = std::thread::scope(|scope| {
        let loading = spec
            .clone()
            .map(|spec| scope.spawn(move || load_tokenizer(&spec)));
        let server = ask_server(settings);
        let environment = Environment::capture();
        let tokenizer = loading.map(|thread| {
            thread
                .join()
                .unwrap_or_else(|_panic| Err(Failure::usage("loading the tokenizer broke down")))
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
    let mut warnings: Vec<String> = unlisted(settings, &facts, &model).into_iter().collect();
    let tokenizer_id = settings
        .target
        .has_tokenizer
        .then(|| spec.unwrap_or_else(|| model.id.clone()));
    let tokenizer = match (tokenizer, &tokenizer_id) {
        (Some(tokenizer), _) => Some(tokenizer?),
        (None, Some(id)) => Some(load_tokenizer(id)?),
        (None, None) => None,
    };

    let (mut workload, spare) = workload(settings, tokenizer.as_ref())?;
    if settings.compat.is_vllm()
        && let DatasetSettings::TimedTrace(trace) = &settings.workload.dataset
    {
        lines.push(compat::trace_line(trace));
    }
    let wire = wire(settings, &model, workload.force_ignore_eos)?;
    if settings.shapes.replay.is_none() {
        if settings.compat.is_vllm() && aligns(&settings.workload.dataset) {
            lines.extend(compat::align(&wire, &model.id, &mut workload.requests)?);
        } else if !settings.compat.is_vllm() && verifies(settings) {
            verify_lengths(&wire, &model.id, &mut workload)?;
        }
        Adjust::new(settings).apply(tokenizer.as_ref(), &mut workload.requests)?;
    }
    warnings.extend(nothing_to_omit(settings, &model, &workload));
    let conversations = converse(&mut workload.requests, settings.shapes.most_conversations)?;
    warnings.append(&mut workload.warnings.clone());
    let mut requests = match settings
        .shapes
        .replay
        .as_ref()
        .filter(|replay| replay.large.is_some())
    {
        Some(replay) => serialise_to_file(&wire, replay, settings.saving.runs_dir.as_deref())?,
        None => serialise(&wire, &workload.requests)?,
    };
    give_up_some(settings, &mut requests);
    let spare = serialise(&wire, &spare_of(settings, &workload, spare))?;
    let schedule = schedule(settings, &workload)?;
    let workload_info = match settings
        .shapes
        .replay
        .as_ref()
        .and_then(|replay| replay.large.clone())
    {
        Some(large) => large,
        None => WorkloadInfo::of(&workload),
    };
    // A million of them take half a gigabyte.
    workload.requests.truncate(1);
    workload.requests.shrink_to_fit();
    let workers = settings
        .load
        .workers
        .unwrap_or_else(|| default_workers(settings, &schedule));
    if let Some(first) = settings.load.pin {
        thread::check_pin(first, workers).map_err(|error| {
            Failure::usage(format!(
                "--pin {first}: {error}; give a lower --pin or fewer --workers"
            ))
        })?;
    }
    let plan = Plan {
        requests: requests.into(),
        schedule: Arc::new(schedule),
        conversations,
        max_concurrency: settings.load.max_concurrency,
        workers,
        pin: settings.load.pin,
        wire,
        events_in_memory: events_in_memory()?,
        drain: DRAIN,
    };
    Ok(Ready {
        plan,
        workload,
        workload_info,
        spare,
        tokenizer,
        tokenizer_id,
        model,
        facts,
        environment,
        lines,
        warnings,
    })
}

/// The same for a run in which no server takes part: nobody is asked, and nothing will be sent.
pub(crate) fn prepare_simulated(settings: &RunSettings, model: &str) -> Result<Ready, Failure> {
    let name = settings
        .target
        .model
        .clone()
        .unwrap_or_else(|| model.to_owned());
    let model = ModelNames {
        request: settings
            .target
            .served_model_name
            .clone()
            .unwrap_or_else(|| name.clone()),
        id: name,
    };
    let tokenizer_id = settings
        .target
        .tokenizer
        .clone()
        .filter(|_| settings.target.has_tokenizer);
    let tokenizer = tokenizer_id.as_deref().map(load_tokenizer).transpose()?;
    let (mut workload, _) = workload(settings, tokenizer.as_ref())?;
    if let Some(replay) = &settings.shapes.replay {
        workload = replay.whole()?;
    }
    let wire = wire(settings, &model, workload.force_ignore_eos)?;
    if settings.shapes.replay.is_none() {
        Adjust::new(settings).apply(tokenizer.as_ref(), &mut workload.requests)?;
    }
    let conversations = converse(&mut workload.requests, settings.shapes.most_conversations)?;
    let warnings = workload.warnings.clone();
    let mut requests = serialise(&wire, &workload.requests)?;
    give_up_some(settings, &mut requests);
    let schedule = schedule(settings, &workload)?;
    let plan = Plan {
        requests: requests.into(),
        schedule: Arc::new(schedule),
        conversations,
        max_concurrency: settings.load.max_concurrency,
        workers: 1,
        pin: None,
        wire,
        events_in_memory: usize::MAX,
        drain: DRAIN,
    };
    let workload_info = WorkloadInfo::of(&workload);
    let (facts, environment) = (ServerFacts::default(), Environment::capture());
    let (spare, lines) = (Vec::new(), Vec::new());
    Ok(Ready {
        plan,
        workload,
        workload_info,
        spare,
        tokenizer,
        tokenizer_id,
        model,
        facts,
        environment,
        lines,
        warnings,
    })
}

/// A model that the server does not list, where that is not refused.
fn unlisted(settings: &RunSettings, facts: &ServerFacts, model: &ModelNames) -> Option<String> {
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
fn schedule(settings: &RunSettings, workload: &Workload) -> Result<Schedule, Failure> {
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
pub(crate) fn arrivals(
    requests: &[Request],
    settings: &ArrivalSettings,
) -> Result<Schedule, Failure> {
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
/// are made up need memory for one piece only.
pub(crate) fn offline(
    settings: &RunSettings,
    give: &mut dyn FnMut(Nanos, &Request) -> Result<(), Failure>,
) -> Result<(Workload, Schedule), Failure> {
    let named = settings
        .target
        .tokenizer
        .as_ref()
        .or(settings.target.model.as_ref());
    let tokenizer = match named.filter(|_| settings.target.has_tokenizer) {
        Some(spec) => Some(load_tokenizer(spec)?),
        None if settings.target.has_tokenizer => {
            return Err(Failure::usage(
                "name a --tokenizer or a --model: no server is asked for it here (`--tokenizer builtin` needs no \
                 download)",
            ));
        }
        None => None,
    };
    let tokenizer = tokenizer.as_ref();
    let bar = SlowBar::new("making requests");
    let progress = |done, total| bar.update(done, total);
    let mut adjust = Adjust::new(settings);
    let (mut by_rate, mut own) = (None, Vec::new());
    let workload = build_in_pieces(
        &settings.workload,
        tokenizer,
        &progress,
        &mut |mut piece, total| {
            adjust.apply(tokenizer, &mut piece)?;
            // Conversations are in one piece.
            converse(&mut piece, None)?;
            if settings.load.self_timed {
                return piece.iter().try_for_each(|request| {
                    let due = request.trace_at.unwrap_or_default();
                    own.push(due);
                    give(due, request)
                });
            }
            let schedule = match &mut by_rate {
                Some(schedule) => schedule,
                none if piece.len() == total => {
                    none.insert(arrivals(&piece, &settings.load.arrivals)?)
                }
                none => none.insert(
                    inferometer_arrival::schedule(total, &settings.load.arrivals).or_usage()?,
                ),
            };
            piece
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

impl From<WorkloadError> for Failure {
    fn from(error: WorkloadError) -> Self {
        Self::Usage(error.into())
    }
}

/// Makes the turns of conversations chat messages, and says which follows which.
fn converse(
    requests: &mut [Request],
    most: Option<usize>,
) -> Result<Option<Arc<Conversations>>, Failure> {
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
        all.most_active = most;
        Arc::new(all)
    }))
}

/// Datasets of exact lengths, whose lengths can be checked with the server's tokenizer.
fn verifies(settings: &RunSettings) -> bool {
    let exact = matches!(
        settings.workload.dataset,
        DatasetSettings::Random(_)
            | DatasetSettings::PrefixRepetition(_)
            | DatasetSettings::BurstGpt(_)
            | DatasetSettings::Trace(_)
            | DatasetSettings::Mix(_)
    );
    settings.shapes.verify_lengths && settings.target.has_tokenizer && exact
}

fn verify_lengths(wire: &Arc<Wire>, model: &str, workload: &mut Workload) -> Result<(), Failure> {
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

/// Datasets whose prompts vLLM aligns with the server's tokenizer.
fn aligns(dataset: &DatasetSettings) -> bool {
    matches!(
        dataset,
        DatasetSettings::Random(_) | DatasetSettings::PrefixRepetition(_)
    )
}

/// Chooses the requests that are given up.
fn give_up_some(settings: &RunSettings, requests: &mut [Prepared]) {
    use rand::Rng as _;
    let Some((share, delay)) = settings.load.cancellation else {
        return;
    };
    for (index, request) in requests.iter_mut().enumerate() {
        let mut random = indexed_stream(settings.workload.seed, "cancellation", index as u64);
        let draw = f64::from(random.next_u32()) / f64::from(u32::MAX);
        if draw < share {
            request.cancel_after = Some(delay);
        }
    }
}

fn ask_server(settings: &RunSettings) -> Result<(ServerFacts, ModelNames), Failure> {
    let names = ModelNames {
        request: String::new(),
        id: String::new(),
    };
    let side = SideClient::new(&wire(settings, &names, false)?).or_run()?;
    let facts = inspect(&side, &settings.target, settings.load.ready_check)?;
    let model = model_names(&settings.target, &facts)?;
    Ok((facts, model))
}

fn load_tokenizer(spec: &str) -> Result<Tokenizer, Failure> {
    Tokenizer::load(spec, &HubSettings::from_env()).or_usage()
}

fn wire(
    settings: &RunSettings,
    model: &ModelNames,
    force_ignore_eos: bool,
) -> Result<Arc<Wire>, Failure> {
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

fn body_settings(
    settings: &RunSettings,
    model: &ModelNames,
    force_ignore_eos: bool,
) -> BodySettings {
    let content = &settings.content;
    let generates = settings.metrics.kind == inferometer_metrics::Kind::Generation;
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
fn nothing_to_omit(settings: &RunSettings, model: &ModelNames, workload: &Workload) -> Vec<String> {
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
fn keep_text(settings: &RunSettings) -> KeepText {
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
    settings: &RunSettings,
    tokenizer: Option<&Tokenizer>,
) -> Result<(Workload, Vec<Request>), Failure> {
    if let Some(replay) = &settings.shapes.replay {
        return Ok((replay.bundle.workload.clone(), Vec::new()));
    }
    let own = !settings.compat.is_vllm()
        && matches!(settings.workload.dataset, DatasetSettings::Random(_));
    let mut ask = settings.workload.clone();
    if own {
        ask.num_prompts += spare_wanted(settings) as i64;
    }
    let bar = SlowBar::new("making requests");
    let mut workload = build(&ask, tokenizer, &|done, total| bar.update(done, total)).or_usage()?;
    drop(bar);
    let count = usize::try_from(settings.workload.num_prompts).unwrap_or(0);
    let spare = if own {
        workload
            .requests
            .split_off(count.min(workload.requests.len()))
    } else {
        Vec::new()
    };
    Ok((workload, spare))
}

/// Requests that are sent before the run.
fn spare_wanted(settings: &RunSettings) -> usize {
    settings.load.num_warmups + usize::from(!settings.load.ready_check.is_zero())
}

/// Requests to be sent before the run, without ids. Where there are none of their own, the first
/// request of the run has to serve, as in vLLM.
fn spare_of(settings: &RunSettings, workload: &Workload, own: Vec<Request>) -> Vec<Request> {
    let mut spare = own;
    if spare.is_empty() {
        spare = workload
            .requests
            .first()
            .cloned()
            .into_iter()
            .cycle()
            .take(spare_wanted(settings))
            .collect();
    }
    for request in &mut spare {
        request.id = None;
        request.model = None;
        request.session = None;
    }
    spare
}

fn serialise(wire: &Wire, requests: &[Request]) -> Result<Vec<Prepared>, Failure> {
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
) -> Result<Vec<Prepared>, Failure> {
    let place = folder.map_or_else(std::env::temp_dir, Path::to_owned);
    let failed = |error: std::io::Error| {
        Failure::usage(format!(
            "cannot keep the bodies of the requests in {}: {error}; name another folder with --runs-dir",
            place.display()
        ))
    };
    std::fs::create_dir_all(&place).map_err(failed)?;
    let mut bodies = BodyFile::new(tempfile::tempfile_in(&place).map_err(failed)?);
    let mut all = Vec::with_capacity(replay.bundle.workload.requests.len());
    replay.each_piece(|piece| {
        for mut prepared in serialise(wire, &piece)? {
            bodies.take(&mut prepared).map_err(failed)?;
            all.push(prepared);
        }
        Ok(())
    })?;
    Ok(all)
}

/// Refuses a load for which the process may not open enough connections.
fn check_descriptors(settings: &RunSettings) -> Result<(), Failure> {
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
        return Err(Failure::usage(format!(
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
            return Err(Failure::usage(format!(
                "{flag} {connections} needs more connections than the {ports} local ports of one address: lower \
                 it, or widen net.ipv4.ip_local_port_range"
            )));
        }
    }
    Ok(())
}

fn default_workers(settings: &RunSettings, schedule: &Schedule) -> usize {
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
