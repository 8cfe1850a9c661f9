//! The engine model fitted to results of a real server.

mod read;
mod show;

use std::path::PathBuf;

use inferometer_engine::calibrate::{MeasuredLoad, compare, fit};
use inferometer_report::chart::Figure;
use inferometer_sim::engine::{EngineConfig, PresetFile};

use crate::error::{Error, OrError};
use crate::observer::Observer;
use read::read_all;
use show::{Judged, coefficients, figure, origin, table, warn_of_differences};

/// KV-cache blocks of a preset whose server's cache size is not known: more than any load uses.
/// Chosen, not measured.
const UNLIMITED_BLOCKS: usize = 1_000_000;

/// What an engine model is fitted to, and what is known about the engine beforehand.
#[derive(Clone, Debug)]
pub struct Calibration {
    /// Run folders and result files to fit to.
    pub results: Vec<PathBuf>,
    /// Results that are only compared with the fitted model.
    pub check: Vec<PathBuf>,
    /// Name of the preset; `None` uses the model's.
    pub name: Option<String>,
    /// Maximum number of requests that the server batches.
    pub max_num_seqs: usize,
    /// Maximum number of tokens that it computes in one step.
    pub max_num_batched_tokens: u32,
    /// Blocks of its KV cache of 16 tokens each, where known.
    pub num_blocks: Option<usize>,
    /// Whether it splits long prompts over several steps.
    pub chunked_prefill: bool,
}

/// A fitted engine model.
#[derive(Debug)]
pub struct Calibrated {
    /// The preset, for `inferometer simulate --preset`.
    pub preset: PresetFile,
    /// How well the model fits, as a table.
    pub table: String,
    /// The same as a chart.
    pub figure: Figure,
}

/// Fits an engine model to results; `observer` gets messages about it.
///
/// # Errors
///
/// A usage error when a result cannot be read or lacks what the fit needs.
pub fn calibrate(calibration: &Calibration, observer: &dyn Observer) -> Result<Calibrated, Error> {
    let mut model = None;
    let fitted = read_all(&calibration.results, &mut model, observer)?;
    let checked = read_all(&calibration.check, &mut model, observer)?;
    let start = EngineConfig {
        max_num_seqs: calibration.max_num_seqs,
        max_num_batched_tokens: calibration.max_num_batched_tokens,
        num_blocks: calibration
            .num_blocks
            .unwrap_or_else(|| enough_blocks(&fitted, &checked, calibration.max_num_seqs)),
        chunked_prefill: calibration.chunked_prefill,
        // The results say how many tokens were cached, but not what the prompts contain.
        prefix_caching: true,
        max_model_len: u32::MAX,
        ..EngineConfig::default()
    };
    let requests: usize = fitted.iter().map(|load| load.requests.len()).sum();
    observer.line(&format!(
        "Fitting to {requests} requests of {} loads...",
        fitted.len()
    ));
    let found = fit(&fitted, &start).or_usage()?;
    for (load, weight) in fitted.iter().zip(&found.weights) {
        if *weight < 1.0 {
            observer.warning(&format!(
                "{}: differs from the model much more than the other loads, so that it counts {weight:.2} times as much \
                 in the fit: it was disturbed, or the engine did something under this load that the model does not \
                 know; measure it again",
                load.name
            ));
        }
    }
    let mut judged = Vec::new();
    for (loads, fitted) in [(&fitted, true), (&checked, false)] {
        for load in loads {
            let compared = compare(load, &found.engine).or_failure()?;
            let (name, requests) = (load.name.clone(), load.requests.len());
            judged.push(Judged {
                load: name,
                requests,
                fitted,
                compared,
            });
        }
    }
    warn_of_differences(&judged, observer);
    let name = calibration
        .name
        .clone()
        .or(model)
        .unwrap_or_else(|| "calibrated".to_owned());
    let num_blocks = calibration.num_blocks.unwrap_or(UNLIMITED_BLOCKS);
    let mut preset = PresetFile::new(
        name,
        EngineConfig {
            num_blocks,
            ..found.engine.clone()
        },
    );
    preset.origin = origin(&found, &judged);
    let table = coefficients(&found) + &table(&judged);
    Ok(Calibrated {
        preset,
        table,
        figure: figure(&judged),
    })
}

/// KV-cache blocks that never run out under these loads. A cache of any larger size gives the same
/// fit, but building it takes time, and the fit builds thousands.
fn enough_blocks(fitted: &[MeasuredLoad], checked: &[MeasuredLoad], max_num_seqs: usize) -> usize {
    let requests = || fitted.iter().chain(checked).flat_map(|load| &load.requests);
    let longest = requests()
        .map(|request| (request.input + request.output) as usize)
        .max()
        .unwrap_or(1);
    (longest.div_ceil(16) + 1) * max_num_seqs.min(requests().count())
}
