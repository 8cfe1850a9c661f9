//! `inferometer run`: one benchmark, from arguments to files.

use std::any::Any;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use inferometer_arrival::Rate;
use inferometer_core::{Record, redact_url};
use inferometer_engine::{
    EngineError, Finished, Progress, StopHandle, StopLevel, run as run_plan, send_once,
};
use inferometer_metrics::VerdictSettings;
use inferometer_os::clock::{self, Anchor};
use inferometer_report::Lang;
use inferometer_results::{
    Manifest, ResultFile, RunFolder, RunInfo, ScheduleInfo, Target, VllmHeader, result_file_name,
    rfc3339, run_folder_name,
};
use inferometer_wire::Prepared;

use crate::args::{RunArgs, Ui};
use crate::decoding::{self, Decoding};
use crate::exit::{Exit, Failure, OrFail};
use crate::kept::{Kept, LogPlace, count_tokens};
use crate::live::{Live, Teller};
use crate::numbers::{Look, NumberSettings, Numbers};
use crate::output::Output;
use crate::prepare::{Ready, prepare};
use crate::probe::{Probe, ProbeNumbers};
use crate::progress::RunBar;
use crate::settings::RunSettings;
use crate::traffic::TrafficSettings;
use crate::tui::{Head, Tui};
use crate::{beside, compat, page, profiler, signals, vllm};

/// Pause between two ready checks, as vLLM has it.
const READY_PAUSE: Duration = Duration::from_secs(5);
/// vLLM's own words, so that scripts and people find them.
const NO_TEMPERATURE: &str = "WARNING: vllm bench serve no longer sets temperature==0 (greedy) in requests by \
    default. The default will be determined on the server side and can be model/API specific. For the old \
    behavior, include --temperature=0.";
/// How many failures are shown one by one.
const FAILURES_SHOWN: usize = 10;

/// Runs the benchmark that `args` ask for.
pub(crate) fn run(args: RunArgs, output: &Output) -> Result<Exit, Failure> {
    benchmark(&RunSettings::resolve(args)?, output)
}

/// Runs the benchmark that `settings` ask for.
pub(crate) fn benchmark(settings: &RunSettings, output: &Output) -> Result<Exit, Failure> {
    let began = clock::wall();
    settings.saving.exports.prepare()?;
    if settings.compat.is_vllm() {
        output.say(&compat::namespace_line(&settings.vllm_args));
    }
    for note in &settings.notes {
        output.note(note);
    }
    if settings.target.model.is_none() {
        output.say("Model not specified, fetching first model from server...");
    }
    let ready = prepare(settings)?;
    tell(settings, &ready, output);
    let header = vllm::header(settings, &ready.model, ready.tokenizer_id.as_deref(), began);
    let result_file = result_file(settings, &header)?;
    if settings.load.reset_prefix_cache {
        profiler::reset_prefix_cache(&ready.plan.wire)?;
    }
    let name = run_folder_name(began, settings.saving.label.as_deref());
    let folder = settings
        .saving
        .runs_dir
        .as_ref()
        .map(|parent| RunFolder::create(parent, &name));
    let folder = folder.transpose().or_usage()?;
    let numbers_settings = number_settings(settings, &ready);
    let mut manifest = manifest(settings, &ready, &numbers_settings)?;
    if let (Some(file), true) = (&result_file, settings.saving.save) {
        vllm::Intended::note(settings, file, &header, &mut manifest)?;
    }
    if let Some(folder) = &folder {
        if settings.load.self_timed
            || settings.shapes.conversations
            || settings.shapes.replay.is_some()
        {
            folder.write_schedule(&ready.plan.schedule).or_usage()?;
        }
        folder.write_manifest(&manifest).or_usage()?;
    }

    let stop = StopHandle::default();
    let _interrupts = signals::on_interrupt(stop.clone(), output);
    let checked = ready_check(settings, &ready, &stop, output)
        .and_then(|()| warm_up(settings, &ready, &stop, output));
    if checked.is_err() || stop.level() > StopLevel::Run {
        // A result of nothing would only look like one.
        if let Some(folder) = &folder {
            folder.discard().or_run()?;
        }
        return checked.and_then(|()| Err(stopped_too_early()));
    }
    output.say("Starting main benchmark run...");
    if settings.load.profile {
        profiler::start(&ready.plan.wire, output)?;
    }
    announce(settings, output);
    let before = decoding::page(&ready.plan.wire);
    let kind = settings.metrics.kind;
    let probe = settings
        .load
        .probe_rate
        .map(|rate| Probe::start(&ready.plan.wire, rate, kind));
    let probe = probe.transpose()?;
    let log = LogPlace::of(folder.as_ref(), &ready.plan)?;
    if let Some(folder) = &folder {
        // If the run is killed, this is the best that is known of its start: see `note_start`.
        note_start(&mut manifest, Anchor::sample());
        if let Err(error) = folder.write_manifest(&manifest) {
            output.warn(&format!(
                "were this run killed, its start would not be known: {error}"
            ));
        }
    }
    let mut finished =
        measure(settings, &ready, log.as_ref(), &stop, output).inspect_err(|_| {
            // What was measured before a failure can be recovered; a folder without any of it would
            // only mislead.
            if let Some(Ok(false) | Err(_)) =
                folder.as_ref().map(RunFolder::discard_unless_measured)
            {
                output.note("what was measured stays in the run folder: see inferometer recover");
            }
        })?;
    let probe = probe.and_then(Probe::finish);
    let after = before
        .as_ref()
        .and_then(|_| decoding::page(&ready.plan.wire));
    count_tokens(&mut finished, log.as_ref(), ready.tokenizer.as_ref())?;
    let records = Kept::of(&finished, log.as_ref());

    let interrupted = finished.stopped > StopLevel::Run;
    let mut numbers_settings = numbers_settings;
    numbers_settings.verdict.interrupted = interrupted;
    if let Some(structured) = &settings.shapes.structured {
        numbers_settings.traffic.structured = Some(structured.check(&records)?);
    }
    let seconds = finished.health.wall.as_secs_f64();
    numbers_settings.decoding = Decoding::between(before.as_ref(), after.as_ref(), seconds);
    manifest.server_metrics = decoding::told(before.as_ref(), after.as_ref(), seconds);
    numbers_settings.probe = probe;
    numbers_settings.verdict.ceiling_used =
        super::selftest::kept().and_then(|ceiling| ceiling.used(&records, &finished.health));
    let numbers = Numbers::of(&records, &numbers_settings, &finished.health);
    records.check()?;
    complete(
        &mut manifest,
        &finished,
        &numbers,
        &numbers_settings,
        interrupted,
    )?;
    let look = Look {
        color: output.color(),
        run_folder: folder
            .as_ref()
            .map(|folder| folder.path().display().to_string()),
        ..Look::default()
    };
    output.print(&failures(&finished.records));
    output.print(&numbers.render(&numbers_settings, &finished.health, &look));
    if settings.load.profile {
        profiler::stop(&ready.plan.wire, output)?;
    }
    // The numbers are on the screen before anything is written: a full disk must not cost them.
    save(
        settings,
        folder.as_ref(),
        &manifest,
        result_file.as_ref(),
        header,
        &ready,
        (&finished, &records),
        &numbers,
        &numbers_settings,
    )?;
    let place = folder.as_ref().map(RunFolder::path);
    for path in settings
        .saving
        .exports
        .write(place, &manifest, &records, &numbers_settings)?
    {
        output.say(&format!("Exported: {}", path.display()));
    }
    records.check()?;
    if let Some(folder) = &folder {
        folder.remove_log().or_run()?;
    }
    if let Some(error) = finished.log_error {
        output.warn(&format!("the record log of the run broke off: {error}"));
    }
    Ok(exit(settings, &numbers))
}

fn stopped_too_early() -> Failure {
    Failure::Run(anyhow::Error::msg(
        "stopped before the measurement began: nothing was measured and no result is written",
    ))
}

pub(super) fn exit(settings: &RunSettings, numbers: &Numbers) -> Exit {
    if numbers.summary.completed == 0 {
        Exit::RunFailed
    } else if settings.saving.strict && numbers.verdict.level == inferometer_core::Level::Invalid {
        Exit::Invalid
    } else {
        Exit::Good
    }
}

pub(super) fn result_file(
    settings: &RunSettings,
    header: &VllmHeader,
) -> Result<Option<ResultFile>, Failure> {
    let saving = &settings.saving;
    if !beside::wanted(settings) {
        return Ok(None);
    }
    let name = match &saving.result_filename {
        Some(name) => name.display().to_string(),
        None => result_file_name(header),
    };
    ResultFile::prepare(saving.result_dir.as_deref(), &name, saving.append)
        .or_usage()
        .map(Some)
}

pub(super) fn number_settings(settings: &RunSettings, ready: &Ready) -> NumberSettings {
    let arrivals = &settings.load.arrivals;
    NumberSettings {
        metrics: settings.metrics.clone(),
        verdict: VerdictSettings {
            finite_rate: arrivals.rate.is_finite() || settings.load.self_timed,
            ramp: matches!(arrivals.rate, Rate::Ramp { .. }),
            ignore_eos: ready.plan.wire.settings().body.ignore_eos,
            explicit_percentiles: settings.percentiles_asked,
            duplicate_prompts: duplicate_share(ready),
            ..VerdictSettings::default()
        },
        old_total_label: settings.compat.has_old_total_label(),
        traffic: traffic(settings, ready),
        decoding: None,
        probe: None,
        request_rate: match arrivals.rate {
            Rate::PerSecond(rate) => Some(rate),
            Rate::Infinite | Rate::Ramp { .. } => None,
        },
    }
}

fn traffic(settings: &RunSettings, ready: &Ready) -> TrafficSettings {
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
    traffic
}

/// Share of bodies that repeat an earlier one: a server with a prefix cache answers those faster.
fn duplicate_share(ready: &Ready) -> Option<f64> {
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

pub(super) fn manifest(
    settings: &RunSettings,
    ready: &Ready,
    numbers: &NumberSettings,
) -> Result<Manifest, Failure> {
    let wire = &ready.plan.wire;
    let url = |(base, _): (String, _)| redact_url(&format!("{base}{}", settings.target.endpoint));
    Ok(Manifest {
        run: RunInfo {
            label: settings.saving.label.clone(),
            partial: true,
            ..RunInfo::default()
        },
        settings: serde_json::json!({
            "flags": settings.echo,
            "numbers": numbers,
            "arrivals": settings.load.arrivals,
        }),
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
        environment: serde_json::to_value(&ready.environment).or_run()?,
        ..Manifest::begin()
    })
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
    settings: &RunSettings,
    ready: &Ready,
    stop: &StopHandle,
    output: &Output,
) -> Result<(), Failure> {
    output.say("Starting initial single prompt test run...");
    let patience = settings.load.ready_check;
    let Some(request) = ready.spare.first().filter(|_| !patience.is_zero()) else {
        output.say("Skipping endpoint ready check.");
        return Ok(());
    };
    output.say(&format!(
        "Waiting for endpoint to become up in {} seconds",
        patience.as_secs()
    ));
    let deadline = clock::now() + patience.into();
    loop {
        let records = send_once(&ready.plan, std::slice::from_ref(request), 1, stop).or_run()?;
        let first = records.first();
        if first.is_some_and(Record::is_ok) {
            output.say("Initial test run completed.");
            return Ok(());
        }
        if stop.level() > StopLevel::Run {
            return Ok(());
        }
        if clock::now() + READY_PAUSE.into() > deadline {
            let reason = first.map(describe_failure).unwrap_or_default();
            return Err(Failure::usage(format!(
                "the server did not answer a first request well within --ready-check-timeout-sec {}: {reason}",
                patience.as_secs()
            )));
        }
        std::thread::sleep(READY_PAUSE);
    }
}

fn warm_up(
    settings: &RunSettings,
    ready: &Ready,
    stop: &StopHandle,
    output: &Output,
) -> Result<(), Failure> {
    let count = settings.load.num_warmups;
    if count == 0 {
        return Ok(());
    }
    output.say(&format!("Warming up with {count} requests..."));
    let requests = &ready.spare[ready.spare.len() - count..];
    let slots = settings.load.max_concurrency.unwrap_or(count);
    let records = send_once(&ready.plan, requests, slots, stop).or_run()?;
    let failed: Vec<_> = records.iter().filter(|record| !record.is_ok()).collect();
    if let Some(first) = failed.first() {
        let reason = describe_failure(first);
        output.warn(&format!(
            "{} of {count} warm-up requests failed, the first with {reason}",
            failed.len()
        ));
    }
    output.say("Warmup run completed.");
    Ok(())
}

/// vLLM's lines about the load.
pub(super) fn announce(settings: &RunSettings, output: &Output) {
    use inferometer_core::python::float_repr;
    let arrivals = &settings.load.arrivals;
    if settings.load.self_timed {
        output.say("Self timing is set, using the timestamps from the trace file.");
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
    output.say(&text);
}

fn measure(
    settings: &RunSettings,
    ready: &Ready,
    log: Option<&LogPlace>,
    stop: &StopHandle,
    output: &Output,
) -> Result<Finished, Failure> {
    let log = log.map(LogPlace::begin).transpose()?;
    let progress = Arc::new(Progress::default());
    let _teller = Teller::follow(Arc::clone(&progress));
    let view = view(settings, ready, stop, &progress, output);
    let finished = run_plan(&ready.plan, log, stop, &progress);
    drop(view);
    finished.map_err(|error| match error {
        EngineError::Wire(_) => Failure::Usage(error.into()),
        other => Failure::Run(other.into()),
    })
}

/// What shows the run while it is under way, until it is dropped.
fn view(
    settings: &RunSettings,
    ready: &Ready,
    stop: &StopHandle,
    progress: &Arc<Progress>,
    output: &Output,
) -> Option<Box<dyn Any>> {
    if !settings.load.show_progress {
        return None;
    }
    if settings.load.ui == Ui::Tui {
        let title = format!("{} · {}", ready.model.id, settings.target.base_url);
        let heading = Arc::new(Mutex::new(Head {
            title,
            ..Head::default()
        }));
        let (progress, started, stop) = (Arc::clone(progress), clock::now(), stop.clone());
        let look = move || Some(Live::of(&progress, started, clock::now()));
        if let Some(tui) = Tui::follow(look, move || _ = stop.escalate(), heading, output) {
            return Some(Box::new(tui));
        }
    }
    Some(Box::new(RunBar::follow(
        Arc::clone(progress),
        ready.plan.requests.len(),
    )))
}

/// When the run started. Before it has, that is earlier than the truth by what the opening of
/// connections takes.
fn note_start(manifest: &mut Manifest, start: Anchor) {
    manifest.run.started = rfc3339(start.wall);
    manifest.run.started_wall_ns = start.wall.0;
    manifest.run.started_monotonic_ns = start.monotonic.0;
    manifest.run.anchor_uncertainty_ns = start.uncertainty.0;
}

pub(super) fn complete(
    manifest: &mut Manifest,
    finished: &Finished,
    numbers: &Numbers,
    settings: &NumberSettings,
    interrupted: bool,
) -> Result<(), Failure> {
    note_start(manifest, finished.start);
    manifest.run.duration_ns = finished.health.wall.0;
    manifest.run.partial = interrupted;
    manifest.settings["numbers"] = serde_json::to_value(settings).or_run()?;
    manifest.health = finished.health.clone();
    manifest.summary = serde_json::to_value(numbers).or_run()?;
    manifest.verdict = Some(numbers.verdict.clone());
    Ok(())
}

#[expect(
    clippy::too_many_arguments,
    reason = "everything that a run has made comes together here"
)]
fn save(
    settings: &RunSettings,
    folder: Option<&RunFolder>,
    manifest: &Manifest,
    result_file: Option<&ResultFile>,
    header: VllmHeader,
    ready: &Ready,
    (finished, records): (&Finished, &Kept<'_>),
    numbers: &Numbers,
    told: &NumberSettings,
) -> Result<(), Failure> {
    let mut result = vllm::result(header, records, numbers, &finished.health, finished.start);
    result.rps_change_events = vllm::rate_changes(
        &settings.load.arrivals,
        &ready.plan.schedule,
        finished.start,
    );
    if let Some(decoding) = &told.decoding {
        decoding.fill(&mut result);
    }
    result.probe = told.probe.as_ref().map(ProbeNumbers::form);
    if manifest.run.partial {
        vllm::mark_partial(&mut result);
    }
    if let Some(file) = result_file {
        if settings.saving.save {
            file.write(&result, vllm::details(settings, records))
                .or_run()?;
        }
        beside::write(settings, file, records, &result)?;
    }
    if let Some(folder) = folder {
        folder.store_records(records).or_run()?;
        folder.write_manifest(manifest).or_run()?;
        page::write(folder, manifest, records, numbers, Lang::default())?;
    }
    Ok(())
}

/// What came up while the run was prepared.
pub(super) fn tell(settings: &RunSettings, ready: &Ready, output: &Output) {
    for line in &ready.lines {
        output.say(line);
    }
    for warning in &ready.warnings {
        output.warn(warning);
    }
    if settings.compat.is_vllm() && settings.leaves_temperature_to_server() {
        output.say(NO_TEMPERATURE);
    }
}

/// The first failures, as vLLM lists them.
pub(super) fn failures(records: &[Record]) -> String {
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

pub(super) fn describe_failure(record: &Record) -> String {
    match &record.error {
        Some(error) => format!("{}: {error}", record.outcome),
        None => record.outcome.to_string(),
    }
}
