//! Delays and concurrency: what follows from the order of sends and ends alone.

use std::collections::BTreeMap;

use inferometer_core::Nanos;

/// A request that was sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) due: Nanos,
    pub(super) send: Nanos,
    /// The first token of a streamed answer.
    pub(super) first: Option<Nanos>,
    /// Output tokens.
    pub(super) tokens: u32,
    /// The end, or the end of the run for a request that was still in flight.
    pub(super) end: Nanos,
    /// The conversation that it is a turn of.
    pub(super) conversation: Option<usize>,
    /// True for a first turn, and for a request outside any conversation.
    pub(super) opens: bool,
}

impl Span {
    /// From the due instant to the end.
    pub(super) fn latency(&self) -> Nanos {
        self.end.since(self.due)
    }

    /// From the due instant to the first token, or to the end where there is none.
    pub(super) fn wait(&self) -> Nanos {
        self.first.unwrap_or(self.end).since(self.due)
    }
}

/// What delayed one send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Delay {
    /// From the due instant to the instant when a slot was free and the conversation could begin,
    /// if that was later.
    pub(super) cap: Nanos,
    /// The rest.
    pub(super) own: Nanos,
    /// True when the request could not be sent before another one ended.
    pub(super) followed: bool,
}

/// Splits the lateness of each send, in order of the sends.
///
/// With `cap` slots the k-th send (from 0) is possible once k − cap + 1 requests have ended,
/// whichever those are; so the earliest possible instant follows from the sorted ends. The same
/// holds for the first turns of conversations when at most `max_conversations` may be active, and
/// the ends of conversations.
pub(super) fn delays(
    spans: &mut [Span],
    cap: Option<usize>,
    max_conversations: Option<usize>,
) -> Vec<Delay> {
    spans.sort_unstable_by_key(|span| span.send);
    let conversation_ends = if max_conversations.is_some() {
        conversation_ends(spans)
    } else {
        Vec::new()
    };
    let mut opened = 0;
    let mut ends: Vec<Nanos> = spans.iter().map(|span| span.end).collect();
    ends.sort_unstable();
    let cap = cap.unwrap_or(usize::MAX);
    spans
        .iter()
        .enumerate()
        .map(|(k, span)| {
            let mut free = k.checked_sub(cap).map_or(Nanos::ZERO, |freed| ends[freed]);
            let mut followed = k >= cap;
            if let Some(most) = max_conversations.filter(|_| span.opens) {
                if let Some(over) = usize::checked_sub(opened, most) {
                    free = free.max(conversation_ends[over]);
                    followed = true;
                }
                opened += 1;
            }
            let ready = free.max(span.due);
            // A slot was free at the latest when it was used.
            let cap_delay = ready.min(span.send).since(span.due);
            Delay {
                cap: cap_delay,
                own: span.send.since(ready),
                followed,
            }
        })
        .collect()
}

/// The end of each conversation, in order of time.
fn conversation_ends(spans: &[Span]) -> Vec<Nanos> {
    let mut by_conversation: BTreeMap<usize, Nanos> = BTreeMap::new();
    let mut ends = Vec::new();
    for span in spans {
        match span.conversation {
            None => ends.push(span.end),
            Some(conversation) => {
                let end = by_conversation.entry(conversation).or_default();
                *end = span.end.max(*end);
            }
        }
    }
    ends.extend(by_conversation.into_values());
    ends.sort_unstable();
    ends
}

/// Most requests in flight at once; an end frees its slot before a send at the same instant takes
/// one.
pub(super) fn most_in_flight(spans: &[Span]) -> usize {
    let mut sends: Vec<Nanos> = spans.iter().map(|span| span.send).collect();
    let mut ends: Vec<Nanos> = spans.iter().map(|span| span.end).collect();
    sends.sort_unstable();
    ends.sort_unstable();
    let mut ended = 0;
    let mut most = 0;
    for (sent, &send) in sends.iter().enumerate() {
        while ended < sent && ends[ended] <= send {
            ended += 1;
        }
        most = most.max(sent + 1 - ended);
    }
    most
}

/// Mean number in flight over `duration`.
pub(super) fn mean_in_flight(spans: &[Span], duration: Nanos) -> f64 {
    let total: u128 = spans
        .iter()
        .map(|span| u128::from(span.end.since(span.send).0))
        .sum();
    if duration == Nanos::ZERO {
        0.0
    } else {
        total as f64 / duration.0 as f64
    }
}

/// Mean number of requests that were due and had not ended, in each of N equal parts of `from..to`;
/// `None` where that is too short to be divided.
pub(super) fn in_system<'s, const N: usize>(
    spans: &(impl Iterator<Item = &'s Span> + Clone),
    from: Nanos,
    to: Nanos,
) -> Option<[f64; N]> {
    let part = to.since(from).0 / N as u64;
    (part > 0).then(|| {
        std::array::from_fn(|i| {
            let begin = Nanos(from.0 + part * i as u64);
            let end = Nanos(begin.0 + part);
            let inside = |span: &Span| u128::from(span.end.min(end).since(span.due.max(begin)).0);
            spans.clone().map(inside).sum::<u128>() as f64 / part as f64
        })
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn span(due: u64, send: u64, end: u64) -> Span {
        Span {
            due: Nanos(due),
            send: Nanos(send),
            first: None,
            tokens: 0,
            end: Nanos(end),
            conversation: None,
            opens: true,
        }
    }

    #[test]
    fn lateness_is_split_between_the_cap_and_the_client() {
        // One slot; the second request waits for the first one's end at 50 and is sent 3 later.
        let mut spans = [span(0, 1, 50), span(10, 53, 90), span(100, 104, 120)];
        let delays = delays(&mut spans, Some(1), None);
        assert_eq!(
            delays[0],
            Delay {
                cap: Nanos(0),
                own: Nanos(1),
                followed: false
            }
        );
        assert_eq!(
            delays[1],
            Delay {
                cap: Nanos(40),
                own: Nanos(3),
                followed: true
            }
        );
        assert_eq!(
            delays[2],
            Delay {
                cap: Nanos(0),
                own: Nanos(4),
                followed: true
            }
        );
    }

    #[test]
    fn without_a_cap_all_lateness_is_the_clients() {
        let delays = delays(&mut [span(0, 1, 50), span(10, 53, 90)], None, None);
        assert_eq!(
            delays[1],
            Delay {
                cap: Nanos(0),
                own: Nanos(43),
                followed: false
            }
        );
    }

    #[test]
    fn a_conversation_that_waited_for_another_is_not_late() {
        let turn = |conversation, opens, due, send, end| Span {
            conversation: Some(conversation),
            opens,
            ..span(due, send, end)
        };
        // One at a time: the second begins 2 after the last turn of the first, whose own turns wait
        // for nothing.
        let mut spans = [
            turn(0, true, 0, 0, 10),
            turn(0, false, 30, 31, 40),
            turn(1, true, 5, 42, 50),
        ];
        let delays = delays(&mut spans, None, Some(1));
        assert_eq!(
            delays[0],
            Delay {
                cap: Nanos(0),
                own: Nanos(0),
                followed: false
            }
        );
        assert_eq!(
            delays[1],
            Delay {
                cap: Nanos(0),
                own: Nanos(1),
                followed: false
            }
        );
        assert_eq!(
            delays[2],
            Delay {
                cap: Nanos(35),
                own: Nanos(2),
                followed: true
            }
        );
    }

    #[test]
    fn concurrency_is_exact() {
        let spans = [
            span(0, 0, 10),
            span(0, 10, 20),
            span(0, 15, 25),
            span(0, 19, 20),
        ];
        assert_eq!(most_in_flight(&spans), 3);
        assert_eq!(
            mean_in_flight(&spans, Nanos(25)),
            (10.0 + 10.0 + 10.0 + 1.0) / 25.0
        );
        assert_eq!(
            in_system(
                &[span(0, 0, 10), span(20, 20, 40)].iter(),
                Nanos(0),
                Nanos(40)
            ),
            Some([1.0, 0.0, 1.0, 1.0])
        );
        assert_eq!(
            (most_in_flight(&[]), mean_in_flight(&[], Nanos(0))),
            (0, 0.0)
        );
    }

    proptest! {
        #[test]
        fn the_sweep_agrees_with_counting(spans in prop::collection::vec((0_u64..50, 1_u64..20), 0..40)) {
            let spans: Vec<Span> = spans.into_iter().map(|(at, len)| span(at, at, at + len)).collect();
            let counted = (0..80_u64)
                .map(|t| spans.iter().filter(|span| span.send.0 <= t && t < span.end.0).count())
                .max();
            prop_assert_eq!(most_in_flight(&spans), counted.unwrap_or(0));
        }
    }
}
