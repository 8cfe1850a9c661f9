//! The layers of crates in ARCHITECTURE.md, enforced: which crate may use which.

use std::collections::BTreeMap;
use std::fs;

use inferometer_testkit::project_root;

/// What each crate may use: only crates of the layers below it, none of its own layer.
const MAY_USE: &[(&str, &[&str])] = &[
    ("core", &[]),
    ("os", &["core"]),
    ("arrival", &["core"]),
    ("workload", &["core", "os"]),
    ("metrics", &["core"]),
    ("results", &["core"]),
    ("wire", &["core", "os"]),
    ("telemetry", &["core", "os"]),
    ("sim", &["core", "os"]),
    (
        "engine",
        &[
            "core",
            "os",
            "arrival",
            "workload",
            "wire",
            "metrics",
            "results",
            "telemetry",
            "sim",
        ],
    ),
    ("report", &["core", "metrics", "results"]),
    (
        "campaign",
        &[
            "core",
            "os",
            "arrival",
            "workload",
            "wire",
            "metrics",
            "results",
            "telemetry",
            "sim",
            "engine",
            "report",
        ],
    ),
    ("testkit", &["sim"]),
];

fn uses(manifest: &str) -> Vec<String> {
    let dependencies = manifest
        .split("\n[")
        .find(|section| section.starts_with("dependencies]"));
    dependencies
        .unwrap_or_default()
        .lines()
        .filter_map(|line| {
            line.strip_prefix("inferometer-")?
                .split(['.', ' ', '='])
                .next()
        })
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_crate_uses_only_the_crates_below_it() {
    let allowed: BTreeMap<_, _> = MAY_USE.iter().copied().collect();
    let mut seen = 0;
    for entry in fs::read_dir(project_root().join("crates")).unwrap() {
        let folder = entry.unwrap().path();
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        let manifest = fs::read_to_string(folder.join("Cargo.toml")).unwrap();
        if name == "cli" {
            continue;
        }
        let may = allowed
            .get(name.as_str())
            .unwrap_or_else(|| panic!("{name} is missing in MAY_USE"));
        for used in uses(&manifest) {
            assert!(may.contains(&used.as_str()), "{name} must not use {used}");
            seen += 1;
        }
    }
    assert!(
        seen > 10,
        "only {seen} uses were found: are the manifests still read correctly?"
    );
}

#[test]
fn unsafe_code_is_in_one_crate() {
    for entry in fs::read_dir(project_root().join("crates")).unwrap() {
        let folder = entry.unwrap().path();
        if folder.ends_with("os") {
            continue;
        }
        let mut folders = vec![folder.join("src")];
        while let Some(folder) = folders.pop() {
            for file in fs::read_dir(folder).unwrap() {
                let file = file.unwrap().path();
                if file.is_dir() {
                    folders.push(file);
                } else if file.extension().is_some_and(|extension| extension == "rs") {
                    let text = fs::read_to_string(&file).unwrap();
                    assert!(
                        !text.contains("unsafe {"),
                        "unsafe code in {}",
                        file.display()
                    );
                }
            }
        }
    }
}
