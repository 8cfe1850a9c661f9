//! Everything that each command prints, as snapshots, so that a change of wording shows in review.
//! The refusals of `run` are in `bad_input.rs`.

use std::fs;
use std::path::Path;

use inferometer_testkit::{
    MEASURED, Redaction, run_folder, server, snapshot, transcript, transcript_of,
};

use crate::INFEROMETER;

/// Every command that has help of its own.
const COMMANDS: [&str; 24] = [
    "run",
    "quickstart",
    "sim",
    "simulate",
    "calibrate",
    "workload",
    "workload build",
    "workload show",
    "selftest",
    "report",
    "verify",
    "recover",
    "sweep",
    "aggregate",
    "visualize",
    "compare",
    "ab",
    "gate",
    "check",
    "help",
    "completions",
    "man",
    "install-shims",
    "import",
];

fn call(folder: &Path, arguments: &[&str]) -> String {
    transcript(INFEROMETER.command(folder).args(arguments))
}

/// A simulated run at 5 requests per second: its numbers are the same on every machine.
fn simulate(folder: &Path, name: &str, more: &[&str]) -> String {
    let file = format!("{name}.json");
    let load = [
        "simulate",
        "--num-prompts",
        "50",
        "--request-rate",
        "5",
        "--save-result",
        "--result-dir",
        "results",
    ];
    let names = ["--result-filename", &file, "--label", name];
    call(folder, &[&load[..], &names, more].concat())
}

/// How long the simulation itself took; the breaks of its line depend on that.
const SPEED: Redaction = (
    r"\s+in\s+[\d.]+\s+s\s+\(\d+\s+times\s+real\s+time\)\.\s+No\s+server\s+was\s+measured",
    " in [time] ([n] times real time). No server was measured",
);

#[test]
fn help_of_every_command() {
    let folder = tempfile::tempdir().unwrap();
    let top = call(folder.path(), &["--help"]);
    for line in top.lines().filter(|line| line.starts_with("  ")) {
        let name = line.split_whitespace().next().unwrap();
        // Names of commands are in the third column, options and continued lines elsewhere.
        if !line.starts_with("   ") && !name.starts_with('-') {
            assert!(COMMANDS.contains(&name), "{name} is not in the list");
        }
    }
    snapshot!("help", top);
    snapshot!("help_run_short", call(folder.path(), &["run", "-h"]));
    snapshot!("help_topics", call(folder.path(), &["help"]));
    snapshot!("help_unknown", call(folder.path(), &["help", "metric"]));
    for command in COMMANDS {
        let arguments: Vec<&str> = command.split(' ').chain(["--help"]).collect();
        let name = format!("help_{}", command.replace([' ', '-'], "_"));
        snapshot!(name, call(folder.path(), &arguments));
    }
}

#[test]
fn run_of_a_simulated_server() {
    let folder = tempfile::tempdir().unwrap();
    let server = server(5.0, 1.0);
    for (name, more) in [
        ("run", &["--max-concurrency", "4"][..]),
        ("run_compat_vllm", &["--compat", "vllm"]),
    ] {
        let output = INFEROMETER.run(folder.path(), &server.url(), more);
        snapshot!(
            name,
            transcript_of(&[&["run", "…"], more].concat(), &output),
            MEASURED
        );
    }
    server.stop().unwrap();
}

#[test]
fn simulated_runs_and_what_is_made_of_their_results() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    snapshot!("simulate", simulate(folder, "slow", &[]), &[SPEED]);
    let run = run_folder(folder).display().to_string();
    snapshot!("report", call(folder, &["report", &run]));
    snapshot!("recover_nothing", call(folder, &["recover", &run]));

    simulate(folder, "fast", &["--request-rate", "10"]);
    let files = ["results/slow.json", "results/fast.json"];
    let compare = [&["compare"][..], &files].concat();
    snapshot!("compare", call(folder, &compare));
    snapshot!(
        "compare_markdown",
        call(folder, &[&compare[..], &["--markdown"]].concat())
    );
    snapshot!("import", call(folder, &["import", files[0]]));
    snapshot!("aggregate", call(folder, &["aggregate"]));
    snapshot!("visualize", call(folder, &["visualize", "--all"]));
}

#[test]
fn search_for_a_rate() {
    let folder = tempfile::tempdir().unwrap();
    let search = [
        "simulate",
        "--num-prompts",
        "100",
        "--find-rate",
        "p99_ttft<200",
    ];
    snapshot!("simulate_find_rate", call(folder.path(), &search), &[SPEED]);
}

#[test]
fn sweep_as_a_plan_and_as_runs() {
    let folder = tempfile::tempdir().unwrap();
    let server = server(5.0, 1.0);
    let combos = format!(
        "model: sim\nbase_url: {}\ntokenizer: builtin\ninput_output:\n  - [16, 4]\nconcurrency_prompts:\n  \
         - [1, 4]\n  - [2, 8]\n",
        server.url()
    );
    fs::write(folder.path().join("combos.yaml"), combos).unwrap();
    snapshot!(
        "sweep_dry_run",
        call(folder.path(), &["sweep", "--dry-run"])
    );
    snapshot!("sweep", call(folder.path(), &["sweep"]), MEASURED);
    server.stop().unwrap();
}

#[test]
fn check_of_a_good_server_and_of_none() {
    let folder = tempfile::tempdir().unwrap();
    let server = server(5.0, 1.0);
    let check = ["check", "--quick", "--tokenizer", "builtin", "--base-url"];
    // A busy machine adds a note and changes a verdict.
    let measured: &[Redaction] = &[
        (r"(?m)^(note  |ok    ) +measuring .*\n", ""),
        (r"(?m)^  note: measuring: .*\n", ""),
        (r"\d+ of \d+ checks", "[n] of [n] checks"),
        (r"(?m)^ +\d+ +[\d.]+ +\d+ .*$", "  [numbers]"),
        (r" +verdict\n", "  verdict\n"),
    ];
    let redactions = [measured, MEASURED].concat();
    let good = call(folder.path(), &[&check[..], &[&server.url()]].concat());
    snapshot!("check_good", good, &redactions);
    server.stop().unwrap();
    let bad = call(
        folder.path(),
        &[&check[..], &["http://127.0.0.1:9"]].concat(),
    );
    snapshot!("check_unreachable", bad);
}

#[test]
fn workload_file() {
    let folder = tempfile::tempdir().unwrap();
    let build = [
        "workload",
        "build",
        "--tokenizer",
        "builtin",
        "--num-prompts",
        "5",
        "--request-rate",
        "2",
        "-o",
        "w.jsonl",
    ];
    snapshot!("workload_build", call(folder.path(), &build));
    snapshot!(
        "workload_show",
        call(folder.path(), &["workload", "show", "w.jsonl"])
    );
}

#[test]
fn shims() {
    let folder = tempfile::tempdir().unwrap();
    snapshot!(
        "install_shims",
        call(folder.path(), &["install-shims", "shims"])
    );
}
