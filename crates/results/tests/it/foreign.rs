//! Folders that may come from anywhere: links in them are not followed, and only regular files of
//! theirs are read.

#![cfg(unix)]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use inferometer_core::{Record, Schedule};
use inferometer_results::{
    Details, Existing, Manifest, ResultFile, ResultsError, RunFolder, VllmResult, read_log,
    read_parquet, read_result, write_in_folder,
};

fn mkfifo(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

/// Each file of a run folder is a link to a file outside, which may be anything of the user's.
#[test]
fn links_in_a_folder_are_replaced() {
    let [parent, outside] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let folder = RunFolder::create(parent.path(), "run").unwrap();
    let names = [
        "manifest.json",
        "requests.parquet",
        "schedule.json",
        "report.html",
        "result.json",
    ];
    for name in names {
        fs::write(outside.path().join(name), "precious").unwrap();
        symlink(outside.path().join(name), folder.path().join(name)).unwrap();
    }
    folder.store_records(&[Record::default()][..]).unwrap();
    folder.write_manifest(&Manifest::begin()).unwrap();
    folder.write_schedule(&Schedule::default()).unwrap();
    write_in_folder(&folder.path().join("report.html"), b"page").unwrap();
    let result = folder.path().join("result.json").display().to_string();
    ResultFile::prepare(None, &result, Existing::Replace)
        .unwrap()
        .unnamed()
        .write(&VllmResult::default(), Details::Without)
        .unwrap();
    for name in names {
        let kept = fs::read_to_string(outside.path().join(name)).unwrap();
        assert_eq!(kept, "precious", "{name}");
        assert!(!folder.path().join(name).is_symlink(), "{name}");
    }
}

/// Opening a pipe waits for its writer, and `/dev/zero` has no end: without the refusal this test
/// would not end.
#[test]
fn only_regular_files_are_read() {
    let parent = tempfile::tempdir().unwrap();
    for kind in ["pipe", "device"] {
        let folder = RunFolder::create(parent.path(), kind).unwrap();
        for name in [
            "manifest.json",
            "requests.arrows",
            "schedule.json",
            "r.json",
        ] {
            let path = folder.path().join(name);
            match kind {
                "pipe" => mkfifo(&path),
                _ => symlink("/dev/zero", &path).unwrap(),
            }
        }
        let result = folder.path().join("r.json");
        let refusals = [
            folder.read_manifest().unwrap_err().to_string(),
            folder.read_schedule().unwrap_err().to_string(),
            read_log(&folder.log_path()).unwrap_err().to_string(),
            read_parquet(&folder.log_path()).unwrap_err().to_string(),
            read_result(&result).unwrap_err().to_string(),
        ];
        for refusal in refusals {
            let expected = format!("it is a {kind}; expected a file");
            assert!(refusal.contains(&expected), "{refusal}");
        }
    }
}

/// The place of the result is taken by a folder while the run is under way.
#[test]
fn a_result_that_cannot_be_written_is_elsewhere() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("r.json");
    let name = path.display().to_string();
    let file = ResultFile::prepare(None, &name, Existing::Replace).unwrap();
    fs::create_dir(&path).unwrap();
    let error = file
        .write(&VllmResult::default(), Details::Without)
        .unwrap_err();
    let sentence = error.to_string();
    let ResultsError::Elsewhere { path: found, .. } = error else {
        panic!("{sentence}");
    };
    assert_eq!(found, folder.path().join("r.rescued.json"));
    assert!(
        sentence.ends_with(&format!("the result is in {} instead", found.display())),
        "{sentence}"
    );
    assert_eq!(read_result(&found).unwrap().len(), 1);
}
