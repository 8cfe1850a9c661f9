//! A line of SGLang's `bench_serving`, as its version 0.5.23 writes it: `benchmark/serving.py` of
//! the package.

use std::io::{self, Write};

use inferometer_core::python::write_json;
use serde_json::{Map, Value, json};

use super::{Distribution, ExportGoodput, ExportLimit, ExportRun, number};

/// Writes one line, in SGLang's order of keys.
pub(super) fn write<W: Write + ?Sized>(out: &mut W, run: &ExportRun<'_>) -> io::Result<()> {
    write_json(out, &Value::Object(form(run)))?;
    out.write_all(b"\n")
}

fn form(run: &ExportRun<'_>) -> Map<String, Value> {
    let mut form = Map::new();
    let mut put = |key: &str, value: Value| drop(form.insert(key.to_owned(), value));
    put("tag", json!(run.manifest.run.label));
    put("backend", json!(run.manifest.target.backend));
    put("dataset_name", json!(run.dataset));
    put("request_rate", request_rate(run));
    put("max_concurrency", json!(run.max_concurrency));
    put("sharegpt_output_len", json!(run.lengths.sharegpt_output));
    put("random_input_len", json!(run.lengths.random_input));
    put("random_output_len", json!(run.lengths.random_output));
    // SGLang has one number here; a pair of them has no place.
    put(
        "random_range_ratio",
        run.lengths.random_range_ratio.map_or(Value::Null, number),
    );
    put("server_info", Value::Null);

    let input = tokens(run.input_tokens.as_ref());
    let output = tokens(run.output_tokens.as_ref());
    let text = |all: u64| json!(run.text_only.then_some(all));
    put("duration", number(run.duration_s));
    put("completed", json!(run.completed));
    put("total_input_tokens", json!(input));
    put("total_input_text_tokens", text(input));
    put("total_input_vision_tokens", text(0));
    put("total_output_tokens", json!(output));
    put("total_output_tokens_retokenized", json!(run.retokenized));
    put("request_throughput", run.per_second(run.completed as f64));
    put("input_throughput", run.per_second(input as f64));
    put("output_throughput", run.per_second(output as f64));
    put("total_throughput", run.per_second((input + output) as f64));
    for (name, spread) in [
        ("e2e_latency", &run.e2el),
        ("ttft", &run.ttft),
        ("tpot", &run.tpot),
        ("itl", &run.itl),
    ] {
        let of = |value: fn(&Distribution) -> f64| {
            spread
                .as_ref()
                .map_or(Value::Null, |one| number(value(one)))
        };
        put(&format!("mean_{name}_ms"), of(|one| one.mean));
        put(&format!("median_{name}_ms"), of(|one| one.at(50.0)));
        put(&format!("std_{name}_ms"), of(|one| one.std));
        put(&format!("p90_{name}_ms"), of(|one| one.at(90.0)));
        put(&format!("p95_{name}_ms"), of(|one| one.at(95.0)));
        put(&format!("p99_{name}_ms"), of(|one| one.at(99.0)));
    }
    // Mean number of requests in flight.
    put(
        "concurrency",
        run.per_second(run.e2el.as_ref().map_or(0.0, Distribution::sum) / 1000.0),
    );
    put(
        "accept_length",
        run.accept_length.map_or(Value::Null, number),
    );
    put(
        "max_output_tokens_per_s",
        number(run.max_output_tokens_per_s),
    );
    put(
        "max_concurrent_requests",
        json!(run.max_concurrent_requests),
    );
    if let Some(goodput) = &run.goodput {
        put_goodput(run, goodput, &mut put);
    }
    if let Some(details) = &run.details {
        put("input_lens", json!(details.input_lens));
        put("output_lens", json!(details.output_lens));
        put("ttfts", json!(details.ttfts));
        put("itls", json!(details.itls));
        put("generated_texts", json!(details.generated_texts));
        put("errors", json!(details.errors));
    }
    form
}

/// SGLang writes a bare `Infinity`, which is not JSON; the text `inf` is written instead, as in our other
/// files.
fn request_rate(run: &ExportRun<'_>) -> Value {
    match run.request_rate {
        Some(rate) => number(rate),
        None if run.self_timed => json!("trace"),
        None => json!("inf"),
    }
}

fn tokens(spread: Option<&Distribution>) -> u64 {
    spread.map_or(0.0, Distribution::sum).round() as u64
}

fn put_goodput(run: &ExportRun<'_>, goodput: &ExportGoodput, put: &mut impl FnMut(&str, Value)) {
    // As in our own table, requests that were cancelled or cut off by the end of the run do not count.
    let counted = (run.completed + run.failures).max(1) as f64;
    let share = |count: u64| number(count as f64 / counted);
    let by_name = |of: &dyn Fn(&ExportLimit) -> Value| {
        Value::Object(
            goodput
                .limits
                .iter()
                .map(|limit| (limit.metric.clone(), of(limit)))
                .collect(),
        )
    };
    put("goodput_slos_ms", by_name(&|limit| number(limit.limit_ms)));
    put("request_goodput", run.per_second(goodput.good as f64));
    put("slo_attainment", share(goodput.good));
    put(
        "slo_attainment_by_metric",
        by_name(&|limit| share(limit.good)),
    );
}
