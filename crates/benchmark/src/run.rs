//! The story of one run against a server.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use inferometer_arrival::Rate;
use inferometer_core::python::float_repr;
use inferometer_core::{Record, redact_url};
use inferometer_engine::{
    EngineError, Finished, Progress, StopHandle, StopLevel, run as run_plan, send_once,
};
use inferometer_os::clock::{self, Anchor};
use inferometer_results::{
    Manifest, RunFolder, RunInfo, ScheduleInfo, Target, VllmHeader, VllmResult, rfc3339,
};
use inferometer_telemetry::server::Page;
use inferometer_wire::Prepared;

use crate::ceiling;
use crate::decoding::{self, Decoding};
use crate::error::{Error, OrError};
use crate::header::{Identity, header};
use crate::numbers::Numbers;
use crate::observer::{Measuring, Observer, Shown};
use crate::prepare::{Ready, prepare};
use crate::probe::{Probe, ProbeNumbers};
use crate::run_records::{LogPlace, RunRecords, count_tokens};
use crate::save::{self, Places};
use crate::settings::Settings;
use crate::spec::{RunFacts, RunSpec};
use crate::{profiler, vllm};
use inferometer_metrics::traffic::TrafficSettings;

/// Pause between two ready checks, as vLLM has it.
const READY_PAUSE: Duration = Duration::from_secs(5);
/// vLLM's own words, so that scripts and people find them.
const NO_TEMPERATURE: &str = "WARNING: vllm bench serve no longer sets temperature==0 (greedy) in requests by \
    default. The default will be determined on the server side and can be model/API specific. For the old \
    behavior, include --temperature=0.";
/// How many failures are shown one by one.
const FAILURES_SHOWN: usize = 10;

/// A finished run.
#[derive(Debug)]
pub struct Run {
    /// Its numbers and the judgement on them.
    pub numbers: Numbers,
    /// Everything about it that is not in the records.
    pub manifest: Manifest,
    /// One record per request, in order of the workload. Of runs with more events than memory
    /// should hold, the events of some are in the run folder only.
    pub records: Vec<Record>,
    /// The run folder, where one was asked for.
    pub folder: Option<PathBuf>,
    /// vLLM's result file, where one was asked for.
    pub result_file: Option<PathBuf>,
    /// The run was stopped before its planned end.
    pub interrupted: bool,
}

/// Runs the benchmark that `settings` ask for.
///
/// # Errors
///
/// Usage errors come before the first request. After a failure, everything that was measured is in
/// the run folder: see [`recover`](crate::recover).
pub fn run(settings: &Settings, observer: &dyn Observer) -> Result<Run, Error> {
    run_with_stop(settings, observer, &StopHandle::default())
}

/// The same; `stop` ends the run early, and everything measured by then is kept.
///
/// # Errors
///
/// As [`run`].
pub fn run_with_stop(
    settings: &Settings,
    observer: &dyn Observer,
    stop: &StopHandle,
) -> Result<Run, Error> {
    let began = clock::wall();
    settings.saving.exports.prepare()?;
    if settings.target.model.is_none() {
        observer.line("Model not specified, fetching first model from server...");
    }
    let ready = prepare(settings, observer)?;
    introduce(settings, &ready, observer);
    let spec = RunSpec::of(settings);
    let label = settings.saving.label.as_deref();
    let identity = Identity::of_run(&spec, &ready.model, ready.tokenizer_id.as_deref(), label);
    let header = header(&spec, identity, began);
    let places = Places::prepare(&settings.saving, &header, began)?;
    if settings.load.reset_prefix_cache {
        profiler::reset_prefix_cache(&ready.plan.wire).inspect_err(|_| drop(places.discard()))?;
    }
    let facts = known_facts(settings, &ready);
    let mut manifest = manifest(settings, &ready, &spec, &facts)?;
    announce_in_folder(settings, &ready, &places, &header, &mut manifest)?;
    observer.interruptible(stop);
    before_the_run(settings, &ready, &places, stop, observer)?;

    let under_way = UnderWay::begin(settings, &ready, &places, &mut manifest, observer)?;
    let mut finished = measure(settings, &ready, under_way.log.as_ref(), stop, observer)
        .inspect_err(|_| keep_what_was_measured(&places, observer))?;
    let (log, after) = under_way.end(&ready, &finished);
    count_tokens(&mut finished, log.as_ref(), ready.tokenizer.as_ref())?;
    let records = RunRecords::of(&finished, log.as_ref());
    let facts = found_facts(settings, facts, &after, &records, &finished)?;
    manifest.server_metrics = after.server_metrics;

    let numbers = Numbers::of(&records, &spec, &facts, &finished.health);
    records.check()?;
    complete(&mut manifest, &finished, &numbers, &spec, &facts)?;
    observer.numbers(&Shown {
        numbers: &numbers,
        spec: &spec,
        facts: &facts,
        health: &finished.health,
        failures: &failures(&finished.records),
        run_folder: places.folder_path(),
        simulated: None,
    });
    if settings.load.profile {
        profiler::stop(&ready.plan.wire, observer)?;
    }
    let outcome = save::Finished {
        saving: &settings.saving,
        spec: &spec,
        facts: &facts,
        records: &records,
        numbers: &numbers,
        manifest: &manifest,
    };
    let result = result(settings, &ready, header, &outcome, &finished);
    outcome.write(&places, &result, observer)?;
    records.check()?;
    if let Some(folder) = &places.folder {
        folder.remove_log().or_failure()?;
    }
    if let Some(error) = &finished.log_error {
        observer.warning(&format!("the record log of the run ended early: {error}"));
    }
    Ok(Run {
        numbers,
        manifest,
        folder: places.folder_path().map(std::path::Path::to_owned),
        result_file: places.result_path(&settings.saving),
        interrupted: facts.interrupted,
        records: finished.records,
    })
}

/// Writes what a later `recover` needs, before anything is sent.
fn announce_in_folder(
    settings: &Settings,
    ready: &Ready,
    places: &Places,
    header: &VllmHeader,
    manifest: &mut Manifest,
) -> Result<(), Error> {
    if let (Some(file), true) = (&places.result, settings.saving.save) {
        vllm::IntendedResult::note(&settings.saving, file, header, manifest)?;
    }
    let Some(folder) = &places.folder else {
        return Ok(());
    };
    let shapes = &settings.shapes;
    if settings.load.self_timed || shapes.conversations || shapes.replay.is_some() {
        folder.write_schedule(&ready.plan.schedule).or_usage()?;
    }
    folder.write_manifest(manifest).or_usage()
}

/// The ready check and the warm-up. A run that does not come past them leaves no folder: a result
/// of nothing would only look like one.
fn before_the_run(
    settings: &Settings,
    ready: &Ready,
    places: &Places,
    stop: &StopHandle,
    observer: &dyn Observer,
) -> Result<(), Error> {
    let checked = ready_check(settings, ready, stop, observer)
        .and_then(|()| warm_up(settings, ready, stop, observer));
    if checked.is_ok() && stop.level() == StopLevel::Run {
        return Ok(());
    }
    places.discard()?;
    checked.and_then(|()| {
        Err(Error::failure(
            "stopped before the measurement began: nothing was measured and no result is written",
        ))
    })
}

/// What was measured before a failure can be recovered; a folder without any of it would only
/// mislead.
fn keep_what_was_measured(places: &Places, observer: &dyn Observer) {
    if let Some(Ok(false) | Err(_)) = places
        .folder
        .as_ref()
        .map(RunFolder::discard_unless_measured)
    {
        observer.note("what was measured is in the run folder: see inferometer recover");
    }
}

/// What accompanies the load.
struct UnderWay {
    before: Option<Page>,
    probe: Option<Probe>,
    log: Option<LogPlace>,
}

/// What was found at the end of the load.
struct After {
    decoding: Option<Decoding>,
    probe: Option<ProbeNumbers>,
    server_metrics: serde_json::Value,
}

impl UnderWay {
    fn begin(
        settings: &Settings,
        ready: &Ready,
        places: &Places,
        manifest: &mut Manifest,
        observer: &dyn Observer,
    ) -> Result<Self, Error> {
        observer.line("Starting main benchmark run...");
        if settings.load.profile {
            profiler::start(&ready.plan.wire, observer)?;
        }
        announce(settings, observer);
        let before = decoding::page(&ready.plan.wire);
        let probe = match settings.load.probe_rate {
            Some(rate) => Some(Probe::start(&ready.plan.wire, rate, settings.kind())?),
            None => None,
        };
        let log = LogPlace::of(places.folder.as_ref(), &ready.plan)?;
        if let Some(folder) = &places.folder {
            // If the run is killed, this is the best that is known of its start: see `note_start`.
            note_start(manifest, Anchor::sample());
            if let Err(error) = folder.write_manifest(manifest) {
                observer.warning(&format!(
                    "could not save the start time; `recover` will lack it if this run is killed: {error}"
                ));
            }
        }
        Ok(Self { before, probe, log })
    }

    fn end(self, ready: &Ready, finished: &Finished) -> (Option<LogPlace>, After) {
        let probe = self.probe.and_then(Probe::finish);
        let page = self
            .before
            .as_ref()
            .and_then(|_| decoding::page(&ready.plan.wire));
        let seconds = finished.health.wall.as_secs_f64();
        let (before, after) = (self.before.as_ref(), page.as_ref());
        let found = After {
            decoding: Decoding::between(before, after, seconds),
            server_metrics: decoding::counter_deltas(before, after, seconds),
            probe,
        };
        (self.log, found)
    }
}

/// What is known of the workload before the run.
pub(crate) fn known_facts(settings: &Settings, ready: &Ready) -> RunFacts {
    let mut traffic = TrafficSettings {
        self_timed: settings.load.self_timed,
        workload_file_sha256: settings
            .shapes
            .replay
            .as_ref()
            .map(|replay| replay.sha256.clone()),
        ..TrafficSettings::default()
    };
    traffic.note(&ready.workload.about);
    RunFacts {
        ignore_eos: ready.plan.wire.settings().body.ignore_eos,
        duplicate_prompts: duplicate_fraction(ready),
        traffic,
        ..RunFacts::default()
    }
}

/// What was found out by the end of the run.
fn found_facts(
    settings: &Settings,
    known: RunFacts,
    after: &After,
    records: &RunRecords<'_>,
    finished: &Finished,
) -> Result<RunFacts, Error> {
    let mut facts = RunFacts {
        interrupted: finished.stopped > StopLevel::Run,
        ceiling_used: ceiling::kept().and_then(|ceiling| ceiling.used(records, &finished.health)),
        decoding: after.decoding.clone(),
        probe: after.probe.clone(),
        ..known
    };
    if let Some(structured) = &settings.shapes.structured {
        facts.traffic.structured = Some(structured.check(records)?);
    }
    Ok(facts)
}

/// Fraction of bodies that repeat an earlier one: a server with a prefix cache answers those
/// faster.
fn duplicate_fraction(ready: &Ready) -> Option<f64> {
    let all = ready.plan.requests.len();
    let mut bodies: Vec<u64> = ready
        .plan
        .requests
        .iter()
        .map(Prepared::body_digest)
        .collect();
    bodies.sort_unstable();
    bodies.dedup();
    (all > 0).then(|| 1.0 - bodies.len() as f64 / all as f64)
}

/// The manifest of a run that has not begun.
pub(crate) fn manifest(
    settings: &Settings,
    ready: &Ready,
    spec: &RunSpec,
    facts: &RunFacts,
) -> Result<Manifest, Error> {
    let wire = &ready.plan.wire;
    let url = |(base, _): (String, _)| redact_url(&format!("{base}{}", settings.target.endpoint));
    let mut manifest = Manifest {
        run: RunInfo {
            label: settings.saving.label.clone(),
            partial: true,
            ..RunInfo::default()
        },
        seeds: [("all".to_owned(), settings.workload.seed)].into(),
        target: Target {
            backend: settings.target.backend.name().to_owned(),
            urls: wire.resolved().into_iter().map(url).collect(),
            model: ready.model.request.clone(),
            served_model: served_model(ready),
            server_version: ready.facts.version.clone(),
            tokenizer: ready.tokenizer_id.clone(),
        },
        workload: ready.workload_info.clone(),
        schedule: ScheduleInfo::of(&ready.plan.schedule),
        environment: serde_json::to_value(&ready.environment).or_failure()?,
        ..Manifest::begin()
    };
    spec.write(facts, &mut manifest)?;
    Ok(manifest)
}

/// What the server loaded the model from, where it says so.
fn served_model(ready: &Ready) -> Option<String> {
    let listed = ready.facts.models.as_deref().unwrap_or_default();
    let served = listed
        .iter()
        .find(|served| served.id == ready.model.request)
        .or(listed.first())?;
    Some(served.root.clone().unwrap_or_else(|| served.id.clone()))
}

fn ready_check(
    settings: &Settings,
    ready: &Ready,
    stop: &StopHandle,
    observer: &dyn Observer,
) -> Result<(), Error> {
    observer.line("Starting initial single prompt test run...");
    let patience = settings.load.ready_check;
    let Some(request) = ready.extra_requests.first().filter(|_| !patience.is_zero()) else {
        observer.line("Skipping endpoint ready check.");
        return Ok(());
    };
    observer.line(&format!(
        "Waiting for endpoint to become up in {} seconds",
        patience.as_secs()
    ));
    let deadline = clock::now() + patience.into();
    loop {
        let records =
            send_once(&ready.plan, std::slice::from_ref(request), 1, stop).or_failure()?;
        let first = records.first();
        if first.is_some_and(Record::is_ok) {
            observer.line("Initial test run completed.");
            return Ok(());
        }
        if stop.level() > StopLevel::Run {
            return Ok(());
        }
        if clock::now() + READY_PAUSE.into() > deadline {
            let reason = first.map(describe_failure).unwrap_or_default();
            return Err(Error::usage(format!(
                "the server did not answer a first request well within --ready-check-timeout-sec {}: {reason}",
                patience.as_secs()
            )));
        }
        std::thread::sleep(READY_PAUSE);
    }
}

fn warm_up(
    settings: &Settings,
    ready: &Ready,
    stop: &StopHandle,
    observer: &dyn Observer,
) -> Result<(), Error> {
    let count = settings.load.num_warmups;
    if count == 0 {
        return Ok(());
    }
    observer.line(&format!("Warming up with {count} requests..."));
    let requests = &ready.extra_requests[ready.extra_requests.len() - count..];
    let slots = settings.load.max_concurrency.unwrap_or(count);
    let records = send_once(&ready.plan, requests, slots, stop).or_failure()?;
    let failed: Vec<_> = records.iter().filter(|record| !record.is_ok()).collect();
    if let Some(first) = failed.first() {
        let reason = describe_failure(first);
        observer.warning(&format!(
            "{} of {count} warm-up requests failed, the first with {reason}",
            failed.len()
        ));
    }
    observer.line("Warmup run completed.");
    Ok(())
}

/// vLLM's lines about the load.
pub(crate) fn announce(settings: &Settings, observer: &dyn Observer) {
    let arrivals = &settings.load.arrivals;
    if settings.load.self_timed {
        observer.line("Self timing is set, using the timestamps from the trace file.");
        return;
    }
    let mut text = String::new();
    let _ = match arrivals.rate {
        Rate::Infinite => writeln!(text, "Traffic request rate: inf"),
        Rate::PerSecond(rate) => writeln!(text, "Traffic request rate: {}", float_repr(rate)),
        Rate::Ramp {
            strategy,
            start_rps,
            end_rps,
        } => writeln!(
            text,
            "Traffic ramp-up strategy: {}.\nWill increase RPS from {start_rps} to {end_rps} RPS over the \
             duration of the benchmark.",
            strategy.name()
        ),
    };
    let kind = if arrivals.burstiness == 1.0 {
        "Poisson process"
    } else {
        "Gamma distribution"
    };
    let _ = writeln!(
        text,
        "Burstiness factor: {} ({kind})",
        float_repr(arrivals.burstiness)
    );
    let cap = settings
        .load
        .max_concurrency
        .map_or_else(|| "None".to_owned(), |cap| cap.to_string());
    let _ = write!(text, "Maximum request concurrency: {cap}");
    if let Some(rate) = settings.load.probe_rate {
        let _ = write!(text, "\nProbe request rate: {} req/s", float_repr(rate));
    }
    observer.line(&text);
}

fn measure(
    settings: &Settings,
    ready: &Ready,
    log: Option<&LogPlace>,
    stop: &StopHandle,
    observer: &dyn Observer,
) -> Result<Finished, Error> {
    let log = log.map(LogPlace::begin).transpose()?;
    let progress = Arc::new(Progress::default());
    observer.measuring(&Measuring {
        progress: Arc::clone(&progress),
        requests: ready.plan.requests.len(),
        title: format!(
            "{} · {}",
            ready.model.id,
            redact_url(&settings.target.base_url)
        ),
        stop: stop.clone(),
    });
    let finished = run_plan(&ready.plan, log, stop, &progress);
    observer.measured();
    match finished {
        Ok(finished) => Ok(finished),
        Err(error @ EngineError::Wire(_)) => Err(error).or_usage(),
        Err(error) => Err(error).or_failure(),
    }
}

/// When the run started. Before it has, that is earlier than the truth by what the opening of
/// connections takes.
fn note_start(manifest: &mut Manifest, start: Anchor) {
    manifest.run.started = rfc3339(start.wall);
    manifest.run.started_wall_ns = start.wall.0;
    manifest.run.started_monotonic_ns = start.monotonic.0;
    manifest.run.anchor_uncertainty_ns = start.uncertainty.0;
}

/// Puts what was measured into the manifest.
pub(crate) fn complete(
    manifest: &mut Manifest,
    finished: &Finished,
    numbers: &Numbers,
    spec: &RunSpec,
    facts: &RunFacts,
) -> Result<(), Error> {
    note_start(manifest, finished.start);
    manifest.run.duration_ns = finished.health.wall.0;
    manifest.run.partial = facts.interrupted;
    spec.write(facts, manifest)?;
    manifest.health = finished.health.clone();
    manifest.summary = serde_json::to_value(numbers).or_failure()?;
    manifest.verdict = Some(numbers.verdict.clone());
    Ok(())
}

/// vLLM's result of the run.
fn result(
    settings: &Settings,
    ready: &Ready,
    header: VllmHeader,
    outcome: &save::Finished<'_>,
    finished: &Finished,
) -> VllmResult {
    let mut result = vllm::result(
        header,
        outcome.records,
        outcome.numbers,
        &finished.health,
        finished.start,
    );
    result.rps_change_events = vllm::rate_changes(
        &settings.load.arrivals,
        &ready.plan.schedule,
        finished.start,
    );
    if let Some(decoding) = &outcome.facts.decoding {
        decoding.fill(&mut result);
    }
    result.probe = outcome.facts.probe.as_ref().map(ProbeNumbers::form);
    if outcome.facts.interrupted {
        vllm::mark_partial(&mut result);
    }
    result
}

/// What came up while the run was prepared.
pub(crate) fn introduce(settings: &Settings, ready: &Ready, observer: &dyn Observer) {
    for line in &ready.lines {
        observer.line(line);
    }
    for warning in &ready.warnings {
        observer.warning(warning);
    }
    if settings.compat.is_vllm() && settings.leaves_temperature_to_server() {
        observer.line(NO_TEMPERATURE);
    }
}

/// The first failures, as vLLM lists them.
pub(crate) fn failures(records: &[Record]) -> String {
    let mut text = String::new();
    let mut failed = records.iter().filter(|record| !record.is_ok()).peekable();
    if failed.peek().is_some() {
        let _ = writeln!(
            text,
            "Failed requests during benchmark run detected (capping to {FAILURES_SHOWN}):"
        );
    }
    for (number, record) in failed.take(FAILURES_SHOWN).enumerate() {
        let _ = writeln!(text, "Error {number}: {}", describe_failure(record));
    }
    text
}

/// Why a request failed, in one line.
pub fn describe_failure(record: &Record) -> String {
    match &record.error {
        Some(error) => format!("{}: {error}", record.outcome),
        None => record.outcome.to_string(),
    }
}
