//! Time to compute the numbers of a large run from its records.
//!
//! `INFEROMETER_BENCH_REQUESTS` sets the number of requests (default 20,000) with 128 events each.

use inferometer_core::{Event, EventKind, Nanos, Outcome, Record, Records};
use inferometer_metrics::{MetricSettings, analyse, summarise};

const EVENTS: u64 = 128;

fn main() {
    divan::main();
}

/// A run that is generated anew at each visit, so that a million requests need no memory for their
/// events.
struct SyntheticRun {
    requests: usize,
}

impl Records for SyntheticRun {
    fn count(&self) -> usize {
        self.requests
    }

    fn visit(&self, visitor: &mut dyn FnMut(&Record)) {
        let mut record = Record {
            outcome: Outcome::Ok,
            output_tokens: EVENTS as u32,
            ..Record::default()
        };
        let mut state = 1_u64;
        for index in 0..self.requests {
            record.index = index;
            let due = index as u64 * 500_000;
            record.due = Nanos(due);
            record.dequeued = Some(Nanos(due + 100));
            record.send_start = Some(Nanos(due + 5_000));
            record.send_end = Some(Nanos(due + 15_000));
            record.events.clear();
            let mut at = due + 60_000_000;
            for _ in 0..EVENTS {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                at += 8_000_000 + (state >> 42);
                let mut event = Event::new(
                    Nanos(at),
                    Nanos(20_000 + (state >> 48)),
                    EventKind::Text,
                    false,
                    true,
                );
                event.tokens = 1;
                record.events.push(event);
            }
            record.end = Some(Nanos(at));
            visitor(&record);
        }
    }
}

fn run() -> SyntheticRun {
    let requests = std::env::var("INFEROMETER_BENCH_REQUESTS")
        .ok()
        .and_then(|text| text.parse().ok());
    SyntheticRun {
        requests: requests.unwrap_or(20_000),
    }
}

fn settings() -> MetricSettings {
    MetricSettings {
        finite_rate: true,
        ..MetricSettings::default()
    }
}

/// The cost of generating the events, which is part of the other two.
#[divan::bench(sample_count = 3)]
fn three_visits_alone(bencher: divan::Bencher<'_, '_>) {
    let run = run();
    bencher.bench_local(|| {
        let mut total = 0;
        for _ in 0..3 {
            run.visit(&mut |record| total += record.events.len());
        }
        total
    });
}

#[divan::bench(sample_count = 3)]
fn summary(bencher: divan::Bencher<'_, '_>) {
    let run = run();
    bencher.bench_local(|| summarise(&run, &settings()));
}

#[divan::bench(sample_count = 3)]
fn summary_and_extras(bencher: divan::Bencher<'_, '_>) {
    let run = run();
    bencher.bench_local(|| analyse(&run, &settings()));
}
