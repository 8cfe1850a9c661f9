//! Virtual runs: what is sent, to which engine, and the verdict on it.

use inferometer_core::random::{StreamRng, indexed_stream};
use inferometer_core::{ClientHealth, Nanos, Record, Schedule, TokenSource};
use inferometer_engine::{Finished, VirtualRequest, VirtualRun, simulate};
use inferometer_metrics::{Analysis, MetricSettings, VerdictSettings, analyse, judge};
use inferometer_sim::engine::{ClusterConfig, Content, EngineConfig, EngineRequest};
use rand::RngExt;

/// What is sent and to what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) requests: usize,
    /// Requests per second; 0 for all at once.
    pub(crate) rate: f64,
    pub(crate) prompt: u32,
    /// Least and most output tokens.
    pub(crate) output: (u32, u32),
    /// Sequences that the engine runs at once.
    pub(crate) slots: usize,
    /// Requests in flight at once.
    pub(crate) cap: Option<usize>,
    /// All prompts begin with this many equal tokens.
    pub(crate) shared: u32,
    pub(crate) replicas: usize,
}

pub(crate) const PLAIN: Shape = Shape {
    requests: 100,
    rate: 0.0,
    prompt: 100,
    output: (16, 16),
    slots: 256,
    cap: None,
    shared: 0,
    replicas: 1,
};

/// A number in `0..1` above 0.
pub(crate) fn uniform(random: &mut StreamRng) -> f64 {
    (random.random_range(0..1_u64 << 53) as f64 + 0.5) / (1_u64 << 53) as f64
}

/// Poisson arrivals, in every second run scaled so that the last one comes at `n / rate`, as vLLM
/// does.
fn schedule(shape: &Shape, seed: u64) -> Schedule {
    let mut random = indexed_stream(seed, "matrix arrivals", 0);
    let mut at = 0.0;
    let mut due: Vec<f64> = (0..shape.requests)
        .map(|_| {
            if shape.rate > 0.0 {
                at += -uniform(&mut random).ln() / shape.rate;
            }
            at
        })
        .collect();
    if shape.rate > 0.0 && seed.is_multiple_of(2) {
        let scale = shape.requests as f64 / shape.rate / at;
        for due in &mut due {
            *due *= scale;
        }
    }
    let due = due.into_iter().map(|due| Nanos((due * 1e9) as u64));
    Schedule::new(due.collect()).unwrap()
}

fn run(shape: &Shape, schedule: Schedule, seed: u64) -> Finished {
    let mut random = indexed_stream(seed, "matrix lengths", 0);
    let requests = (0..shape.requests)
        .map(|index| {
            let (least, most) = shape.output;
            let output = random.random_range(least..=most);
            let content = if shape.shared > 0 {
                let own = (shape.shared..shape.prompt).map(|token| token + 1_000 * index as u32);
                Content::Tokens((0..shape.shared).chain(own).collect())
            } else {
                Content::Unshared(shape.prompt)
            };
            VirtualRequest {
                engine: EngineRequest::new(index as u64, content, output),
                facts: Record {
                    index,
                    prompt_tokens: shape.prompt,
                    output_tokens: output,
                    asked_output_tokens: Some(output),
                    token_source: TokenSource::Usage,
                    tokenizer_output_tokens: Some(output),
                    sequences: 1,
                    ..Record::default()
                },
                cancel_after: None,
                think: None,
            }
        })
        .collect();
    let engine = EngineConfig {
        max_num_seqs: shape.slots,
        ..EngineConfig::default()
    };
    let input = VirtualRun {
        requests,
        schedule,
        max_concurrency: shape.cap,
        max_conversations: None,
        cluster: ClusterConfig {
            engine,
            replicas: shape.replicas,
            ..ClusterConfig::default()
        },
        seed,
    };
    simulate(input).unwrap().0
}

/// A run and what the verdict knows of it.
#[derive(Clone, Debug)]
pub(crate) struct Scene {
    pub(crate) records: Vec<Record>,
    pub(crate) health: ClientHealth,
    pub(crate) metrics: MetricSettings,
    pub(crate) verdict: VerdictSettings,
}

impl Scene {
    pub(crate) fn of(shape: &Shape, seed: u64) -> Self {
        let finished = run(shape, schedule(shape, seed), seed);
        let finite_rate = shape.rate > 0.0;
        Self {
            records: finished.records,
            health: finished.health,
            metrics: MetricSettings {
                cap: shape.cap,
                finite_rate,
                prompt_tolerance: Some(8),
                ..MetricSettings::default()
            },
            verdict: VerdictSettings {
                finite_rate,
                ignore_eos: true,
                duplicate_prompts: Some(0.0),
                predicted_cached: f64::from(shape.shared) / f64::from(shape.prompt),
                ..VerdictSettings::default()
            },
        }
    }

    /// The codes of the reasons in the verdict.
    pub(crate) fn codes(&self) -> Vec<String> {
        let Analysis {
            summary, extras, ..
        } = analyse(&self.records, &self.metrics);
        let verdict = judge(&summary, &extras, &self.health, &self.verdict);
        let reasons = verdict.reasons.into_iter();
        reasons.map(|reason| reason.code).collect()
    }
}

/// Requests per second that the engine completes when it never lacks work: those of the middle half of
/// many that come at once.
pub(crate) fn capacity(shape: &Shape) -> f64 {
    let flood = Shape {
        requests: shape.slots * 8,
        rate: 0.0,
        cap: None,
        ..*shape
    };
    let finished = run(&flood, Schedule::at_once(flood.requests), 1);
    let mut ends: Vec<Nanos> = finished
        .records
        .iter()
        .filter_map(|record| record.end)
        .collect();
    ends.sort_unstable();
    let (from, to) = (ends.len() / 4, ends.len() * 3 / 4);
    (to - from) as f64 / ends[to].since(ends[from]).as_secs_f64()
}

/// Engines that differ in what limits them: prompts, long answers, answers of every length, few slots
/// and one.
pub(crate) const ENGINES: [Shape; 5] = [
    Shape {
        prompt: 512,
        output: (128, 128),
        ..PLAIN
    },
    Shape {
        output: (512, 512),
        ..PLAIN
    },
    Shape {
        output: (1, 255),
        slots: 64,
        ..PLAIN
    },
    Shape {
        prompt: 256,
        output: (64, 64),
        slots: 8,
        ..PLAIN
    },
    Shape {
        prompt: 256,
        output: (16, 16),
        slots: 1,
        ..PLAIN
    },
];

/// Mean latency of a stable run of an engine, in seconds.
pub(crate) fn latency(shape: &Shape) -> f64 {
    let long = Shape {
        requests: 2_000,
        ..*shape
    };
    let records = run(&long, schedule(&long, 77), 77).records;
    let spans = records[500..1_500]
        .iter()
        .filter_map(|record| Some(record.end?.since(record.due).as_secs_f64()));
    spans.sum::<f64>() / 1_000.0
}
