//! Imported runs written as results of our own.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::{ImportedRun, ResultsError};

/// Keys by which readers recognise a result.
const NEEDED: [&str; 3] = ["request_throughput", "completed", "duration"];

/// Writes `run` as a result into `folder`, with the lists of single requests if `detailed`, under a
/// free name: the source's, with a number for further runs and for names in use. Returns its path.
///
/// # Errors
///
/// When the file cannot be written.
pub fn write_converted(
    run: &ImportedRun,
    folder: &Path,
    detailed: bool,
) -> Result<PathBuf, ResultsError> {
    let text = serde_json::to_string(&converted(run, detailed))
        .map_err(|error| ResultsError::format(&run.file, error.to_string()))?;
    let stem = run
        .file
        .file_stem()
        .map_or_else(|| "run".into(), |stem| stem.to_string_lossy().into_owned());
    let numbered = (1..).map(|number| folder.join(format!("{stem}-{number}.json")));
    let first = (run.position == 0).then(|| folder.join(format!("{stem}.json")));
    for path in first.into_iter().chain(numbered) {
        let written = fs::File::create_new(&path).and_then(|mut file| {
            file.write_all(text.as_bytes())
                .and_then(|()| file.write_all(b"\n"))
        });
        match written {
            Ok(()) => return Ok(path),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(ResultsError::io("write", &path)(error)),
        }
    }
    unreachable!("the names do not end")
}

/// vLLM's keys, the other tool's own keys, and the source.
fn converted(run: &ImportedRun, detailed: bool) -> Map<String, Value> {
    let details = run.details.iter().filter(|_| detailed);
    let mut result: Map<String, Value> = run
        .keys
        .iter()
        .chain(details)
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    for key in NEEDED {
        result.entry(key).or_insert(Value::Null);
    }
    let source = json!({
        "tool": run.source.to_string(),
        "file": run.file.file_name().map(|name| name.to_string_lossy()),
        "position": run.position,
    });
    match result.entry("inferometer").or_insert_with(|| json!({})) {
        Value::Object(map) => drop(map.insert("imported_from".to_owned(), source)),
        other => *other = json!({ "imported_from": source }),
    }
    result
}
