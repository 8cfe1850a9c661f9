//! Files around the result files, in the layout of vLLM's sweep.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use inferometer_os::files::{self, SMALL_FILE};
use inferometer_results::{Aggregate, Links, aggregate};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::campaign::{Campaign, Cell};
use crate::error::CampaignError;
use crate::journal::{Journal, write_file};

/// Adds keys to a result file and lays it out with four spaces, as vLLM's sweep does. Without keys
/// the file stays as it is.
///
/// A result without a label gets `label`: parameters of the server are numbers under keys that no
/// reader knows, and without a label runs of different settings would look like repeats.
pub(crate) fn annotate(
    path: &Path,
    keys: &IndexMap<String, Value>,
    label: &str,
) -> Result<(), CampaignError> {
    if keys.is_empty() {
        return Ok(());
    }
    let text = files::text(path, SMALL_FILE).map_err(CampaignError::io("read", path))?;
    let mut object: Map<String, Value> = match serde_json::from_str(&text) {
        Ok(object) => object,
        // Python may have written NaN, which JSON does not know: then the keys are added as text.
        Err(_) => return append_as_text(path, &text, keys),
    };
    if let Some(none) = object.get_mut("label").filter(|old| old.is_null()) {
        *none = label.into();
    }
    object.extend(keys.iter().map(|(key, value)| (key.clone(), value.clone())));
    write_file(path, &pretty(&Value::Object(object)))
}

fn append_as_text(
    path: &Path,
    text: &str,
    keys: &IndexMap<String, Value>,
) -> Result<(), CampaignError> {
    let Some(body) = text.trim_end().strip_suffix('}') else {
        return Err(CampaignError::file(
            path,
            "invalid result: expected a JSON object",
        ));
    };
    if body.contains("\"run_number\"") {
        return Ok(());
    }
    let added: Vec<String> = keys
        .iter()
        .map(|(key, value)| format!("{}: {value}", json!(key)))
        .collect();
    write_file(path, format!("{body}, {}}}", added.join(", ")).as_bytes())
}

/// JSON with four spaces per level.
fn pretty(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    let format = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut out, format);
    // A value in memory can always be written.
    drop(value.serialize(&mut serializer));
    out
}

/// Writes why a run failed to a file next to where its result would be.
pub(crate) fn write_failure(path: &Path, cell: &Cell, reason: &str) -> Result<(), CampaignError> {
    let value = json!({"name": cell.name, "reason": reason, "command": cell.stored_command(), "run_number": cell.run});
    write_file(path, &pretty(&value))
}

/// Writes `summary.json` for each finished combination and `summary.csv` for all runs.
///
/// # Errors
///
/// A result file that cannot be read, or a summary that cannot be written.
pub fn write_summaries(campaign: &Campaign, journal: &Journal) -> Result<(), CampaignError> {
    let mut folders: BTreeMap<PathBuf, Vec<PathBuf>> = BTreeMap::new();
    let mut files = Vec::new();
    let mut missing = Vec::new();
    for (index, cell) in campaign.cells.iter().enumerate() {
        let path = campaign.result_path(cell);
        let folder = path.parent().unwrap_or(&campaign.output).to_owned();
        if journal.is_done(index) {
            folders.entry(folder).or_default().push(path.clone());
            files.push(path);
        } else {
            missing.push(folder);
        }
    }
    for (folder, files) in folders
        .iter()
        .filter(|(folder, _)| !missing.contains(folder))
    {
        let mut text = b"[\n".to_vec();
        for (index, file) in files.iter().enumerate() {
            let content = files::text(file, SMALL_FILE).map_err(CampaignError::io("read", file))?;
            text.extend_from_slice(if index > 0 { b",\n" } else { b"" });
            text.extend_from_slice(content.trim().as_bytes());
        }
        text.extend_from_slice(b"\n]\n");
        write_file(&folder.join("summary.json"), &text)?;
    }
    if !files.is_empty() {
        indexed(aggregate(&files))
            .write_csv(&campaign.output.join("summary.csv"), Links::Replace)?;
    }
    Ok(())
}

/// Adds an unnamed first column that counts the rows, as pandas writes it.
fn indexed(mut table: Aggregate) -> Aggregate {
    table
        .columns
        .retain(|column| !matches!(column.as_str(), "filename" | "input_len" | "output_len"));
    table.columns.insert(0, String::new());
    for (index, row) in table.rows.iter_mut().enumerate() {
        row.values.insert(String::new(), index.into());
    }
    table
}
