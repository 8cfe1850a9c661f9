//! What the manifest says of a run, before it and after it.

use inferometer_core::redact_url;
use inferometer_engine::Finished;
use inferometer_metrics::traffic::TrafficSettings;
use inferometer_os::clock::Anchor;
use inferometer_results::{Manifest, RunInfo, ScheduleInfo, Target, rfc3339};
use inferometer_wire::Prepared;

use crate::command::command;
use crate::error::{Error, OrError};
use crate::numbers::Numbers;
use crate::prepare::Ready;
use crate::settings::Settings;
use crate::spec::{RunFacts, RunSpec};

/// What is known of the workload before the run starts.
pub(crate) fn known_facts(settings: &Settings, ready: &Ready) -> RunFacts {
    let mut traffic = TrafficSettings {
        self_timed: settings.load.self_timed,
        workload_file_sha256: settings
            .shapes
            .replay
            .as_ref()
            .map(|replay| replay.sha256.clone()),
        tokenizer_sha256: ready.tokenizer_sha256.clone(),
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

/// Fraction of bodies, 0 to 1, that repeat an earlier one: a server with a prefix cache answers those
/// faster. `None` without requests.
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

/// The manifest of a run that has not started.
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
        command: command(settings, ready, true),
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

/// What the server loaded the model from, where it reports it.
fn served_model(ready: &Ready) -> Option<String> {
    let listed = ready.facts.models.as_deref().unwrap_or_default();
    let served = listed
        .iter()
        .find(|served| served.id == ready.model.request)
        .or(listed.first())?;
    Some(served.root.clone().unwrap_or_else(|| served.id.clone()))
}

/// Notes when the run started. Written before the run, `start` is too early by the time that opening
/// connections takes.
pub(super) fn note_start(manifest: &mut Manifest, start: Anchor) {
    manifest.run.started = rfc3339(start.wall);
    manifest.run.started_wall_ns = start.wall.0;
    manifest.run.started_monotonic_ns = start.monotonic.0;
    manifest.run.anchor_uncertainty_ns = start.uncertainty.0;
}

/// Completes the manifest with what was measured.
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
