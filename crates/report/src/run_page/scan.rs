//! Everything that the page shows of the records.

use std::collections::BTreeMap;

use inferometer_core::{Choices, Nanos, Outcome, Record, Records};
use inferometer_metrics::tokens_by_event;
use serde_json::{Value, json};

use super::histogram::Histogram;
use crate::page::short;
use crate::visualize::ecdf;

/// Points of a curve over time.
const BUCKETS: usize = 240;
/// Steps of a distribution.
const STEPS: usize = 400;

/// What the page needs of a request.
struct RequestSpan {
    index: usize,
    sent: f64,
    first: Option<f64>,
    /// Last token event of a successful request, else the end.
    last: f64,
    end: f64,
    tokens: u32,
    choices: Option<Choices>,
    outcome: Outcome,
    lateness_ms: f64,
}

impl RequestSpan {
    fn ttft_ms(&self) -> Option<f64> {
        Some((self.first? - self.sent) * 1e3)
    }

    fn e2el_ms(&self) -> f64 {
        (self.last - self.sent) * 1e3
    }
}

/// What happened within one stretch of the run.
struct Bucket {
    tokens: f64,
    gaps: Histogram,
    lag: Histogram,
}

/// Everything that the page needs of the records.
pub(super) struct Scan {
    kept: Vec<RequestSpan>,
    buckets: Vec<Bucket>,
    width: f64,
    gaps: Histogram,
    unknown_tokens: bool,
    errors: BTreeMap<(Outcome, Option<u16>, String), (usize, usize)>,
    unsent: usize,
}

impl Scan {
    pub(super) fn of(records: &dyn Records) -> Self {
        let mut end = Nanos::ZERO;
        records.visit(&mut |record| end = end.max(record.end.unwrap_or_default()));
        let width = nice_width(end.as_secs_f64() / BUCKETS as f64);
        let count = (end.as_secs_f64() / width).floor() as usize + 1;
        let mut scan = Self {
            kept: Vec::with_capacity(records.count()),
            buckets: (0..count)
                .map(|_| Bucket {
                    tokens: 0.0,
                    gaps: Histogram::new(),
                    lag: Histogram::new(),
                })
                .collect(),
            width,
            gaps: Histogram::new(),
            unknown_tokens: false,
            errors: BTreeMap::new(),
            unsent: 0,
        };
        records.visit(&mut |record| scan.add(record));
        scan
    }

    fn add(&mut self, record: &Record) {
        if record.outcome != Outcome::Ok {
            let text: String = record
                .error
                .as_deref()
                .unwrap_or_default()
                .chars()
                .take(300)
                .collect();
            let entry = self
                .errors
                .entry((record.outcome, record.status, text))
                .or_insert((0, record.index));
            entry.0 += 1;
        }
        let Some(sent) = record.send_start else {
            self.unsent += 1;
            return;
        };
        let end = record.end.unwrap_or(sent).as_secs_f64();
        let ok = record.is_ok();
        self.kept.push(RequestSpan {
            index: record.index,
            sent: sent.as_secs_f64(),
            // An answer that was not streamed has no first token.
            first: record.first_token().map(Nanos::as_secs_f64),
            last: record
                .last_token()
                .filter(|_| ok)
                .map_or(end, Nanos::as_secs_f64),
            end,
            tokens: record.output_tokens,
            choices: record.choices,
            outcome: record.outcome,
            lateness_ms: record.lateness().unwrap_or_default().as_millis_f64(),
        });
        let mut before: Option<Nanos> = None;
        let tokens = tokens_by_event(record).map(|(_, tokens)| if ok { tokens } else { 0.0 });
        // What lies between the tokens of an answer in one piece is unknown, and not 0.
        let has_gaps = ok && !record.is_in_one_piece();
        for (event, tokens) in record.events.iter().zip(tokens) {
            let slot = ((event.at.as_secs_f64() / self.width) as usize).min(self.buckets.len() - 1);
            let bucket = &mut self.buckets[slot];
            self.unknown_tokens |= event.tokens == 0;
            bucket.tokens += tokens;
            bucket.lag.add(f64::from(event.lag_ns) / 1e6);
            if let Some(before) = before.filter(|_| has_gaps) {
                let gap = event.at.since(before).as_millis_f64();
                bucket.gaps.add(gap);
                self.gaps.add(gap);
            }
            before = Some(event.at);
        }
    }

    /// False when there are successful requests and none of them was streamed: then nothing is known
    /// between send and end.
    fn streamed(&self) -> bool {
        let good = || self.kept.iter().filter(|kept| kept.outcome == Outcome::Ok);
        good().next().is_none() || good().any(|kept| kept.first.is_some())
    }

    /// Most requests in flight at any time.
    pub(super) fn most_in_flight(&self) -> i64 {
        self.in_flight()
            .into_iter()
            .map(|(_, most)| most)
            .max()
            .unwrap_or_default()
    }

    /// Curves over time; each row is one stretch of the run.
    pub(super) fn series(&self) -> Value {
        let flight = self.in_flight();
        let mut by_send: Vec<Vec<&RequestSpan>> = self.buckets.iter().map(|_| Vec::new()).collect();
        for kept in &self.kept {
            let slot = ((kept.sent / self.width) as usize).min(self.buckets.len() - 1);
            by_send[slot].push(kept);
        }
        let ttft = self.ttft_windows(&by_send);
        let streamed = self.streamed();
        let mut rows = Vec::with_capacity(self.buckets.len());
        for (slot, bucket) in self.buckets.iter().enumerate() {
            let late = by_send[slot]
                .iter()
                .map(|kept| kept.lateness_ms)
                .reduce(f64::max);
            let gap = |fraction| bucket.gaps.quantile(fraction).map(short);
            rows.push(json!([
                short(slot as f64 * self.width),
                short(flight[slot].0),
                flight[slot].1,
                streamed.then(|| short(bucket.tokens / self.width)),
                ttft[slot].map(|(median, _)| short(median)),
                ttft[slot].map(|(_, tail)| short(tail)),
                gap(0.5),
                gap(0.99),
                (bucket.gaps.total() > 0).then(|| short(bucket.gaps.most())),
                late.map(short),
                (bucket.lag.total() > 0).then(|| short(bucket.lag.most())),
                by_send[slot].len(),
            ]));
        }
        json!({"width": short(self.width), "rows": rows, "unknown_tokens": self.unknown_tokens, "unsent": self.unsent, "streamed": streamed})
    }

    /// Median and 95th percentile of TTFT by send time, in windows of several stretches so that
    /// each holds enough requests; set at the window's middle.
    fn ttft_windows(&self, by_send: &[Vec<&RequestSpan>]) -> Vec<Option<(f64, f64)>> {
        const ENOUGH: usize = 40;
        let slots = by_send.len();
        let span = (ENOUGH * slots)
            .div_ceil(self.kept.len().max(1))
            .clamp(1, slots.max(1));
        let mut out = vec![None; slots];
        for (number, window) in by_send.chunks(span).enumerate() {
            let good = window
                .iter()
                .flatten()
                .filter(|kept| kept.outcome == Outcome::Ok);
            let mut ms: Vec<f64> = good.filter_map(|kept| kept.ttft_ms()).collect();
            ms.sort_by(f64::total_cmp);
            out[number * span + window.len() / 2] = quantile(&ms, 0.5).zip(quantile(&ms, 0.95));
        }
        out
    }

    /// Mean and most requests in flight in each stretch.
    fn in_flight(&self) -> Vec<(f64, i64)> {
        let mut steps: Vec<(f64, i64)> = self
            .kept
            .iter()
            .flat_map(|kept| [(kept.sent, 1), (kept.end, -1)])
            .collect();
        // At equal instants ends go first, so that a slot that passes to the next request does not
        // count twice.
        steps.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        let mut out = Vec::with_capacity(self.buckets.len());
        let (mut now, mut next) = (0_i64, 0);
        for slot in 0..self.buckets.len() {
            let (from, to) = (slot as f64 * self.width, (slot + 1) as f64 * self.width);
            // What happens exactly at the start counts for this stretch from its first instant.
            while let Some(&(_, step)) = steps.get(next).filter(|step| step.0 <= from) {
                (now, next) = (now + step, next + 1);
            }
            let (mut area, mut at, mut most) = (0.0, from, now);
            while let Some(&(instant, step)) = steps.get(next).filter(|step| step.0 < to) {
                area += now as f64 * (instant - at).max(0.0);
                (at, now, next) = (instant.max(from), now + step, next + 1);
                most = most.max(now);
            }
            area += now as f64 * (to - at);
            out.push((area / self.width, most));
        }
        out
    }

    /// Cumulative distributions of the latencies of successful requests.
    pub(super) fn distributions(&self) -> Value {
        let good = || self.kept.iter().filter(|kept| kept.outcome == Outcome::Ok);
        let exact = |mut ms: Vec<f64>| {
            ms.sort_by(f64::total_cmp);
            (!ms.is_empty()).then(|| steps(ms.len() as u64, ecdf(&ms, STEPS)))
        };
        let tpot = |kept: &RequestSpan| {
            let whole = kept.last - kept.first?;
            // Several choices are generated side by side.
            let (count, span) = kept.choices.map_or((1, whole), |choices| {
                (choices.count, choices.span.as_secs_f64())
            });
            let gaps = f64::from(kept.tokens.checked_sub(count).filter(|gaps| *gaps > 0)?);
            (span > 0.0).then(|| span * 1e3 / gaps)
        };
        json!({
            "ttft": exact(good().filter_map(RequestSpan::ttft_ms).collect()),
            "tpot": exact(good().filter_map(tpot).collect()),
            "itl": (self.gaps.total() > 0).then(|| steps(self.gaps.total(), self.gaps.cumulative())),
            "e2el": exact(good().map(RequestSpan::e2el_ms).collect()),
        })
    }

    /// Rows for the request timeline, thinned evenly to about `most`.
    pub(super) fn timeline(&self, most: usize) -> Value {
        let stride = self.kept.len().div_ceil(most).max(1);
        let rows: Vec<Value> = self
            .kept
            .iter()
            .step_by(stride)
            .map(|kept| {
                let failed = u8::from(kept.outcome != Outcome::Ok);
                json!([
                    kept.index,
                    short(kept.sent),
                    kept.first.map(short),
                    short(kept.end),
                    failed
                ])
            })
            .collect();
        json!({"rows": rows, "total": self.kept.len()})
    }

    /// The slowest successful requests.
    pub(super) fn slowest(&self, most: usize) -> Value {
        let mut good: Vec<&RequestSpan> = self
            .kept
            .iter()
            .filter(|kept| kept.outcome == Outcome::Ok)
            .collect();
        good.sort_by(|a, b| {
            b.e2el_ms()
                .total_cmp(&a.e2el_ms())
                .then(a.index.cmp(&b.index))
        });
        good.iter()
            .take(most)
            .map(|kept| {
                json!([
                    kept.index,
                    short(kept.sent),
                    kept.ttft_ms().map(short),
                    short(kept.e2el_ms()),
                    kept.tokens
                ])
            })
            .collect()
    }

    /// Failures by outcome, status and text, the most frequent first.
    pub(super) fn errors(&self) -> Value {
        let mut groups: Vec<_> = self.errors.iter().collect();
        groups.sort_by(|a, b| b.1.0.cmp(&a.1.0).then(a.0.cmp(b.0)));
        groups
            .iter()
            .take(50)
            .map(|((outcome, status, text), (count, example))| {
                json!([outcome.name(), status, text, count, example])
            })
            .collect()
    }
}

fn steps(n: u64, curve: Vec<(f64, f64)>) -> Value {
    let curve: Vec<Value> = curve
        .into_iter()
        .map(|(value, fraction)| json!([short(value), short(fraction)]))
        .collect();
    json!({"n": n, "q": curve})
}

/// Nearest-rank quantile of ascending values.
fn quantile(sorted: &[f64], fraction: f64) -> Option<f64> {
    let rank = (fraction * sorted.len() as f64).ceil().max(1.0) as usize;
    sorted.get(rank - 1).copied()
}

/// The next of 1, 2, 5 × 10ⁿ seconds, at least ten milliseconds.
fn nice_width(rough: f64) -> f64 {
    let rough = rough.max(0.01);
    let power = 10_f64.powf(rough.log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|lead| lead * power)
        .find(|width| *width >= rough * 0.999_999)
        .unwrap_or(rough)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(sent_ms: u64, end_ms: u64) -> Record {
        Record {
            send_start: Some(Nanos::from_millis(sent_ms)),
            end: Some(Nanos::from_millis(end_ms)),
            outcome: Outcome::Ok,
            ..Record::default()
        }
    }

    #[test]
    fn requests_in_flight_are_time_weighted() {
        // Two overlap between 5 and 10 ms, one alone to 15 ms.
        let scan = Scan::of(&vec![record(0, 10), record(5, 15)]);
        assert!((scan.width - 0.01).abs() < 1e-12);
        let flight = scan.in_flight();
        assert!((flight[0].0 - 1.5).abs() < 1e-9, "{flight:?}");
        assert_eq!((flight[0].1, flight[1].1), (2, 1));
        assert_eq!(scan.most_in_flight(), 2);
    }

    #[test]
    fn the_curve_counts_tokens_and_not_events() {
        use inferometer_core::{Event, EventKind};
        let mut answer = record(0, 10);
        answer.events = vec![
            Event::new(
                Nanos::from_millis(4),
                Nanos::ZERO,
                EventKind::Text,
                false,
                true,
            ),
            Event::new(
                Nanos::from_millis(9),
                Nanos::ZERO,
                EventKind::Text,
                false,
                true,
            ),
        ];
        answer.output_tokens = 6;
        let mut failed = answer.clone();
        failed.outcome = Outcome::Truncated;
        let scan = Scan::of(&vec![answer, failed]);
        // Six tokens in the first 10 ms; those of the failed answer are in no throughput.
        assert_eq!(scan.series()["rows"][0][3], 600.0);
    }

    #[test]
    fn answers_that_are_not_streamed_have_no_first_token() {
        let mut whole = record(0, 10);
        whole.output_tokens = 4;
        let scan = Scan::of(&vec![whole]);
        let series = scan.series();
        assert_eq!(series["streamed"], false);
        assert_eq!(
            series["rows"][0][3],
            Value::Null,
            "tokens per second are not known, and not 0"
        );
        let found = scan.distributions();
        assert_eq!(
            (&found["ttft"], &found["tpot"]),
            (&Value::Null, &Value::Null)
        );
        assert_eq!(found["e2el"]["n"], 1);
        assert_eq!(scan.timeline(10)["rows"][0][2], Value::Null);
        assert_eq!(scan.slowest(1)[0][2], Value::Null);
    }

    #[test]
    fn a_run_without_requests_has_a_page() {
        let scan = Scan::of(&Vec::new());
        assert_eq!(scan.most_in_flight(), 0);
        assert_eq!(scan.timeline(10)["total"], 0);
        assert_eq!(scan.distributions()["ttft"], Value::Null);
    }
}
