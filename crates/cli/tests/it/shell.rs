//! Completions, manual pages and the version.

use std::process::Command;

use inferometer_testkit::{printed, stdout};

use crate::INFEROMETER;

#[test]
fn bash_completes_commands_flags_and_values() {
    let folder = tempfile::tempdir().unwrap();
    let script = INFEROMETER.call(folder.path(), &["completions", "bash"]);
    assert_eq!(script.status.code(), Some(0), "{}", printed(&script));
    std::fs::write(folder.path().join("completions"), &script.stdout).unwrap();
    for (words, wanted) in [
        (&["inferometer", "vis"][..], "visualize"),
        (
            &["inferometer", "run", "--random-inp"],
            "--random-input-len",
        ),
        (&["inferometer", "completions", "fi"], "fish"),
    ] {
        let (word, before) = (words[words.len() - 1], words[words.len() - 2]);
        let ask = format!(
            "source ./completions; COMP_WORDS=({}); COMP_CWORD={}; _inferometer inferometer {word} {before}; \
             echo \"${{COMPREPLY[@]}}\"",
            words.join(" "),
            words.len() - 1
        );
        let output = Command::new("bash")
            .args(["-c", &ask])
            .current_dir(folder.path())
            .output()
            .unwrap();
        assert!(
            stdout(&output)
                .split_whitespace()
                .any(|word| word == wanted),
            "{words:?}: {}",
            printed(&output)
        );
    }
    for shell in ["zsh", "fish", "powershell", "elvish"] {
        let output = INFEROMETER.call(folder.path(), &["completions", shell]);
        assert!(stdout(&output).contains("random-input-len"), "{shell}");
    }
}

#[test]
fn every_command_has_a_manual_page() {
    let folder = tempfile::tempdir().unwrap();
    let output = INFEROMETER.call(folder.path(), &["man", "pages"]);
    assert_eq!(output.status.code(), Some(0), "{}", printed(&output));
    let page = |name: &str| {
        let path = folder.path().join("pages").join(format!("{name}.1"));
        std::fs::read_to_string(path).unwrap()
    };
    assert!(page("inferometer").contains("inferometer\\-visualize(1)"));
    assert!(page("inferometer-run").contains("\\-\\-random\\-input\\-len"));
    let one = INFEROMETER.call(folder.path(), &["man"]);
    assert_eq!(stdout(&one), page("inferometer"));
}

#[test]
fn the_version_names_the_build() {
    let folder = tempfile::tempdir().unwrap();
    let output = INFEROMETER.call(folder.path(), &["--version"]);
    let version = stdout(&output);
    let (name, build) = version.trim_end().split_once(" (").unwrap();
    assert_eq!(name, concat!("inferometer ", env!("CARGO_PKG_VERSION")));
    let parts: Vec<&str> = build.split([',', ';']).map(str::trim).collect();
    assert_eq!(parts.len(), 4, "{version}");
    assert!(parts[1].contains('-'), "a target: {version}");
    assert!(["debug", "release"].contains(&parts[2]), "{version}");
    assert_eq!(parts[3], "bench serve of vLLM 0.33)");
}
