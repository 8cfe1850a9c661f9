//! What happens before the first measured request: messages, files for `recover`, ready check,
//! warm-up.

use std::fmt::Write as _;
use std::time::Duration;

use inferometer_arrival::Rate;
use inferometer_core::python::float_repr;
use inferometer_core::{Nanos, Outcome, Record};
use inferometer_engine::{RunInput, StopHandle, StopLevel, send_once};
use inferometer_os::clock;
use inferometer_results::{Manifest, VllmHeader};

use super::describe_failure;
use crate::error::{Error, OrError};
use crate::observer::Observer;
use crate::prepare::Ready;
use crate::save::Places;
use crate::settings::Settings;
use crate::vllm;

/// Pause between two ready checks: vLLM's. A short wait has at least ten of them.
const READY_PAUSE: Duration = Duration::from_secs(5);
/// How often a pause polls for a stop.
const STOP_POLL: Duration = Duration::from_millis(50);
/// vLLM's wording, so that scripts and people find it.
const NO_TEMPERATURE: &str = "WARNING: vllm bench serve no longer sets temperature==0 (greedy) in requests by \
    default. The default will be determined on the server side and can be model/API specific. For the old \
    behavior, include --temperature=0.";

/// Passes on the messages and warnings of the preparation.
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

/// Writes what `recover` needs if the run is killed, before anything is sent.
pub(super) fn announce_in_folder(
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

/// The ready check and the warm-up. A run that ends here leaves no folder: an empty result could be
/// mistaken for a measurement.
pub(super) fn before_the_run(
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
        Err(Error::interrupted(
            "stopped before the measurement began: nothing was measured and no result is written",
        ))
    })
}

/// Sends one request until it succeeds or the time for it is over, which also ends the last attempt.
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
    let pause_between = Nanos::from(READY_PAUSE.min(patience / 10));
    let plan = at_once(ready);
    let mut request = request.clone();
    let mut reason = String::new();
    loop {
        let left = deadline.since(clock::now());
        if left == Nanos::ZERO {
            return Err(Error::usage(format!(
                "no successful answer to a first request within --ready-check-timeout-sec {}: {reason}",
                patience.as_secs()
            )));
        }
        request.cancel_after = Some(left);
        let records = send_once(&plan, std::slice::from_ref(&request), 1, stop).or_failure()?;
        let first = records.first();
        if first.is_some_and(Record::is_ok) {
            observer.line("Initial test run completed.");
            return Ok(());
        }
        if stop.level() > StopLevel::Run {
            return Ok(());
        }
        reason = first.map(not_ready).unwrap_or_default();
        pause(pause_between.min(deadline.since(clock::now())), stop);
    }
}

/// Why the latest ready check failed.
fn not_ready(record: &Record) -> String {
    if record.outcome == Outcome::Cancelled {
        return "its answer was not complete by then".to_owned();
    }
    describe_failure(record)
}

/// The plan for requests that are not measured: a stop does not wait for their answers.
fn at_once(ready: &Ready) -> RunInput {
    RunInput {
        drain: Nanos::ZERO,
        ..ready.plan.clone()
    }
}

/// Waits this long, or until the run is stopped.
fn pause(time: Nanos, stop: &StopHandle) {
    let until = clock::now() + time;
    while clock::now() < until && stop.level() == StopLevel::Run {
        let left = Duration::from_nanos(until.since(clock::now()).0);
        std::thread::sleep(STOP_POLL.min(left));
    }
}

/// Sends the warm-up requests and waits for their answers.
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
    let records = send_once(&at_once(ready), requests, slots, stop).or_failure()?;
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

/// vLLM's messages about the load.
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
