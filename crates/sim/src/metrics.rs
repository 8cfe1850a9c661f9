//! The `/metrics` page, with vLLM's names or SGLang's.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use inferometer_core::Nanos;

use crate::engine::EngineStats;
use crate::settings::MetricNames;

/// Edges of the time-to-first-token histogram in seconds, as vLLM has them.
const TTFT_EDGES: &[f64] = &[
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
    20.0, 40.0, 80.0, 160.0, 640.0, 2560.0,
];
/// Edges of the inter-token histogram.
const ITL_EDGES: &[f64] = &[
    0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0,
    40.0, 80.0,
];
/// Edges of the histograms over whole requests.
const REQUEST_EDGES: &[f64] = &[
    0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0,
    480.0, 960.0, 1920.0, 7680.0,
];

/// Counters and histograms of a server. No lock is taken per token.
#[derive(Debug)]
pub(crate) struct Metrics {
    model: String,
    /// Requests accepted and not ended.
    pub(crate) in_flight: AtomicI64,
    /// The latest state of the engine model.
    engine: Mutex<Option<EngineStats>>,
    pub(crate) prompt_tokens: AtomicU64,
    pub(crate) generation_tokens: AtomicU64,
    pub(crate) finished_length: AtomicU64,
    pub(crate) finished_stop: AtomicU64,
    pub(crate) aborted: AtomicU64,
    pub(crate) ttft: Histogram,
    pub(crate) itl: Histogram,
    pub(crate) e2e: Histogram,
    pub(crate) queue: Histogram,
}

impl Metrics {
    pub(crate) fn new(model: &str) -> Self {
        // A label value escapes backslash, quote and newline.
        let model = model
            .replace('\\', "\\\\")
            .replace('"', "\\\"")
            .replace('\n', "\\n");
        Self {
            model,
            in_flight: AtomicI64::new(0),
            engine: Mutex::new(None),
            prompt_tokens: AtomicU64::new(0),
            generation_tokens: AtomicU64::new(0),
            finished_length: AtomicU64::new(0),
            finished_stop: AtomicU64::new(0),
            aborted: AtomicU64::new(0),
            ttft: Histogram::new(TTFT_EDGES),
            itl: Histogram::new(ITL_EDGES),
            e2e: Histogram::new(REQUEST_EDGES),
            queue: Histogram::new(REQUEST_EDGES),
        }
    }

    /// Takes in the engine's counters and gauges.
    pub(crate) fn note_engine(&self, stats: &EngineStats) {
        *self.engine.lock().unwrap_or_else(PoisonError::into_inner) = Some(*stats);
    }

    /// The page in Prometheus text format.
    pub(crate) fn page(&self, names: MetricNames) -> String {
        match names {
            MetricNames::Vllm => self.vllm_page(),
            MetricNames::Sglang => self.sglang_page(),
        }
    }

    /// The engine's state; without an engine model every request runs at once.
    fn engine(&self) -> EngineStats {
        let in_flight = self.in_flight.load(Ordering::Relaxed).max(0) as usize;
        let noted = *self.engine.lock().unwrap_or_else(PoisonError::into_inner);
        noted.unwrap_or(EngineStats {
            running: in_flight,
            ..EngineStats::default()
        })
    }

    /// SGLang's names: its production metrics that this server can know.
    fn sglang_page(&self) -> String {
        let mut text = String::with_capacity(8192);
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed) as f64;
        let engine = self.engine();
        let fraction = |part: u64, whole: u64| part as f64 / whole.max(1) as f64;
        let finished = read(&self.finished_length) + read(&self.finished_stop);
        let mut page = Page {
            text: &mut text,
            prefix: "sglang",
            labels: format!("model_name=\"{}\"", self.model),
        };
        for (name, kind, help, value) in [
            (
                "num_running_reqs",
                "gauge",
                "Requests running.",
                engine.running as f64,
            ),
            (
                "num_queue_reqs",
                "gauge",
                "Requests waiting for the engine.",
                engine.waiting as f64,
            ),
            (
                "num_used_tokens",
                "gauge",
                "Tokens of the KV cache in use.",
                (engine.blocks_used as u64 * u64::from(engine.block_size)) as f64,
            ),
            (
                "token_usage",
                "gauge",
                "Fraction of the KV cache in use, 0 to 1.",
                fraction(engine.blocks_used as u64, engine.blocks_total as u64),
            ),
            (
                "cache_hit_rate",
                "gauge",
                "Fraction of prompt tokens found in the prefix cache.",
                fraction(engine.prefix_hits, engine.prefix_queries),
            ),
            (
                "prompt_tokens_total",
                "counter",
                "Prompt tokens processed.",
                read(&self.prompt_tokens),
            ),
            (
                "generation_tokens_total",
                "counter",
                "Tokens generated.",
                read(&self.generation_tokens),
            ),
            (
                "cached_tokens_total",
                "counter",
                "Prompt tokens found in the prefix cache.",
                engine.prefix_hits as f64,
            ),
            (
                "num_requests_total",
                "counter",
                "Requests finished.",
                finished,
            ),
            (
                "num_aborted_requests_total",
                "counter",
                "Requests aborted.",
                read(&self.aborted),
            ),
        ] {
            page.single(name, kind, help, value);
        }
        page.acceptance_length(&engine);
        self.latencies(&mut page, "queue_time_seconds");
        text
    }

    fn vllm_page(&self) -> String {
        let mut text = String::with_capacity(8192);
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed) as f64;
        let engine = self.engine();
        let labels = format!("engine=\"0\",model_name=\"{}\"", self.model);
        let mut page = Page {
            text: &mut text,
            prefix: "vllm",
            labels,
        };
        let kv_usage = engine.blocks_used as f64 / engine.blocks_total.max(1) as f64;
        for (name, help, value) in [
            (
                "num_requests_running",
                "Requests running.",
                engine.running as f64,
            ),
            (
                "num_requests_waiting",
                "Requests waiting for the engine.",
                engine.waiting as f64,
            ),
            (
                "num_requests_swapped",
                "Requests waiting in the host's memory.",
                engine.swapped as f64,
            ),
            (
                "kv_cache_usage_perc",
                "Fraction of the KV cache in use, 0 to 1.",
                kv_usage,
            ),
        ] {
            page.single(name, "gauge", help, value);
        }
        for (name, help, value) in [
            (
                "prefix_cache_queries_total",
                "Tokens looked up in the prefix cache.",
                engine.prefix_queries as f64,
            ),
            (
                "prefix_cache_hits_total",
                "Tokens found in the prefix cache.",
                engine.prefix_hits as f64,
            ),
            (
                "num_preemptions_total",
                "Requests preempted.",
                engine.preemptions as f64,
            ),
            (
                "prompt_tokens_total",
                "Prompt tokens processed.",
                read(&self.prompt_tokens),
            ),
            (
                "generation_tokens_total",
                "Tokens generated.",
                read(&self.generation_tokens),
            ),
        ] {
            page.single(name, "counter", help, value);
        }
        if engine.drafts > 0 {
            page.speculation(&engine);
        }
        self.finished_by_reason(&mut page);
        self.latencies(&mut page, "request_queue_time_seconds");
        text
    }

    /// vLLM's counters of finished requests.
    fn finished_by_reason(&self, page: &mut Page<'_>) {
        page.head(
            "request_success_total",
            "counter",
            "Requests finished, by reason.",
        );
        for (reason, count) in [
            ("stop", &self.finished_stop),
            ("length", &self.finished_length),
            ("abort", &self.aborted),
        ] {
            let labels = format!(
                "engine=\"0\",finished_reason=\"{reason}\",model_name=\"{}\"",
                self.model
            );
            page.sample(
                "request_success_total",
                &labels,
                count.load(Ordering::Relaxed) as f64,
            );
        }
    }

    /// The histograms of latencies, which have the same names in all engines but the queue's.
    fn latencies(&self, page: &mut Page<'_>, queue: &'static str) {
        for (name, help, histogram) in [
            (
                "time_to_first_token_seconds",
                "Time to first token.",
                &self.ttft,
            ),
            (
                "inter_token_latency_seconds",
                "Time between tokens.",
                &self.itl,
            ),
            (
                "e2e_request_latency_seconds",
                "Time from arrival to the last token.",
                &self.e2e,
            ),
            (queue, "Time spent waiting for the engine.", &self.queue),
        ] {
            page.histogram(name, help, histogram);
        }
    }
}

/// A page being written.
struct Page<'a> {
    text: &'a mut String,
    /// Before the colon of every name.
    prefix: &'static str,
    /// Labels that every sample has, in alphabetical order.
    labels: String,
}

impl Page<'_> {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        let prefix = self.prefix;
        let _ = writeln!(
            self.text,
            "# HELP {prefix}:{name} {help}\n# TYPE {prefix}:{name} {kind}"
        );
    }

    fn sample(&mut self, name: &str, labels: &str, value: f64) {
        let _ = writeln!(self.text, "{}:{name}{{{labels}}} {value:?}", self.prefix);
    }

    fn single(&mut self, name: &str, kind: &str, help: &str, value: f64) {
        self.head(name, kind, help);
        let labels = self.labels.clone();
        self.sample(name, &labels, value);
    }

    /// SGLang's gauge of speculative decoding, where there is any.
    fn acceptance_length(&mut self, engine: &EngineStats) {
        if engine.drafts > 0 {
            let accepted = engine.accepted_tokens as f64 / engine.drafts as f64;
            self.single(
                "spec_accept_length",
                "gauge",
                "Tokens per step that verified a draft.",
                1.0 + accepted,
            );
        }
    }

    /// vLLM's counters of speculative decoding.
    fn speculation(&mut self, engine: &EngineStats) {
        for (name, help, count) in [
            (
                "spec_decode_num_drafts_total",
                "Drafts verified.",
                engine.drafts,
            ),
            (
                "spec_decode_num_draft_tokens_total",
                "Draft tokens verified.",
                engine.draft_tokens,
            ),
            (
                "spec_decode_num_accepted_tokens_total",
                "Draft tokens accepted.",
                engine.accepted_tokens,
            ),
        ] {
            self.single(name, "counter", help, count as f64);
        }
        let name = "spec_decode_num_accepted_tokens_per_pos_total";
        self.head(
            name,
            "counter",
            "Draft tokens accepted, by position in the draft.",
        );
        for (position, &count) in engine.accepted_by_position.iter().enumerate() {
            let labels = format!("{},position=\"{position}\"", self.labels);
            self.sample(name, &labels, count as f64);
        }
    }

    fn histogram(&mut self, name: &str, help: &str, histogram: &Histogram) {
        self.head(name, "histogram", help);
        let mut passed = 0;
        let edges = histogram
            .edges
            .iter()
            .map(|edge| format!("{edge:?}"))
            .chain(["+Inf".to_owned()]);
        let labels = self.labels.clone();
        for (edge, count) in edges.zip(&histogram.counts) {
            passed += count.load(Ordering::Relaxed);
            // The model's name is the last label.
            let (before, model) = labels.split_at(labels.find("model_name").unwrap_or(0));
            self.sample(
                &format!("{name}_bucket"),
                &format!("{before}le=\"{edge}\",{model}"),
                passed as f64,
            );
        }
        self.sample(&format!("{name}_count"), &labels, passed as f64);
        let sum = Nanos(histogram.sum_ns.load(Ordering::Relaxed)).as_secs_f64();
        self.sample(&format!("{name}_sum"), &labels, sum);
    }
}

/// A histogram of spans.
#[derive(Debug)]
pub(crate) struct Histogram {
    edges: &'static [f64],
    counts: Vec<AtomicU64>,
    sum_ns: AtomicU64,
}

impl Histogram {
    fn new(edges: &'static [f64]) -> Self {
        let counts = (0..=edges.len()).map(|_| AtomicU64::new(0)).collect();
        Self {
            edges,
            counts,
            sum_ns: AtomicU64::new(0),
        }
    }

    pub(crate) fn add(&self, span: Nanos) {
        let seconds = span.as_secs_f64();
        let bucket = self.edges.partition_point(|&edge| edge < seconds);
        self.counts[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum_ns.fetch_add(span.0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn histograms_are_cumulative_and_edges_inclusive() {
        let metrics = Metrics::new("m\"x");
        for ms in [10, 11, 100_000] {
            metrics.itl.add(Nanos::from_millis(ms));
        }
        let page = metrics.page(MetricNames::Vllm);
        let line = |le: &str| {
            format!(
                "vllm:inter_token_latency_seconds_bucket{{engine=\"0\",le=\"{le}\",model_name=\"m\\\"x\"}}"
            )
        };
        assert!(page.contains(&format!("{} 1.0\n", line("0.01"))), "{page}");
        assert!(page.contains(&format!("{} 2.0\n", line("0.025"))));
        assert!(page.contains(&format!("{} 3.0\n", line("+Inf"))));
        assert!(page.contains(
            "vllm:inter_token_latency_seconds_sum{engine=\"0\",model_name=\"m\\\"x\"} 100.021\n"
        ));
    }

    #[test]
    fn the_page_can_have_sglang_s_names() {
        let metrics = Metrics::new("m");
        metrics.ttft.add(Nanos::from_millis(3));
        metrics.note_engine(&EngineStats {
            running: 3,
            waiting: 2,
            blocks_used: 5,
            blocks_total: 10,
            block_size: 16,
            prefix_queries: 100,
            prefix_hits: 25,
            ..EngineStats::default()
        });
        let page = metrics.page(MetricNames::Sglang);
        for line in [
            "sglang:num_running_reqs{model_name=\"m\"} 3.0",
            "sglang:num_queue_reqs{model_name=\"m\"} 2.0",
            "sglang:num_used_tokens{model_name=\"m\"} 80.0",
            "sglang:token_usage{model_name=\"m\"} 0.5",
            "sglang:cache_hit_rate{model_name=\"m\"} 0.25",
            "sglang:time_to_first_token_seconds_bucket{le=\"0.005\",model_name=\"m\"} 1.0",
            "sglang:time_to_first_token_seconds_count{model_name=\"m\"} 1.0",
        ] {
            assert!(
                page.contains(&format!("{line}\n")),
                "{line} is not in\n{page}"
            );
        }
        assert!(!page.contains("vllm:"));
    }
}
