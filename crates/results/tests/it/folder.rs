//! The run folder: creation, storing, recovery, manifest.

use std::fs;

use inferometer_core::{
    Level, Nanos, Outcome, Reason, Record, Request, Schedule, Throttling, Verdict, WorkerHealth,
    Workload,
};
use inferometer_results::{
    Details, Existing, Manifest, RecordLog, ResultFile, ResultsError, RunFolder, ScheduleInfo,
    Tool, VllmResult, WorkloadInfo, run_folder_name, write_parquet,
};

fn record(index: usize) -> Record {
    Record {
        index,
        due: Nanos(index as u64 * 10),
        outcome: Outcome::Ok,
        sequences: 1,
        ..Record::default()
    }
}

#[test]
fn a_run_leaves_parquet_and_no_log() {
    let parent = tempfile::tempdir().unwrap();
    let folder = RunFolder::create(&parent.path().join("inferometer-runs"), "run").unwrap();
    let mut log = RecordLog::create(&folder.log_path()).unwrap();
    let records: Vec<_> = (0..3).map(record).collect();
    for i in [1, 0, 2] {
        log.push(&records[i]).unwrap();
    }
    log.finish().unwrap();
    assert_eq!(folder.read_records().unwrap(), records, "from the log");
    assert_eq!(folder.store_records(&records).unwrap(), 3);
    folder.remove_log().unwrap();
    assert!(!folder.log_path().exists());
    assert_eq!(
        RunFolder::open(folder.path())
            .unwrap()
            .read_records()
            .unwrap(),
        records
    );
    let mut folder = folder;
    assert!(
        folder
            .recover(None)
            .unwrap_err()
            .to_string()
            .contains("nothing to recover")
    );
}

#[test]
fn a_second_run_of_the_same_name_gets_its_own_folder() {
    let parent = tempfile::tempdir().unwrap();
    let first = RunFolder::create(parent.path(), "run").unwrap();
    let second = RunFolder::create(parent.path(), "run").unwrap();
    assert_ne!(first.path(), second.path());
    assert_eq!(second.path(), parent.path().join("run-2"));
    assert_eq!(
        fs::read_dir(first.path()).unwrap().count(),
        0,
        "the write check leaves nothing"
    );
    assert!(
        RunFolder::open(first.path())
            .unwrap_err()
            .to_string()
            .contains("not a run folder")
    );
}

#[test]
fn an_unwritable_path_is_reported_with_flag_and_remedy() {
    let parent = tempfile::tempdir().unwrap();
    let file = parent.path().join("file");
    fs::write(&file, "in the way").unwrap();
    let error = RunFolder::create(&file, "run").unwrap_err();
    assert!(matches!(error, ResultsError::NotWritable { .. }));
    let message = error.to_string();
    assert!(
        message.contains("--runs-dir")
            && message.contains("/file")
            && message.contains("choose a writable folder"),
        "{message}"
    );
}

#[test]
fn recovery_keeps_the_log_and_adds_what_was_never_sent() {
    let parent = tempfile::tempdir().unwrap();
    let mut folder = RunFolder::create(parent.path(), "run").unwrap();
    let mut log = RecordLog::create(&folder.log_path()).unwrap();
    for index in [3, 1] {
        log.push(&record(index)).unwrap();
    }
    log.flush().unwrap();
    drop(log);
    let schedule = Schedule::new((0..5).map(|i| Nanos(i * 10)).collect()).unwrap();
    let recovered = folder.recover(Some(&schedule)).unwrap();
    assert_eq!(
        (
            recovered.logged,
            recovered.records.len(),
            recovered.truncated
        ),
        (2, 5, true)
    );
    let outcomes: Vec<_> = recovered
        .records
        .iter()
        .map(|record| record.outcome)
        .collect();
    let (ok, unfinished) = (Outcome::Ok, Outcome::Unfinished);
    assert_eq!(outcomes, [unfinished, ok, unfinished, ok, unfinished]);
    assert!(
        recovered
            .records
            .iter()
            .all(|record| record.due == schedule.due(record.index))
    );
    assert!(!folder.records_path().exists(), "reading does not write");
    assert_eq!(
        folder.recover(Some(&schedule)).unwrap(),
        recovered,
        "a recovery can be repeated"
    );
}

#[test]
fn a_folder_in_use_is_refused_until_its_writer_ends() {
    let parent = tempfile::tempdir().unwrap();
    let writer = RunFolder::create(parent.path(), "run").unwrap();
    let mut log = RecordLog::create(&writer.log_path()).unwrap();
    log.push(&record(0)).unwrap();
    log.flush().unwrap();
    let mut other = RunFolder::open(writer.path()).unwrap();
    let refused = other.recover(None).unwrap_err();
    assert!(matches!(refused, ResultsError::InUse { .. }), "{refused}");
    assert!(writer.log_path().exists());
    drop((log, writer));
    assert_eq!(other.recover(None).unwrap().logged, 1);
}

#[test]
fn a_manifest_reads_back_and_newer_versions_are_refused() {
    let parent = tempfile::tempdir().unwrap();
    let folder = RunFolder::create(parent.path(), "run").unwrap();
    let mut manifest = Manifest::begin();
    assert!(manifest.run.partial);
    manifest.settings = serde_json::json!({"request-rate": 4.0, "z": 1, "a": 2});
    manifest.verdict = Some(Verdict::from_reasons(vec![Reason {
        code: "late_sends".into(),
        level: Level::Caution,
        message: "m".into(),
        remedy: "r".into(),
        detail: None,
    }]));
    manifest.seeds.insert("workload".into(), u64::MAX);
    manifest.health.wall = Nanos(17);
    folder.write_manifest(&manifest).unwrap();
    let first = fs::read(folder.manifest_path()).unwrap();
    assert_eq!(folder.read_manifest().unwrap(), manifest);
    folder
        .read_manifest()
        .unwrap()
        .write(&folder.manifest_path())
        .unwrap();
    assert_eq!(
        fs::read(folder.manifest_path()).unwrap(),
        first,
        "byte for byte"
    );

    manifest.format_version += 1;
    folder.write_manifest(&manifest).unwrap();
    assert!(matches!(
        folder.read_manifest(),
        Err(ResultsError::TooNew { .. })
    ));
    fs::write(folder.manifest_path(), "{}").unwrap();
    assert!(
        folder
            .read_manifest()
            .unwrap_err()
            .to_string()
            .contains("format_version")
    );
    // A manifest of the first version with the fewest keys.
    fs::write(
        folder.manifest_path(),
        r#"{"format_version": 1, "later": true}"#,
    )
    .unwrap();
    assert_eq!(folder.read_manifest().unwrap().format_version, 1);
}

#[test]
fn hashes_distinguish_workloads_and_schedules() {
    let request = |index, tokens| Request {
        index,
        prompt_tokens: tokens,
        ..Request::default()
    };
    let workload = |tokens| Workload {
        requests: vec![request(0, tokens)],
        ..Workload::default()
    };
    assert_eq!(
        WorkloadInfo::of(&workload(1)),
        WorkloadInfo::of(&workload(1))
    );
    assert_ne!(
        WorkloadInfo::of(&workload(1)).sha256,
        WorkloadInfo::of(&workload(2)).sha256
    );
    // SHA-256 of sixteen zero bytes.
    assert_eq!(
        ScheduleInfo::of(&Schedule::at_once(2)).sha256,
        "374708fff7719dd5979ec875d56cd2286f6d3cf7ec317a3b25632aab28ec37bb"
    );
}

#[test]
fn folder_names_hold_no_path() {
    let name = run_folder_name(Nanos(1_795_492_816_000_000_000), Some("../my label/é"));
    assert!(name.ends_with("-_my_label_é"), "{name}");
    assert_eq!(run_folder_name(Nanos(0), None).len(), 15);
}

#[test]
fn a_manifest_of_the_first_format_version_stays_readable() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/data/format-1/manifest.json"
    );
    let mut expected = Manifest::begin();
    expected.tool = Tool {
        name: "servebench".into(),
        version: "0.1.0".into(),
        build: "release".into(),
        platform: "linux-x86_64".into(),
    };
    expected.format_version = 1;
    expected.meaning = 1;
    expected.run.label = Some("nightly".into());
    expected.run.started = "2026-11-24T04:00:16.123+00:00".into();
    expected.run.started_wall_ns = 1_795_492_816_123_000_000;
    expected.run.started_monotonic_ns = 81_000_000_001;
    expected.run.duration_ns = 2_218_819_166;
    expected.run.partial = false;
    expected.settings =
        serde_json::json!({"backend": "vllm", "request-rate": 15.0, "max-concurrency": 8});
    expected.seeds.insert("seed".into(), 0);
    expected.target.backend = "vllm".into();
    expected.target.urls = vec!["http://127.0.0.1:8000/v1/completions".into()];
    expected.target.model = "m".into();
    expected.target.server_version = Some("0.32.0".into());
    expected.workload = WorkloadInfo::of(&Workload::default());
    expected.schedule = ScheduleInfo::of(&Schedule::at_once(3));
    expected.health.workers = vec![WorkerHealth {
        run_queue_delay: Some(Nanos(5)),
        ..WorkerHealth::default()
    }];
    expected.health.cgroup_throttled = Some(Throttling {
        periods: 1,
        time: Nanos(2),
    });
    expected.summary = serde_json::json!({"completed": 30});
    expected.verdict = Some(Verdict::default());
    assert_eq!(Manifest::read(path.as_ref()).unwrap(), expected);
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_reported_for_every_file() {
    let full = std::path::Path::new("/dev/full");
    let errors = [
        write_parquet(&[record(0)][..], full).unwrap_err(),
        Manifest::begin().write(full).unwrap_err(),
        ResultFile::prepare(None, "/dev/full", Existing::Replace)
            .unwrap()
            .write(&VllmResult::default(), Details::Held)
            .unwrap_err(),
        ResultFile::prepare(None, "/dev/full", Existing::Append)
            .unwrap()
            .write(&VllmResult::default(), Details::Held)
            .unwrap_err(),
    ];
    ResultFile::prepare(None, "/dev/null", Existing::Append)
        .unwrap()
        .write(&VllmResult::default(), Details::Held)
        .unwrap();
    for error in errors {
        let error = match error {
            // A result is kept somewhere else.
            ResultsError::Elsewhere { error, path } => {
                fs::remove_file(path).unwrap();
                *error
            }
            error => error,
        };
        let kind = match &error {
            ResultsError::Io { source, .. } | ResultsError::NotWritable { source, .. } => {
                source.kind()
            }
            other => panic!("{other}"),
        };
        assert_eq!(kind, std::io::ErrorKind::StorageFull, "{error}");
        assert!(error.to_string().contains("/dev/full"), "{error}");
    }
}
