//! From settings and requests to bytes: the client, the bodies, the file of large bodies.

use std::path::Path;
use std::sync::Arc;

use inferometer_core::{Request, Workload};
use inferometer_wire::{BodyFile, BodySettings, ClientSettings, KeepText, Prepared, Wire};
use rayon::prelude::*;

use crate::error::{Error, OrError};
use crate::server::ModelNames;
use crate::settings::{Replay, Settings};

/// Runs of up to this many requests keep the text of their answers until the tokens are counted.
/// Chosen, not measured.
const SMALL_RUN: i64 = 2_000;

/// The client settings of the measured requests.
pub(super) fn wire(
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
        counting: settings.compat.counting(),
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

/// Warnings about fields that `--omit-field` names but the first request does not have.
pub(super) fn nothing_to_omit(
    settings: &Settings,
    model: &ModelNames,
    workload: &Workload,
) -> Vec<String> {
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

/// Whether answers' texts are kept: always for `--save-detailed`, and in runs small enough to compare
/// the server's token counts with the tokenizer's; otherwise until the server has reported its count.
fn keep_text(settings: &Settings) -> KeepText {
    let small = settings.workload.num_prompts <= SMALL_RUN;
    let needed = settings.shapes.needs_text();
    if settings.saving.detailed || small || needed {
        KeepText::Always
    } else {
        KeepText::UntilUsage
    }
}

/// Serialises requests on all processors.
pub(super) fn serialise(wire: &Wire, requests: &[Request]) -> Result<Vec<Prepared>, Error> {
    requests
        .par_iter()
        .map(|request| wire.prepare(request))
        .collect::<Result<_, _>>()
        .or_usage()
}

/// Serialises a workload file that is too large for memory; the bodies go to an unnamed file in
/// `folder`, or in the system's folder for temporary files.
pub(super) fn serialise_to_file(
    wire: &Wire,
    replay: &Replay,
    folder: Option<&Path>,
) -> Result<Vec<Prepared>, Error> {
    let place = folder.map_or_else(std::env::temp_dir, Path::to_owned);
    let failed = |error: std::io::Error| {
        Error::usage(format!(
            "cannot write the request bodies to {}: {error}; choose another folder with --runs-dir",
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
