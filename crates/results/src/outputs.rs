//! What a command must not overwrite: the files that it reads, and the data of runs.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use inferometer_os::files;

use crate::ResultsError;
use crate::atomic::{folder_of, target_of};

/// The files of a run folder that its run wrote.
const OF_A_RUN: [&str; 5] = [
    "manifest.json",
    "requests.parquet",
    "requests.arrows",
    "schedule.json",
    "report.html",
];

/// Checks the files that a command is about to write: none of them may be one of its `inputs` or a
/// file of a run. Returns a note that names those which exist and will be replaced.
///
/// Devices, and what stdout leads to, are not files here.
///
/// # Errors
///
/// An output that would overwrite an input or a file of a run.
pub fn check_outputs<P: AsRef<Path>, Q: AsRef<Path>>(
    outputs: &[P],
    inputs: impl IntoIterator<Item = Q>,
) -> Result<Option<String>, ResultsError> {
    let inputs: Vec<(u64, u64)> = inputs
        .into_iter()
        .filter_map(|path| identity(path.as_ref()))
        .collect();
    let mut replaced: Vec<String> = Vec::new();
    for path in outputs.iter().map(AsRef::as_ref) {
        if files::own(path).is_some() {
            continue;
        }
        if is_of_a_run(&target_of(path)) {
            let problem =
                "the output would overwrite a file of a run: choose another name or folder";
            return Err(ResultsError::format(path, problem));
        }
        let Some(found) = identity(path) else {
            continue;
        };
        if inputs.contains(&found) {
            let problem =
                "the output would overwrite an input of this command: choose another name";
            return Err(ResultsError::format(path, problem));
        }
        replaced.push(path.display().to_string());
    }
    Ok(match replaced.as_slice() {
        [] => None,
        [one] => Some(format!("{one} exists and will be replaced")),
        many => Some(format!("{} exist and will be replaced", many.join(", "))),
    })
}

/// Checks that `path` is not a file of a run.
///
/// # Errors
///
/// As [`check_outputs`].
pub(crate) fn check_output(path: &Path) -> Result<(), ResultsError> {
    check_outputs::<_, PathBuf>(&[path], []).map(drop)
}

/// Device and number of a regular file.
fn identity(path: &Path) -> Option<(u64, u64)> {
    let metadata = fs::metadata(path).ok().filter(fs::Metadata::is_file)?;
    Some((metadata.dev(), metadata.ino()))
}

fn is_of_a_run(path: &Path) -> bool {
    let folder = folder_of(path);
    let has = |name: &str| folder.join(name).is_file();
    let is_run = has("manifest.json") && (has("requests.parquet") || has("requests.arrows"));
    is_run
        && OF_A_RUN
            .iter()
            .any(|name| path.file_name().is_some_and(|file| file == *name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_and_files_of_runs_are_not_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let named = |name: &str| folder.path().join(name);
        for name in ["in.json", "old.csv"] {
            fs::write(named(name), "x").unwrap();
        }
        fs::hard_link(named("in.json"), named("same.json")).unwrap();
        std::os::unix::fs::symlink("in.json", named("link.json")).unwrap();
        let check = |output: &str| check_outputs(&[named(output)], [named("in.json")]);
        assert_eq!(check("new.csv").unwrap(), None);
        let note = check("old.csv").unwrap().unwrap();
        assert!(
            note.contains("old.csv exists and will be replaced"),
            "{note}"
        );
        for name in ["in.json", "same.json", "link.json"] {
            let error = check(name).unwrap_err().to_string();
            assert!(error.contains("an input of this command"), "{error}");
        }
        // Not a run yet: its folder has no records.
        fs::write(named("manifest.json"), "{}").unwrap();
        check("manifest.json").unwrap();
        fs::write(named("requests.parquet"), "").unwrap();
        for name in ["manifest.json", "requests.parquet", "requests.arrows"] {
            let error = check(name).unwrap_err().to_string();
            assert!(error.contains("a file of a run"), "{error}");
        }
        check("result.json").unwrap();
        assert_eq!(
            check_outputs(&[Path::new("/dev/null")], [Path::new("/dev/null")]).unwrap(),
            None
        );
    }
}
