//! Files beside the result: timeline page, drawing of the lengths, PyTorch's benchmark form.

use std::fs;
use std::path::{Path, PathBuf};

use inferometer_core::Records;
use inferometer_report::{Lang, chart, dataset_stats_figure, timeline_page};
use inferometer_results::{ResultFile, VllmResult, pytorch_records, write_pytorch};

use crate::exit::{Failure, OrFail};
use crate::settings::RunSettings;
use crate::vllm;

/// Set to anything, this variable asks for `NAME.pytorch.json`.
const PYTORCH: &str = "SAVE_TO_PYTORCH_BENCHMARK_FORMAT";

/// True when some file of these is wanted, so that their place has to be settled before the run.
pub(crate) fn wanted(settings: &RunSettings) -> bool {
    let saving = &settings.saving;
    saving.save || saving.timeline.is_some() || saving.dataset_stats
}

/// Writes what is wanted beside `file`; returns the paths.
pub(crate) fn write(
    settings: &RunSettings,
    file: &ResultFile,
    records: &dyn Records,
    result: &VllmResult,
) -> Result<Vec<PathBuf>, Failure> {
    let mut written = Vec::new();
    if let Some(thresholds) = settings.saving.timeline {
        let page = timeline_page(records, thresholds, Lang::En);
        written.push(store(
            &file.path().with_extension("timeline.html"),
            page.as_bytes(),
        )?);
    }
    if settings.saving.dataset_stats {
        let mut lengths: Vec<(u32, u32)> = Vec::with_capacity(records.count());
        records.visit(&mut |record| lengths.push((record.input_tokens(), record.output_tokens)));
        let picture =
            chart::to_png(&dataset_stats_figure(&lengths, Lang::En).to_svg(), 1.5).or_run()?;
        written.push(store(
            &file.path().with_extension("dataset_stats.png"),
            &picture,
        )?);
    }
    let asked = std::env::var_os(PYTORCH).is_some_and(|value| !value.is_empty());
    if settings.saving.save && asked {
        let map = result.to_map(vllm::details(settings, records));
        let form = pytorch_records(&settings.vllm_args, &result.header.model_id, &map);
        written.push(write_pytorch(file.path(), &form).or_run()?);
    }
    Ok(written)
}

fn store(path: &Path, bytes: &[u8]) -> Result<PathBuf, Failure> {
    fs::write(path, bytes).map_err(|error| {
        Failure::Run(anyhow::Error::new(error).context(format!("cannot write {}", path.display())))
    })?;
    Ok(path.to_owned())
}
