//! `inferometer import`: results of other tools and older versions, in inferometer's format.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use inferometer_results::{ImportedRun, read_result};
use serde_json::{Map, Value, json};

use crate::args::ImportArgs;
use crate::exit::{Exit, Failure, OrFail};
use inferometer_terminal::Output;

/// Keys by which readers recognise a result.
const NEEDED: [&str; 3] = ["request_throughput", "completed", "duration"];

/// Reads all files, then writes one result per run: nothing is written if a file cannot be read.
pub(crate) fn import(args: &ImportArgs, output: &Output) -> Result<Exit, Failure> {
    let mut runs = Vec::new();
    for file in &args.files {
        runs.extend(read_result(file).or_usage()?);
    }
    fs::create_dir_all(&args.output)
        .map_err(|error| Failure::usage(format!("--output {}: {error}", args.output.display())))?;
    for run in &runs {
        let text = serde_json::to_string(&converted(run, args.detailed)).or_failure()?;
        let path = write_new(&args.output, run, &(text + "\n"))?;
        output.print_line(&format!(
            "{}: {} ({})",
            path.display(),
            run.file.display(),
            run.source
        ));
    }
    Ok(Exit::Good)
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

/// Writes to a free file name, the source's, with a number for further runs and for names in use;
/// returns its path.
fn write_new(folder: &Path, run: &ImportedRun, text: &str) -> Result<PathBuf, Failure> {
    let stem = run
        .file
        .file_stem()
        .map_or_else(|| "run".into(), |stem| stem.to_string_lossy().into_owned());
    let numbered = (1..).map(|number| folder.join(format!("{stem}-{number}.json")));
    let first = (run.position == 0).then(|| folder.join(format!("{stem}.json")));
    for path in first.into_iter().chain(numbered) {
        let written =
            fs::File::create_new(&path).and_then(|mut file| file.write_all(text.as_bytes()));
        match written {
            Ok(()) => return Ok(path),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => {
                let problem = format!("{}: cannot write: {error}", path.display());
                return Err(Failure::usage(problem));
            }
        }
    }
    unreachable!("the names do not end")
}
