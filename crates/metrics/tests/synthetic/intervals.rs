//! Which numbers have an interval, and why others have none.

use inferometer_core::{Nanos, Outcome, Record};
use inferometer_metrics::{
    Analysis, Intervals, Metric, MetricInterval, MetricSettings, Refusal, Slo, analyse,
};

use crate::support::{MS, clean_run, open_loop};

fn of(records: &[Record], settings: &MetricSettings) -> Intervals {
    analyse(&records, settings).intervals
}

fn entry<'a>(intervals: &'a Intervals, metric: &str) -> &'a MetricInterval {
    let mut entries = intervals.metrics.iter();
    entries
        .find(|entry| entry.metric == metric)
        .expect("an entry")
}

fn refused(records: &[Record], settings: &MetricSettings, metric: &str) -> Option<Refusal> {
    entry(&of(records, settings), metric).refused
}

/// Eight slots, each of which sends again as soon as its answer has ended.
fn closed_run(n: usize) -> (Vec<Record>, MetricSettings) {
    let mut records = clean_run(n, 40.0, 5);
    let mut free = [0_u64; 8];
    for record in &mut records {
        let send = record.send_start.expect("a send");
        let slot = free.iter_mut().min().expect("a slot");
        let back = send.0;
        let moved = |at: Nanos| Nanos(at.0 - back + *slot);
        record.due = Nanos::ZERO;
        record.dequeued = Some(Nanos(*slot));
        record.send_start = Some(moved(send));
        record.send_end = record.send_end.map(moved);
        for event in &mut record.events {
            event.at = moved(event.at);
        }
        let end = record.end.map(moved);
        record.end = end;
        *slot = end.expect("an end").0;
    }
    let settings = MetricSettings {
        cap: Some(8),
        ..MetricSettings::default()
    };
    (records, settings)
}

#[test]
fn intervals_are_around_the_numbers_that_are_reported() {
    let records = clean_run(2_400, 40.0, 1);
    let settings = MetricSettings {
        goodput: vec![(Slo::Ttft, 70.0)],
        percentiles: vec![90.0, 99.0, 100.0],
        ..open_loop()
    };
    let Analysis {
        summary,
        extras,
        intervals,
    } = analyse(&records, &settings);
    let value = |metric: &str| entry(&intervals, metric).value;
    for stats in &summary.stats {
        let name = stats.metric.key();
        assert_eq!(value(&format!("mean_{name}_ms")), stats.mean_ms);
        assert_eq!(value(&format!("median_{name}_ms")), stats.median_ms);
        assert_eq!(value(&format!("p99_{name}_ms")), stats.percentiles[1].1);
    }
    assert_eq!(Some(value("request_goodput")), summary.request_goodput);
    assert_eq!(value("request_throughput"), summary.request_throughput);
    let response = extras.response.unwrap();
    assert_eq!(value("response.ttft_ms.p99"), response.ttft_ms.unwrap().p99);
    for entry in &intervals.metrics {
        let metric = &entry.metric;
        assert_eq!((entry.requests, intervals.confidence), (2_400, 0.95));
        let expected = match metric.as_str() {
            "request_throughput" | "output_throughput" => Some(Refusal::SetBySchedule),
            key if key.starts_with("p100_") => Some(Refusal::Extreme),
            _ => None,
        };
        assert_eq!(entry.refused, expected, "{metric}");
        if let Some(bounds) = entry.bounds {
            assert!(
                bounds.low < entry.value && entry.value < bounds.high,
                "{entry:?}"
            );
            assert!(
                bounds.n_eff.is_none_or(|n| n > 100.0 && n <= 2_400.0),
                "{entry:?}"
            );
        }
    }
    // Ten batches for means, five for p99, which 24 requests are beyond.
    let batches = |metric: &str| entry(&intervals, metric).bounds.unwrap().batches;
    assert_eq!((batches("mean_ttft_ms"), batches("p99_ttft_ms")), (10, 5));
    let bounds = entry(&intervals, "p99_ttft_ms").if_independent.unwrap();
    assert!(
        bounds.low < bounds.high && bounds.high < bounds.early_stopping_upper.map(|ms| ms + 1.0)
    );
    assert_eq!(entry(&intervals, "p99_itl_ms").if_independent, None);
}

#[test]
fn an_interval_needs_requests_in_proportion_to_its_percentile() {
    let few = |needed, have| Some(Refusal::FewRequests { needed, have });
    let records = clean_run(550, 40.0, 2);
    let one = |metric| refused(&records, &open_loop(), metric);
    assert_eq!(one("mean_ttft_ms"), None);
    assert_eq!(one("p99_ttft_ms"), few(2_000, 550));
    assert_eq!(one("p99_itl_ms"), few(2_000, 550));
    let records = clean_run(200, 40.0, 2);
    assert_eq!(
        refused(&records, &open_loop(), "mean_tpot_ms"),
        few(500, 200)
    );
    // Batches hold more requests than are in flight at once.
    let slow: Vec<Record> = clean_run(550, 2_000.0, 2);
    let Some(Refusal::FewRequests { needed, .. }) = refused(&slow, &open_loop(), "mean_ttft_ms")
    else {
        panic!("more requests in flight than a batch has");
    };
    assert!(needed > 550, "{needed}");
}

#[test]
fn a_load_without_a_steady_part_has_no_intervals() {
    let records = clean_run(1_000, 40.0, 3);
    let burst = MetricSettings::default();
    assert_eq!(
        refused(&records, &burst, "mean_ttft_ms"),
        Some(Refusal::OneBurst)
    );
    let ramp = MetricSettings {
        ramp: true,
        ..open_loop()
    };
    assert_eq!(
        refused(&records, &ramp, "request_throughput"),
        Some(Refusal::Ramp)
    );
    // A server at 80 % of the rate: each request waits 6 ms longer than the one before.
    let mut late = records.clone();
    for (index, record) in late.iter_mut().enumerate() {
        let wait = index as u64 * 6 * MS;
        for event in &mut record.events {
            event.at = Nanos(event.at.0 + wait);
        }
        record.end = record.end.map(|end| Nanos(end.0 + wait));
    }
    assert_eq!(
        refused(&late, &open_loop(), "mean_ttft_ms"),
        Some(Refusal::BacklogGrows)
    );
}

#[test]
fn a_drift_over_the_run_has_no_interval() {
    let mut records = clean_run(1_000, 40.0, 4);
    for (index, record) in records.iter_mut().enumerate() {
        let slower = index as u64 * MS / 10;
        for event in &mut record.events {
            event.at = Nanos(event.at.0 + slower);
        }
        record.end = record.end.map(|end| Nanos(end.0 + slower));
    }
    let intervals = of(&records, &open_loop());
    let why = |metric| entry(&intervals, metric).refused;
    assert_eq!(why("mean_ttft_ms"), Some(Refusal::LongDependence));
    assert_eq!(why("median_ttft_ms"), Some(Refusal::LongDependence));
    assert_eq!(why("mean_itl_ms"), None, "the gaps are as before");
}

#[test]
fn waves_of_a_closed_loop_are_no_drift() {
    let (mut records, settings) = closed_run(600);
    // Slots in lock-step: the first of each wave of 8 are always the fast ones.
    for (index, record) in records.iter_mut().enumerate() {
        let (wave, place) = (index as u64 / 8, index as u64 % 8);
        let back = record.send_start.unwrap().0;
        let moved = |at: Nanos| Nanos(at.0 - back + (wave * 250 + place) * MS);
        record.send_start = record.send_start.map(moved);
        for event in &mut record.events {
            event.at = Nanos(moved(event.at).0 + place * 5 * MS);
        }
        record.end = record.events.last().map(|event| event.at);
    }
    assert_eq!(refused(&records, &settings, "mean_ttft_ms"), None);
    assert_eq!(refused(&records, &settings, "median_ttft_ms"), None);
}

#[test]
fn the_rates_of_a_closed_loop_have_intervals_while_its_slots_are_full() {
    let (records, settings) = closed_run(600);
    let intervals = of(&records, &settings);
    for metric in ["request_throughput", "output_throughput"] {
        let entry = entry(&intervals, metric);
        let bounds = entry.bounds.unwrap();
        let width = (bounds.high - bounds.low) / entry.value;
        assert!((0.001..0.05).contains(&width), "{entry:?}");
    }
    let idle = MetricSettings {
        cap: Some(12),
        ..settings
    };
    assert_eq!(
        refused(&records, &idle, "output_throughput"),
        Some(Refusal::SlotsNotFull)
    );
}

#[test]
fn rates_of_an_open_loop_vary_only_with_what_is_not_scheduled() {
    let mut records = clean_run(600, 40.0, 6);
    for record in records.iter_mut().skip(3).step_by(100) {
        record.outcome = Outcome::Timeout;
    }
    let why = |records: &[Record]| refused(records, &open_loop(), "request_throughput");
    let six = Refusal::FewOfAKind {
        needed: 20,
        have: 6,
    };
    assert_eq!(why(&records), Some(six));
    for record in records.iter_mut().step_by(20) {
        record.outcome = Outcome::Timeout;
    }
    assert_eq!(why(&records), None);
}

#[test]
fn what_is_zero_or_not_there_has_no_interval() {
    let (records, settings) = closed_run(600);
    let queue = MetricSettings {
        selected: vec![Metric::ClientQueueTime],
        ..settings.clone()
    };
    let nobody_waits: Vec<Record> = records
        .iter()
        .cloned()
        .map(|mut record| {
            record.due = record.dequeued.unwrap();
            record
        })
        .collect();
    for metric in ["mean_client_queue_time_ms", "median_client_queue_time_ms"] {
        let why = refused(&nobody_waits, &queue, metric);
        assert_eq!(why, Some(Refusal::Zero), "{metric}");
    }
    let failed: Vec<Record> = records
        .into_iter()
        .map(|mut record| {
            record.outcome = Outcome::Timeout;
            record
        })
        .collect();
    assert_eq!(of(&failed, &settings).metrics, []);
    assert_eq!(of(&[], &settings).metrics, []);
}

#[test]
fn intervals_are_read_as_they_were_written() {
    let intervals = of(&clean_run(550, 40.0, 7), &open_loop());
    let text = serde_json::to_string(&intervals).unwrap();
    assert!(text.contains(r#""refused":{"reason":"few_requests","needed":2000,"have":550}"#));
    assert_eq!(serde_json::from_str::<Intervals>(&text).unwrap(), intervals);
}
