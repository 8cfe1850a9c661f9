//! vLLM's result table, byte for byte.

use std::fmt::Write as _;

use inferometer_metrics::{Kind, Metric, MetricStats, Summary, samples_needed};

use crate::format::fixed2;

/// Characters in a line of the table.
const WIDTH: usize = 50;

/// What the table shows besides the [`Summary`].
#[derive(Clone, Debug, PartialEq)]
pub struct TableContext {
    /// `--max-concurrency`, when given.
    pub max_concurrency: Option<u64>,
    /// `--request-rate`, when finite.
    pub request_rate: Option<f64>,
    /// True when tokens can be counted (vLLM hides all token rows without a tokenizer).
    pub tokenizer: bool,
    /// The section on probe requests, which comes before the latencies.
    pub probes: Option<Section>,
    /// Sections after the latencies, such as speculative decoding.
    pub extra: Vec<Section>,
    /// Label of the last throughput row: vLLM spelt it "Total Token throughput (tok/s)" until
    /// December 2025.
    pub old_total_label: bool,
    /// vLLM's table to the letter. Otherwise what is unknown is `n/a` instead of 0, and a line below a
    /// percentile says so if it has too few samples.
    pub as_vllm: bool,
}

impl Default for TableContext {
    fn default() -> Self {
        Self {
            max_concurrency: None,
            request_rate: None,
            tokenizer: true,
            probes: None,
            extra: Vec::new(),
            old_total_label: false,
            as_vllm: true,
        }
    }
}

/// A value of the table.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Cell {
    /// Printed unchanged.
    Int(u64),
    /// Printed with two decimals.
    Float(f64),
}

/// A headed group of rows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Section {
    /// Heading, centred between dashes.
    pub title: String,
    /// Label (without the colon) and value; `None` prints the label alone.
    pub rows: Vec<(String, Option<Cell>)>,
}

/// What an engine with speculative decoding reports about its drafts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SpeculativeDecoding {
    /// Accepted drafts in percent.
    pub acceptance_rate: f64,
    /// Mean tokens accepted per draft, the bonus token included.
    pub acceptance_length: f64,
    /// Number of drafts.
    pub drafts: u64,
    /// Tokens drafted.
    pub draft_tokens: u64,
    /// Draft tokens accepted.
    pub accepted_tokens: u64,
    /// Fraction accepted at each position, 0 to 1.
    pub per_position: Vec<f64>,
}

impl Section {
    /// The section on probe requests: counts and latencies in milliseconds.
    pub fn probes(completed: u64, failed: u64, median_ms: f64, p99_ms: f64, max_ms: f64) -> Self {
        Self {
            title: "Probe Requests".into(),
            rows: vec![
                (
                    "Probe requests completed".into(),
                    Some(Cell::Int(completed)),
                ),
                ("Probe requests failed".into(), Some(Cell::Int(failed))),
                (
                    "Median probe E2EL (ms)".into(),
                    Some(Cell::Float(median_ms)),
                ),
                ("P99 probe E2EL (ms)".into(), Some(Cell::Float(p99_ms))),
                ("Max probe E2EL (ms)".into(), Some(Cell::Float(max_ms))),
            ],
        }
    }

    /// The section on speculative decoding.
    pub fn speculative_decoding(reported: &SpeculativeDecoding) -> Self {
        let mut rows = vec![
            (
                "Acceptance rate (%)".to_owned(),
                Some(Cell::Float(reported.acceptance_rate)),
            ),
            (
                "Acceptance length".to_owned(),
                Some(Cell::Float(reported.acceptance_length)),
            ),
            ("Drafts".to_owned(), Some(Cell::Int(reported.drafts))),
            (
                "Draft tokens".to_owned(),
                Some(Cell::Int(reported.draft_tokens)),
            ),
            (
                "Accepted tokens".to_owned(),
                Some(Cell::Int(reported.accepted_tokens)),
            ),
        ];
        if !reported.per_position.is_empty() {
            rows.push(("Per-position acceptance (%)".to_owned(), None));
            for (position, fraction) in reported.per_position.iter().enumerate() {
                rows.push((
                    format!("  Position {position}"),
                    Some(Cell::Float(fraction * 100.0)),
                ));
            }
        }
        Self {
            title: "Speculative Decoding".into(),
            rows,
        }
    }
}

/// vLLM's result table for `summary`: same labels, order, widths, rounding and trailing spaces,
/// each line ended by a line feed.
pub fn result_table(summary: &Summary, context: &TableContext) -> String {
    let mut table = Table::default();
    table.heading(" Serving Benchmark Result ", '=');
    totals(&mut table, summary, context);
    if let Some(probes) = &context.probes {
        table.section(probes);
    }
    for stats in &summary.stats {
        let has_tokens = summary.kind == Kind::Generation && context.tokenizer;
        if stats.metric.needs_stream() && !has_tokens {
            continue;
        }
        let (title, name) = names(stats.metric);
        table.heading(title, '-');
        let unknown = summary.is_unknown(stats, context.as_vllm);
        let mut value = |label: String, value: f64| {
            if unknown {
                table.row(&label, "n/a");
            } else {
                table.float(&label, value);
            }
        };
        value(format!("Mean {name} (ms)"), stats.mean_ms);
        value(format!("Median {name} (ms)"), stats.median_ms);
        for &(percentile, at) in &stats.percentiles {
            value(format!("P{percentile} {name} (ms)"), at);
        }
        if !context.as_vllm {
            table.few_samples(stats);
        }
    }
    for section in &context.extra {
        table.section(section);
    }
    table.heading("", '=');
    table.text
}

fn totals(table: &mut Table, summary: &Summary, context: &TableContext) {
    let generation = summary.kind == Kind::Generation;
    let tokens = generation && context.tokenizer;
    table.int("Successful requests", summary.completed as u64);
    table.int("Failed requests", summary.failed as u64);
    if let Some(cap) = context.max_concurrency {
        table.int("Maximum request concurrency", cap);
    }
    if let Some(rate) = context.request_rate.filter(|rate| rate.is_finite()) {
        table.float("Request rate configured (RPS)", rate);
    }
    table.float("Benchmark duration (s)", summary.duration_s);
    table.int("Total input tokens", summary.total_input_tokens);
    if tokens {
        table.int("Total generated tokens", summary.total_output_tokens);
    }
    table.float("Request throughput (req/s)", summary.request_throughput);
    if !generation {
        table.float(
            "Input throughput (inputs/s)",
            summary.input_sequence_throughput,
        );
    }
    if let Some(goodput) = summary.request_goodput {
        table.float("Request goodput (req/s)", goodput);
    }
    if generation {
        if tokens {
            table.float("Output token throughput (tok/s)", summary.output_throughput);
            table.float(
                "Peak output token throughput (tok/s)",
                summary.max_output_tokens_per_s,
            );
        }
        table.float(
            "Peak concurrent requests",
            summary.max_concurrent_requests as f64,
        );
        if summary.rtfx > 0.0 {
            table.float("RTFx (Inverse Real-Time Factor)", summary.rtfx);
        }
    }
    if tokens || !generation {
        let label = if context.old_total_label {
            "Total Token throughput (tok/s)"
        } else {
            "Total token throughput (tok/s)"
        };
        table.float(label, summary.total_token_throughput);
    }
}

/// Heading, and name in the rows.
const fn names(metric: Metric) -> (&'static str, &'static str) {
    match metric {
        Metric::Ttft => ("Time to First Token", "TTFT"),
        Metric::Tpot => ("Time per Output Token (excl. 1st token)", "TPOT"),
        Metric::Itl => ("Inter-token Latency", "ITL"),
        Metric::E2el => ("End-to-end Latency", "E2EL"),
        Metric::ClientQueueTime => ("Client-side Queueing", "Client Queue Time"),
        Metric::E2elIncludingClientQueue => (
            "Queue-inclusive End-to-end Latency",
            "E2EL incl. Client Queue",
        ),
    }
}

#[derive(Default)]
struct Table {
    text: String,
}

impl Table {
    fn heading(&mut self, title: &str, fill: char) {
        let padding = WIDTH.saturating_sub(title.len());
        let left = padding / 2;
        self.text.extend(std::iter::repeat_n(fill, left));
        self.text.push_str(title);
        self.text.extend(std::iter::repeat_n(fill, padding - left));
        self.text.push('\n');
    }

    fn row(&mut self, label: &str, value: &str) {
        let _ = writeln!(self.text, "{:<40} {value:<10}", format!("{label}:"));
    }

    fn int(&mut self, label: &str, value: u64) {
        self.row(label, &value.to_string());
    }

    fn float(&mut self, label: &str, value: f64) {
        self.row(label, &fixed2(value));
    }

    /// A line for each percentile of `stats` that has too few samples.
    fn few_samples(&mut self, stats: &MetricStats) {
        for &(percentile, _) in &stats.percentiles {
            let needed = samples_needed(percentile).filter(|&needed| stats.samples < needed);
            if let Some(needed) = needed.filter(|_| stats.samples > 0) {
                let samples = stats.samples;
                let _ = writeln!(
                    self.text,
                    "  (P{percentile} of {samples} samples; needs {needed})"
                );
            }
        }
    }

    fn section(&mut self, section: &Section) {
        self.heading(&section.title, '-');
        for (label, cell) in &section.rows {
            match cell {
                Some(Cell::Int(value)) => self.int(label, *value),
                Some(Cell::Float(value)) => self.float(label, *value),
                None => {
                    let _ = writeln!(self.text, "{label}:");
                }
            }
        }
    }
}
