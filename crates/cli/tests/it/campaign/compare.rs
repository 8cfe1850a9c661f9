//! Comparisons of runs.

use inferometer_testkit::{printed, run_folder, server, stdout};
use serde_json::Value;

use super::{call, code};
use crate::INFEROMETER;

#[test]
fn runs_are_compared_as_files_and_as_folders() {
    let folder = tempfile::tempdir().unwrap();
    let server = server(5.0, 1.0);
    let saving = |name: &str| {
        [
            "--save-result".to_owned(),
            "--result-filename".to_owned(),
            name.to_owned(),
        ]
    };
    let a = saving("config_a.json");
    let output = INFEROMETER.run(
        folder.path(),
        &server.url(),
        &[&a[0], &a[1], &a[2], "--max-concurrency", "2"],
    );
    assert_eq!(code(&output), 0, "{}", printed(&output));
    let first = run_folder(folder.path());
    let b = saving("config_b.json");
    let output = INFEROMETER.run(
        folder.path(),
        &server.url(),
        &[
            &b[0],
            &b[1],
            &b[2],
            "--max-concurrency",
            "8",
            "--no-run-folder",
        ],
    );
    assert_eq!(code(&output), 0, "{}", printed(&output));
    server.stop().unwrap();

    let text = call(
        folder.path(),
        &["compare", "config_a.json", "config_b.json"],
    );
    assert_eq!(code(&text), 0, "{}", printed(&text));
    for word in [
        "config_a.json",
        "config_b.json",
        "max_concurrency",
        "request_throughput",
        "noise",
    ] {
        assert!(
            stdout(&text).contains(word),
            "no {word} in {}",
            printed(&text)
        );
    }
    let markdown = call(
        folder.path(),
        &["compare", "config_a.json", "config_b.json", "--markdown"],
    );
    assert!(stdout(&markdown).contains("| "), "{}", printed(&markdown));
    // A run's folder gives the same as its file.
    let json = call(
        folder.path(),
        &[
            "compare",
            "config_a.json",
            &first.display().to_string(),
            "--json",
        ],
    );
    assert_eq!(code(&json), 0, "{}", printed(&json));
    let json: Value = serde_json::from_str(&stdout(&json)).unwrap();
    let metrics = json["metrics"].as_array().unwrap();
    assert!(metrics.len() > 15);
    for metric in metrics {
        assert_eq!(metric["values"][0], metric["values"][1], "{metric}");
    }
    for setting in json["settings"].as_array().unwrap() {
        assert_eq!(setting["differs"], false, "{setting}");
    }
    let one = call(folder.path(), &["compare", "config_a.json"]);
    assert_eq!(code(&one), 2, "{}", printed(&one));
}
