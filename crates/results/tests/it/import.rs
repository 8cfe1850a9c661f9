//! Results of other tools and of older versions.

use std::fs;
use std::path::PathBuf;

use inferometer_results::{
    ImportedRun, ReadError, Source, VllmEra, read_result, read_result_summary,
};
use serde_json::json;

fn data(name: &str) -> PathBuf {
    PathBuf::from(format!("{}/tests/data/{name}", env!("CARGO_MANIFEST_DIR")))
}

fn import(text: &str) -> Result<Vec<ImportedRun>, ReadError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("result.json");
    fs::write(&path, text).unwrap();
    read_result(&path)
}

fn one(text: &str) -> ImportedRun {
    let mut runs = import(text).unwrap();
    assert_eq!(runs.len(), 1);
    runs.remove(0)
}

#[test]
fn results_under_the_programs_old_name_are_read_under_the_new_one() {
    let old = read_result(&data("servebench/simulated-8-slots.json"))
        .unwrap()
        .remove(0);
    let new = read_result(&data("inferometer/simulated-8-slots.json"))
        .unwrap()
        .remove(0);
    assert_eq!(
        (old.source, new.source),
        (Source::Inferometer, Source::Inferometer)
    );
    assert_eq!(old.keys["inferometer"]["verdict"]["level"], "CAUTION");
    assert_eq!(
        old.keys.keys().collect::<Vec<_>>(),
        new.keys.keys().collect::<Vec<_>>()
    );
}

#[test]
fn vllms_real_files_are_read_with_and_without_details() {
    let path = data("vllm/vllm-15.0qps-concurrency8-truth-model-20261124-040016.json");
    let full = read_result(&path).unwrap().remove(0);
    assert_eq!(full.source, Source::Vllm(VllmEra::QueueTimes));
    assert_eq!(full.details["itls"].as_array().unwrap().len(), 30);
    assert_eq!(full.number("p99.9_e2el_ms"), Some(235.038_730_122_695_63));
    assert_eq!(full.keys["environment"], "production");
    assert!(!full.keys.contains_key("ttfts"));
    let summary = read_result_summary(&path).unwrap().remove(0);
    assert!(summary.details.is_empty());
    assert_eq!(summary.keys, full.keys);
    let ramp = data("vllm/mylabel-ramp-up-linear-5qps-20qps-truth-model-20261124-040053.json");
    assert_eq!(
        read_result(&ramp).unwrap()[0].number("request_rate"),
        Some(f64::INFINITY)
    );
}

#[test]
fn the_version_is_recognised_by_the_keys() {
    let base =
        r#""duration": 2.0, "completed": 3, "request_throughput": 1.5, "total_input_tokens": 6"#;
    for (keys, era) in [
        (r#""request_goodput:": null"#, VllmEra::Legacy),
        (r#""request_goodput": null"#, VllmEra::Summer2025),
        (r#""max_output_tokens_per_s": 1.0"#, VllmEra::Peaks),
        (
            r#""max_output_tokens_per_s": 1.0, "failed": 0"#,
            VllmEra::Failures,
        ),
        (r#""failed": 0, "rtfx": 0.0"#, VllmEra::Rtfx),
        (
            r#""latencies": [1.0], "queue_times": [0.0]"#,
            VllmEra::QueueTimes,
        ),
    ] {
        assert_eq!(
            one(&format!("{{{base}, {keys}}}")).source,
            Source::Vllm(era),
            "{keys}"
        );
    }
    let legacy = one(&format!(
        r#"{{{base}, "request_goodput:": 1.25, "errors": ["", "", "x"]}}"#
    ));
    assert_eq!(legacy.number("request_goodput"), Some(1.25));
    assert!(legacy.details.contains_key("errors"));
    let rust = one(&format!(
        r#"{{{base}, "max_model_len": null, "input_throughput": 3.0, "rtfx": 0.0, "steady_state": {{"a": 1}}}}"#
    ));
    assert_eq!(rust.source, Source::VllmRust);
    assert_eq!(rust.keys["steady_state"], json!({"a": 1}));
    assert_eq!(
        one(&format!(r#"{{{base}, "inferometer": {{}}}}"#)).source,
        Source::Inferometer
    );
}

#[test]
fn lines_lists_and_pythons_numbers_are_read() {
    let run = r#"{"duration": 1.0, "completed": 1, "request_throughput": 1.0, "total_input_tokens": 1, "burstiness": Infinity, "x": NaN, "note": "NaN"}"#;
    let runs = import(&format!("{run}\n\n{run}\n")).unwrap();
    assert_eq!(
        runs.iter().map(|run| run.position).collect::<Vec<_>>(),
        [0, 1]
    );
    assert_eq!(runs[1].number("burstiness"), Some(f64::INFINITY));
    assert_eq!(
        (&runs[1].keys["x"], &runs[1].keys["note"]),
        (&json!(null), &json!("NaN"))
    );
    assert_eq!(import(&format!("[{run}, {run}, {run}]")).unwrap().len(), 3);
}

#[test]
fn sglangs_end_to_end_latency_gets_vllms_name() {
    let run = one(
        r#"{"backend": "sglang", "dataset_name": "random", "request_rate": Infinity, "max_concurrency": 8, "duration": 2.0, "completed": 4,
           "total_input_tokens": 8, "total_output_tokens": 16, "total_output_tokens_retokenized": 15, "request_throughput": 2.0, "total_throughput": 12.0,
           "mean_e2e_latency_ms": 50.0, "p99_e2e_latency_ms": 60.0, "mean_itl_ms": 5.0, "accept_length": null, "ttfts": [0.1]}"#,
    );
    assert_eq!(run.source, Source::Sglang);
    assert_eq!(
        (run.number("mean_e2el_ms"), run.number("p99_e2el_ms")),
        (Some(50.0), Some(60.0))
    );
    assert_eq!(run.number("total_token_throughput"), Some(12.0));
    assert_eq!(run.number("total_output_tokens_retokenized"), Some(15.0));
    assert_eq!(run.details["ttfts"], json!([0.1]));
}

#[test]
fn nvidias_inter_token_latency_is_a_mean_per_request_and_so_tpot() {
    let aiperf = one(r#"{"schema_version": "1.0", "aiperf_version": "0.12.0",
           "request_throughput": {"unit": "requests/sec", "avg": 2.5}, "benchmark_duration": {"unit": "sec", "avg": 4.0},
           "request_count": {"unit": "requests", "avg": 10.0}, "time_to_first_token": {"unit": "ms", "avg": 20.0, "p50": 19.0, "p99": 35.0, "std": 2.0},
           "inter_token_latency": {"unit": "ms", "avg": 8.0}, "inter_chunk_latency": {"unit": "us", "avg": 8500.0},
           "request_latency": {"unit": "sec", "avg": 0.25}, "output_sequence_length": {"unit": "tokens", "avg": 12.0},
           "input_config": {"endpoint": {"model_names": ["m"], "type": "chat"}, "loadgen": {"concurrency": 4}}, "was_cancelled": false}"#);
    assert_eq!(aiperf.source, Source::Aiperf);
    for (key, expected) in [
        ("mean_ttft_ms", 20.0),
        ("median_ttft_ms", 19.0),
        ("p99_ttft_ms", 35.0),
        ("std_ttft_ms", 2.0),
        ("mean_tpot_ms", 8.0),
        ("mean_itl_ms", 8.5),
        ("mean_e2el_ms", 250.0),
        ("duration", 4.0),
        ("completed", 10.0),
        ("max_concurrency", 4.0),
        ("output_sequence_length.avg", 12.0),
    ] {
        assert_eq!(aiperf.number(key), Some(expected), "{key}");
    }
    assert_eq!(
        (&aiperf.keys["model_id"], &aiperf.keys["was_cancelled"]),
        (&json!("m"), &json!(false))
    );
    let genai = one(
        r#"{"request_throughput": {"unit": "requests/sec", "avg": 2.5}, "request_latency": {"unit": "ms", "avg": 9.0, "p75": 10.0},
           "input_config": {"model": ["m"]}}"#,
    );
    assert_eq!(genai.source, Source::GenaiPerf);
    assert_eq!(
        (genai.number("p75_e2el_ms"), &genai.keys["model_id"]),
        (Some(10.0), &json!("m"))
    );
}

#[test]
fn guidellm_gives_one_run_per_benchmark() {
    let entry = |ttft: f64| {
        json!({
            "config": {"strategy": {"type_": "concurrent", "streams": 4}, "backend": {"model": "m"}}, "duration": 3.0,
            "metrics": {
                "request_totals": {"successful": 9, "errored": 1, "incomplete": 0, "total": 10},
                "requests_per_second": {"successful": {"mean": 3.0}},
                "output_tokens_per_second": {"successful": {"mean": 90.0}},
                "prompt_token_count": {"successful": {"total_sum": 100.0}},
                "time_to_first_token_ms": {"successful": {"mean": ttft, "median": 4.0, "std_dev": 1.0, "percentiles": {"p001": 1.0, "p05": 2.0, "p99": 8.0, "p999": 9.0}}},
                "inter_token_latency_ms": {"successful": {"mean": 7.0}},
                "time_per_output_token_ms": {"successful": {"mean": 11.0}},
                "request_latency": {"successful": {"mean": 0.123}, "errored": {"mean": 9.0}},
            },
            "requests": {"successful": [{"a": 1}]},
        })
    };
    let runs = import(&json!({"benchmarks": [entry(5.0), entry(6.0)]}).to_string()).unwrap();
    assert_eq!(runs.len(), 2);
    let run = &runs[1];
    assert_eq!(run.source, Source::Guidellm);
    for (key, expected) in [
        ("mean_ttft_ms", 6.0),
        ("p0.1_ttft_ms", 1.0),
        ("p5_ttft_ms", 2.0),
        ("p99.9_ttft_ms", 9.0),
        ("std_ttft_ms", 1.0),
        ("mean_tpot_ms", 7.0),
        ("mean_e2el_ms", 123.0),
        ("completed", 9.0),
        ("failed", 1.0),
        ("num_prompts", 10.0),
        ("max_concurrency", 4.0),
        ("total_input_tokens", 100.0),
        ("metrics.time_per_output_token_ms.successful.mean", 11.0),
    ] {
        assert_eq!(run.number(key), Some(expected), "{key}");
    }
    assert!(
        run.keys.keys().all(|key| !key.starts_with("requests")),
        "no single requests"
    );
}

#[test]
fn llmperfs_seconds_become_milliseconds_and_its_own_meanings_keep_their_names() {
    let run = one(
        r#"{"version": "2023-08-31", "model": "m", "num_concurrent_requests": 5, "results_ttft_s_mean": 0.1, "results_ttft_s_quantiles_p50": 0.07,
           "results_ttft_s_quantiles_p99": 0.3, "results_ttft_s_stddev": 0.2, "results_inter_token_latency_s_mean": 0.012,
           "results_end_to_end_latency_s_mean": 1.1, "results_num_completed_requests": 20, "results_number_errors": 2,
           "results_num_completed_requests_per_min": 90.0}"#,
    );
    assert_eq!(run.source, Source::Llmperf);
    for (key, expected) in [
        ("mean_ttft_ms", 100.0),
        ("median_ttft_ms", 70.0),
        ("p99_ttft_ms", 300.0),
        ("mean_e2el_ms", 1100.0),
        ("request_throughput", 1.5),
        ("completed", 20.0),
        ("failed", 2.0),
        ("max_concurrency", 5.0),
        ("results_inter_token_latency_s_mean", 0.012),
        ("results_ttft_s_stddev", 0.2),
    ] {
        assert_eq!(run.number(key), Some(expected), "{key}");
    }
    assert!(!run.keys.contains_key("mean_itl_ms"));
}

#[test]
fn a_file_that_is_not_a_result_is_refused_with_its_keys() {
    for (text, part) in [
        ("", "empty"),
        ("hello", "not JSON"),
        ("{\"a\": 1", "not JSON"),
        ("{}", "its keys are none"),
        (
            r#"{"avg_latency": 1.0, "latencies": [1]}"#,
            "its keys are avg_latency, latencies",
        ),
        (r#"{"benchmarks": []}"#, "its keys are benchmarks"),
        (
            r#"{"benchmarks": [{"metrics": 3}]}"#,
            "its keys are benchmarks",
        ),
        ("[1, 2]", "not JSON"),
        ("3", "not JSON"),
    ] {
        let message = import(text).unwrap_err().to_string();
        assert!(
            message.contains(part) && message.contains("result.json"),
            "{text}: {message}"
        );
    }
    assert!(matches!(
        read_result(&data("none.json")),
        Err(ReadError::Io { .. })
    ));
}

proptest::proptest! {
    #[test]
    fn no_text_is_too_odd(text in "[\\[\\]{}:,\"a-c0-9NaIinfty\\-\n ]{0,60}") {
        let _ = import(&text);
    }
}
