//! A run in the forms of other tools: SGLang's JSON Lines, AIPerf's JSON, llm-d's Benchmark Report.
//!
//! The forms are filled from [`ExportRun`] alone. What it does not hold is left out, or null where
//! a format requires the key; nothing is invented. `docs/files.md` says which number is under which
//! key.

mod aiperf;
mod llmd;
mod sglang;

use std::io;
use std::path::{Path, PathBuf};

use inferometer_core::Nanos;
use inferometer_core::hex;
use serde_json::{Map, Number, Value};
use sha2::{Digest, Sha256};

use crate::atomic::{Links, check_writable, write_atomically, write_new};
use crate::{Manifest, ResultsError, rfc3339};

/// Percentiles that the forms have keys for; 0 and 100 are the smallest and the largest value.
pub const EXPORT_PERCENTILES: [f64; 13] = [
    0.0, 0.1, 1.0, 5.0, 10.0, 25.0, 50.0, 75.0, 90.0, 95.0, 99.0, 99.9, 100.0,
];

/// The form of another tool's result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ExportForm {
    /// A line of SGLang's `bench_serving` (0.5).
    Sglang,
    /// AIPerf's `profile_export_aiperf.json`, schema 1.4.
    Aiperf,
    /// llm-d's Benchmark Report 0.2.1, as JSON.
    LlmD,
}

impl ExportForm {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Sglang, Self::Aiperf, Self::LlmD];

    /// The name in flags.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sglang => "sglang",
            Self::Aiperf => "aiperf",
            Self::LlmD => "llm-d",
        }
    }

    /// The name of the file.
    pub const fn file_name(self) -> &'static str {
        match self {
            Self::Sglang => "sglang_bench.jsonl",
            Self::Aiperf => "profile_export_aiperf.json",
            Self::LlmD => "benchmark_report_v0.2.1.json",
        }
    }

    /// Checks that the file can be written to `folder`, which is created. To be called before the
    /// first request; leaves no file.
    ///
    /// # Errors
    ///
    /// When the folder or the file cannot be written to, or the file is there already and `fresh`
    /// is set.
    pub fn prepare(self, folder: &Path, fresh: bool) -> Result<PathBuf, ResultsError> {
        let path = folder.join(self.file_name());
        let refused = |source, remedy| ResultsError::NotWritable {
            flag: "--export-dir",
            path: path.clone(),
            source,
            remedy,
        };
        let other = "choose a writable folder with --export-dir";
        std::fs::create_dir_all(folder).map_err(|source| refused(source, other))?;
        if fresh && path.exists() {
            let there = io::Error::from(io::ErrorKind::AlreadyExists);
            return Err(refused(
                there,
                "existing files are not overwritten; choose another folder with --export-dir",
            ));
        }
        check_writable(&path).map_err(|source| refused(source, other))?;
        Ok(path)
    }

    /// Writes `run` in this form to `folder` and returns the path. With `fresh`, a file of that name
    /// that has appeared since [`ExportForm::prepare`] stays, and this one gets a number; else it is
    /// replaced.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub fn write(
        self,
        folder: &Path,
        run: &ExportRun<'_>,
        fresh: bool,
    ) -> Result<PathBuf, ResultsError> {
        let path = folder.join(self.file_name());
        let write = |out: &mut (dyn io::Write + Send)| {
            match self {
                Self::Sglang => sglang::write(out, run),
                Self::Aiperf => pretty(out, &aiperf::form(run)),
                Self::LlmD => pretty(out, &llmd::form(run)),
            }
            .map_err(ResultsError::io("write", &path))
        };
        if fresh {
            return write_new(&path, write);
        }
        write_atomically(&path, Links::Replace, write)?;
        Ok(path)
    }
}

/// The content of all formats. Successful answers only, and milliseconds, unless a name says otherwise.
#[derive(Clone, Debug)]
pub struct ExportRun<'a> {
    /// Settings, target, times and verdict.
    pub manifest: &'a Manifest,
    /// Name of the dataset; `None` for a workload file, about which nothing is known.
    pub dataset: Option<String>,
    /// Lengths that were asked for.
    pub lengths: ExportLengths,
    /// `KEY=VALUE` pairs that the user gave.
    pub metadata: Vec<(String, String)>,
    /// Requests were due when a trace or a workload file said.
    pub self_timed: bool,
    /// What rates are divided by, in seconds.
    pub duration_s: f64,
    /// Good answers.
    pub completed: u64,
    /// Requests that the server or the connection failed.
    pub failures: u64,
    /// Requests that the client cancelled, or that the end of the run cut off.
    pub incomplete: u64,
    /// Requests without a good answer by what went wrong.
    pub errors: Vec<ExportError>,
    /// Latency limits and how they were met.
    pub goodput: Option<ExportGoodput>,
    /// To the first token.
    pub ttft: Option<Distribution>,
    /// From the first to the second token event.
    pub second_token: Option<Distribution>,
    /// Per output token without the first: one value per answer.
    pub tpot: Option<Distribution>,
    /// Per output token with the first: one value per answer.
    pub normalized_tpot: Option<Distribution>,
    /// Gaps between token events, those of all answers together.
    pub itl: Option<Distribution>,
    /// End to end.
    pub e2el: Option<Distribution>,
    /// Tokens per second that one user sees once the answer has begun: 1 / tpot.
    pub user_rate: Option<Distribution>,
    /// Tokens per second over the whole answer.
    pub e2e_rate: Option<Distribution>,
    /// Prompt tokens.
    pub input_tokens: Option<Distribution>,
    /// Output tokens; `None` where there are none (embeddings and the like).
    pub output_tokens: Option<Distribution>,
    /// Lengths that were requested.
    pub requested: RequestedLengths,
    /// Output tokens as the client's tokenizer counts them, where it counted every answer.
    pub retokenized: Option<u64>,
    /// Every prompt is text alone.
    pub text_only: bool,
    /// The text of the prompts is synthetic, as opposed to recorded; `None` where nothing is known
    /// about it. Traces record lengths alone, so their text is synthetic.
    pub synthetic_text: Option<bool>,
    /// Peak of output tokens per second, as our own table has it.
    pub max_output_tokens_per_s: f64,
    /// Peak of requests in flight, as our own table has it.
    pub max_concurrent_requests: u64,
    /// Tokens per step of speculative decoding, by the server's counters.
    pub accept_length: Option<f64>,
    /// Requests per second that were asked for, where that is one number.
    pub request_rate: Option<f64>,
    /// Slots.
    pub max_concurrency: Option<u64>,
    /// Conversations, where requests are turns of them.
    pub conversations: Option<ExportConversations>,
    /// One entry per request, where details are wanted.
    pub details: Option<ExportDetails>,
}

/// Lengths in tokens that were requested, of all requests.
#[derive(Clone, Debug, Default)]
pub struct RequestedLengths {
    /// Prompts.
    pub input: Option<Distribution>,
    /// Answers, where their lengths were enforced.
    pub output: Option<Distribution>,
}

/// How many conversations there were, and how they were answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExportConversations {
    /// Conversations.
    pub total: u64,
    /// Turns with a good answer.
    pub answered_turns: u64,
}

/// Lengths in tokens that were asked for, where the dataset is one of those that SGLang's form
/// knows.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ExportLengths {
    /// Random prompts.
    pub random_input: Option<i64>,
    /// Answers to random prompts.
    pub random_output: Option<i64>,
    /// Spread of both, where it is one number.
    pub random_range_ratio: Option<f64>,
    /// Answers to ShareGPT's prompts.
    pub sharegpt_output: Option<i64>,
}

impl<'a> ExportRun<'a> {
    /// A run of which nothing but the manifest is known yet.
    pub fn of(manifest: &'a Manifest) -> Self {
        Self {
            manifest,
            dataset: None,
            lengths: ExportLengths::default(),
            metadata: Vec::new(),
            self_timed: false,
            duration_s: 0.0,
            completed: 0,
            failures: 0,
            incomplete: 0,
            errors: Vec::new(),
            goodput: None,
            ttft: None,
            second_token: None,
            tpot: None,
            normalized_tpot: None,
            itl: None,
            e2el: None,
            user_rate: None,
            e2e_rate: None,
            input_tokens: None,
            output_tokens: None,
            requested: RequestedLengths::default(),
            retokenized: None,
            text_only: false,
            synthetic_text: None,
            max_output_tokens_per_s: 0.0,
            max_concurrent_requests: 0,
            accept_length: None,
            request_rate: None,
            max_concurrency: None,
            conversations: None,
            details: None,
        }
    }

    fn issued(&self) -> u64 {
        self.completed + self.failures + self.incomplete
    }

    fn per_second(&self, amount: f64) -> Value {
        if self.duration_s > 0.0 {
            number(amount / self.duration_s)
        } else {
            Value::Null
        }
    }

    /// Start and end, RFC 3339.
    fn span(&self) -> (String, String) {
        let run = &self.manifest.run;
        (
            rfc3339(Nanos(run.started_wall_ns)),
            rfc3339(Nanos(run.started_wall_ns + run.duration_ns)),
        )
    }

    /// A UUID that depends on the run alone, so that exporting twice gives the same id.
    fn id(&self) -> String {
        let run = &self.manifest.run;
        let hash = Sha256::new()
            .chain_update(run.started_wall_ns.to_le_bytes())
            .chain_update(run.started_monotonic_ns.to_le_bytes())
            .chain_update(run.duration_ns.to_le_bytes())
            .chain_update(&self.manifest.workload.sha256)
            .chain_update(&self.manifest.schedule.sha256)
            .chain_update(self.manifest.target.urls.join("\n"))
            .finalize();
        let hex = hex(&hash[..16]);
        // The marks of version 8, which is for ids of one's own making.
        format!(
            "{}-{}-8{}-a{}-{}",
            &hex[..8],
            &hex[8..12],
            &hex[13..16],
            &hex[17..20],
            &hex[20..]
        )
    }
}

/// What went wrong, and how often.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ExportError {
    /// Name of the outcome.
    pub outcome: String,
    /// HTTP status, where one came.
    pub status: Option<u16>,
    /// The reason in words.
    pub message: String,
    /// Requests.
    pub count: u64,
}

/// Latency limits and how they were met.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ExportGoodput {
    /// The limits, and how each was met.
    pub limits: Vec<ExportLimit>,
    /// Requests within all of them.
    pub good: u64,
}

/// One latency limit, and how it was met.
#[derive(Clone, Debug, PartialEq)]
pub struct ExportLimit {
    /// Name of the metric.
    pub metric: String,
    /// The limit, in milliseconds.
    pub limit_ms: f64,
    /// Requests within it.
    pub good: u64,
}

/// One entry per request in the order of the workload; seconds.
#[derive(Clone, Debug, Default, PartialEq)]
#[expect(
    missing_docs,
    reason = "the names are SGLang's keys, explained in docs/files.md"
)]
pub struct ExportDetails {
    pub input_lens: Vec<u64>,
    pub output_lens: Vec<u64>,
    pub ttfts: Vec<f64>,
    pub itls: Vec<Vec<f64>>,
    pub generated_texts: Vec<String>,
    pub errors: Vec<String>,
}

/// The distribution of one quantity.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Distribution {
    /// Number of values.
    pub count: u64,
    /// Arithmetic mean.
    pub mean: f64,
    /// Population standard deviation.
    pub std: f64,
    /// The values at [`EXPORT_PERCENTILES`].
    pub percentiles: [f64; EXPORT_PERCENTILES.len()],
}

impl Distribution {
    /// The value at one of [`EXPORT_PERCENTILES`].
    fn at(&self, percentile: f64) -> f64 {
        let place = EXPORT_PERCENTILES
            .iter()
            .position(|&known| known == percentile);
        place.map_or(f64::NAN, |place| self.percentiles[place])
    }

    /// The percentiles that AIPerf and llm-d name alike.
    fn percentiles(&self) -> impl Iterator<Item = (&'static str, Value)> + '_ {
        const NAMED: [(&str, f64); 9] = [
            ("p1", 1.0),
            ("p5", 5.0),
            ("p10", 10.0),
            ("p25", 25.0),
            ("p50", 50.0),
            ("p75", 75.0),
            ("p90", 90.0),
            ("p95", 95.0),
            ("p99", 99.0),
        ];
        NAMED
            .into_iter()
            .map(|(name, percentile)| (name, number(self.at(percentile))))
    }

    fn sum(&self) -> f64 {
        self.mean * self.count as f64
    }

    fn min(&self) -> f64 {
        self.at(0.0)
    }

    fn max(&self) -> f64 {
        self.at(100.0)
    }
}

/// A number, or null for infinity and NaN.
fn number(number: f64) -> Value {
    Number::from_f64(number).map_or(Value::Null, Value::Number)
}

/// Leaves out what is null.
fn without_nulls(pairs: impl IntoIterator<Item = (&'static str, Value)>) -> Value {
    let some = pairs.into_iter().filter(|(_, value)| !value.is_null());
    Value::Object(
        some.map(|(key, value)| (key.to_owned(), value))
            .collect::<Map<_, _>>(),
    )
}

fn pretty<W: io::Write + ?Sized>(out: &mut W, form: &Value) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, form)?;
    out.write_all(b"\n")
}
