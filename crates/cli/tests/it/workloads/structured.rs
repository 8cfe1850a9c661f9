//! Structured answers.

use std::fs;

use inferometer_testkit::Recorder;
use serde_json::json;

use super::good;

#[test]
fn structured_answers_are_requested_and_checked() {
    let folder = tempfile::tempdir().unwrap();
    for (kind, key) in [
        ("json", "json"),
        ("regex", "regex"),
        ("choice", "choice"),
        ("grammar", "grammar"),
    ] {
        let recorder = Recorder::start();
        let flags = [
            "--structured-output",
            kind,
            "--structured-output-ratio",
            "0.5",
            "--num-prompts",
            "40",
        ];
        let lengths = ["--random-input-len", "8", "--random-output-len", "4"];
        let result = good(
            folder.path(),
            &recorder.url,
            &[&flags[..], &lengths[..]].concat(),
        );
        let asked = recorder.to("/completions");
        let with = asked
            .iter()
            .filter(|asked| !asked.body["structured_outputs"][key].is_null())
            .count();
        let structured = &result["inferometer"]["traffic"]["structured"];
        assert_eq!(structured["asked"], with, "{kind}");
        assert!((8..33).contains(&with), "{with} of 40");
        // The recorder answers with words, not with JSON.
        assert_eq!(
            (&structured["conforming"], &structured["share"]),
            (&json!(0), &json!(0.0)),
            "{kind}"
        );
    }
    // A choice that equals the recorder's answer.
    let recorder = Recorder::start();
    let lengths = [
        "--random-input-len",
        "8",
        "--random-output-len",
        "4",
        "--num-prompts",
        "10",
    ];
    let said = good(folder.path(), &recorder.url, &lengths)["generated_texts"][0]
        .as_str()
        .unwrap()
        .to_owned();
    fs::write(
        folder.path().join("choices.txt"),
        format!("{said}\nother\n"),
    )
    .unwrap();
    let flags = [
        "--structured-output",
        "choice",
        "--structured-output-file",
        "choices.txt",
    ];
    let result = good(
        folder.path(),
        &recorder.url,
        &[&flags[..], &lengths[..]].concat(),
    );
    assert_eq!(
        result["inferometer"]["traffic"]["structured"]["share"], 1.0,
        "{said:?}"
    );
}
