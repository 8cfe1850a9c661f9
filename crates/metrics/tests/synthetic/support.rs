//! Synthetic runs.

use inferometer_core::{
    ClientHealth, Connection, Event, EventKind, Marks, Nanos, Outcome, Record, TokenSource, Usage,
    WorkerHealth, random,
};
use inferometer_metrics::{MetricSettings, VerdictSettings};
use rand::RngExt;

/// A millisecond in nanoseconds.
pub(crate) const MS: u64 = 1_000_000;

/// The records of a run without any problem: Poisson arrivals at `rate`, TTFT 40–80 ms, 16 tokens
/// at 8–12 ms, a client that is a few microseconds late and sees everything some tens of
/// microseconds after the kernel.
pub(crate) fn clean_run(n: usize, rate: f64, seed: u64) -> Vec<Record> {
    let mut rng = random::stream(seed, "clean run");
    let mut uniform = |low: u64, high: u64| rng.random_range(low..high);
    let mut due = 0;
    (0..n)
        .map(|index| {
            let u = uniform(1, 1 << 53) as f64 / 9_007_199_254_740_992.0;
            due += (-u.ln() / rate * 1e9) as u64;
            let send = due + uniform(200, 60_000);
            let mut at = send + uniform(40 * MS, 80 * MS);
            let mut events = Vec::new();
            for _ in 0..16 {
                let mut event = Event::new(
                    Nanos(at),
                    Nanos(uniform(10_000, 90_000)),
                    EventKind::Text,
                    false,
                    true,
                );
                event.tokens = 1;
                events.push(event);
                at += uniform(8 * MS, 12 * MS);
            }
            let first = events[0].at;
            Record {
                index,
                due: Nanos(due),
                dequeued: Some(Nanos(due + 100)),
                send_start: Some(Nanos(send)),
                send_end: Some(Nanos(send + 15_000)),
                marks: Marks {
                    first_byte: Some(Nanos(first.0 - MS)),
                    first_content: Some(first),
                    ..Marks::default()
                },
                end: events.last().map(|event| Nanos(event.at.0 + 100_000)),
                events,
                outcome: Outcome::Ok,
                status: Some(200),
                prompt_tokens: 100,
                asked_output_tokens: Some(16),
                usage: Usage {
                    prompt_tokens: Some(100),
                    completion_tokens: Some(16),
                    ..Usage::default()
                },
                output_tokens: 16,
                token_source: TokenSource::Usage,
                tokenizer_output_tokens: Some(16),
                finish_reason: Some("length".into()),
                connection: Connection {
                    reused: true,
                    ..Connection::default()
                },
                sequences: 1,
                ..Record::default()
            }
        })
        .collect()
}

/// Settings of an open loop.
pub(crate) fn open_loop() -> MetricSettings {
    MetricSettings {
        finite_rate: true,
        ..MetricSettings::default()
    }
}

/// The settings of the verdict that belong to [`clean_run`].
pub(crate) fn verdict_settings() -> VerdictSettings {
    VerdictSettings {
        finite_rate: true,
        ignore_eos: true,
        duplicate_prompts: Some(0.0),
        ..VerdictSettings::default()
    }
}

/// The health of a client without any problem.
pub(crate) fn healthy(wall: Nanos) -> ClientHealth {
    let worker = WorkerHealth {
        cpu: Nanos(wall.0 / 5),
        spin: Nanos(wall.0 / 20),
        ..WorkerHealth::default()
    };
    ClientHealth {
        wall,
        workers: vec![worker],
        kernel_stamps: true,
        ..ClientHealth::default()
    }
}
