//! Files beside the result: timeline page, drawing of the lengths, PyTorch's benchmark format.

use std::path::{Path, PathBuf};

use inferometer_core::Records;
use inferometer_core::redact::redact_json;
use inferometer_report::{Lang, chart, dataset_stats_figure, timeline_page};
use inferometer_results::{
    VllmResult, pytorch_records, write_bytes, write_in_folder, write_pytorch,
};
use serde_json::Value;

use crate::error::{Error, OrError};
use crate::settings::SavingSettings;
use crate::vllm;

/// vLLM's variable: set to anything, it asks for `NAME.pytorch.json`.
const PYTORCH: &str = "SAVE_TO_PYTORCH_BENCHMARK_FORMAT";

/// Ending of the timeline page.
const TIMELINE: &str = "timeline.html";
/// Ending of the drawing of the lengths.
const DATASET_STATS: &str = "dataset_stats.png";

/// The endings of the requested files, in place of the result's.
pub(crate) fn endings(saving: &SavingSettings) -> impl Iterator<Item = &'static str> {
    let asked = [
        (saving.timeline.is_some(), TIMELINE),
        (saving.dataset_stats, DATASET_STATS),
        (saving.save && asks_for_pytorch(), "pytorch.json"),
    ];
    let asked = asked.into_iter().filter(|(asked, _)| *asked);
    asked.map(|(_, ending)| ending)
}

fn asks_for_pytorch() -> bool {
    std::env::var_os(PYTORCH).is_some_and(|value| !value.is_empty())
}

/// Writes the requested files beside the result at `file`; returns their paths. With `keep` no
/// existing file is replaced: the names get numbers.
pub(crate) fn write(
    saving: &SavingSettings,
    file: &Path,
    keep: bool,
    records: &dyn Records,
    result: &VllmResult,
) -> Result<Vec<PathBuf>, Error> {
    let mut written = Vec::new();
    if let Some(thresholds) = saving.timeline {
        let page = timeline_page(records, thresholds, Lang::En);
        written.push(store(
            &file.with_extension(TIMELINE),
            page.as_bytes(),
            keep,
        )?);
    }
    if saving.dataset_stats {
        let mut lengths: Vec<(u32, u32)> = Vec::with_capacity(records.count());
        records.visit(&mut |record| lengths.push((record.input_tokens(), record.output_tokens)));
        let picture =
            chart::to_png(&dataset_stats_figure(&lengths, Lang::En).to_svg(), 1.5).or_failure()?;
        written.push(store(&file.with_extension(DATASET_STATS), &picture, keep)?);
    }
    if saving.save && asks_for_pytorch() {
        let map = result.to_map(vllm::details(saving.detailed, records));
        // Some secrets of the environment were not known yet when the arguments were read.
        let mut arguments = Value::Object(saving.vllm_arguments.clone());
        redact_json(&mut arguments);
        let arguments = arguments.as_object().unwrap_or(&saving.vllm_arguments);
        let form = pytorch_records(arguments, &result.header.model_id, &map);
        written.push(write_pytorch(file, &form).or_failure()?);
    }
    Ok(written)
}

fn store(path: &Path, bytes: &[u8], keep: bool) -> Result<PathBuf, Error> {
    if keep {
        return write_bytes(path, bytes).or_failure();
    }
    write_in_folder(path, bytes).or_failure()?;
    Ok(path.to_owned())
}
