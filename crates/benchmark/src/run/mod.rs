//! One run against a server, from its settings to its files.

mod before;
mod early;
mod facts;

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use inferometer_core::{Nanos, Record, redact_url};
use inferometer_engine::{EngineError, Finished, Progress, StopHandle, StopLevel, run as run_plan};
use inferometer_os::clock::{self, Anchor};
use inferometer_results::{Manifest, RunFolder, VllmHeader, VllmResult};
use inferometer_telemetry::server::Page;

pub(crate) use self::before::{announce, introduce};
use self::before::{announce_in_folder, before_the_run};
pub use self::early::advice;
use self::facts::note_start;
pub(crate) use self::facts::{body_digests, complete, known_facts, manifest, target_urls};
use crate::ceiling;
use crate::compat::Compat;
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
use crate::{history, profiler, vllm};

/// Failures listed one by one: vLLM's number.
const FAILURES_SHOWN: usize = 10;

/// A finished run.
#[derive(Debug)]
pub struct Run {
    /// Its numbers and the verdict on them.
    pub numbers: Numbers,
    /// Everything about it that is not in the records.
    pub manifest: Manifest,
    /// One record per request, in order of the workload. In runs with more events than memory should
    /// hold, the events of some records are in the run folder only.
    pub records: Vec<Record>,
    /// The run folder, where one was requested.
    pub folder: Option<PathBuf>,
    /// vLLM's result file, where one was requested.
    pub result_file: Option<PathBuf>,
    /// True when the run was stopped before its planned end.
    pub interrupted: bool,
}

/// Runs the benchmark that `settings` describe, and writes the files that they ask for. Blocks until
/// the run has ended.
///
/// # Errors
///
/// Usage errors come before the first measured request. After a failure, everything that was measured
/// is in the run folder, if there is one: see [`recover`](crate::recover).
pub fn run(settings: &Settings, observer: &dyn Observer) -> Result<Run, Error> {
    run_with_stop(settings, observer, &StopHandle::default())
}

/// [`run`] with a handle: `stop` ends the run early, and everything measured by then is kept.
///
/// # Errors
///
/// As [`run`].
pub fn run_with_stop(
    settings: &Settings,
    observer: &dyn Observer,
    stop: &StopHandle,
) -> Result<Run, Error> {
    let Planned {
        ready,
        spec,
        header,
        places,
        facts,
        mut manifest,
    } = Planned::of(settings, clock::wall(), observer)?;
    observer.interruptible(stop);
    before_the_run(settings, &ready, &places, stop, observer)?;

    let under_way = UnderWay::begin(settings, &ready, &places, &mut manifest, stop, observer)?;
    let mut finished = measure(settings, &ready, under_way.log.as_ref(), stop, observer)
        .inspect_err(|_| keep_what_was_measured(&places, observer))?;
    if let Some(error) = &finished.log_error {
        // Said before the files are written, which fails on the same full disk.
        observer.warning(&format!(
            "the record log of the run ended early ({error}): if this process dies before its files are written, \
             `recover` finds only what was logged by then"
        ));
    }
    let (log, after) = under_way.end(&ready, &finished);
    report_unanswered(&ready, observer);
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
        failures: &failures(&finished.records, settings.compat),
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
    let result_file = outcome.write(&places, &result, observer)?;
    records.check()?;
    if let Some(folder) = &places.folder {
        folder.remove_log().or_failure()?;
    }
    Ok(Run {
        numbers,
        manifest,
        folder: places.folder_path().map(Path::to_owned),
        result_file,
        interrupted: facts.interrupted,
        records: finished.records,
    })
}

/// A run with its places settled, whose manifest is written and whose first request is not sent.
struct Planned {
    ready: Ready,
    spec: RunSpec,
    header: VllmHeader,
    places: Places,
    facts: RunFacts,
    manifest: Manifest,
}

impl Planned {
    /// Prepares a run that began at the local time `began`.
    fn of(settings: &Settings, began: Nanos, observer: &dyn Observer) -> Result<Self, Error> {
        settings.saving.exports.prepare()?;
        if settings.target.model.is_none() {
            observer.line("Model not specified, fetching first model from server...");
        }
        let ready = prepare(settings, observer)?;
        introduce(settings, &ready, observer);
        let spec = RunSpec::of(settings);
        let header = header(&spec, Identity::of_run(settings, &ready), began);
        let places = Places::prepare(&settings.saving, &spec, &header, began, observer)?;
        if settings.load.reset_prefix_cache {
            profiler::reset_prefix_cache(&ready.plan.wire)
                .inspect_err(|_| drop(places.discard()))?;
        }
        let digests = body_digests(&ready);
        let mut facts = known_facts(settings, &ready, &digests);
        if let Some(runs) = settings.saving.runs_dir.as_deref()
            && let Some(bodies) = facts.bodies.as_deref()
            && !settings.load.reset_prefix_cache
        {
            let sent = history::Sent {
                urls: &target_urls(settings, &ready),
                bodies,
                digests: &digests,
            };
            let found = history::repeated_run(runs, &sent);
            (facts.repeats, facts.repeated_fraction) = match found {
                Some(found) => (Some(found.started), found.fraction),
                None => (None, None),
            };
        }
        let manifest = manifest(settings, &ready, &spec, &facts)
            .and_then(|mut manifest| {
                announce_in_folder(settings, &ready, &places, &header, &mut manifest)?;
                Ok(manifest)
            })
            .inspect_err(|_| drop(places.discard()))?;
        Ok(Self {
            ready,
            spec,
            header,
            places,
            facts,
            manifest,
        })
    }
}

/// Names the pages of the server that have not answered.
fn report_unanswered(ready: &Ready, observer: &dyn Observer) {
    for sentence in ready.plan.wire.unanswered_pages() {
        observer.warning(&sentence);
    }
}

/// Keeps the folder of a run that failed if its log holds a record, for `recover`; else removes it.
fn keep_what_was_measured(places: &Places, observer: &dyn Observer) {
    if let Some(Ok(false) | Err(_)) = places
        .folder
        .as_ref()
        .map(RunFolder::discard_unless_measured)
    {
        observer.note("what was measured is in the run folder: see inferometer recover");
    }
}

/// What runs alongside the load while it is sent.
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
    counted_cached: Option<f64>,
}

impl UnderWay {
    fn begin(
        settings: &Settings,
        ready: &Ready,
        places: &Places,
        manifest: &mut Manifest,
        stop: &StopHandle,
        observer: &dyn Observer,
    ) -> Result<Self, Error> {
        observer.line("Starting main benchmark run...");
        if settings.load.profile {
            profiler::start(&ready.plan.wire, stop, observer)?;
        }
        announce(settings, observer);
        let before = decoding::page(&ready.plan.wire, stop);
        if let Some(sentence) = before.as_ref().and_then(decoding::unknown_counters) {
            observer.note(sentence);
        }
        report_unanswered(ready, observer);
        let probe = match settings.load.probe_rate {
            Some(rate) => Some(Probe::start(&ready.plan.wire, rate, settings.kind())?),
            None => None,
        };
        let log = LogPlace::of(places.folder.as_ref(), &ready.plan)?;
        if let Some(folder) = &places.folder {
            // The best that is known of the start of a run that is killed: see `note_start`.
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
            .and_then(|_| decoding::page(&ready.plan.wire, &StopHandle::default()));
        let seconds = finished.health.wall.as_secs_f64();
        let (before, after) = (self.before.as_ref(), page.as_ref());
        let found = After {
            decoding: Decoding::between(before, after, seconds),
            server_metrics: decoding::counter_deltas(before, after, seconds),
            counted_cached: decoding::counted_cached(before, after, seconds),
            probe,
        };
        (self.log, found)
    }
}

/// [`RunFacts`] with what was found by the end of the run.
fn found_facts(
    settings: &Settings,
    known: RunFacts,
    after: &After,
    records: &RunRecords<'_>,
    finished: &Finished,
) -> Result<RunFacts, Error> {
    let mut facts = RunFacts {
        interrupted: finished.stopped > StopLevel::Run,
        counted_cached: after.counted_cached,
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

/// Sends the load and waits for its answers.
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
    let finished = early::watched(&progress, ready.plan.requests.len(), observer, || {
        run_plan(&ready.plan, log, stop, &progress)
    });
    observer.measured();
    match finished {
        Ok(finished) => Ok(finished),
        Err(error @ EngineError::Wire(_)) => Err(error).or_usage(),
        Err(error) => Err(error).or_failure(),
    }
}

/// vLLM's result of the run.
fn result(
    settings: &Settings,
    ready: &Ready,
    header: VllmHeader,
    outcome: &save::Finished<'_>,
    finished: &Finished,
) -> VllmResult {
    let mut result = outcome.result(header, settings, &ready.plan.schedule, finished);
    if let Some(decoding) = &outcome.facts.decoding {
        decoding.fill(&mut result);
    }
    result.probe = outcome.facts.probe.as_ref().map(ProbeNumbers::form);
    if outcome.facts.interrupted {
        vllm::mark_partial(&mut result);
    }
    result
}

/// The first failures, as vLLM lists them; empty without any. Requests that were never sent, because
/// the user stopped the run, are none. Under vLLM's rules each request has a line;
/// else equal ones are folded, the most frequent first, so that one cause does not hide the others.
pub(crate) fn failures(records: &[Record], compat: Compat) -> String {
    let failed = records
        .iter()
        .filter(|record| !record.is_ok() && !record.is_not_sent());
    let mut folded: Vec<(String, usize)> = Vec::new();
    if compat.is_vllm() {
        let first = failed.take(FAILURES_SHOWN);
        folded.extend(first.map(|record| (describe_failure(record), 1)));
    } else {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for record in failed {
            *counts.entry(describe_failure(record)).or_default() += 1;
        }
        folded.extend(counts);
        folded.sort_by_key(|(_, count)| Reverse(*count));
    }
    let mut text = String::new();
    if !folded.is_empty() {
        let _ = writeln!(
            text,
            "Failed requests during benchmark run detected (capping to {FAILURES_SHOWN}):"
        );
    }
    for (number, (failure, count)) in folded.iter().take(FAILURES_SHOWN).enumerate() {
        let times = if *count > 1 {
            format!(" ({count} times)")
        } else {
            String::new()
        };
        let _ = writeln!(text, "Error {number}: {failure}{times}");
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
