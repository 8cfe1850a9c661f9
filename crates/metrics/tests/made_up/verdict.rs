//! Each finding is provoked by itself, and clean runs have none.

use inferometer_core::{ClientHealth, Event, Level, Nanos, Outcome, Record, Throttling, Verdict};
use inferometer_metrics::{MetricSettings, RULES, Rule, VerdictSettings, analyse, judge};

use crate::support::{MS, clean_run, healthy, open_loop, verdict_settings};

/// A run that a test may spoil in one respect.
struct Run {
    records: Vec<Record>,
    metrics: MetricSettings,
    health: ClientHealth,
    settings: VerdictSettings,
}

impl Run {
    fn clean() -> Self {
        Self::of(clean_run(1000, 20.0, 1))
    }

    fn of(records: Vec<Record>) -> Self {
        let wall = records
            .last()
            .and_then(|record| record.end)
            .unwrap_or_default();
        Self {
            records,
            metrics: open_loop(),
            health: healthy(wall),
            settings: verdict_settings(),
        }
    }

    fn verdict(&self) -> Verdict {
        let (summary, extras) = analyse(&self.records, &self.metrics);
        judge(&summary, &extras, &self.health, &self.settings)
    }

    /// Spoils a clean run and expects exactly one finding.
    fn expect(code: &str, level: Level, spoil: impl FnOnce(&mut Self)) -> String {
        let mut run = Self::clean();
        spoil(&mut run);
        let verdict = run.verdict();
        let found: Vec<_> = verdict
            .reasons
            .iter()
            .map(|reason| (reason.code.as_str(), reason.level))
            .collect();
        assert_eq!(found, [(code, level)], "{:#?}", verdict.reasons);
        assert_eq!(verdict.level, level);
        let reason = &verdict.reasons[0];
        assert_eq!(
            reason.remedy,
            Rule::find(code).map_or("", |rule| rule.remedy)
        );
        reason.message.clone()
    }

    fn each(&mut self, every: usize, change: impl FnMut(&mut Record)) {
        self.records.iter_mut().step_by(every).for_each(change);
    }
}

/// Moves everything from the send on by so many nanoseconds.
fn shift(record: &mut Record, by: i64) {
    let marks = &mut record.marks;
    let instants = [
        &mut record.send_start,
        &mut record.send_end,
        &mut record.end,
        &mut marks.first_byte,
        &mut marks.first_content,
    ];
    let events = record.events.iter_mut().map(|event| &mut event.at);
    for at in instants.into_iter().flatten().chain(events) {
        at.0 = at.0.strict_add_signed(by);
    }
}

fn postpone(record: &mut Record, by: Nanos) {
    shift(record, by.0 as i64);
}

fn fail(record: &mut Record, outcome: Outcome) {
    record.outcome = outcome;
    record.output_tokens = 0;
}

#[test]
fn two_hundred_clean_runs_have_no_finding() {
    for seed in 0..200 {
        let (n, rate) = [(100, 4.0), (300, 20.0), (500, 200.0), (700, 1000.0)][seed % 4];
        let run = Run::of(clean_run(n, rate, seed as u64));
        let verdict = run.verdict();
        assert_eq!(verdict, Verdict::default(), "seed {seed}");
    }
}

#[test]
fn late_sends() {
    Run::expect("late_sends", Level::Caution, |run| {
        run.each(50, |record| postpone(record, Nanos::from_millis(5)));
    });
    let message = Run::expect("late_sends", Level::Invalid, |run| {
        run.each(50, |record| postpone(record, Nanos::from_millis(40)));
    });
    assert!(
        message.contains("is 40.1 ms, limit 10 ms") || message.contains("is 40 ms, limit 10 ms"),
        "{message}"
    );
}

#[test]
fn client_cpu() {
    let busy = |share: f64| {
        move |run: &mut Run| {
            let wall = run.health.wall;
            run.health.workers[0].cpu =
                Nanos((wall.0 as f64 * share) as u64) + run.health.workers[0].spin;
        }
    };
    Run::expect("client_cpu", Level::Caution, busy(0.75));
    Run::expect("client_cpu", Level::Invalid, busy(0.95));
}

#[test]
fn near_ceiling() {
    Run::expect("near_ceiling", Level::Caution, |run| {
        run.settings.ceiling_used = Some(0.6);
    });
    let mut run = Run::clean();
    run.settings.ceiling_used = Some(0.4);
    assert_eq!(run.verdict(), Verdict::default());
}

#[test]
fn worker_stall() {
    Run::expect("worker_stall", Level::Caution, |run| {
        run.health.workers[0].largest_stall = Nanos::from_millis(50);
    });
    Run::expect("worker_stall", Level::Invalid, |run| {
        run.health.workers[0].largest_stall = Nanos::from_millis(900);
    });
}

#[test]
fn stall_in_stamps() {
    let mut run = Run::clean();
    run.health.kernel_stamps = false;
    run.health.workers[0].largest_stall = Nanos::from_millis(19);
    assert_eq!(run.verdict(), Verdict::default());
    run.health.workers[0].largest_stall = Nanos::from_millis(25);
    let codes: Vec<_> = run
        .verdict()
        .reasons
        .into_iter()
        .map(|reason| reason.code)
        .collect();
    assert_eq!(codes, ["stall_in_stamps", "worker_stall"]);
}

fn lag(ms: u64) -> impl FnOnce(&mut Run) {
    move |run| {
        run.each(10, |record| {
            for event in &mut record.events {
                event.lag_ns = (ms * MS) as u32;
            }
        });
    }
}

#[test]
fn receive_lag() {
    Run::expect("receive_lag", Level::Caution, lag(5));
    Run::expect("receive_lag", Level::Invalid, lag(150));
}

#[test]
fn coalesced() {
    Run::expect("coalesced", Level::Caution, |run| {
        run.each(2, |record| {
            for pair in (0..16).step_by(2) {
                let late = record.events[pair + 1];
                record.events[pair] = Event::from_parts(
                    late.at,
                    late.lag_ns,
                    late.tokens,
                    late.kind,
                    late.flags() | 1,
                );
            }
        });
    });
}

#[test]
fn cap_binding() {
    let message = Run::expect("cap_binding", Level::Caution, |run| {
        run.metrics.cap = Some(1);
        // One request a second, so that nobody waits …
        for (second, record) in run.records.iter_mut().enumerate() {
            let due = second as u64 * 1000 * MS;
            shift(record, due as i64 - record.due.0 as i64);
            record.due = Nanos(due);
        }
        // … but every twentieth is due 50 ms before the one before it ends.
        for index in (1..1000).step_by(20) {
            let free = run.records[index - 1].end.unwrap_or_default();
            let record = &mut run.records[index];
            record.due = free.since(Nanos::from_millis(50));
            let send = record.send_start.unwrap_or_default();
            shift(record, free.0 as i64 + 20_000 - send.0 as i64);
        }
        run.health = healthy(Nanos::from_millis(1_000_000));
    });
    assert!(message.contains("is 5 %"), "{message}");
}

#[test]
fn offered_rate() {
    Run::expect("offered_rate", Level::Caution, |run| {
        postpone(&mut run.records[999], Nanos::from_millis(1_500));
    });
    let message = Run::expect("offered_rate", Level::Invalid, |run| {
        postpone(&mut run.records[999], Nanos::from_millis(9_000));
    });
    assert!(message.contains("/s offered"), "{message}");
}

#[test]
fn too_few_samples() {
    let message = Run::expect("too_few_samples", Level::Caution, |run| {
        run.records.truncate(600);
        run.metrics.percentiles = vec![50.0, 99.0];
        run.settings.explicit_percentiles = true;
    });
    assert!(
        message.contains("p99 needs 662 good answers and has 600"),
        "{message}"
    );
    // The default percentile is only remarked upon.
    let run = Run::of(clean_run(100, 4.0, 3));
    assert_eq!(run.verdict(), Verdict::default());
    let (_, extras) = analyse(&run.records, &run.metrics);
    assert_eq!(extras.notes[0].code, "few_samples");
}

#[test]
fn failures() {
    Run::expect("failures", Level::Caution, |run| {
        fail(&mut run.records[17], Outcome::HttpError);
    });
    let message = Run::expect("failures", Level::Invalid, |run| {
        run.each(10, |r| fail(r, Outcome::ConnectError));
    });
    assert!(message.contains("100 of 1000"), "{message}");
    Run::expect("failures", Level::Invalid, |run| {
        run.each(1, |r| fail(r, Outcome::Timeout));
    });
}

#[test]
fn cancelled_on_purpose_is_no_finding() {
    let mut run = Run::clean();
    run.each(4, |record| fail(record, Outcome::Cancelled));
    assert_eq!(run.verdict(), Verdict::default());
}

#[test]
fn truncated() {
    Run::expect("truncated", Level::Caution, |run| {
        fail(&mut run.records[17], Outcome::Truncated);
    });
    Run::expect("truncated", Level::Invalid, |run| {
        run.each(10, |record| fail(record, Outcome::Truncated));
    });
}

#[test]
fn output_length() {
    Run::expect("output_length", Level::Caution, |run| {
        run.each(1, |r| r.asked_output_tokens = Some(20));
    });
    Run::expect("output_length", Level::Caution, |run| {
        run.settings.ignore_eos = false;
        run.each(1, |record| record.asked_output_tokens = Some(12));
    });
}

#[test]
fn natural_end() {
    Run::expect("natural_end", Level::Caution, |run| {
        run.settings.ignore_eos = false;
        run.each(1, |record| record.asked_output_tokens = Some(64));
    });
    let mut run = Run::clean();
    run.settings.ignore_eos = false;
    run.each(1, |record| record.asked_output_tokens = Some(25));
    assert_eq!(run.verdict(), Verdict::default());
}

#[test]
fn usage_disagreement() {
    Run::expect("usage_disagreement", Level::Caution, |run| {
        run.each(1, |r| r.tokenizer_output_tokens = Some(18));
    });
    // One count that cannot be true is enough, also where nothing else was counted.
    let message = Run::expect("usage_disagreement", Level::Caution, |run| {
        let record = &mut run.records[7];
        record.usage.completion_tokens = Some(4_000_000_000);
        record.bytes_received = 2_500;
        record.tokenizer_output_tokens = None;
    });
    assert!(
        message.contains("1 answers tell more output tokens than they have bytes"),
        "{message}"
    );
}

#[test]
fn clock_step() {
    let step = |micros: u64| {
        move |run: &mut Run| {
            run.health.clock_steps = 1;
            run.health.largest_clock_step = Nanos::from_micros(micros);
        }
    };
    Run::expect("clock_step", Level::Caution, step(500));
    Run::expect("clock_step", Level::Invalid, step(50_000));
}

#[test]
fn throttled() {
    let lost = |share: f64| {
        move |run: &mut Run| {
            let time = Nanos((run.health.wall.0 as f64 * share) as u64);
            run.health.cgroup_throttled = Some(Throttling { periods: 3, time });
        }
    };
    Run::expect("throttled", Level::Caution, lost(0.01));
    Run::expect("throttled", Level::Invalid, lost(0.2));
}

#[test]
fn backlog_growing() {
    // A server that completes 18 of 20 requests a second: each answer comes later than the one
    // before.
    let slower = |run: &mut Run| {
        let mut index = 0;
        run.each(1, |record| {
            let behind = Nanos(index * 6 * MS);
            index += 1;
            for event in &mut record.events {
                event.at += behind;
            }
            record.end = record.end.map(|at| at + behind);
        });
    };
    let message = Run::expect("backlog_growing", Level::Caution, slower);
    assert!(message.contains('→'), "{message}");
    let mut ramp = Run::clean();
    slower(&mut ramp);
    ramp.settings.ramp = true;
    assert_eq!(ramp.verdict(), Verdict::default());
}

#[test]
fn identical_prompts() {
    Run::expect("identical_prompts", Level::Caution, |run| {
        run.settings.duplicate_prompts = Some(1.0);
    });
    let mut meant = Run::clean();
    meant.settings.duplicate_prompts = Some(1.0);
    meant.settings.cache_expected = true;
    assert_eq!(meant.verdict(), Verdict::default());
}

#[test]
fn cache_hits() {
    Run::expect("cache_hits", Level::Caution, |run| {
        run.each(1, |record| record.usage.cached_tokens = Some(64));
    });
}

#[test]
fn partial_run() {
    let cut = |n: usize| {
        move |run: &mut Run| {
            run.settings.interrupted = true;
            for record in run.records.iter_mut().rev().take(n) {
                *record = Record {
                    index: record.index,
                    due: record.due,
                    ..Record::default()
                };
            }
        }
    };
    Run::expect("partial_run", Level::Caution, cut(0));
    Run::expect("partial_run", Level::Caution, cut(20));
    let message = Run::expect("partial_run", Level::Invalid, cut(300));
    assert!(message.contains("300 of 1000"), "{message}");
}

/// The tests above have one function for each rule, named after its code.
#[test]
fn every_rule_has_a_test() {
    let source = include_str!("verdict.rs");
    for rule in &RULES {
        assert!(
            source.contains(&format!("\nfn {}() {{", rule.code)),
            "no test for {}",
            rule.code
        );
    }
}

/// With `INFEROMETER_BLESS` set the table is written instead of compared.
#[test]
fn the_documentation_has_the_table_as_it_is() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/verdict.md");
    let text = std::fs::read_to_string(path).unwrap();
    let start = text.find("| code |").expect("a table of the rules");
    let end = text[start..]
        .find("\n\n")
        .map_or(text.len(), |length| start + length + 1);
    if std::env::var_os("INFEROMETER_BLESS").is_some() {
        std::fs::write(
            path,
            [&text[..start], &Rule::table(), &text[end..]].concat(),
        )
        .unwrap();
    } else {
        assert_eq!(
            &text[start..end],
            Rule::table(),
            "set INFEROMETER_BLESS=1 and run this test to renew the table"
        );
    }
}
