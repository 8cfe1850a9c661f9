//! Output tokens of the events of an answer: one definition for the peak rate, the curve of the run
//! page, and whoever else places tokens in time.

use inferometer_core::{Nanos, Record};

/// The events of an answer with the output tokens of each. Their sum is the answer's number of output
/// tokens, so that rates over time add up to the throughput.
///
/// Tokens that the server reports for an event count there. The rest is spread evenly over the events
/// whose number is unknown. Where the reported ones do not add up to the answer's, they are scaled.
pub fn tokens_by_event(record: &Record) -> impl Iterator<Item = (Nanos, f64)> + '_ {
    let known: f64 = record
        .events
        .iter()
        .map(|event| f64::from(event.tokens))
        .sum();
    let unknown = record.events.iter().filter(|event| event.tokens == 0);
    let unknown = unknown.count() as f64;
    let total = match record.output_tokens {
        // Nothing was counted: what the events report is all there is.
        0 => known,
        counted => f64::from(counted),
    };
    let rest = (total - known).max(0.0);
    let each = if unknown > 0.0 { rest / unknown } else { 0.0 };
    let placed = known + each * unknown;
    let scale = if placed > 0.0 { total / placed } else { 0.0 };
    record.events.iter().map(move |event| {
        let tokens = match event.tokens {
            0 => each,
            tokens => f64::from(tokens) * scale,
        };
        (event.at, tokens)
    })
}

#[cfg(test)]
mod tests {
    use inferometer_core::{Event, EventKind};

    use super::*;

    fn spread(tokens: &[u16], output_tokens: u32) -> Vec<f64> {
        let events = tokens.iter().map(|&tokens| {
            let mut event = Event::new(Nanos(7), Nanos::ZERO, EventKind::Text, false, true);
            event.tokens = tokens;
            event
        });
        let record = Record {
            events: events.collect(),
            output_tokens,
            ..Record::default()
        };
        tokens_by_event(&record).map(|(_, tokens)| tokens).collect()
    }

    #[test]
    fn the_tokens_of_the_events_add_up_to_those_of_the_answer() {
        assert_eq!(spread(&[0, 0, 0, 0], 12), [3.0; 4]);
        assert_eq!(spread(&[1, 4, 4], 9), [1.0, 4.0, 4.0]);
        assert_eq!(spread(&[4, 0, 0], 10), [4.0, 3.0, 3.0]);
        // Usage that reports fewer tokens than the events, more, and none.
        assert_eq!(spread(&[4, 4], 4), [2.0, 2.0]);
        assert_eq!(spread(&[4, 4, 0], 4), [2.0, 2.0, 0.0]);
        assert_eq!(spread(&[4, 4], 12), [6.0, 6.0]);
        assert_eq!(spread(&[4, 4], 0), [4.0, 4.0]);
        assert_eq!(spread(&[], 12), [0.0; 0]);
    }
}
