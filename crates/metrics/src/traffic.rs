//! What kind of traffic a run had: traces, conversations, shared prefixes, structured answers.
//!
//! These numbers are under `inferometer.traffic` of a result and below the table on the terminal.
//! They come from the records and from what was known before the run, so that `report` can compute
//! them again.

use std::collections::{BTreeMap, BTreeSet};

use inferometer_core::{Nanos, Record, Records};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::numpy;

/// What is known of the traffic besides the records; kept in the manifest.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
#[serde(default)]
pub struct TrafficSettings {
    /// Rows of the trace file.
    pub trace_rows: Option<u64>,
    /// True when the due times come from a trace or a workload file.
    pub self_timed: bool,
    /// Fraction of the prompt tokens that an unlimited prefix cache could take from earlier
    /// requests.
    pub reusable_prefix_share: Option<f64>,
    /// Text at the start of every prompt, so that no earlier run has warmed a cache for it.
    pub salt: Option<String>,
    /// Prompt lengths as reported by the server's tokenizer.
    pub lengths: Option<Value>,
    /// How many answers have the requested structure.
    pub structured: Option<Conformity>,
    /// SHA-256 of the workload file that was replayed.
    pub workload_file_sha256: Option<String>,
    /// SHA-256 of the vocabulary of the tokenizer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokenizer_sha256: Option<String>,
}

impl TrafficSettings {
    /// Takes over the facts about the dataset that the workload reports.
    pub fn note(&mut self, about: &Map<String, Value>) {
        self.trace_rows = about.get("trace_rows").and_then(Value::as_u64);
        self.reusable_prefix_share = about.get("reusable_prefix_share").and_then(Value::as_f64);
        self.salt = about.get("salt").and_then(Value::as_str).map(str::to_owned);
        self.lengths = about.get("lengths").cloned();
    }
}

/// The numbers of the traffic.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Traffic {
    /// How faithfully a recorded schedule was kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fidelity: Option<Fidelity>,
    /// Conversations.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conversations: Option<Conversations>,
    /// One row per class of traffic, where there are several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub classes: Vec<Group>,
    /// As in [`TrafficSettings`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reusable_prefix_share: Option<f64>,
    /// As in [`TrafficSettings`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub salt: Option<String>,
    /// As in [`TrafficSettings`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lengths: Option<Value>,
    /// As in [`TrafficSettings`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub structured: Option<Conformity>,
    /// As in [`TrafficSettings`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workload_file_sha256: Option<String>,
    /// As in [`TrafficSettings`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokenizer_sha256: Option<String>,
}

/// How faithfully a recorded schedule was kept.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Fidelity {
    /// Rows of the trace file, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows_in_file: Option<u64>,
    /// Rows that were sent.
    pub rows_used: usize,
    /// Send − due, median. A concurrency cap that binds is part of it.
    pub timing_error_p50_ms: f64,
    /// Its 99th percentile.
    pub timing_error_p99_ms: f64,
    /// Its maximum.
    pub timing_error_max_ms: f64,
    /// Requests that were sent before one that was due earlier.
    pub out_of_order: usize,
}

/// Conversations.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Conversations {
    /// Conversations of the workload.
    pub sessions: usize,
    /// Those whose turns all succeeded.
    pub complete: usize,
    /// Turns that were not sent, because an earlier one failed or the run ended.
    pub turns_not_sent: usize,
    /// One row per turn.
    pub turns: Vec<Group>,
}

/// The numbers of some of the requests. Latencies are those of successful requests, from the send.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Group {
    /// Turn (counted from 1) or class.
    pub name: String,
    /// Requests.
    pub requests: usize,
    /// Successful requests.
    pub completed: usize,
    /// Mean number of prompt tokens, including the history.
    pub mean_input_tokens: f64,
    /// Fraction of them that came from the prefix cache, where the server reports it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cached_share: Option<f64>,
    /// Mean number of output tokens.
    pub mean_output_tokens: f64,
    /// Median time to the first token.
    pub ttft_p50_ms: f64,
    /// Its 99th percentile.
    pub ttft_p99_ms: f64,
    /// Median end-to-end latency.
    pub e2el_p50_ms: f64,
    /// Its 99th percentile.
    pub e2el_p99_ms: f64,
}

/// How many answers have the structure that was requested.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Conformity {
    /// `json`, `regex`, `choice` or `grammar`.
    pub kind: String,
    /// Requests that asked for it.
    pub asked: usize,
    /// Successful ones of these.
    pub answered: usize,
    /// Answers that have it; absent for grammars of the user's own, which are not checked.
    pub conforming: Option<usize>,
    /// `conforming / answered`.
    pub share: Option<f64>,
}

impl Traffic {
    /// The numbers of `records`.
    pub fn of(records: &dyn Records, settings: &TrafficSettings) -> Self {
        let TrafficSettings {
            trace_rows,
            self_timed,
            reusable_prefix_share,
            salt,
            lengths,
            structured,
            workload_file_sha256,
            tokenizer_sha256,
        } = settings.clone();
        let mut outlines = Vec::new();
        // Targets that report cached tokens: there, an answer with usage and without them has none.
        let mut reporting = BTreeSet::new();
        records.visit(&mut |record| {
            if record.is_ok() && record.cached_tokens().is_some() {
                reporting.insert(record.target);
            }
            if self_timed || record.session.is_some() || record.category.is_some() {
                outlines.push(record.outline());
            }
        });
        Self {
            fidelity: self_timed.then(|| fidelity(&outlines, trace_rows)),
            conversations: conversations(&outlines, &reporting),
            classes: classes(&outlines, &reporting),
            reusable_prefix_share,
            salt,
            lengths,
            structured,
            workload_file_sha256,
            tokenizer_sha256,
        }
    }

    /// True when there is nothing to report.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

fn fidelity(records: &[Record], rows_in_file: Option<u64>) -> Fidelity {
    let mut errors: Vec<f64> = records
        .iter()
        .filter_map(Record::lateness)
        .map(Nanos::as_millis_f64)
        .collect();
    numpy::sort(&mut errors);
    let at = |p: f64| numpy::percentile(&errors, p);
    let mut sent: Vec<(Nanos, Nanos)> = records
        .iter()
        .filter_map(|record| Some((record.due, record.send_start?)))
        .collect();
    sent.sort_unstable();
    // The latest send among those that were due strictly earlier; requests due together have no
    // order.
    let (mut latest, mut latest_here, mut due_here, mut out_of_order) =
        (Nanos::ZERO, Nanos::ZERO, Nanos::ZERO, 0);
    for &(due, send) in &sent {
        if due > due_here {
            latest = latest.max(latest_here);
            (due_here, latest_here) = (due, Nanos::ZERO);
        }
        out_of_order += usize::from(send < latest);
        latest_here = latest_here.max(send);
    }
    Fidelity {
        rows_in_file,
        rows_used: errors.len(),
        timing_error_p50_ms: at(50.0),
        timing_error_p99_ms: at(99.0),
        timing_error_max_ms: errors.last().copied().unwrap_or_default(),
        out_of_order,
    }
}

fn conversations(records: &[Record], reporting: &BTreeSet<u16>) -> Option<Conversations> {
    let mut turns: BTreeMap<usize, Vec<&Record>> = BTreeMap::new();
    let mut sessions: BTreeMap<usize, bool> = BTreeMap::new();
    for record in records {
        let Some((session, turn)) = record.session else {
            continue;
        };
        turns.entry(turn).or_default().push(record);
        *sessions.entry(session).or_insert(true) &= record.is_ok();
    }
    let not_sent = |record: &&&Record| record.send_start.is_none();
    (!sessions.is_empty()).then(|| Conversations {
        sessions: sessions.len(),
        complete: sessions.values().filter(|&&complete| complete).count(),
        turns_not_sent: turns.values().flatten().filter(not_sent).count(),
        turns: turns
            .iter()
            .map(|(turn, records)| group((turn + 1).to_string(), records, reporting))
            .collect(),
    })
}

fn classes(records: &[Record], reporting: &BTreeSet<u16>) -> Vec<Group> {
    let mut classes: BTreeMap<&str, Vec<&Record>> = BTreeMap::new();
    for record in records {
        if let Some(class) = &record.category {
            classes.entry(class).or_default().push(record);
        }
    }
    if classes.len() < 2 {
        return Vec::new();
    }
    classes
        .iter()
        .map(|(class, records)| group((*class).to_owned(), records, reporting))
        .collect()
}

fn group(name: String, records: &[&Record], reporting: &BTreeSet<u16>) -> Group {
    let good: Vec<&Record> = records
        .iter()
        .copied()
        .filter(|record| record.is_ok())
        .collect();
    let spans = |end: fn(&Record) -> Option<Nanos>| {
        let since =
            |record: &&Record| Some(end(record)?.since(record.service_start()?).as_millis_f64());
        let mut spans: Vec<f64> = good.iter().filter_map(since).collect();
        numpy::sort(&mut spans);
        spans
    };
    let (ttft, e2el) = (
        spans(Record::first_token),
        spans(|record| record.last_token().or(record.end)),
    );
    let mean = |of: fn(&Record) -> u32| {
        let sum: f64 = good.iter().map(|record| f64::from(of(record))).sum();
        if good.is_empty() {
            0.0
        } else {
            sum / good.len() as f64
        }
    };
    let (mut cached, mut of) = (0.0, 0.0);
    for record in &good {
        if let Some(tokens) = record.cached_or_left_out(reporting.contains(&record.target)) {
            cached += f64::from(tokens);
            of += f64::from(record.input_tokens());
        }
    }
    Group {
        name,
        requests: records.len(),
        completed: good.len(),
        mean_input_tokens: mean(Record::input_tokens),
        cached_share: (of > 0.0).then(|| cached / of),
        mean_output_tokens: mean(|record| record.output_tokens),
        ttft_p50_ms: numpy::percentile(&ttft, 50.0),
        ttft_p99_ms: numpy::percentile(&ttft, 99.0),
        e2el_p50_ms: numpy::percentile(&e2el, 50.0),
        e2el_p99_ms: numpy::percentile(&e2el, 99.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(due: u64, send: u64) -> Record {
        Record {
            due: Nanos(due),
            send_start: Some(Nanos(send)),
            ..Record::default()
        }
    }

    #[test]
    fn only_a_send_before_one_that_was_due_earlier_is_out_of_order() {
        // Two that are due together may be sent in any order; the last one overtakes the third.
        let records = [sent(0, 2), sent(0, 1), sent(5, 9), sent(6, 8)];
        let found = fidelity(&records, Some(9));
        assert_eq!(
            (found.out_of_order, found.rows_used, found.rows_in_file),
            (1, 4, Some(9))
        );
        assert_eq!(found.timing_error_max_ms, 4e-6);
    }

    #[test]
    fn plain_traffic_has_nothing_to_report() {
        let traffic = Traffic::of(&vec![sent(0, 1)], &TrafficSettings::default());
        assert!(traffic.is_empty());
    }
}
