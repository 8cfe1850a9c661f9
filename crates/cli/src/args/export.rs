//! Flags for the result formats of other tools.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use inferometer_results::ExportForm;

/// Results in the formats of other tools.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Reporting")]
pub(crate) struct ExportArgs {
    /// Also write the result in the format of another tool: sglang (`sglang_bench.jsonl`), aiperf
    /// (`profile_export_aiperf.json`), llm-d (`benchmark_report_v0.2.1.json`).
    #[arg(long, value_enum, num_args = 1.., value_delimiter = ',', value_name = "FORM")]
    pub(crate) export: Vec<ExportFlag>,
    /// Folder for the exported files [default: the run folder].
    #[arg(long, value_name = "DIR")]
    pub(crate) export_dir: Option<PathBuf>,
}

/// The result format of another tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExportFlag {
    /// A line of SGLang's `bench_serving`.
    Sglang,
    /// AIPerf's summary in JSON.
    Aiperf,
    /// llm-d's Benchmark Report 0.2.1.
    LlmD,
}

impl From<ExportFlag> for ExportForm {
    fn from(flag: ExportFlag) -> Self {
        match flag {
            ExportFlag::Sglang => Self::Sglang,
            ExportFlag::Aiperf => Self::Aiperf,
            ExportFlag::LlmD => Self::LlmD,
        }
    }
}
