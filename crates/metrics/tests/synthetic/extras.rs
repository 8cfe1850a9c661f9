//! The extras of runs whose answers are known.

use inferometer_core::{Choices, Event, EventKind, Nanos, Outcome, Record};
use inferometer_metrics::traffic::{Traffic, TrafficSettings};
use inferometer_metrics::{
    Analysis, Extras, Kind, Metric, MetricSettings, Slo, Spread, analyse, extras, summarise,
};

use crate::support::{MS, clean_run, open_loop};

fn ms(ms: u64) -> Nanos {
    Nanos::from_millis(ms)
}

/// A request that is sent at `send`, with its first event `ttft` later and then one per `gap` (all in
/// milliseconds).
fn answer(index: usize, due: u64, send: u64, ttft: u64, gap: u64, tokens: &[u16]) -> Record {
    let stamps = (0..tokens.len() as u64).map(|i| send + ttft + i * gap);
    let events: Vec<Event> = stamps
        .zip(tokens)
        .map(|(at, &tokens)| {
            let mut event = Event::new(ms(at), ms(0), EventKind::Text, false, true);
            event.tokens = tokens;
            event
        })
        .collect();
    Record {
        index,
        due: ms(due),
        dequeued: Some(ms(send)),
        send_start: Some(ms(send)),
        send_end: Some(ms(send)),
        end: events.last().map(|event| event.at),
        events,
        outcome: Outcome::Ok,
        output_tokens: tokens.iter().map(|&n| u32::from(n)).sum(),
        ..Record::default()
    }
}

fn mean(spread: Option<Spread>) -> f64 {
    spread.map_or(f64::NAN, |spread| spread.mean)
}

#[test]
fn a_capped_run_shows_the_wait_in_response_latency_only() {
    // 10 requests a second at a server that takes 500 ms and serves one at a time.
    let records: Vec<Record> = (0..20)
        .map(|i| answer(i as usize, i * 100, i * 500, 500, 0, &[1]))
        .collect();
    let settings = MetricSettings {
        cap: Some(1),
        ..open_loop()
    };
    let extras = extras(&records, &settings);
    assert_eq!(mean(extras.service.e2el_ms), 500.0);
    // The i-th request waits i × 400 ms.
    let response = extras.response.unwrap();
    assert_eq!(mean(response.e2el_ms), 500.0 + 400.0 * 9.5);
    assert_eq!(response.ttft_ms.unwrap().max, 500.0 + 400.0 * 19.0);
    assert_eq!(extras.arrival.cap_bound_share, Some(0.95));
    assert_eq!(extras.arrival.own_lateness_ms.unwrap().max, 0.0);
    assert_eq!(extras.arrival.lateness_ms.unwrap().max, 7600.0);
    assert_eq!((extras.concurrency.max, extras.concurrency.mean), (1, 1.0));
}

#[test]
fn a_closed_loop_has_no_response_latency() {
    let records: Vec<Record> = (0..6)
        .map(|i| answer(i as usize, 0, i * 502, 500, 0, &[1]))
        .collect();
    let settings = MetricSettings {
        cap: Some(1),
        ..MetricSettings::default()
    };
    let extras = extras(&records, &settings);
    assert!(extras.response.is_none() && extras.arrival.lateness_ms.is_none());
    // The client takes 2 ms from one answer to the next request; the first request does not count.
    let own = extras.arrival.own_lateness_ms.unwrap();
    assert_eq!((own.samples, own.p50, own.max), (5, 2.0, 2.0));
    assert!(extras.notes.iter().any(|note| note.code == "closed_loop"));
}

#[test]
fn events_and_tokens_are_kept_apart() {
    let records = vec![
        answer(0, 0, 0, 50, 30, &[1, 3, 3]),
        answer(1, 0, 0, 50, 10, &[1, 1]),
    ];
    let extras = extras(&records, &open_loop());
    let gaps = &extras.gaps;
    assert_eq!(mean(gaps.per_event_ms), (30.0 + 30.0 + 10.0) / 3.0);
    let per_token = gaps.per_token_ms.unwrap();
    assert_eq!(
        (per_token.samples, per_token.mean, per_token.max),
        (7, 10.0, 10.0)
    );
    assert_eq!(
        gaps.tokens_per_event
            .iter()
            .map(|(&k, &v)| (k, v))
            .collect::<Vec<_>>(),
        [(1, 3), (3, 2)]
    );
    assert_eq!(gaps.mean_tokens_per_event, Some(9.0 / 5.0));
    // Nine tokens in 110 ms: in a run below a second the rate over the run is the peak.
    assert_eq!(extras.peak_output_tokens_per_s, 9.0 / 0.11);
}

#[test]
fn choices_side_by_side_do_not_make_tokens_faster() {
    // Four choices with a token every 40 ms each: 20 events, of which four come together.
    let mut record = answer(0, 0, 0, 50, 0, &[1; 20]);
    for (number, event) in record.events.iter_mut().enumerate() {
        event.at = Nanos((50 + number as u64 / 4 * 40) * MS);
    }
    record.choices = Some(Choices {
        count: 4,
        span: Nanos(4 * 160 * MS),
    });
    let records = vec![record];
    let tpot = |settings: &MetricSettings| {
        let Analysis {
            summary, extras, ..
        } = analyse(&records, settings);
        let codes: Vec<String> = extras.notes.into_iter().map(|note| note.code).collect();
        let stats = summary
            .stats
            .into_iter()
            .find(|stats| stats.metric == Metric::Tpot);
        (
            stats.unwrap().mean_ms,
            codes.contains(&"several_choices".to_owned()),
        )
    };
    assert_eq!(tpot(&open_loop()), (40.0, true));
    // vLLM: 160 ms over 19 tokens.
    let whole = MetricSettings {
        as_vllm: true,
        ..open_loop()
    };
    let (vllm, _) = tpot(&whole);
    assert!((vllm - 160.0 / 19.0).abs() < 1e-9, "{vllm}");
    // The requested length is that of each.
    let mut asked = records.clone();
    asked[0].asked_output_tokens = Some(5);
    let lengths = extras(&asked, &open_loop()).output_lengths.unwrap();
    assert_eq!((lengths.exact, lengths.ratio), (1, 1.0));
}

#[test]
fn unseparated_events_are_noted() {
    let mut records = clean_run(3, 20.0, 5);
    records[1].unseparated_events = 7;
    let extras = extras(&records, &open_loop());
    let note = extras
        .notes
        .iter()
        .find(|note| note.code == "nonconforming_sse");
    assert!(note.unwrap().message.contains("after each: 7;"));
}

#[test]
fn failures_are_misses_in_the_goodput() {
    let mut records = clean_run(100, 20.0, 5);
    for record in records.iter_mut().take(10) {
        record.outcome = Outcome::HttpError;
    }
    records[10].outcome = Outcome::Cancelled;
    records[11].outcome = Outcome::Unfinished;
    let settings = MetricSettings {
        goodput: vec![(Slo::Ttft, 1000.0), (Slo::E2el, 5000.0)],
        ..open_loop()
    };
    let Analysis {
        summary, extras, ..
    } = analyse(&records, &settings);
    let goodput = extras.goodput.unwrap();
    assert_eq!((goodput.counted, goodput.good), (98, 88));
    assert_eq!(goodput.attainment, 88.0 / 98.0);
    assert_eq!(goodput.response_attainment, Some(88.0 / 98.0));
    assert_eq!(summary.request_goodput, Some(goodput.per_s));
    assert_eq!(extras.outcomes.total(), extras.issued);
    assert_eq!(extras.issued, 100);
}

#[test]
fn the_part_of_the_client_is_bounded_by_its_own_time() {
    let mut records = clean_run(500, 50.0, 8);
    let share = |extras: &Extras, metric: &str| {
        extras
            .client_share
            .iter()
            .find(|share| share.metric == metric)
            .unwrap()
            .bound_ms
    };
    let clean = extras(&records, &open_loop());
    // Writing the request took 15 µs, and the client was up to 60 µs late.
    assert!((share(&clean, "ttft").unwrap() - 0.015).abs() < 1e-9);
    assert_eq!(share(&clean, "itl"), Some(0.0));
    let response = share(&clean, "response_ttft").unwrap();
    assert!((0.06..0.075).contains(&response), "{response}");
    // First events that share a read with the second may have come up to 1 ms earlier.
    for record in records.iter_mut().step_by(10) {
        let second = record.events[1];
        let flags = second.flags() | 1;
        record.marks.first_byte = Some(Nanos(second.at.0 - MS));
        record.events[0] = Event::from_parts(second.at, second.lag_ns, 1, second.kind, flags);
    }
    let coalesced = extras(&records, &open_loop());
    assert!((share(&coalesced, "ttft").unwrap() - 1.015).abs() < 1e-9);
    // Stamps by the process itself give no bound.
    for event in records.iter_mut().flat_map(|record| &mut record.events) {
        *event = Event::from_parts(event.at, event.lag_ns, event.tokens, event.kind, 0);
    }
    let unstamped = extras(&records, &open_loop());
    assert_eq!(
        (share(&unstamped, "ttft"), share(&unstamped, "e2el")),
        (None, None)
    );
    assert!(
        unstamped
            .notes
            .iter()
            .any(|note| note.code == "user_space_stamps")
    );
}

#[test]
fn several_targets_have_a_row_each() {
    let mut records = vec![
        answer(0, 0, 0, 50, 10, &[1, 1]),
        answer(1, 0, 0, 90, 10, &[1]),
        answer(2, 0, 0, 70, 10, &[1]),
    ];
    assert!(extras(&records, &open_loop()).targets.is_empty());
    records[1].target = 1;
    let targets = extras(&records, &open_loop()).targets;
    let rows: Vec<_> = targets
        .iter()
        .map(|row| (row.target, row.requests, row.output_tokens))
        .collect();
    assert_eq!(rows, [(0, 2, 3), (1, 1, 1)]);
    let means = targets.iter().map(|row| mean(row.service.ttft_ms).round());
    assert_eq!(means.collect::<Vec<_>>(), [60.0, 90.0]);
}

#[test]
fn the_slowest_come_first_and_reasoning_is_apart_from_the_answer() {
    let mut records: Vec<Record> = (0..30)
        .map(|i| answer(i as usize, 0, 0, 10 + i * 7 % 30, 1, &[1]))
        .collect();
    records[4].marks.first_reasoning = Some(ms(5));
    records[4].marks.first_answer = Some(ms(25));
    let extras = extras(&records, &open_loop());
    assert_eq!(extras.slowest.len(), 10);
    assert!(
        extras
            .slowest
            .windows(2)
            .all(|pair| pair[0].e2el_ms >= pair[1].e2el_ms)
    );
    assert_eq!(extras.slowest[0].e2el_ms, 39.0);
    let reasoning = extras.reasoning.unwrap();
    assert_eq!(reasoning.requests, 1);
    assert_eq!(
        (
            mean(reasoning.first_reasoning_ms),
            mean(reasoning.first_answer_ms)
        ),
        (5.0, 25.0)
    );
}

#[test]
fn extras_survive_json_and_an_empty_run_works() {
    let records = clean_run(50, 20.0, 2);
    let settings = MetricSettings {
        goodput: vec![(Slo::Ttft, 60.0)],
        cap: Some(8),
        ..open_loop()
    };
    let before = extras(&records, &settings);
    let text = serde_json::to_string(&before).unwrap();
    assert!(text.contains(r#""p99.9":"#));
    assert_eq!(serde_json::from_str::<Extras>(&text).unwrap(), before);
    let nothing: Vec<Record> = Vec::new();
    let Analysis {
        summary, extras, ..
    } = analyse(&nothing, &settings);
    assert_eq!(
        (
            summary.duration_s,
            summary.request_throughput,
            extras.issued
        ),
        (0.0, 0.0, 0)
    );
    assert!(serde_json::to_string(&extras).is_ok_and(|text| !text.contains("null")));
    let unsent = vec![Record {
        due: ms(5),
        ..Record::default()
    }];
    let Analysis {
        summary, extras, ..
    } = analyse(&unsent, &settings);
    assert_eq!(
        (summary.failed, summary.not_sent, extras.not_sent),
        (0, 1, 1)
    );
}

#[test]
fn pooling_measures_the_whole_answer_only() {
    let mut records = clean_run(20, 20.0, 6);
    for record in &mut records {
        record.sequences = 3;
    }
    let settings = MetricSettings {
        kind: Kind::Pooling,
        selected: Metric::ALL.to_vec(),
        ..open_loop()
    };
    let Analysis {
        summary, extras, ..
    } = analyse(&records, &settings);
    let metrics: Vec<_> = summary.stats.iter().map(|stats| stats.metric).collect();
    assert_eq!(metrics, [Metric::E2el]);
    assert_eq!(
        (
            summary.total_input_sequences,
            summary.max_concurrent_requests
        ),
        (60, 0)
    );
    assert_eq!(summary.total_token_throughput, 2000.0 / summary.duration_s);
    let whole = records
        .iter()
        .map(|r| r.end.unwrap().since(r.send_start.unwrap()).as_millis_f64())
        .sum::<f64>()
        / 20.0;
    assert!((mean(extras.service.e2el_ms) - whole).abs() < 1e-9);
    assert!(extras.gaps.per_event_ms.is_none());
}

#[test]
fn analyse_gives_what_summarise_and_extras_give() {
    let records = clean_run(200, 50.0, 4);
    let settings = MetricSettings {
        cap: Some(4),
        ..open_loop()
    };
    let Analysis {
        summary,
        extras: all,
        ..
    } = analyse(&records, &settings);
    assert_eq!(summary, summarise(&records, &settings));
    assert_eq!(all, extras(&records, &settings));
}

#[test]
fn answers_that_are_not_streamed_have_no_time_to_first_token() {
    let whole = |index: usize| Record {
        events: Vec::new(),
        end: Some(ms(500)),
        output_tokens: 9,
        ..answer(index, 0, 0, 500, 0, &[1])
    };
    let records = [whole(0), whole(1)];
    let settings = MetricSettings {
        selected: vec![Metric::Ttft, Metric::Tpot, Metric::E2el],
        ..open_loop()
    };
    let Analysis {
        summary, extras, ..
    } = analyse(&&records[..], &settings);
    let samples: Vec<usize> = summary.stats.iter().map(|stat| stat.samples).collect();
    assert_eq!(samples, [0, 0, 2]);
    assert_eq!(summary.stats[2].mean_ms, 500.0);
    assert_eq!(summary.max_output_tokens_per_s, 0.0);
    assert!(extras.service.ttft_ms.is_none());
    assert_eq!(mean(extras.service.e2el_ms), 500.0);
}

#[test]
fn an_answer_in_one_piece_has_no_time_per_token() {
    // One event of 40 tokens; ten events in one read; and an answer of one token, which needs none.
    let records = vec![
        answer(0, 0, 0, 500, 0, &[40]),
        answer(1, 0, 0, 300, 0, &[1; 10]),
        answer(2, 0, 0, 50, 0, &[1]),
    ];
    let limits = |slo, limit| MetricSettings {
        goodput: vec![(slo, limit)],
        ..open_loop()
    };
    let settings = limits(Slo::Tpot, 1.0);
    let Analysis {
        summary,
        extras: own,
        ..
    } = analyse(&records, &settings);
    let samples = |summary: &inferometer_metrics::Summary| {
        let stats = summary.stats.iter();
        stats.map(|stats| stats.samples).collect::<Vec<_>>()
    };
    assert_eq!(samples(&summary), [3, 0, 0]);
    let goodput = own.goodput.unwrap();
    assert_eq!((goodput.good, goodput.counted), (1, 3));
    assert_eq!(summary.request_goodput, Some(goodput.per_s));
    assert_eq!((own.gaps.answers, own.gaps.one_piece_answers), (2, 2));
    assert!(own.gaps.per_event_ms.is_none() && own.gaps.per_token_ms.is_none());
    assert_eq!(own.gaps.mean_tokens_per_event, Some(51.0 / 12.0));

    let as_vllm = MetricSettings {
        as_vllm: true,
        ..settings
    };
    let Analysis { summary, .. } = analyse(&records, &as_vllm);
    assert_eq!(samples(&summary), [3, 2, 9]);
    assert_eq!(summary.stats[1].mean_ms, 0.0);
    assert_eq!(summary.request_goodput, Some(3.0 / summary.duration_s));

    // The TTFT of an answer that was not streamed is unknown too.
    let whole = vec![Record {
        events: Vec::new(),
        end: Some(ms(500)),
        ..records[0].clone()
    }];
    let judged = |slo, limit| extras(&whole, &limits(slo, limit)).goodput.unwrap().good;
    assert_eq!(judged(Slo::Ttft, 100.0), 0);
    assert_eq!(judged(Slo::E2el, 600.0), 1);
}

#[test]
fn cached_tokens_count_where_the_target_reports_them() {
    let prompt = |index: usize, target, cached| {
        let mut record = answer(index, 0, 0, 50, 10, &[1, 1]);
        record.target = target;
        record.usage.prompt_tokens = Some(100);
        record.usage.cached_tokens = cached;
        record
    };
    // The first server reports what was cached and leaves out zeros; the second reports nothing.
    let mut records: Vec<Record> = (0..10).map(|index| prompt(index, 0, None)).collect();
    assert_eq!(extras(&records, &open_loop()).tokens.cached, None);
    records[3].usage.cached_tokens = Some(80);
    records.extend((10..15).map(|index| prompt(index, 1, None)));
    // Without usage nothing is known of the answer.
    let mut silent = prompt(15, 0, None);
    silent.usage.prompt_tokens = None;
    records.push(silent);
    let cached = extras(&records, &open_loop()).tokens.cached.unwrap();
    assert_eq!((cached.requests, cached.prompt_tokens), (10, 1000));
    assert_eq!((cached.cached_tokens, cached.share), (80, 0.08));

    // The rows by class follow the same rule, also where the only report is in another class.
    for record in &mut records {
        let class = if record.index < 5 { "a" } else { "b" };
        record.category = Some(class.to_owned());
    }
    let traffic = Traffic::of(&records, &TrafficSettings::default());
    let shares: Vec<_> = traffic.classes.iter().map(|row| row.cached_share).collect();
    assert_eq!(shares, [Some(80.0 / 500.0), Some(0.0)]);
}

#[test]
fn the_peak_rate_does_not_depend_on_what_the_events_report() {
    let tokens = |known: bool, failed: bool| {
        let mut records: Vec<Record> = (0..20)
            .map(|index| answer(index as usize, 0, index * 200, 100, 100, &[3; 10]))
            .collect();
        for record in &mut records {
            for event in record.events.iter_mut().filter(|_| !known) {
                event.tokens = 0;
            }
        }
        if failed {
            let mut cut = records[7].clone();
            cut.outcome = Outcome::Truncated;
            cut.output_tokens = 0;
            records.push(cut);
        }
        extras(&records, &open_loop()).peak_output_tokens_per_s
    };
    // Five answers at a time, each with 30 tokens a second.
    assert_eq!(tokens(true, false), 150.0);
    assert_eq!(tokens(false, false), 150.0);
    assert_eq!(tokens(true, true), 150.0);
    assert_eq!(tokens(false, true), 150.0);
}

#[test]
fn a_first_request_that_compiles_is_remarked_on() {
    let note = |first: u64| {
        let records: Vec<Record> = (0..10)
            .map(|index| {
                let ttft = if index == 0 { first } else { 25 };
                answer(
                    index as usize,
                    index * 30_000,
                    index * 30_000,
                    ttft,
                    10,
                    &[1, 1],
                )
            })
            .collect();
        let notes = extras(&records, &open_loop()).notes;
        notes.into_iter().find(|note| note.code == "warm_up")
    };
    let found = note(12_000).unwrap();
    assert!(
        found
            .message
            .contains("480 times the median (TTFT 12000.0 ms, median 25.0 ms)"),
        "{}",
        found.message
    );
    assert!(found.zh.contains("480"));
    assert_eq!(note(200), None);
}
