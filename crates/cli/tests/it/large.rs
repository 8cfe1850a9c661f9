//! Workloads that are too large to be held in memory.

use std::fs;
use std::process::{Child, Stdio};
use std::time::Duration;

use inferometer_testkit::{read_json, server};

use crate::INFEROMETER;

/// Waits for the child to succeed and returns the peak of its anonymous memory, in bytes, as
/// sampled.
fn peak(mut child: Child) -> u64 {
    let path = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    loop {
        let status = fs::read_to_string(&path).unwrap_or_default();
        let own = status
            .lines()
            .find_map(|line| line.strip_prefix("RssAnon:"));
        let own = own.and_then(|text| text.split_whitespace().next()?.parse::<u64>().ok());
        peak = peak.max(own.unwrap_or_default() * 1024);
        if let Some(ended) = child.try_wait().unwrap() {
            assert!(ended.success(), "{ended}");
            return peak;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_workload_larger_than_memory_is_built_and_replayed() {
    let folder = tempfile::tempdir().unwrap();
    let start = |arguments: &str| {
        let mut command = INFEROMETER.command(folder.path());
        command
            .args(arguments.split_whitespace())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command.spawn().unwrap()
    };
    let built = peak(start(
        "workload build --tokenizer builtin --num-prompts 20000 --random-input-len 1024 --random-output-len 1 -o \
         w.jsonl",
    ));
    let file = fs::metadata(folder.path().join("w.jsonl")).unwrap().len();
    assert!(file > 120 << 20, "{file}");
    assert!(
        built < file * 4 / 5,
        "{built} bytes of memory for a file of {file}"
    );

    let sim = server(0.0, 0.0);
    let replayed = peak(start(&format!(
        "run --workload w.jsonl --base-url {} --model sim --tokenizer builtin --max-concurrency 8 --save-result \
         --result-filename r.json --disable-tqdm --no-run-folder",
        sim.url()
    )));
    assert!(
        replayed < file * 4 / 5,
        "{replayed} bytes of memory for a file of {file}"
    );
    let result = read_json(&folder.path().join("r.json"));
    assert_eq!(
        (&result["completed"], &result["total_input_tokens"]),
        (&20_000.into(), &20_480_000.into())
    );
    // The server counts what was sent: bodies came back complete from their file.
    let truth = sim.truth();
    assert_eq!(truth.len(), 20_000);
    assert!(
        truth
            .iter()
            .all(|record| record.status == 200 && record.prompt_tokens > 900)
    );
    sim.stop().unwrap();
}
