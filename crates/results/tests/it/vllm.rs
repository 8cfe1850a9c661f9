//! vLLM's result file, against files that vLLM 0.32 wrote.

use std::fs;

use inferometer_core::python::write_json;
use inferometer_results::{
    Details, Existing, ResultFile, RpsChange, VllmBody, VllmGeneration, VllmHeader, VllmPooling,
    VllmRamp, VllmResult, VllmSpecDecode, VllmStat, percentile_word, pytorch_records,
    result_file_name, write_pytorch,
};
use serde_json::{Map, Value};

const DETAILED: &str = "vllm-15.0qps-concurrency8-truth-model-20261124-040016.json";
const RAMP: &str = "mylabel-ramp-up-linear-5qps-20qps-truth-model-20261124-040053.json";

fn real(name: &str) -> String {
    fs::read_to_string(format!(
        "{}/tests/data/vllm/{name}",
        env!("CARGO_MANIFEST_DIR")
    ))
    .unwrap()
}

fn parse(text: &str) -> Map<String, Value> {
    serde_json::from_str(text).unwrap()
}

fn line(result: &VllmResult, detailed: bool) -> String {
    let mut out = Vec::new();
    let details = if detailed {
        Details::Held
    } else {
        Details::Without
    };
    result.write_to(&mut out, details).unwrap();
    String::from_utf8(out).unwrap()
}

/// Fills a result from a real file, so that writing it must give that file again.
fn from_real(
    map: &Map<String, Value>,
    metadata: &[&str],
    percentiles: &[f64],
    stats: &[&str],
) -> VllmResult {
    fn get<T: serde::de::DeserializeOwned + Default>(map: &Map<String, Value>, key: &str) -> T {
        map.get(key).map_or_else(T::default, |value| {
            serde_json::from_value(value.clone()).unwrap()
        })
    }
    let rate = match &map["request_rate"] {
        Value::String(_) => f64::INFINITY,
        rate => rate.as_f64().unwrap(),
    };
    let stat = |name: &&str| VllmStat {
        name: (*name).to_owned(),
        mean: get(map, &format!("mean_{name}_ms")),
        median: get(map, &format!("median_{name}_ms")),
        std: get(map, &format!("std_{name}_ms")),
        percentiles: percentiles
            .iter()
            .map(|&p| (p, get(map, &format!("p{}_{name}_ms", percentile_word(p)))))
            .collect(),
    };
    let changes: Option<Vec<Map<String, Value>>> = get(map, "rps_change_events");
    VllmResult {
        header: VllmHeader {
            date: get(map, "date"),
            endpoint_type: get(map, "endpoint_type"),
            backend: get(map, "backend"),
            label: get(map, "label"),
            model_id: get(map, "model_id"),
            tokenizer_id: get(map, "tokenizer_id"),
            num_prompts: get(map, "num_prompts"),
            metadata: metadata
                .iter()
                .map(|key| ((*key).to_owned(), get(map, key)))
                .collect(),
            request_rate: rate,
            burstiness: get(map, "burstiness"),
            max_concurrency: get(map, "max_concurrency"),
            ramp: map.contains_key("ramp_up_strategy").then(|| VllmRamp {
                strategy: get(map, "ramp_up_strategy"),
                start_rps: get(map, "ramp_up_start_rps"),
                end_rps: get(map, "ramp_up_end_rps"),
            }),
        },
        body: VllmBody::Generation(VllmGeneration {
            duration: get(map, "duration"),
            completed: get(map, "completed"),
            failed: get(map, "failed"),
            total_input_tokens: get(map, "total_input_tokens"),
            total_output_tokens: get(map, "total_output_tokens"),
            request_throughput: get(map, "request_throughput"),
            request_goodput: get(map, "request_goodput"),
            output_throughput: get(map, "output_throughput"),
            total_token_throughput: get(map, "total_token_throughput"),
            input_lens: get(map, "input_lens"),
            output_lens: get(map, "output_lens"),
            ttfts: get(map, "ttfts"),
            itls: get(map, "itls"),
            latencies: get(map, "latencies"),
            start_times: get(map, "start_times"),
            queue_times: get(map, "queue_times"),
            generated_texts: get(map, "generated_texts"),
            errors: get(map, "errors"),
            max_output_tokens_per_s: get(map, "max_output_tokens_per_s"),
            max_concurrent_requests: get(map, "max_concurrent_requests"),
            rtfx: get(map, "rtfx"),
        }),
        rps_change_events: changes.map(|changes| {
            let change = |map| RpsChange {
                rps: get(&map, "rps"),
                timestamp: get(&map, "timestamp"),
            };
            changes.into_iter().map(change).collect()
        }),
        stats: stats.iter().map(stat).collect(),
        ..VllmResult::default()
    }
}

fn detailed() -> VllmResult {
    let stats = [
        "ttft",
        "tpot",
        "itl",
        "e2el",
        "client_queue_time",
        "e2el_including_client_queue",
    ];
    from_real(
        &parse(&real(DETAILED)),
        &["environment", "load_test"],
        &[50.0, 90.0, 95.0, 99.0, 99.9],
        &stats,
    )
}

#[test]
fn a_detailed_result_equals_vllms_byte_for_byte() {
    assert_eq!(line(&detailed(), true), real(DETAILED));
}

#[test]
fn a_ramp_result_equals_vllms_byte_for_byte() {
    let result = from_real(&parse(&real(RAMP)), &[], &[99.0], &["ttft", "tpot", "itl"]);
    assert_eq!(line(&result, false), real(RAMP));
}

#[test]
fn a_parsed_result_is_printed_as_vllm_printed_it() {
    for name in [DETAILED, RAMP] {
        let text = real(name);
        let mut out = Vec::new();
        write_json(&mut out, &Value::Object(parse(&text))).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), text);
    }
}

#[test]
fn file_names_follow_vllms_rule() {
    assert_eq!(result_file_name(&detailed().header), DETAILED);
    let ramp = from_real(&parse(&real(RAMP)), &[], &[], &[]);
    assert_eq!(result_file_name(&ramp.header), RAMP);
    let header = VllmHeader {
        backend: "openai".into(),
        label: Some(String::new()),
        model_id: "meta-llama/Llama-3.1-8B".into(),
        request_rate: f64::INFINITY,
        date: "20261124-040053".into(),
        ..VllmHeader::default()
    };
    assert_eq!(
        result_file_name(&header),
        "openai-infqps-Llama-3.1-8B-20261124-040053.json"
    );
}

#[test]
fn without_details_only_vllms_lists_stay() {
    let map = detailed().to_map(Details::Without);
    for gone in [
        "input_lens",
        "output_lens",
        "start_times",
        "ttfts",
        "itls",
        "generated_texts",
        "errors",
    ] {
        assert!(!map.contains_key(gone), "{gone}");
    }
    assert_eq!(map["latencies"].as_array().unwrap().len(), 30);
    assert_eq!(map["queue_times"].as_array().unwrap().len(), 30);
}

#[test]
fn metadata_replaces_what_is_before_it_and_is_replaced_by_what_is_after() {
    let mut result = detailed();
    let pair = |key: &str| (key.to_owned(), "mine".to_owned());
    result.header.metadata = ["backend", "completed", "errors", "tp", "inferometer"]
        .map(pair)
        .to_vec();
    result.inferometer = serde_json::json!({"format_version": 1});
    let map = result.to_map(Details::Without);
    let keys: Vec<_> = map.keys().map(String::as_str).collect();
    assert_eq!(map["backend"], "mine");
    assert_eq!(keys[2], "backend", "an overwritten key keeps its place");
    assert_eq!(map["completed"], 30);
    assert_eq!(keys[7], "completed", "as a Python dict would have it");
    assert!(!map.contains_key("errors"));
    assert_eq!(map["tp"], "mine");
    assert_eq!(keys.last(), Some(&"inferometer"));
    assert!(map["inferometer"].is_object());
}

#[test]
fn numbers_that_json_lacks_stay_valid_json() {
    let mut result = detailed();
    result.header.burstiness = f64::INFINITY;
    result.stats[0].mean = f64::NAN;
    let VllmBody::Generation(body) = &mut result.body else {
        unreachable!()
    };
    body.ttfts[0] = f64::NEG_INFINITY;
    let map = parse(&line(&result, true));
    assert_eq!(map["burstiness"], "inf");
    assert_eq!(map["mean_ttft_ms"], Value::Null);
    assert_eq!(map["ttfts"][0], "-inf");
}

#[test]
fn pooling_has_its_own_keys() {
    let result = VllmResult {
        body: VllmBody::Pooling(VllmPooling {
            latencies: vec![0.5],
            ..VllmPooling::default()
        }),
        stats: vec![VllmStat {
            name: "e2el".into(),
            percentiles: vec![(99.0, 1.0)],
            ..VllmStat::default()
        }],
        ..VllmResult::default()
    };
    let text = line(&result, false);
    let expected = "\"max_concurrency\": null, \"duration\": 0.0, \"completed\": 0, \"total_input_tokens\": 0, \
         \"total_input_sequences\": 0, \"request_throughput\": 0.0, \"input_sequence_throughput\": 0.0, \
         \"total_token_throughput\": 0.0, \"latencies\": [0.5], \"queue_times\": [], \"mean_e2el_ms\": 0.0, \
         \"median_e2el_ms\": 0.0, \"std_e2el_ms\": 0.0, \"p99_e2el_ms\": 1.0}";
    assert!(text.ends_with(expected), "{text}");
}

#[test]
fn speculative_decoding_comes_before_the_statistics() {
    let mut result = detailed();
    result.spec_decode = Some(VllmSpecDecode {
        acceptance_rate: 75.0,
        acceptance_length: 2.5,
        num_drafts: 2,
        draft_tokens: 4,
        accepted_tokens: 3,
        per_position_acceptance_rates: vec![1.0, 0.5],
    });
    let expected = "\"rtfx\": 0.0, \"spec_decode_acceptance_rate\": 75.0, \"spec_decode_acceptance_length\": 2.5, \
         \"spec_decode_num_drafts\": 2, \"spec_decode_draft_tokens\": 4, \"spec_decode_accepted_tokens\": 3, \
         \"spec_decode_per_position_acceptance_rates\": [1.0, 0.5], \"mean_ttft_ms\": ";
    assert!(line(&result, false).contains(expected));
}

#[test]
fn results_are_replaced_or_appended_as_requested() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("new/results");
    let result = detailed();
    let file = ResultFile::prepare(Some(&dir), "r.json", Existing::Replace).unwrap();
    assert_eq!(
        fs::read_dir(&dir).unwrap().count(),
        0,
        "the check leaves nothing behind"
    );
    for _ in 0..2 {
        file.write(&result, Details::Held).unwrap();
        assert_eq!(fs::read_to_string(file.path()).unwrap(), real(DETAILED));
    }
    // A default name is another run's once a file has it.
    let kept = ResultFile::prepare(Some(&dir), "r.json", Existing::Keep).unwrap();
    for name in ["r-2.json", "r-3.json"] {
        assert_eq!(kept.write(&result, Details::Held).unwrap(), dir.join(name));
    }
    assert!(file.replaces() && !kept.replaces());
    let lines = ResultFile::prepare(Some(&dir), "lines.jsonl", Existing::Append).unwrap();
    lines.write(&result, Details::Held).unwrap();
    lines.write(&result, Details::Held).unwrap();
    let text = fs::read_to_string(lines.path()).unwrap();
    assert_eq!(text, format!("{0}\n{0}", real(DETAILED)));
}

#[test]
fn an_unwritable_path_is_refused_before_the_run() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), "").unwrap();
    let error = ResultFile::prepare(
        Some(&folder.path().join("file")),
        "r.json",
        Existing::Replace,
    )
    .unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("--result-dir: cannot write to"),
        "{error}"
    );
    let error =
        ResultFile::prepare(None, folder.path().to_str().unwrap(), Existing::Replace).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("--result-filename: cannot write to"),
        "{error}"
    );
}

#[test]
fn pytorch_records_hold_one_metric_each() {
    let result = from_real(&parse(&real(RAMP)), &[], &[99.0], &["ttft"]);
    let mut map = result.to_map(Details::Held);
    map.insert("tensor_parallel_size".to_owned(), "2".into());
    let args = parse(r#"{"model": "m", "request_rate": "inf", "result_filename": null}"#);
    let records = pytorch_records(&args, "m", &map);
    let list = records.as_array().unwrap();
    let names: Vec<_> = list
        .iter()
        .map(|record| record["metric"]["name"].as_str().unwrap())
        .collect();
    assert_eq!(
        names,
        [
            "median_ttft_ms",
            "mean_ttft_ms",
            "std_ttft_ms",
            "p99_ttft_ms"
        ]
    );
    assert_eq!(
        list[0]["benchmark"]["extra_info"]["args"]["tensor_parallel_size"],
        "2"
    );
    assert_eq!(list[0]["benchmark"]["extra_info"]["use_compile"], true);
    assert_eq!(list[0]["metric"]["extra_info"]["completed"], 20);
    assert!(list[0]["metric"]["extra_info"].get("itls").is_none());
    let folder = tempfile::tempdir().unwrap();
    let path = write_pytorch(&folder.path().join("a.b.json"), &records).unwrap();
    assert_eq!(path.file_name().unwrap(), "a.b.pytorch.json");
    assert_eq!(
        serde_json::from_str::<Value>(&fs::read_to_string(path).unwrap()).unwrap(),
        records
    );
}
