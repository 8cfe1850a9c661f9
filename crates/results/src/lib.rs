//! The files of a run, and readers for the files of others.
//!
//! - [`RunFolder`]: `manifest.json`, the crash-safe [`RecordLog`], `requests.parquet`.
//! - [`VllmResult`]: the result file of vLLM's benchmark.
//! - [`read_result`]: result files of every era of vLLM and of other tools.
//! - [`ExportForm`]: a run in the formats of SGLang, AIPerf and llm-d.
//! - [`aggregate()`]: many result files as one table.
//! - [`parse_yaml`]: YAML as vLLM's users write it.
//!
//! Every format is described in `docs/files.md`. This crate turns facts into files and back; it
//! computes no metric and reads no clock.

mod aggregate;
mod atomic;
mod batch;
mod columns;
mod convert;
mod dates;
mod duplicates;
mod error;
mod export;
mod folder;
mod import;
mod json_stream;
mod lock;
mod log;
mod manifest;
mod outputs;
mod spill;
mod table;
mod vllm;
mod yaml;

pub use aggregate::{
    Aggregate, BenchName, Row, aggregate, aggregate_with, find_result_files, find_run_folders,
    is_result_name, is_run_folder, unquoted_cell,
};
pub use atomic::{Links, write_bytes, write_in_folder};
pub use batch::{RECORD_FORMAT_VERSION, record_schema};
pub use convert::write_converted;
pub use dates::{local_seconds, python_isoformat, rfc3339, vllm_date};
pub use duplicates::Duplicate;
pub use error::ResultsError;
pub use export::{
    Distribution, EXPORT_PERCENTILES, ExportConversations, ExportDetails, ExportError, ExportForm,
    ExportGoodput, ExportLengths, ExportLimit, ExportRun, RequestedLengths,
};
pub use folder::{ChangedFile, Recovered, RunFolder, run_folder_name};
pub use import::{
    ImportedRun, MAX_RESULT_BYTES, ReadError, Source, VllmEra, read_result, read_result_summary,
};
pub use lock::{FolderLock, LockedBy};
pub use log::{FLUSH_INTERVAL, LogContents, RecordLog, read_log};
pub use manifest::{
    MANIFEST_FORMAT_VERSION, Manifest, RunInfo, ScheduleInfo, Target, Tool, WorkloadDigest,
    WorkloadInfo,
};
pub use outputs::check_outputs;
pub use spill::SpilledRecords;
pub use table::{StoredRecords, read_parquet, write_parquet};
pub use vllm::{
    Details, Existing, MetadataClash, ResultFile, RpsChange, VllmBody, VllmDiffusion,
    VllmGeneration, VllmHeader, VllmPooling, VllmProbe, VllmRamp, VllmResult, VllmSpecDecode,
    VllmStat, metadata_clash, percentile_word, pytorch_records, result_file_name, write_pytorch,
};
pub use yaml::{json_duplicate, parse_yaml, parse_yaml_strict};
