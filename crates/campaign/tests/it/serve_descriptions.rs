//! vLLM's own sweep as a campaign: parameter files and commands.

use std::fs;

use inferometer_campaign::{ServeOptions, Work, serve_campaign};

use crate::world::{results, value_of};

fn serve_options(folder: &std::path::Path) -> ServeOptions {
    let serve = folder.join("serve.json");
    let bench = folder.join("bench.json");
    fs::write(
        &serve,
        r#"[{"max_num_seqs": 32, "port": 9001}, {"max_num_seqs": 64}]"#,
    )
    .unwrap();
    fs::write(
        &bench,
        r#"{"small": {"random_input_len": 16, "max_num_seqs": 32}, "a/b": {"random_input_len": 512, "max_num_seqs": 64}}"#,
    )
    .unwrap();
    ServeOptions {
        serve_cmd: "vllm serve 'my model' --max-num-seqs 8 --port 8001".to_owned(),
        bench_cmd: "vllm bench serve --model m --num-prompts 100".to_owned(),
        serve_params: Some(serve),
        bench_params: Some(bench),
        num_runs: 2,
        output: folder.join("results/exp"),
        warmup_num_prompts: 5,
        fail_fast: true,
        ..ServeOptions::default()
    }
}

/// A benchmark that names no address benchmarks the server that is started for it.
#[test]
fn a_benchmark_without_an_address_uses_the_server_of_the_sweep() {
    let folder = tempfile::tempdir().unwrap();
    for (bench, url) in [
        ("bash bench.sh", "http://127.0.0.1:9001"),
        ("bash bench.sh --port 7000", "http://127.0.0.1:7000"),
        // These have a default of their own, so the address becomes an argument.
        ("vllm bench serve --model m", "http://127.0.0.1:9001"),
        ("/opt/bin/vllm bench serve", "http://127.0.0.1:9001"),
        ("python3 benchmark_serving.py", "http://127.0.0.1:9001"),
        ("inferometer run --model m", "http://127.0.0.1:9001"),
        ("vllm bench serve --host h", "http://h:8000"),
    ] {
        let options = ServeOptions {
            bench_cmd: bench.to_owned(),
            ..serve_options(folder.path())
        };
        assert_eq!(
            serve_campaign(&options).unwrap().cells[0].target().url,
            url,
            "{bench}"
        );
    }
}

#[test]
fn vllms_sweep_has_vllms_folders_and_commands() {
    let folder = tempfile::tempdir().unwrap();
    let campaign = serve_campaign(&serve_options(folder.path())).unwrap();
    assert_eq!(campaign.servers.len(), 2);
    assert_eq!(
        campaign.servers[0].command,
        [
            "vllm",
            "serve",
            "my model",
            "--max-num-seqs",
            "32",
            "--port",
            "9001"
        ]
    );
    assert_eq!(campaign.servers[0].url, "http://127.0.0.1:9001");
    assert_eq!(campaign.servers[1].url, "http://127.0.0.1:8001");
    assert_eq!(
        results(&campaign)[..4],
        [
            "SERVE--max_num_seqs=32-port=9001-BENCH--small/run=0.json",
            "SERVE--max_num_seqs=32-port=9001-BENCH--small/run=1.json",
            "SERVE--max_num_seqs=32-port=9001-BENCH--a_b/run=0.json",
            "SERVE--max_num_seqs=32-port=9001-BENCH--a_b/run=1.json",
        ]
    );
    let cell = &campaign.cells[0];
    let command = cell.work.words().join(" ");
    assert!(
        command.starts_with(
            "vllm bench serve --model m --num-prompts 100 --random-input-len 16 --max-num-seqs 32 \
             --base-url http://127.0.0.1:9001 --percentile-metrics ttft,tpot,itl,e2el --save-result --result-dir "
        ),
        "{command}"
    );
    assert_eq!(cell.annotations["run_number"], 0);
    assert_eq!(cell.annotations["random_input_len"], 16);
    let warmup = &cell.warmup.as_ref().unwrap().work;
    assert_eq!(value_of(warmup, "num-prompts").as_deref(), Some("5"));
    assert_eq!(
        value_of(warmup, "result-filename").as_deref(),
        Some("warmup.json")
    );
    assert!(campaign.reset_caches);
}

/// An address that was given stays: something may forward from it. It is named before the start.
#[test]
fn another_address_than_the_servers_is_named() {
    let folder = tempfile::tempdir().unwrap();
    for (address, notes) in [
        ("", 0),
        ("--base-url http://127.0.0.1:8000", 2),
        ("--base-url http://localhost:8001", 1),
    ] {
        let options = ServeOptions {
            bench_cmd: format!("vllm bench serve {address}"),
            ..serve_options(folder.path())
        };
        let found = serve_campaign(&options).unwrap().address_notes();
        assert_eq!(found.len(), notes, "{address}: {found:?}");
    }
}

/// Python keeps the last of two values, and every digit of a number.
#[test]
fn parameter_files_are_read_as_python_reads_them() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("twice.json");
    let text = r#"[{"seed": 1, "seed": 123456789012345678901234567890}]"#;
    fs::write(&file, text).unwrap();
    let mut options = serve_options(folder.path());
    options.bench_params = Some(file);
    let campaign = serve_campaign(&options).unwrap();
    let note = campaign.notes.concat();
    assert!(note.contains("the key \"seed\" is set twice"), "{note}");
    assert_eq!(
        value_of(&campaign.cells[0].work, "seed").as_deref(),
        Some("123456789012345678901234567890")
    );
}

#[test]
fn linked_parameters_keep_matching_combinations() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = serve_options(folder.path());
    options.link_vars = "max_num_seqs=max-num-seqs".to_owned();
    let campaign = serve_campaign(&options).unwrap();
    assert_eq!(
        results(&campaign),
        [
            "SERVE--max_num_seqs=32-port=9001-BENCH--small/run=0.json",
            "SERVE--max_num_seqs=32-port=9001-BENCH--small/run=1.json",
            "SERVE--max_num_seqs=64-BENCH--a_b/run=0.json",
            "SERVE--max_num_seqs=64-BENCH--a_b/run=1.json",
        ]
    );
    for (links, word) in [
        ("port=random_input_len", "parameters match"),
        ("port", "SERVE_KEY=BENCH_KEY"),
    ] {
        options.link_vars = links.to_owned();
        let error = serve_campaign(&options).unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    }
}

#[test]
fn a_command_after_each_run_replaces_emptying_caches() {
    let folder = tempfile::tempdir().unwrap();
    for (command, words) in [
        ("flush --all 'now'", Some(vec!["flush", "--all", "now"])),
        ("", None),
    ] {
        let options = ServeOptions {
            after_bench_cmd: Some(command.to_owned()),
            ..serve_options(folder.path())
        };
        let campaign = serve_campaign(&options).unwrap();
        assert!(!campaign.reset_caches);
        assert_eq!(
            campaign.after_command,
            words.map(|words| Work::Theirs(words.into_iter().map(str::to_owned).collect()))
        );
    }
}

#[test]
fn mistakes_in_vllms_form_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let twice = folder.path().join("twice.json");
    fs::write(&twice, r#"[{"a": 1}, {"a": 1}]"#).unwrap();
    let text = folder.path().join("text.json");
    fs::write(&text, "[1]").unwrap();
    type Change = fn(&mut ServeOptions, &std::path::Path);
    let cases: [(Change, &str); 5] = [
        (
            |options, _| options.serve_cmd = "vllm 'serve".to_owned(),
            "--serve-cmd",
        ),
        (
            |options, _| options.bench_cmd = " ".to_owned(),
            "--bench-cmd is empty",
        ),
        (|options, _| options.num_runs = 0, "--num-runs 0"),
        (
            |options, folder| options.serve_params = Some(folder.join("twice.json")),
            "two combinations have the name \"a=1\"",
        ),
        (
            |options, folder| options.bench_params = Some(folder.join("text.json")),
            "a list of objects",
        ),
    ];
    for (change, word) in cases {
        let mut options = serve_options(folder.path());
        change(&mut options, folder.path());
        let error = serve_campaign(&options).unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    }
}

/// Parameters may hold keys: names of folders and logs, the journal and the results do not.
#[test]
fn secrets_among_the_parameters_are_in_no_name_and_no_result() {
    let folder = tempfile::tempdir().unwrap();
    let options = serve_options(folder.path());
    fs::write(
        options.serve_params.as_ref().unwrap(),
        r#"[{"api_key": "QZserve-one-1234"}, {"api_key": "QZserve-two-1234"}]"#,
    )
    .unwrap();
    fs::write(
        options.bench_params.as_ref().unwrap(),
        r#"[{"header": "X-Any=QZbench-header-12", "extra_body": {"token": "QZbench-body-12"}}]"#,
    )
    .unwrap();
    let campaign = serve_campaign(&options).unwrap();
    let names: Vec<_> = campaign
        .servers
        .iter()
        .map(|server| server.name.as_str())
        .collect();
    assert_eq!(names, ["api_key=hidden", "api_key=hidden-2"]);
    for cell in &campaign.cells {
        let shown = format!(
            "{} {} {:?} {:?}",
            cell.name, cell.setting, cell.result, cell.annotations
        );
        assert!(!shown.contains("QZ"), "{shown}");
        assert!(shown.contains("SERVE--api_key=hidden"), "{shown}");
        assert!(cell.work.words().join(" ").contains("QZbench-header-12"));
    }
    assert!(
        campaign.servers[1]
            .command
            .contains(&"QZserve-two-1234".to_owned())
    );
    for secret in ["QZserve-two-1234", "QZbench-header-12", "QZbench-body-12"] {
        assert_eq!(inferometer_core::redact::redact_text(secret), "***");
    }
}
