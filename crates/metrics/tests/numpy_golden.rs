//! Statistics and summaries against NumPy, to the last bit.
//!
//! The golden files are written by `golden/make_metrics.py`.

use inferometer_core::{Event, EventKind, Nanos, Outcome, Record, Usage};
use inferometer_metrics::{Metric, MetricSettings, Slo, numpy, summarise};
use serde::Deserialize;

#[derive(Deserialize)]
struct Golden {
    percentiles: Vec<f64>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    recipe: (usize, u64, String),
    values: Vec<f64>,
    sum: f64,
    mean: f64,
    std: f64,
    median: f64,
    percentiles: Vec<f64>,
}

fn mixed(n: usize, seed: u64, kind: &str) -> Vec<f64> {
    let mut state = seed;
    (0..n)
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let u = (state >> 11) as f64 / 9_007_199_254_740_992.0;
            match kind {
                "uniform" => u,
                "wide" => u * 10.0_f64.powf(((u * 7919.0) as i64 % 13 - 6) as f64),
                "close" => 0.01 + u * 1e-9,
                _ => (u * 8.0).floor() / 4.0,
            }
        })
        .collect()
}

#[test]
fn statistics_equal_those_of_numpy_to_the_last_bit() {
    let golden: Golden = serde_json::from_str(include_str!("golden/numpy.json")).unwrap();
    for case in golden.cases {
        let (n, seed, kind) = &case.recipe;
        let mut values = if *n == 0 {
            case.values
        } else {
            mixed(*n, *seed, kind)
        };
        let name = format!("{:?}", case.recipe);
        assert_eq!(
            numpy::sum(&values).to_bits(),
            case.sum.to_bits(),
            "sum of {name}"
        );
        assert_eq!(
            numpy::mean(&values).to_bits(),
            case.mean.to_bits(),
            "mean of {name}"
        );
        assert_eq!(
            numpy::std(&values).to_bits(),
            case.std.to_bits(),
            "std of {name}"
        );
        numpy::sort(&mut values);
        assert_eq!(numpy::median(&values), case.median, "median of {name}");
        for (&p, want) in golden.percentiles.iter().zip(case.percentiles) {
            assert_eq!(numpy::percentile(&values, p), want, "p{p} of {name}");
        }
    }
}

#[derive(Deserialize)]
struct SummaryCase {
    cap: Option<usize>,
    limits: Vec<(Slo, f64)>,
    percentiles: Vec<f64>,
    records: Vec<SyntheticRecord>,
    want: Want,
}

#[derive(Deserialize)]
struct SyntheticRecord {
    due: u64,
    dequeued: u64,
    start: u64,
    events: Vec<u64>,
    end: u64,
    ok: bool,
    prompt: u32,
    server_prompt: Option<u32>,
    tokens: u32,
}

#[derive(Deserialize)]
struct Want {
    duration: f64,
    completed: usize,
    failed: usize,
    total_input: u64,
    total_output: u64,
    request_throughput: f64,
    goodput: Option<f64>,
    output_throughput: f64,
    total_token_throughput: f64,
    max_output_tokens_per_s: f64,
    max_concurrent_requests: usize,
    stats: Vec<(String, usize, f64, f64, f64, Vec<f64>)>,
}

fn record((index, given): (usize, &SyntheticRecord)) -> Record {
    let event = |&at: &u64| Event::new(Nanos(at), Nanos::ZERO, EventKind::Text, false, true);
    Record {
        index,
        due: Nanos(given.due),
        dequeued: Some(Nanos(given.dequeued)),
        send_start: Some(Nanos(given.start)),
        events: given.events.iter().map(event).collect(),
        end: Some(Nanos(given.end)),
        outcome: if given.ok {
            Outcome::Ok
        } else {
            Outcome::Truncated
        },
        prompt_tokens: given.prompt,
        usage: Usage {
            prompt_tokens: given.server_prompt,
            ..Usage::default()
        },
        output_tokens: given.tokens,
        ..Record::default()
    }
}

#[test]
fn a_summary_has_the_numbers_that_vllm_would_compute_with_numpy() {
    let cases: Vec<SummaryCase> =
        serde_json::from_str(include_str!("golden/summary.json")).unwrap();
    for case in cases {
        let records: Vec<Record> = case.records.iter().enumerate().map(record).collect();
        let settings = MetricSettings {
            as_vllm: true,
            selected: Metric::ALL.to_vec(),
            percentiles: case.percentiles.clone(),
            goodput: case.limits,
            cap: case.cap,
            finite_rate: true,
            ..MetricSettings::default()
        };
        let got = summarise(&records, &settings);
        let want = case.want;
        assert_eq!(got.duration_s, want.duration);
        assert_eq!((got.completed, got.failed), (want.completed, want.failed));
        assert_eq!(
            (got.total_input_tokens, got.total_output_tokens),
            (want.total_input, want.total_output)
        );
        assert_eq!(got.request_throughput, want.request_throughput);
        assert_eq!(got.request_goodput, want.goodput);
        assert_eq!(got.output_throughput, want.output_throughput);
        assert_eq!(got.total_token_throughput, want.total_token_throughput);
        assert_eq!(got.max_output_tokens_per_s, want.max_output_tokens_per_s);
        assert_eq!(got.max_concurrent_requests, want.max_concurrent_requests);
        assert_eq!(got.stats.len(), want.stats.len());
        for (got, (metric, samples, mean, median, std, percentiles)) in
            got.stats.iter().zip(want.stats)
        {
            assert_eq!(got.metric.key(), metric);
            assert_eq!(got.samples, samples, "{metric}");
            assert_eq!(
                (got.mean_ms, got.median_ms, got.std_ms),
                (mean, median, std),
                "{metric}"
            );
            let want: Vec<(f64, f64)> = case.percentiles.iter().copied().zip(percentiles).collect();
            assert_eq!(got.percentiles, want, "{metric}");
        }
    }
}
