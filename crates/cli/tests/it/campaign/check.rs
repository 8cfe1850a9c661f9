//! The check of a server, and quickstart.

use std::fs;
use std::process::Output;

use inferometer_sim::{Server, SimSettings, start};
use inferometer_testkit::{printed, server, stdout};

use super::{call, code};

fn checked(server: &Server, more: &[&str]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let url = server.url();
    let base = [
        "check",
        "--base-url",
        &url,
        "--tokenizer",
        "builtin",
        "--quick",
    ];
    call(folder.path(), &[&base[..], more].concat())
}

#[test]
fn a_good_server_passes_the_check() {
    let server = server(2.0, 1.0);
    let output = checked(&server, &[]);
    let chat = checked(&server, &["--backend", "openai-chat"]);
    server.stop().unwrap();
    assert_eq!(code(&output), 0, "{}", printed(&output));
    // The tokens of the chat template are no sign of a wrong tokenizer.
    assert_eq!(code(&chat), 0, "{}", printed(&chat));
    let text = stdout(&output);
    for word in [
        "ok     connection",
        "ok     plain request",
        "ok     streamed request",
        "ok     usage",
        "ok     rates",
    ] {
        assert!(text.contains(word), "no {word:?} in {text}");
    }
}

#[test]
fn a_check_names_what_is_wrong() {
    let broken = start(SimSettings {
        faults: vec!["http_500=1".parse().unwrap()],
        ..SimSettings::default()
    })
    .unwrap();
    let output = checked(&broken, &[]);
    broken.stop().unwrap();
    assert_eq!(code(&output), 1, "{}", printed(&output));
    assert!(
        stdout(&output).contains("FAILED plain request") && stdout(&output).contains("500"),
        "{}",
        printed(&output)
    );

    let server = server(1.0, 1.0);
    let output = checked(&server, &["--model", "other"]);
    assert_eq!(code(&output), 1, "{}", printed(&output));
    assert!(
        stdout(&output).contains("does not serve it"),
        "{}",
        printed(&output)
    );
    let locked = start(SimSettings {
        api_key: Some(inferometer_core::Secret::new("k")),
        ..SimSettings::default()
    })
    .unwrap();
    let output = checked(&locked, &[]);
    locked.stop().unwrap();
    assert_eq!(code(&output), 1, "{}", printed(&output));
    assert!(
        stdout(&output).contains("OPENAI_API_KEY"),
        "{}",
        printed(&output)
    );
    let url = server.url();
    server.stop().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let output = call(folder.path(), &["check", "--base-url", &url]);
    assert_eq!(code(&output), 1, "{}", printed(&output));
    assert!(
        stdout(&output).contains("FAILED connection"),
        "{}",
        printed(&output)
    );
}

#[test]
fn quickstart_needs_no_server_and_no_files() {
    let folder = tempfile::tempdir().unwrap();
    let output = call(folder.path(), &["visualize", "--demo", "--report"]);
    assert_eq!(code(&output), 0, "{}", printed(&output));
    assert!(
        folder
            .path()
            .join("figures/performance_report.md")
            .is_file()
    );
    assert_eq!(
        fs::read_dir(folder.path().join("figures")).unwrap().count(),
        3
    );
}
