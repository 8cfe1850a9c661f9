//! The result file of vLLM's `bench serve`, version 0.33: same keys, order, types and spelling of
//! numbers.
//!
//! Our own additions are under one last key, `inferometer`. Departures, each because vLLM's
//! choice gives invalid JSON: infinite numbers are the strings `"inf"` and `"-inf"` everywhere
//! (vLLM does so for the request rate alone and prints a bare `Infinity` elsewhere), and what is
//! not a number is `null`.

mod field;
mod file;
mod metadata;
mod pytorch;

pub(crate) use field::float_value;
use field::{Field, write_field};
pub use file::{Existing, ResultFile, result_file_name};
pub use metadata::{MetadataClash, metadata_clash};
pub use pytorch::{pytorch_records, write_pytorch};

use std::fmt;
use std::io::{self, Write};

use indexmap::IndexMap;
use inferometer_core::Records;
use inferometer_core::python::float_repr;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::json_stream::write_object;

/// One result in vLLM's form.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct VllmResult {
    /// Identity and load.
    pub header: VllmHeader,
    /// The numbers of the endpoint's kind.
    pub body: VllmBody,
    /// Server-reported queue times in seconds, one per request; written with details only.
    pub server_queue_times: Option<Vec<f64>>,
    /// Server-reported times to first token in seconds, one per request; written with details only.
    pub server_ttfts: Option<Vec<f64>>,
    /// Numbers of the probe stream (`--probe-request-rate`).
    pub probe: Option<VllmProbe>,
    /// Changes of the rate during a ramp.
    pub rps_change_events: Option<Vec<RpsChange>>,
    /// Speculative decoding, from the server's counters.
    pub spec_decode: Option<VllmSpecDecode>,
    /// Diffusion decoding, from the server's counters.
    pub diffusion: Option<VllmDiffusion>,
    /// Statistics of the selected metrics, in vLLM's order (ttft, tpot, itl, e2el,
    /// client_queue_time, e2el_including_client_queue).
    pub stats: Vec<VllmStat>,
    /// Our additions; written last, under the key `inferometer`, unless null.
    pub inferometer: Value,
}

/// What was benchmarked and how. Kept in the manifest too, so that a run which was killed can still
/// have its result.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct VllmHeader {
    /// Local time, see [`vllm_date`](crate::vllm_date).
    pub date: String,
    /// Backend name again, as vLLM has it.
    pub endpoint_type: String,
    /// Backend name.
    pub backend: String,
    /// `--label`.
    pub label: Option<String>,
    /// Model name.
    pub model_id: String,
    /// Tokenizer name; `None` when it was not loaded.
    pub tokenizer_id: Option<String>,
    /// Number of requests.
    pub num_prompts: u64,
    /// `--metadata` pairs: top-level strings that may replace earlier keys and are replaced by
    /// later ones.
    pub metadata: Vec<(String, String)>,
    /// Requests per second; may be infinite, which is kept as null.
    #[serde(with = "rate")]
    pub request_rate: f64,
    /// Shape of the gaps.
    pub burstiness: f64,
    /// `--max-concurrency`.
    pub max_concurrency: Option<u64>,
    /// `--ramp-up-*`.
    pub ramp: Option<VllmRamp>,
}

mod rate {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[expect(
        clippy::trivially_copy_pass_by_ref,
        reason = "the form that serde wants"
    )]
    pub(super) fn serialize<S: Serializer>(rate: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        rate.is_finite().then_some(*rate).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
        Option::<f64>::deserialize(deserializer).map(|rate| rate.unwrap_or(f64::INFINITY))
    }
}

/// A ramp of the request rate.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VllmRamp {
    /// `linear` or `exponential`.
    pub strategy: String,
    /// First rate.
    pub start_rps: u64,
    /// Last rate.
    pub end_rps: u64,
}

/// The numbers of the endpoint's kind.
#[derive(Clone, Debug, PartialEq)]
pub enum VllmBody {
    /// Text generation.
    Generation(VllmGeneration),
    /// Embeddings, pooling, rerank.
    Pooling(VllmPooling),
}

impl Default for VllmBody {
    fn default() -> Self {
        Self::Generation(VllmGeneration::default())
    }
}

/// Numbers of text generation. Lists have one item per request in the order of the workload, failed
/// ones included with zeros; seconds throughout.
#[derive(Clone, Debug, Default, PartialEq)]
#[expect(
    missing_docs,
    reason = "the names are vLLM's keys, explained in docs/files.md"
)]
pub struct VllmGeneration {
    pub duration: f64,
    pub completed: u64,
    pub failed: u64,
    pub total_input_tokens: u64,
    pub total_output_tokens: u64,
    pub request_throughput: f64,
    pub request_goodput: Option<f64>,
    pub output_throughput: f64,
    pub total_token_throughput: f64,
    pub input_lens: Vec<u64>,
    pub output_lens: Vec<u64>,
    pub ttfts: Vec<f64>,
    pub itls: Vec<Vec<f64>>,
    pub latencies: Vec<f64>,
    pub start_times: Vec<f64>,
    pub queue_times: Vec<f64>,
    pub generated_texts: Vec<String>,
    pub errors: Vec<String>,
    pub max_output_tokens_per_s: f64,
    pub max_concurrent_requests: u64,
    pub rtfx: f64,
}

/// Numbers of pooling endpoints; lists as in [`VllmGeneration`].
#[derive(Clone, Debug, Default, PartialEq)]
#[expect(
    missing_docs,
    reason = "the names are vLLM's keys, explained in docs/files.md"
)]
pub struct VllmPooling {
    pub duration: f64,
    pub completed: u64,
    pub total_input_tokens: u64,
    pub total_input_sequences: u64,
    pub request_throughput: f64,
    pub input_sequence_throughput: f64,
    pub total_token_throughput: f64,
    pub input_lens: Vec<u64>,
    pub latencies: Vec<f64>,
    pub queue_times: Vec<f64>,
    pub errors: Vec<String>,
}

/// Numbers of the probe stream, keys `probe_*`.
#[derive(Clone, Debug, Default, PartialEq)]
#[expect(
    missing_docs,
    reason = "the names are vLLM's keys, explained in docs/files.md"
)]
pub struct VllmProbe {
    pub completed: u64,
    pub failed: u64,
    pub median_e2el_ms: f64,
    pub p99_e2el_ms: f64,
    pub max_e2el_ms: f64,
}

/// One change of the rate during a ramp.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RpsChange {
    /// The rate that begins here.
    pub rps: u64,
    /// Local time, see [`python_isoformat`](crate::python_isoformat).
    pub timestamp: String,
}

/// Speculative decoding, keys `spec_decode_*`.
#[derive(Clone, Debug, Default, PartialEq)]
#[expect(
    missing_docs,
    reason = "the names are vLLM's keys, explained in docs/files.md"
)]
pub struct VllmSpecDecode {
    /// In percent.
    pub acceptance_rate: f64,
    pub acceptance_length: f64,
    pub num_drafts: u64,
    pub draft_tokens: u64,
    pub accepted_tokens: u64,
    /// Between 0 and 1, one per position.
    pub per_position_acceptance_rates: Vec<f64>,
}

/// Diffusion decoding, keys `diffusion_*`.
#[derive(Clone, Debug, Default, PartialEq)]
#[expect(
    missing_docs,
    reason = "the names are vLLM's keys, explained in docs/files.md"
)]
pub struct VllmDiffusion {
    pub committed_throughput: f64,
    pub steps_per_canvas: f64,
    pub committed_per_step: f64,
    pub committed_tokens: u64,
    pub denoising_steps: u64,
    pub canvas_positions: u64,
}

/// Statistics of one metric in milliseconds, keys `mean_X_ms, median_X_ms, std_X_ms, pNN_X_ms …`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct VllmStat {
    /// The `X`: `ttft`, `tpot`, `itl`, `e2el`, `client_queue_time`, `e2el_including_client_queue`.
    pub name: String,
    /// Arithmetic mean.
    pub mean: f64,
    /// Median.
    pub median: f64,
    /// Population standard deviation.
    pub std: f64,
    /// Percentile and value, in the order asked for.
    pub percentiles: Vec<(f64, f64)>,
}

/// Keys that are written with `--save-detailed` only. `latencies` and `queue_times` are not among
/// them: vLLM keeps these always.
const DETAIL_KEYS: [&str; 9] = [
    "input_lens",
    "output_lens",
    "start_times",
    "ttfts",
    "itls",
    "generated_texts",
    "errors",
    "server_queue_times",
    "server_ttfts",
];

/// The word for a percentile in keys and labels: `99`, `99.9`.
pub fn percentile_word(percentile: f64) -> String {
    let repr = float_repr(percentile);
    repr.strip_suffix(".0").map_or(repr.clone(), str::to_owned)
}

/// Whether the lists with one value per request or event are written (`--save-detailed`).
#[derive(Clone, Copy)]
pub enum Details<'a> {
    /// They are left out.
    Without,
    /// As the result holds them.
    Held,
    /// As the result holds them, but gaps and texts, which may be too many to hold, are taken from
    /// these records while they are written.
    Of(&'a dyn Records),
}

impl fmt::Debug for Details<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Without => "Without",
            Self::Held => "Held",
            Self::Of(_) => "Of",
        })
    }
}

impl VllmResult {
    /// Writes the result as one line of JSON, without a line end, as Python's `json.dump` does.
    ///
    /// # Errors
    ///
    /// `out` fails.
    pub fn write_to(
        &self,
        out: &mut (impl Write + ?Sized),
        details: Details<'_>,
    ) -> io::Result<()> {
        write_object(out, self.fields(details).iter(), write_field)
    }

    /// The result as a JSON object.
    pub fn to_map(&self, details: Details<'_>) -> Map<String, Value> {
        self.fields(details)
            .into_iter()
            .map(|(key, field)| (key, field.into_value()))
            .collect()
    }

    fn fields<'a>(&'a self, details: Details<'a>) -> IndexMap<String, Field<'a>> {
        let mut fields = Fields::default();
        self.header.put(&mut fields);
        match &self.body {
            VllmBody::Generation(body) => body.put(details, &mut fields),
            VllmBody::Pooling(body) => body.put(&mut fields),
        }
        self.put_extras(&mut fields);
        for stat in &self.stats {
            stat.put(&mut fields);
        }
        let mut fields = fields.0;
        if matches!(details, Details::Without) {
            // Removed by name and afterwards, so that metadata of these names vanishes as with
            // vLLM.
            fields.retain(|key, _| !DETAIL_KEYS.contains(&key.as_str()));
        }
        if !self.inferometer.is_null() {
            fields.shift_remove("inferometer");
            fields.insert(
                "inferometer".to_owned(),
                Field::Value(self.inferometer.clone()),
            );
        }
        fields
    }

    fn put_extras<'a>(&'a self, fields: &mut Fields<'a>) {
        if let Some(times) = &self.server_queue_times {
            fields.put("server_queue_times", Field::Floats(times));
        }
        if let Some(times) = &self.server_ttfts {
            fields.put("server_ttfts", Field::Floats(times));
        }
        if let Some(probe) = &self.probe {
            fields.count("probe_completed", probe.completed);
            fields.count("probe_failed", probe.failed);
            fields.float("probe_median_e2el_ms", probe.median_e2el_ms);
            fields.float("probe_p99_e2el_ms", probe.p99_e2el_ms);
            fields.float("probe_max_e2el_ms", probe.max_e2el_ms);
        }
        if let Some(changes) = &self.rps_change_events {
            let change =
                |c: &RpsChange| serde_json::json!({"rps": c.rps, "timestamp": c.timestamp});
            fields.put(
                "rps_change_events",
                Field::Value(changes.iter().map(change).collect()),
            );
        }
        if let Some(spec) = &self.spec_decode {
            fields.float("spec_decode_acceptance_rate", spec.acceptance_rate);
            fields.float("spec_decode_acceptance_length", spec.acceptance_length);
            fields.count("spec_decode_num_drafts", spec.num_drafts);
            fields.count("spec_decode_draft_tokens", spec.draft_tokens);
            fields.count("spec_decode_accepted_tokens", spec.accepted_tokens);
            let rates = Field::Floats(&spec.per_position_acceptance_rates);
            fields.put("spec_decode_per_position_acceptance_rates", rates);
        }
        if let Some(diffusion) = &self.diffusion {
            fields.float(
                "diffusion_committed_throughput",
                diffusion.committed_throughput,
            );
            fields.float("diffusion_steps_per_canvas", diffusion.steps_per_canvas);
            fields.float("diffusion_committed_per_step", diffusion.committed_per_step);
            fields.count("diffusion_committed_tokens", diffusion.committed_tokens);
            fields.count("diffusion_denoising_steps", diffusion.denoising_steps);
            fields.count("diffusion_canvas_positions", diffusion.canvas_positions);
        }
    }
}

#[derive(Default)]
struct Fields<'a>(IndexMap<String, Field<'a>>);

impl<'a> Fields<'a> {
    /// Like a Python dict: an existing key keeps its place and gets the new value.
    fn put(&mut self, key: &str, field: Field<'a>) {
        self.0.insert(key.to_owned(), field);
    }

    fn text(&mut self, key: &str, text: &str) {
        self.put(key, Field::Value(text.into()));
    }

    fn optional_text(&mut self, key: &str, text: Option<&str>) {
        self.put(key, Field::Value(text.into()));
    }

    fn count(&mut self, key: &str, count: u64) {
        self.put(key, Field::Value(count.into()));
    }

    fn float(&mut self, key: &str, number: f64) {
        self.put(key, Field::Value(float_value(number)));
    }
}

impl VllmHeader {
    fn put(&self, fields: &mut Fields<'_>) {
        fields.text("date", &self.date);
        fields.text("endpoint_type", &self.endpoint_type);
        fields.text("backend", &self.backend);
        fields.optional_text("label", self.label.as_deref());
        fields.text("model_id", &self.model_id);
        fields.optional_text("tokenizer_id", self.tokenizer_id.as_deref());
        fields.count("num_prompts", self.num_prompts);
        for (key, text) in &self.metadata {
            fields.text(key, text);
        }
        fields.float("request_rate", self.request_rate);
        fields.float("burstiness", self.burstiness);
        fields.put("max_concurrency", Field::Value(self.max_concurrency.into()));
        if let Some(ramp) = &self.ramp {
            fields.text("ramp_up_strategy", &ramp.strategy);
            fields.count("ramp_up_start_rps", ramp.start_rps);
            fields.count("ramp_up_end_rps", ramp.end_rps);
        }
    }
}

impl VllmGeneration {
    fn put<'a>(&'a self, details: Details<'a>, fields: &mut Fields<'a>) {
        let (itls, texts) = match details {
            Details::Of(records) => (Field::Gaps(records), Field::Answers(records)),
            Details::Held | Details::Without => (
                Field::FloatLists(&self.itls),
                Field::Texts(&self.generated_texts),
            ),
        };
        fields.float("duration", self.duration);
        fields.count("completed", self.completed);
        fields.count("failed", self.failed);
        fields.count("total_input_tokens", self.total_input_tokens);
        fields.count("total_output_tokens", self.total_output_tokens);
        fields.float("request_throughput", self.request_throughput);
        let goodput = self.request_goodput.map_or(Value::Null, float_value);
        fields.put("request_goodput", Field::Value(goodput));
        fields.float("output_throughput", self.output_throughput);
        fields.float("total_token_throughput", self.total_token_throughput);
        fields.put("input_lens", Field::Counts(&self.input_lens));
        fields.put("output_lens", Field::Counts(&self.output_lens));
        fields.put("ttfts", Field::Floats(&self.ttfts));
        fields.put("itls", itls);
        fields.put("latencies", Field::Floats(&self.latencies));
        fields.put("start_times", Field::Floats(&self.start_times));
        fields.put("queue_times", Field::Floats(&self.queue_times));
        fields.put("generated_texts", texts);
        fields.put("errors", Field::Texts(&self.errors));
        fields.float("max_output_tokens_per_s", self.max_output_tokens_per_s);
        fields.count("max_concurrent_requests", self.max_concurrent_requests);
        fields.float("rtfx", self.rtfx);
    }
}

impl VllmPooling {
    fn put<'a>(&'a self, fields: &mut Fields<'a>) {
        fields.float("duration", self.duration);
        fields.count("completed", self.completed);
        fields.count("total_input_tokens", self.total_input_tokens);
        fields.count("total_input_sequences", self.total_input_sequences);
        fields.float("request_throughput", self.request_throughput);
        fields.float("input_sequence_throughput", self.input_sequence_throughput);
        fields.float("total_token_throughput", self.total_token_throughput);
        fields.put("input_lens", Field::Counts(&self.input_lens));
        fields.put("latencies", Field::Floats(&self.latencies));
        fields.put("queue_times", Field::Floats(&self.queue_times));
        fields.put("errors", Field::Texts(&self.errors));
    }
}

impl VllmStat {
    fn put(&self, fields: &mut Fields<'_>) {
        let name = &self.name;
        fields.float(&format!("mean_{name}_ms"), self.mean);
        fields.float(&format!("median_{name}_ms"), self.median);
        fields.float(&format!("std_{name}_ms"), self.std);
        for &(percentile, value) in &self.percentiles {
            fields.float(
                &format!("p{}_{name}_ms", percentile_word(percentile)),
                value,
            );
        }
    }
}
