//! The map in ARCHITECTURE.md, enforced: which crate may use which, who may read a clock, where
//! unsafe code is, and that what the map names exists.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use inferometer_testkit::project_root;

/// What each crate may use. A crate uses only what is below it; crates on one layer do not know
/// one another. `cli` may use everything.
const MAY_USE: &[(&str, &[&str])] = &[
    ("core", &[]),
    ("os", &["core"]),
    ("arrival", &["core"]),
    ("workload", &["core", "os"]),
    ("metrics", &["core"]),
    ("decide", &["core", "metrics"]),
    ("results", &["core", "os"]),
    ("wire", &["core", "os"]),
    ("telemetry", &["core", "os"]),
    ("sim", &["core", "os"]),
    (
        "engine",
        &[
            "core",
            "os",
            "wire",
            "metrics",
            "results",
            "telemetry",
            "sim",
        ],
    ),
    ("report", &["core", "metrics", "decide"]),
    (
        "benchmark",
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
            "decide",
        ],
    ),
    ("campaign", &["core", "os", "wire", "metrics", "results"]),
    ("argparse", &["os", "workload", "results", "benchmark"]),
    (
        "terminal",
        &["core", "os", "metrics", "results", "engine", "campaign"],
    ),
    ("testkit", &["sim"]),
];

/// Crates that may read a clock. The command line reads it for dates and for what it shows.
const MAY_READ_A_CLOCK: [&str; 9] = [
    "os",
    "wire",
    "engine",
    "sim",
    "telemetry",
    "benchmark",
    "campaign",
    "terminal",
    "cli",
];

/// Crates that read files of folders which may come from anywhere.
const READ_FOREIGN_FOLDERS: [&str; 3] = ["results", "benchmark", "campaign"];

/// Lines of the command line, which only turns arguments into settings and calls a crate below.
const MAX_CLI_LINES: usize = 7_000;

/// Dependencies that no code names: they are there for what they register or for their features.
const NAMED_NOWHERE: [&str; 0] = [];

fn crates() -> Vec<(String, PathBuf)> {
    let mut found: Vec<_> = fs::read_dir(project_root().join("crates"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|folder| folder.join("Cargo.toml").exists())
        .map(|folder| {
            (
                folder.file_name().unwrap().to_string_lossy().into_owned(),
                folder,
            )
        })
        .collect();
    found.sort();
    assert!(found.len() > 14, "only {} crates were found", found.len());
    found
}

/// Names in the `[dependencies]` of a manifest.
fn dependencies(folder: &Path) -> Vec<String> {
    let manifest = fs::read_to_string(folder.join("Cargo.toml")).unwrap();
    manifest
        .split("\n[")
        .find(|section| section.starts_with("dependencies]"))
        .unwrap_or_default()
        .lines()
        .skip(1)
        .filter_map(|line| line.split(['.', ' ', '=']).next())
        .filter(|name| !name.is_empty() && !name.starts_with('#'))
        .map(str::to_owned)
        .collect()
}

/// The Rust files below a folder, with their text.
fn sources(folder: &Path) -> Vec<(PathBuf, String)> {
    let (mut folders, mut files) = (vec![folder.to_owned()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                files.push((path, text));
            }
        }
    }
    files.sort();
    files
}

#[test]
fn every_crate_uses_only_what_is_below_it() {
    let allowed: BTreeMap<_, _> = MAY_USE.iter().copied().collect();
    for (name, folder) in crates().iter().filter(|(name, _)| name != "cli") {
        let may = allowed
            .get(name.as_str())
            .unwrap_or_else(|| panic!("{name} is not in the map: add it to MAY_USE"));
        for used in dependencies(folder) {
            if let Some(used) = used.strip_prefix("inferometer-") {
                assert!(may.contains(&used), "{name} must not use {used}");
            }
        }
    }
}

#[test]
fn every_declared_dependency_is_used() {
    for (name, folder) in crates() {
        let text: String = sources(&folder.join("src"))
            .into_iter()
            .map(|(_, text)| text)
            .collect();
        for dependency in dependencies(&folder) {
            let used = text.contains(&dependency.replace('-', "_"));
            assert!(
                used || NAMED_NOWHERE.contains(&dependency.as_str()),
                "{name} declares {dependency} and does not use it"
            );
        }
    }
}

#[test]
fn only_named_crates_read_a_clock() {
    for (name, folder) in crates() {
        for (path, text) in sources(&folder.join("src")) {
            let reads = text.contains("clock::now") || text.contains("clock::wall");
            let may = MAY_READ_A_CLOCK.contains(&name.as_str());
            assert!(
                may || !reads,
                "{} reads a clock: pass the time in",
                path.display()
            );
        }
    }
}

#[test]
fn a_run_knows_no_command_line_and_prints_nothing() {
    let folder = project_root().join("crates/benchmark");
    for banned in ["clap", "anyhow", "indicatif", "ratatui"] {
        assert!(
            !dependencies(&folder).iter().any(|name| name == banned),
            "benchmark uses {banned}"
        );
    }
    for (path, text) in sources(&folder.join("src")) {
        let text: String = text
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"))
            .collect();
        for banned in ["println!", "eprintln!", "print!(", "process::exit"] {
            assert!(!text.contains(banned), "{} has {banned}", path.display());
        }
    }
}

/// A pipe in a folder hangs its reader, and a device has no end: `inferometer_os::files` opens
/// regular files alone, up to a size.
#[test]
fn files_of_foreign_folders_are_opened_in_one_way() {
    let elsewhere = ["/etc/localtime", "/proc/locks"];
    for crate_name in READ_FOREIGN_FOLDERS {
        let folder = project_root().join("crates").join(crate_name).join("src");
        for (path, text) in sources(&folder) {
            let code = text.split("#[cfg(test)]").next().unwrap();
            for line in code.lines().filter(|line| !line.contains("//")) {
                let opens = ["fs::read(", "fs::read_to_string(", "File::open("]
                    .iter()
                    .any(|call| line.contains(call));
                // A folder is opened for its lock and to wait for the disk.
                let is_known =
                    line.contains("folder") || elsewhere.iter().any(|e| line.contains(e));
                assert!(
                    !opens || is_known,
                    "{}: use inferometer_os::files instead of {}",
                    path.display(),
                    line.trim()
                );
            }
        }
    }
}

#[test]
fn the_command_line_stays_small() {
    let files = sources(&project_root().join("crates/cli/src"));
    let lines: usize = files.iter().map(|(_, text)| text.lines().count()).sum();
    assert!(
        lines < MAX_CLI_LINES,
        "{lines} lines in cli: what is not about arguments belongs in a crate below"
    );
}

#[test]
fn unsafe_code_is_in_one_crate() {
    for (name, folder) in crates().iter().filter(|(name, _)| name != "os") {
        for (path, text) in sources(&folder.join("src")) {
            assert!(
                !text.contains("unsafe {"),
                "{name}: unsafe code in {}",
                path.display()
            );
        }
    }
}

/// Files that import one another can only be understood together. A file and the folder below it
/// are one module and its parts, and may.
#[test]
fn no_files_import_one_another() {
    for (name, folder) in crates() {
        let uses = imports(&folder.join("src"));
        for (module, used) in &uses {
            for other in used {
                let back = reachable(&uses, other).contains(module);
                assert!(!back, "{name}: {module:?} and {other:?} import one another");
            }
        }
    }
}

/// A module's path below its crate: empty for `lib.rs` and `main.rs`.
type Module = Vec<String>;

fn module_of(src: &Path, file: &Path) -> Module {
    let path = file.strip_prefix(src).unwrap().with_extension("");
    let mut parts: Module = path
        .iter()
        .map(|part| part.to_string_lossy().into_owned())
        .collect();
    if parts
        .last()
        .is_some_and(|last| ["mod", "lib", "main"].contains(&last.as_str()))
    {
        parts.pop();
    }
    parts
}

/// For each module of a crate, the others that it names by `crate::`, `self::` or `super::`, but
/// for those above and below itself. Tests and comments do not count.
fn imports(src: &Path) -> BTreeMap<Module, BTreeSet<Module>> {
    let files = sources(src);
    let modules: BTreeSet<Module> = files.iter().map(|(path, _)| module_of(src, path)).collect();
    let mut uses: BTreeMap<Module, BTreeSet<Module>> = BTreeMap::new();
    for (path, text) in &files {
        let module = module_of(src, path);
        let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
        let code: String = code
            .lines()
            .map(|line| line.split("//").next().unwrap_or_default())
            .collect::<Vec<_>>()
            .join("\n");
        let mut named = BTreeSet::new();
        for (start, base) in [
            ("crate::", Module::new()),
            ("self::", module.clone()),
            ("super::", module[..module.len().saturating_sub(1)].to_vec()),
        ] {
            for (at, _) in code.match_indices(start) {
                if !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':') {
                    expand(&base, &code[at + start.len()..], &mut named);
                }
            }
        }
        let others = named.into_iter().filter_map(|mut path| {
            while !path.is_empty() && !modules.contains(&path) {
                path.pop();
            }
            let related = path.starts_with(&module) || module.starts_with(&path);
            (!related).then_some(path)
        });
        uses.entry(module.clone()).or_default().extend(others);
    }
    uses
}

/// The paths that begin at `base` and continue with `text`: `a::b`, `super::a`, or `a::{b, c}`.
fn expand(base: &[String], text: &str, found: &mut BTreeSet<Module>) {
    if let Some(up) = text.strip_prefix("super::") {
        expand(&base[..base.len().saturating_sub(1)], up, found);
    } else if let Some(group) = text.strip_prefix('{') {
        for item in items(group) {
            expand(base, item.trim_start(), found);
        }
    } else {
        let word = first_word(text);
        if word.is_empty() {
            return;
        }
        let mut path = base.to_vec();
        path.push(word.clone());
        found.insert(path.clone());
        if let Some(rest) = text[word.len()..].strip_prefix("::") {
            expand(&path, rest, found);
        }
    }
}

/// The comma-separated items of a group, up to its closing brace.
fn items(group: &str) -> Vec<&str> {
    let (mut depth, mut from, mut items) = (0_i32, 0, Vec::new());
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => {
                items.push(&group[from..at]);
                return items;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                items.push(&group[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    items
}

fn first_word(text: &str) -> String {
    text.chars()
        .take_while(|c| c.is_alphanumeric() || *c == '_')
        .collect()
}

fn reachable(uses: &BTreeMap<Module, BTreeSet<Module>>, from: &Module) -> BTreeSet<Module> {
    let (mut seen, mut left) = (BTreeSet::new(), vec![from.clone()]);
    while let Some(module) = left.pop() {
        for next in uses.get(&module).into_iter().flatten() {
            if seen.insert(next.clone()) {
                left.push(next.clone());
            }
        }
    }
    seen
}

#[test]
fn every_path_in_the_map_exists() {
    let map = fs::read_to_string(project_root().join("ARCHITECTURE.md")).unwrap();
    let mut seen = 0;
    for span in map.split('`').skip(1).step_by(2) {
        let is_path = ["crates/", "docs/", "benches/", "parity/", "fuzz/", ".ci/"]
            .iter()
            .any(|start| span.starts_with(start));
        if is_path && !span.contains(['*', ' ']) {
            assert!(
                project_root().join(span).exists(),
                "ARCHITECTURE.md names {span}"
            );
            seen += 1;
        }
    }
    assert!(seen > 20, "only {seen} paths were found in the map");
    for (name, _) in crates() {
        assert!(
            map.contains(&format!("  {name}/ ")),
            "{name} is missing in the map's tree"
        );
    }
}
