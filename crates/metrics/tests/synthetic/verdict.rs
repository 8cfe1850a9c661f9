//! Each rule is provoked by itself at each of its levels, and clean runs have no finding.

use inferometer_core::Level::{Caution, Invalid};
use inferometer_core::{ClientHealth, Event, Level, Nanos, Outcome, Record, Throttling, Verdict};
use inferometer_metrics::{
    Analysis, Limit, MetricSettings, RULES, Rule, VerdictSettings, analyse, judge,
};

use crate::support::{MS, clean_run, healthy, open_loop, verdict_settings};

/// A run that a test may perturb in one respect.
pub(crate) struct Run {
    pub(crate) records: Vec<Record>,
    pub(crate) metrics: MetricSettings,
    pub(crate) health: ClientHealth,
    pub(crate) settings: VerdictSettings,
}

impl Run {
    pub(crate) fn clean() -> Self {
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

    pub(crate) fn verdict(&self) -> Verdict {
        let Analysis {
            summary, extras, ..
        } = analyse(&self.records, &self.metrics);
        judge(&summary, &extras, &self.health, &self.settings)
    }

    pub(crate) fn each(&mut self, every: usize, change: impl FnMut(&mut Record)) {
        self.records.iter_mut().step_by(every).for_each(change);
    }
}

/// Moves everything from the send on by this many nanoseconds.
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

pub(crate) fn fail(record: &mut Record, outcome: Outcome) {
    record.outcome = outcome;
    record.output_tokens = 0;
}

#[test]
fn two_hundred_clean_runs_have_no_findings() {
    for seed in 0..200 {
        let (n, rate) = [(100, 4.0), (300, 20.0), (500, 200.0), (700, 1000.0)][seed % 4];
        let run = Run::of(clean_run(n, rate, seed as u64));
        let verdict = run.verdict();
        assert_eq!(verdict, Verdict::default(), "seed {seed}");
    }
}

/// One perturbation of a clean run, and the only finding that it must lead to.
pub(crate) struct Case {
    code: &'static str,
    level: Level,
    pub(crate) perturb: fn(&mut Run),
    /// A part of the message.
    message: &'static str,
    /// Another finding that the perturbation cannot avoid.
    besides: Option<&'static str>,
}

const fn case(code: &'static str, level: Level, perturb: fn(&mut Run)) -> Case {
    Case {
        code,
        level,
        perturb,
        message: "",
        besides: None,
    }
}

impl Case {
    const fn says(self, message: &'static str) -> Self {
        Self { message, ..self }
    }

    const fn besides(self, code: &'static str) -> Self {
        Self {
            besides: Some(code),
            ..self
        }
    }
}

pub(crate) const CASES: &[Case] = &[
    case("late_sends", Caution, |run| {
        run.each(50, |record| postpone(record, Nanos::from_millis(5)));
    }),
    case("late_sends", Invalid, |run| {
        run.each(50, |record| postpone(record, Nanos::from_millis(40)));
    })
    .says("ms (send time minus the later of due time and slot release), limit 10 ms"),
    case("client_cpu", Caution, |run| busy(run, 0.75)),
    case("client_cpu", Invalid, |run| busy(run, 0.95)),
    case("near_ceiling", Caution, |run| {
        run.settings.ceiling_used = Some(0.6);
    })
    .says("is 60 % (as measured by a self-test), limit 50 %"),
    case("worker_stall", Caution, |run| stall(run, 50)),
    case("worker_stall", Invalid, |run| stall(run, 900)),
    case("stall_in_stamps", Invalid, |run| {
        run.health.kernel_stamps = false;
        stall(run, 25);
    })
    .besides("worker_stall"),
    case("receive_lag", Caution, |run| lag(run, 5)),
    case("receive_lag", Invalid, |run| lag(run, 150)),
    case("coalesced", Caution, |run| run.each(2, coalesce)),
    case("cap_binding", Caution, one_slot).says("is 5 %"),
    case("offered_rate", Caution, |run| {
        postpone(&mut run.records[999], Nanos::from_millis(1_500));
    }),
    case("offered_rate", Invalid, |run| {
        postpone(&mut run.records[999], Nanos::from_millis(9_000));
    })
    .says("/s offered"),
    case("too_few_samples", Caution, |run| {
        run.records.truncate(600);
        run.metrics.percentiles = vec![50.0, 99.0];
        run.settings.explicit_percentiles = true;
    })
    .says("p99 needs 662 successful requests and has 600"),
    case("failures", Caution, |run| {
        fail(&mut run.records[17], Outcome::HttpError);
    }),
    case("failures", Invalid, |run| {
        run.each(10, |record| fail(record, Outcome::ConnectError));
    })
    .says("100 of 1000"),
    case("failures", Invalid, |run| {
        run.each(1, |record| fail(record, Outcome::Timeout));
    }),
    case("truncated", Caution, |run| {
        fail(&mut run.records[17], Outcome::Truncated);
    }),
    case("truncated", Invalid, |run| {
        run.each(10, |record| fail(record, Outcome::Truncated));
    }),
    case("output_length", Caution, |run| ask(run, true, 20)),
    case("output_length", Caution, |run| ask(run, false, 12)),
    case("natural_end", Caution, |run| ask(run, false, 64)),
    case("usage_disagreement", Caution, |run| {
        run.each(1, |record| record.tokenizer_output_tokens = Some(18));
    }),
    // The tokenizer agrees with the server on the prompts, and with the events on the answers: the
    // server's count is wrong.
    case("usage_disagreement", Caution, |run| {
        count_prompts(run, 400, 400);
        run.each(1, |record| record.usage.completion_tokens = Some(20));
    }),
    // One impossible count is enough, also where nothing else was counted.
    case("usage_impossible", Caution, |run| {
        let record = &mut run.records[7];
        record.usage.completion_tokens = Some(4_000_000_000);
        record.bytes_received = 2_500;
        record.tokenizer_output_tokens = None;
    })
    .says("0.1 % (1 of 1000; a negative or far too large number: 1)"),
    case("usage_impossible", Caution, |run| {
        run.records[7].usage.prompt_tokens = Some(0);
        run.records[8].usage.cached_tokens = Some(101);
        run.records[9].usage.cached_tokens = Some(101);
    })
    .says("0.3 % (3 of 1000; no prompt tokens: 1, more cached than prompt tokens: 2)"),
    case("unknown_ending", Caution, |run| {
        run.each(500, |record| record.finish_reason = Some("halt".into()));
    })
    .says("0.2 % (\"halt\": 2)"),
    case("clock_step", Caution, |run| step(run, 500)),
    case("clock_step", Invalid, |run| step(run, 50_000)),
    case("throttled", Caution, |run| throttle(run, 0.01)),
    case("throttled", Invalid, |run| throttle(run, 0.2)),
    case("backlog_growing", Caution, overload).says("→"),
    case("identical_prompts", Caution, |run| {
        run.settings.duplicate_prompts = Some(1.0);
    }),
    case("cache_hits", Caution, |run| {
        run.each(1, |record| record.usage.cached_tokens = Some(64));
    }),
    case("cache_hits", Caution, |run| {
        run.each(1, |record| record.usage.cached_tokens = Some(64));
        run.settings.predicted_cached = 0.5;
    })
    .says("64.0 % cached, 50.0 % predicted"),
    case("cache_hits", Caution, |run| {
        run.settings.counted_cached = Some(0.939);
    }),
    case("partial_run", Caution, |run| cut(run, 20))
        .says("(of 1000 requests, 0 were in flight and 20 not sent)"),
    case("partial_run", Caution, |run| {
        cut(run, 20);
        for record in &mut run.records[970..980] {
            record.outcome = Outcome::Unfinished;
        }
    })
    .says("10 were in flight and 20 not sent"),
    case("partial_run", Invalid, |run| cut(run, 300)).says("300 not sent"),
    case("one_piece_answers", Caution, |run| {
        run.each(12, |record| {
            record.events.drain(..15);
            record.events[0].tokens = 16;
        });
    })
    .says("(84 of 1000)"),
    case("one_piece_answers", Caution, |run| {
        run.each(1, |record| {
            let at = record.events[15].at;
            record.events.iter_mut().for_each(|event| event.at = at);
        });
    }),
    case("input_length", Caution, |run| count_prompts(run, 400, 20)),
    case("input_length", Caution, |run| count_prompts(run, 400, 480)),
    case("input_length", Caution, |run| count_prompts(run, 400, 232))
        .says("232.0 tokens on average instead of 400.0"),
    case("unequal_targets", Caution, |run| slow_target(run, 80)).says("median TTFT"),
    case("unequal_targets", Caution, |run| {
        slow_target(run, 400);
        run.records.truncate(12);
    }),
];

pub(crate) fn busy(run: &mut Run, fraction: f64) {
    let wall = run.health.wall;
    let worker = &mut run.health.workers[0];
    worker.cpu = Nanos((wall.0 as f64 * fraction) as u64) + worker.spin;
}

fn stall(run: &mut Run, ms: u64) {
    run.health.workers[0].largest_stall = Nanos::from_millis(ms);
}

fn lag(run: &mut Run, ms: u64) {
    run.each(10, |record| {
        for event in &mut record.events {
            event.lag_ns = (ms * MS) as u32;
        }
    });
}

fn coalesce(record: &mut Record) {
    for pair in (0..16).step_by(2) {
        let late = record.events[pair + 1];
        let flags = late.flags() | 1;
        record.events[pair] =
            Event::from_parts(late.at, late.lag_ns, late.tokens, late.kind, flags);
    }
}

/// One slot, for which every twentieth request has to wait 50 ms.
fn one_slot(run: &mut Run) {
    run.metrics.cap = Some(1);
    // One request per second, so that none waits …
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
}

fn ask(run: &mut Run, ignore_eos: bool, tokens: u32) {
    run.settings.ignore_eos = ignore_eos;
    run.each(1, |record| record.asked_output_tokens = Some(tokens));
}

/// Prompts of `client` tokens that the server counts as `server`.
pub(crate) fn count_prompts(run: &mut Run, client: u32, server: u32) {
    run.metrics.prompt_tolerance = Some(8);
    run.each(1, |record| {
        record.prompt_tokens = client;
        record.usage.prompt_tokens = Some(server);
    });
}

/// Two targets, one of which is slower by `ms` milliseconds.
fn slow_target(run: &mut Run, ms: u64) {
    let mut target = 0;
    run.each(1, |record| {
        record.target = target;
        target = 1 - target;
        if record.target == 1 {
            let later = Nanos::from_millis(ms);
            record.events.iter_mut().for_each(|event| event.at += later);
            record.end = record.end.map(|at| at + later);
        }
    });
}

fn step(run: &mut Run, micros: u64) {
    run.health.clock_steps = 1;
    run.health.largest_clock_step = Nanos::from_micros(micros);
}

fn throttle(run: &mut Run, fraction: f64) {
    let time = Nanos((run.health.wall.0 as f64 * fraction) as u64);
    run.health.cgroup_throttled = Some(Throttling { periods: 3, time });
}

/// A server that completes 18 of 20 requests per second: each answer is later than the one before.
fn overload(run: &mut Run) {
    let mut index = 0;
    run.each(1, |record| {
        let behind = Nanos(index * 6 * MS);
        index += 1;
        for event in &mut record.events {
            event.at += behind;
        }
        record.end = record.end.map(|at| at + behind);
    });
}

/// Stops the run before its last `n` requests are sent.
pub(crate) fn cut(run: &mut Run, n: usize) {
    run.settings.interrupted = true;
    for record in run.records.iter_mut().rev().take(n) {
        *record = Record {
            index: record.index,
            due: record.due,
            ..Record::default()
        };
    }
}

#[test]
fn each_perturbation_leads_to_its_finding_alone() {
    for case in CASES {
        let mut run = Run::clean();
        (case.perturb)(&mut run);
        let verdict = run.verdict();
        let name = format!("{} {}: {:#?}", case.level, case.code, verdict.reasons);
        let (expected, besides): (Vec<_>, Vec<_>) = verdict
            .reasons
            .iter()
            .partition(|reason| reason.code == case.code);
        let [reason] = expected[..] else {
            panic!("{name}");
        };
        assert_eq!(
            (reason.level, verdict.level),
            (case.level, case.level),
            "{name}"
        );
        let besides: Vec<&str> = besides.iter().map(|reason| reason.code.as_str()).collect();
        assert_eq!(besides, Vec::from_iter(case.besides), "{name}");
        let remedy = Rule::find(case.code).map(|rule| rule.en.remedy);
        assert_eq!(Some(reason.remedy.as_str()), remedy, "{name}");
        assert!(reason.message.contains(case.message), "{name}");
    }
}

#[test]
fn each_level_of_each_rule_has_a_case() {
    for rule in RULES {
        for (level, limit) in [(Caution, rule.caution), (Invalid, rule.invalid)] {
            let covered = CASES
                .iter()
                .any(|case| case.code == rule.code && case.level == level);
            assert_eq!(covered, limit != Limit::Never, "{level} {}", rule.code);
        }
    }
}

/// What is near a limit, or on purpose, is no finding.
const HARMLESS: &[Harmless] = &[
    harmless("a ceiling that is far", |run| {
        run.settings.ceiling_used = Some(0.4);
    }),
    harmless("a short stall in the stamps", |run| {
        run.health.kernel_stamps = false;
        stall(run, 19);
    }),
    harmless("requests cancelled on purpose", |run| {
        run.each(4, |record| fail(record, Outcome::Cancelled));
    }),
    harmless("answers that end a little early", |run| ask(run, false, 25)),
    harmless("a backlog under a ramp", |run| {
        overload(run);
        run.settings.ramp = true;
    }),
    harmless("prompts that repeat on purpose", |run| {
        run.settings.duplicate_prompts = Some(1.0);
        run.settings.cache_expected = true;
    }),
    harmless("cache hits that are expected", |run| {
        run.each(1, |record| record.usage.cached_tokens = Some(64));
        run.settings.cache_expected = true;
    }),
    harmless("cache hits that the workload predicts", |run| {
        run.each(1, |record| record.usage.cached_tokens = Some(64));
        run.settings.predicted_cached = 0.62;
    }),
    harmless("an interrupted run whose requests had all ended", |run| {
        cut(run, 0);
    }),
    harmless(
        "turns that were not sent because their conversation failed",
        |run| {
            cut(run, 20);
            run.settings.interrupted = false;
        },
    ),
    harmless(
        "ten requests due at once, and a few within milliseconds",
        |run| {
            run.records.truncate(10);
            for (index, record) in run.records.iter_mut().enumerate() {
                let due = index as u64 / 9 * 2 * MS;
                shift(record, due as i64 - record.due.0 as i64);
                record.due = Nanos(due);
            }
            postpone(&mut run.records[9], Nanos::from_micros(400));
        },
    ),
    harmless("prompts with the tokens of a template", |run| {
        count_prompts(run, 400, 408);
    }),
    harmless("prompts that differ by a few percent", |run| {
        count_prompts(run, 400, 440);
    }),
    harmless(
        "text that does not encode into the tokens it came from",
        |run| {
            count_prompts(run, 400, 401);
            run.each(1, |record| record.tokenizer_output_tokens = Some(24));
        },
    ),
    harmless("targets that are nearly equal", |run| slow_target(run, 1)),
];

struct Harmless {
    name: &'static str,
    perturb: fn(&mut Run),
}

const fn harmless(name: &'static str, perturb: fn(&mut Run)) -> Harmless {
    Harmless { name, perturb }
}

#[test]
fn harmless_perturbations_have_no_findings() {
    for Harmless { name, perturb } in HARMLESS {
        let mut run = Run::clean();
        perturb(&mut run);
        assert_eq!(run.verdict(), Verdict::default(), "{name}");
    }
}

#[test]
fn too_few_samples_for_the_default_percentile_are_only_noted() {
    let run = Run::of(clean_run(100, 4.0, 3));
    assert_eq!(run.verdict(), Verdict::default());
    let Analysis { extras, .. } = analyse(&run.records, &run.metrics);
    assert_eq!(extras.notes[0].code, "few_samples");
}

/// With `INFEROMETER_BLESS` set, the table is written instead of compared.
#[test]
fn the_documentation_has_the_current_table() {
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
