//! `--export`: the files, checked against the keys and types that the other tools publish
//! (`tests/data/export`).

use std::fs;
use std::path::Path;

use inferometer_sim::SimSettings;
use inferometer_testkit::{printed, read_json, run_folder, server, stderr, stdout};
use serde_json::{Map, Value};

use crate::INFEROMETER;

const FORMS: [(&str, &str); 3] = [
    ("sglang", "sglang_bench.jsonl"),
    ("aiperf", "profile_export_aiperf.json"),
    ("llm-d", "benchmark_report_v0.2.1.json"),
];

fn read(path: &Path) -> Value {
    read_json(path)
}

/// The keys of another tool's format; [`Schema::check`] explains the language of the files.
struct Schema(Map<String, Value>);

impl Schema {
    fn of(form: &str) -> Self {
        let path = format!(
            "{}/tests/data/export/{form}.json",
            env!("CARGO_MANIFEST_DIR")
        );
        Self(read(Path::new(&path)).as_object().unwrap().clone())
    }

    /// Every key must be known, and each that does not end in `?` must be there. A type is one of
    /// several words: `string`, `int`, `number`, `bool`, `object`, `list`, `null`, `time`, `=TEXT`,
    /// or `@NAME` for another entry of the file, with a `*` for a list of these or followed by the
    /// unit that it must have.
    fn object(&self, name: &str, unit: &str, value: &Value, at: &str) {
        let keys = self.0[name].as_object().unwrap();
        let object = value
            .as_object()
            .unwrap_or_else(|| panic!("{at} is no object: {value}"));
        for key in object.keys() {
            assert!(
                keys.contains_key(key) || keys.contains_key(&format!("{key}?")),
                "{at}.{key} is unknown"
            );
        }
        for (key, wanted) in keys {
            match object.get(key.trim_end_matches('?')) {
                Some(value) => self.check(
                    wanted.as_str().unwrap(),
                    unit,
                    value,
                    &format!("{at}.{key}"),
                ),
                None => assert!(key.ends_with('?'), "{at}.{key} is missing"),
            }
        }
    }

    fn check(&self, wanted: &str, unit: &str, value: &Value, at: &str) {
        if let Some(name) = wanted.strip_prefix('@') {
            if let Some(name) = name.strip_suffix('*') {
                let items = value
                    .as_array()
                    .unwrap_or_else(|| panic!("{at} is no list"));
                return items
                    .iter()
                    .for_each(|item| self.object(name, "", item, at));
            }
            let (name, unit) = name.split_once(' ').unwrap_or((name, ""));
            return self.object(name, unit, value, at);
        }
        let fits = wanted.split('|').any(|word| match word {
            "string" => value.is_string(),
            "int" => value.is_u64(),
            "number" => value.is_number(),
            "bool" => value.is_boolean(),
            "object" => value.is_object(),
            "list" => value.is_array(),
            "null" => value.is_null(),
            "unit" => value == unit,
            "time" => value
                .as_str()
                .is_some_and(|text| text.len() == 29 && text.as_bytes()[10] == b'T'),
            text => value == text.strip_prefix('=').unwrap(),
        });
        assert!(fits, "{at} is {value}, not {wanted} {unit}");
    }
}

fn check_all(folder: &Path) -> [Value; 3] {
    FORMS.map(|(form, file)| {
        let value = read(&folder.join(file));
        Schema::of(form).object("root", "", &value, form);
        value
    })
}

#[test]
#[expect(
    clippy::too_many_lines,
    reason = "a sequence of steps or a table of cases"
)]
fn every_export_has_the_keys_types_and_units_of_its_tool_and_our_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let server = server(5.0, 1.0);
    let flags = "--export sglang,aiperf --export llm-d --save-result --save-detailed --result-filename r.json \
                 --request-rate 100 --max-concurrency 8 --goodput ttft:4 e2el:5000 --metadata a=b --label lab \
                 --percentile-metrics ttft,tpot,itl,e2el --metric-percentiles 95,99.9";
    let output = INFEROMETER.run(
        folder.path(),
        &server.url(),
        &flags.split_whitespace().collect::<Vec<_>>(),
    );
    server.stop().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", printed(&output));
    let run_dir = run_folder(folder.path());
    let [sglang, aiperf, llmd] = check_all(&run_dir);
    let ours = read(&folder.path().join("r.json"));

    for (key, theirs) in [
        ("mean_ttft_ms", "mean_ttft_ms"),
        ("p95_itl_ms", "p95_itl_ms"),
        ("std_tpot_ms", "std_tpot_ms"),
        ("median_e2el_ms", "median_e2e_latency_ms"),
        ("total_token_throughput", "total_throughput"),
        ("ttfts", "ttfts"),
        ("output_lens", "output_lens"),
        ("max_concurrency", "max_concurrency"),
        // SGLang's own peaks count requests that touch a second, and events: ours are those of our table.
        ("max_concurrent_requests", "max_concurrent_requests"),
        ("max_output_tokens_per_s", "max_output_tokens_per_s"),
    ] {
        assert_eq!(sglang[theirs], ours[key], "{key}");
    }
    assert_eq!(
        (&sglang["random_input_len"], &sglang["random_output_len"]),
        (&16.into(), &8.into())
    );
    assert_eq!(
        (
            &sglang["slo_attainment"],
            &sglang["total_input_vision_tokens"]
        ),
        (&0.0.into(), &0.into())
    );

    let stat = |metric: &str, key: &str| aiperf[metric][key].clone();
    assert_eq!(stat("time_to_first_token", "avg"), ours["mean_ttft_ms"]);
    assert_eq!(stat("inter_token_latency", "p95"), ours["p95_tpot_ms"]);
    assert_eq!(stat("inter_chunk_latency", "count"), 140);
    assert_eq!(stat("input_sequence_length", "max"), 16.0);
    assert_eq!(stat("total_osl", "avg"), 160.0);
    assert_eq!(aiperf["run_info"]["run_label"], "lab");
    assert_eq!(
        aiperf["inferometer"]["verdict"]["level"],
        ours["inferometer"]["verdict"]["level"]
    );

    let aggregate = &llmd["results"]["request_performance"]["aggregate"];
    assert_eq!(
        aggregate["latency"]["request_latency"]["p99p9"],
        ours["p99.9_e2el_ms"]
    );
    assert_eq!(
        aggregate["throughput"]["request_rate"]["mean"],
        ours["request_throughput"]
    );
    assert_eq!(aggregate["requests"]["total"], 20);
    let load = &llmd["scenario"]["load"]["standardized"];
    assert_eq!(
        (&load["rate_qps"], &load["concurrency"]),
        (&100.0.into(), &8.into())
    );
    assert_eq!(
        load["output_seq_len"],
        serde_json::json!({ "distribution": "fixed", "value": 8 })
    );
    assert_eq!(llmd["run"]["keywords"], serde_json::json!(["a=b"]));
    assert_eq!(llmd["run"]["uid"], aiperf["benchmark_id"]);

    // What we write, we read.
    let files = [FORMS[0].1, FORMS[1].1].map(|file| run_dir.join(file).display().to_string());
    let imported = INFEROMETER
        .command(folder.path())
        .arg("import")
        .args(files)
        .args(["--output", "in"])
        .output()
        .unwrap();
    assert_eq!(imported.status.code(), Some(0), "{}", printed(&imported));
    for file in ["sglang_bench.json", "profile_export_aiperf.json"] {
        let back = read(&folder.path().join("in").join(file));
        assert_eq!(back["mean_ttft_ms"], ours["mean_ttft_ms"], "{file}");
        assert_eq!(back["mean_tpot_ms"], ours["mean_tpot_ms"], "{file}");
    }
}

#[test]
fn synthetic_text_of_a_trace_is_not_called_sampled() {
    let folder = tempfile::tempdir().unwrap();
    let server = server(5.0, 1.0);
    let head = "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n";
    let rows = "1,GPT-4,20,5,25,API log\n".repeat(3);
    fs::write(folder.path().join("burst.csv"), head.to_owned() + &rows).unwrap();
    let prompts = r#"{"prompt": "a question that somebody asked"}"#;
    fs::write(folder.path().join("custom.jsonl"), prompts).unwrap();
    for (dataset, path, source) in [
        ("burstgpt", "burst.csv", "random"),
        ("custom", "custom.jsonl", "sampled"),
    ] {
        let flags = [
            ["--dataset-name", dataset],
            ["--dataset-path", path],
            ["--num-prompts", "3"],
            ["--export", "llm-d"],
            ["--export-dir", dataset],
        ];
        let output = INFEROMETER.run(folder.path(), &server.url(), flags.as_flattened());
        assert_eq!(output.status.code(), Some(0), "{}", printed(&output));
        let llmd = read(&folder.path().join(dataset).join(FORMS[2].1));
        let load = &llmd["scenario"]["load"]["standardized"];
        assert_eq!(load["source"], source, "{dataset}");
    }
    server.stop().unwrap();
}

#[test]
fn an_old_run_is_exported_as_a_new_one_and_counted_once() {
    let folder = tempfile::tempdir().unwrap();
    let server = server(5.0, 1.0);
    let output = INFEROMETER.run(
        folder.path(),
        &server.url(),
        &["--export", "sglang", "aiperf", "llm-d"],
    );
    server.stop().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", printed(&output));
    let run_dir = run_folder(folder.path());
    let first = check_all(&run_dir);
    assert_eq!(first[0]["request_rate"], "inf");

    let report = |more: &[&str]| {
        INFEROMETER
            .command(folder.path())
            .arg("report")
            .arg(&run_dir)
            .args(more)
            .output()
            .unwrap()
    };
    let again = report(&["--export", "sglang,aiperf,llm-d", "--export-dir", "out"]);
    assert_eq!(again.status.code(), Some(0), "{}", printed(&again));
    assert!(
        stdout(&again).contains("Exported: out/sglang_bench.jsonl"),
        "{}",
        printed(&again)
    );
    assert_eq!(check_all(&folder.path().join("out")), first);
    // Its own copy may be overwritten; a file of another origin may not.
    assert_eq!(report(&["--export", "sglang"]).status.code(), Some(0));
    let taken = report(&["--export", "sglang", "--export-dir", "out"]);
    assert_eq!(taken.status.code(), Some(2));
    assert!(
        stderr(&taken).contains("--export-dir: cannot write to out/sglang_bench.jsonl"),
        "{}",
        printed(&taken)
    );
    assert!(
        stderr(&taken).contains("existing files are not overwritten"),
        "{}",
        printed(&taken)
    );

    fs::write(
        folder.path().join("inferometer-runs/r.json"),
        fs::read(run_dir.join(FORMS[1].1)).unwrap(),
    )
    .unwrap();
    let table = INFEROMETER
        .command(folder.path())
        .args(["aggregate", "inferometer-runs"])
        .output()
        .unwrap();
    assert_eq!(table.status.code(), Some(0), "{}", printed(&table));
    let csv =
        fs::read_to_string(folder.path().join("inferometer-runs/aggregate_results.csv")).unwrap();
    assert_eq!(csv.lines().count(), 2, "{csv}");
}

#[test]
fn failures_are_classified_and_no_number_is_invented() {
    let folder = tempfile::tempdir().unwrap();
    let server = inferometer_sim::start(SimSettings {
        faults: vec!["http_500=1".parse().unwrap()],
        ..SimSettings::default()
    })
    .unwrap();
    let output = INFEROMETER.run(
        folder.path(),
        &server.url(),
        &["--export", "sglang", "aiperf", "llm-d"],
    );
    server.stop().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", printed(&output));
    let [sglang, aiperf, llmd] = check_all(&run_folder(folder.path()));
    assert_eq!(
        (&sglang["completed"], &sglang["mean_ttft_ms"]),
        (&0.into(), &Value::Null)
    );
    assert_eq!(aiperf["error_request_count"]["avg"], 20);
    assert_eq!(aiperf["error_summary"][0]["error_details"]["code"], 500);
    assert_eq!(aiperf["error_summary"][0]["count"], 20);
    assert!(aiperf.get("request_latency").is_none());
    let requests = &llmd["results"]["request_performance"]["aggregate"]["requests"];
    assert_eq!(
        (
            &requests["total"],
            &requests["failures"],
            &requests["incomplete"]
        ),
        (&20.into(), &20.into(), &0.into())
    );
    assert!(requests.get("output_length").is_none());
}

#[test]
fn answers_in_one_chunk_have_no_first_token() {
    let folder = tempfile::tempdir().unwrap();
    let server = server(5.0, 1.0);
    let output = INFEROMETER.run(
        folder.path(),
        &server.url(),
        &["--no-streaming", "--export", "sglang", "aiperf", "llm-d"],
    );
    server.stop().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", printed(&output));
    let [sglang, aiperf, llmd] = check_all(&run_folder(folder.path()));
    assert!(sglang["mean_ttft_ms"].is_null() && sglang["mean_e2e_latency_ms"].is_number());
    assert!(
        aiperf.get("time_to_first_token").is_none() && aiperf.get("inter_chunk_latency").is_none()
    );
    let latency = &llmd["results"]["request_performance"]["aggregate"]["latency"];
    assert!(
        latency.get("time_to_first_token").is_none() && latency.get("request_latency").is_some()
    );
}

#[test]
fn an_invalid_export_is_refused_before_anything_is_sent() {
    let folder = tempfile::tempdir().unwrap();
    for (flags, problem) in [
        ("--export csv", "invalid value 'csv'"),
        (
            "--export sglang --no-run-folder",
            "choose a folder with --export-dir",
        ),
        ("--export-dir out", "nothing to export"),
        (
            "--export sglang --backend openai-embeddings",
            "is for text generation",
        ),
        (
            "--export aiperf --export-dir /dev/null/x",
            "--export-dir: cannot write to /dev/null/x",
        ),
    ] {
        // Nothing listens there: the refusal comes before a connection is tried.
        let flags: Vec<_> = flags.split_whitespace().collect();
        let output = INFEROMETER.run(folder.path(), "http://127.0.0.1:9", &flags);
        assert_eq!(
            output.status.code(),
            Some(2),
            "{flags:?}: {}",
            printed(&output)
        );
        assert!(
            stderr(&output).contains(problem),
            "{flags:?}: {}",
            printed(&output)
        );
    }
}
