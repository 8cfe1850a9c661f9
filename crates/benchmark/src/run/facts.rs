//! What the manifest says of a run, before it and after it.

use inferometer_core::redact::redact_text;
use inferometer_core::{Prompt, Request, redact_url};
use inferometer_engine::Finished;
use inferometer_metrics::traffic::TrafficSettings;
use inferometer_os::clock::Anchor;
use inferometer_results::{Manifest, RunInfo, ScheduleInfo, Target, rfc3339};
use inferometer_wire::Prepared;
use serde_json::{Map, Value};

use crate::command::command;
use crate::error::{Error, OrError};
use crate::history::BodySample;
use crate::numbers::Numbers;
use crate::prepare::Ready;
use crate::settings::Settings;
use crate::spec::{RunFacts, RunSpec};

/// The digest of each body, in the order of the requests. Each reads a whole body.
pub(crate) fn body_digests(ready: &Ready) -> Vec<u64> {
    let requests = ready.plan.requests.iter();
    requests.map(Prepared::body_digest).collect()
}

/// What is known of the workload before the run starts; `digests` are those of its bodies.
pub(crate) fn known_facts(settings: &Settings, ready: &Ready, digests: &[u64]) -> RunFacts {
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
        ignore_eos: ready.plan.requests.iter().any(Prepared::ignores_eos),
        bodies: Some(bodies_digest(digests)),
        body_sample: Some(BodySample::of(digests).to_string()),
        duplicate_prompts: duplicate_fraction(digests.to_vec()),
        prompt_tolerance: prompt_tolerance(settings, ready),
        traffic,
        ..RunFacts::default()
    }
}

/// Fraction of bodies, 0 to 1, that repeat an earlier one: a server with a prefix cache answers those
/// faster. `None` without requests.
fn duplicate_fraction(mut bodies: Vec<u64>) -> Option<f64> {
    let all = bodies.len();
    bodies.sort_unstable();
    bodies.dedup();
    (all > 0).then(|| 1.0 - bodies.len() as f64 / all as f64)
}

/// A digest of all bodies in their order. Identifiers of requests are in headers and have no part in
/// it.
fn bodies_digest(bodies: &[u64]) -> String {
    let digest = bodies.iter().fold(0_u64, |digest, body| {
        (digest.rotate_left(5) ^ body).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    });
    format!("{digest:016x}")
}

/// Tokens that a server adds to a prompt of one text: those at its start and end, and differences where
/// parts of a text meet. Chosen.
const PLAIN_TOLERANCE: u32 = 8;
/// Tokens that a chat template adds: the roles, and the system message that some templates bring. The
/// templates of Llama 3.1 and Qwen 2.5 add 36 and 30.
const CHAT_TOLERANCE: u32 = 40;

/// By how much the server's count of a prompt may exceed the client's; `None` where the client does not
/// know the length, as with images, or without a tokenizer.
fn prompt_tolerance(settings: &Settings, ready: &Ready) -> Option<u32> {
    let requests = &ready.workload.requests;
    let own = &settings.content.extra_body;
    let known = |request: &Request| {
        request.media.is_empty()
            && !matches!(request.prompt, Prompt::Parts(_))
            && !brings_text(own)
            && !brings_text(&request.overrides)
    };
    // A rerank model joins query and documents by a template of its own.
    let joins = settings.target.backend.name().contains("rerank");
    // Without a tokenizer, also that of a workload file, every length is 1.
    let counted = requests.iter().any(|request| request.prompt_tokens > 1);
    if !counted || joins || requests.is_empty() || !requests.iter().all(known) {
        return None;
    }
    let plain = |request: &Request| {
        matches!(
            request.prompt,
            Prompt::Text(_) | Prompt::Tokens(_) | Prompt::Texts(_)
        )
    };
    let chat = settings.target.backend.applies_chat_template() || !requests.iter().all(plain);
    Some(if chat {
        CHAT_TOLERANCE
    } else {
        PLAIN_TOLERANCE
    })
}

/// True for body fields whose text the server's chat template puts into the prompt.
fn brings_text(fields: &Map<String, Value>) -> bool {
    const FIELDS: [&str; 4] = ["tools", "functions", "documents", "chat_template"];
    FIELDS.iter().any(|field| fields.contains_key(*field))
}

/// The addresses that requests are sent to, without secrets.
pub(crate) fn target_urls(settings: &Settings, ready: &Ready) -> Vec<String> {
    let url = |(base, _): (String, _)| redact_url(&format!("{base}{}", settings.target.endpoint));
    ready.plan.wire.resolved().into_iter().map(url).collect()
}

/// The manifest of a run that has not started.
pub(crate) fn manifest(
    settings: &Settings,
    ready: &Ready,
    spec: &RunSpec,
    facts: &RunFacts,
) -> Result<Manifest, Error> {
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
            urls: target_urls(settings, ready),
            model: redact_text(&ready.model.request).into_owned(),
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
    let name = served.root.as_ref().unwrap_or(&served.id);
    Some(redact_text(name).into_owned())
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
