//! Whether an engine serves requests as fast as they arrive.

use inferometer_core::Record;

/// Fraction of the arrivals by which completions may lag behind: the default precision of the search. An
/// engine of 4 slots that serves 46.8 requests per second in a closed loop was found at 48.8 with 5 %.
const TOLERANCE: f64 = 0.02;
/// Standard deviations of the number of requests in a stable system that are put down to chance.
const SIGMAS: f64 = 3.0;

/// How the requests of a run were served.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Served {
    /// Completions per second while requests arrive, without the start-up.
    pub(super) rate: f64,
    /// Whether they keep up with the arrivals.
    pub(super) supply: Supply,
    /// True where they lag by more than chance, even if within the tolerance: the rate is above what is
    /// served.
    pub(super) lags: bool,
}

/// Completions against arrivals.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Supply {
    /// The backlog does not grow.
    KeepsUp,
    /// The backlog grows for as long as requests arrive.
    FallsBehind,
    /// Answers take too long for the run: requests must arrive for this many seconds.
    Unknown {
        /// Seconds of arrivals that are enough to decide.
        seconds: f64,
    },
}

impl Served {
    /// Compares arrivals with completions after the start-up, which lasts until 90 % of the first
    /// tenth of the requests are answered. `burstiness` is that of the arrivals: their variance is
    /// its inverse.
    pub(super) fn of(records: &[Record], burstiness: f64) -> Self {
        let mut spans: Vec<Span> = records.iter().filter_map(Span::of).collect();
        spans.sort_by(|a, b| a.due.total_cmp(&b.due));
        let (Some(first), Some(last)) = (spans.first(), spans.last()) else {
            return Self {
                rate: 0.0,
                supply: Supply::KeepsUp,
                lags: false,
            };
        };
        let (begin, arrived) = (first.due, last.due);
        let end = spans.iter().map(|span| span.end).fold(arrived, f64::max);
        let mut early: Vec<f64> = spans[..spans.len().div_ceil(10)]
            .iter()
            .map(|span| span.end - span.due)
            .collect();
        early.sort_by(f64::total_cmp);
        let settled = early[(early.len() * 9).div_ceil(10) - 1];
        let longest = early[early.len() - 1];
        let seconds = arrived - begin;
        if settled > seconds / 2.0 {
            // Nothing was in a steady state. After the last arrival a server that keeps up is done
            // within the time of one answer; where a backlog built up, it takes longer.
            let supply = if spans.len() < 10 {
                Supply::KeepsUp
            } else if end - arrived > 2.0 * longest {
                Supply::FallsBehind
            } else {
                Supply::Unknown {
                    seconds: 4.0 * settled,
                }
            };
            let rate = spans.len() as f64 / (end - begin).max(f64::MIN_POSITIVE);
            let lags = supply == Supply::FallsBehind;
            return Self { rate, supply, lags };
        }
        let from = begin + settled;
        let after = |instant: f64| instant > from && instant <= arrived;
        let arrivals = spans.iter().filter(|span| after(span.due)).count() as f64;
        let completions = spans.iter().filter(|span| after(span.end)).count() as f64;
        let window = (arrived - from).max(f64::MIN_POSITIVE);
        let within = |span: &Span| span.end.min(arrived) - span.due.max(from);
        let present: f64 = spans.iter().map(|span| within(span).max(0.0)).sum::<f64>() / window;
        // In a stable system the number of requests present varies by the root of its mean, and two
        // instants are compared.
        let chance = SIGMAS * (2.0 * present.max(1.0) / burstiness.clamp(1e-3, 1.0)).sqrt();
        let behind = arrivals - completions;
        let falls_behind = behind > chance.max(TOLERANCE * arrivals);
        Self {
            rate: completions / window,
            supply: if falls_behind {
                Supply::FallsBehind
            } else {
                Supply::KeepsUp
            },
            lags: behind > chance,
        }
    }
}

/// One request, in seconds.
#[derive(Clone, Copy)]
struct Span {
    due: f64,
    end: f64,
}

impl Span {
    fn of(record: &Record) -> Option<Self> {
        let (due, end) = (record.due.as_secs_f64(), record.end?.as_secs_f64());
        Some(Self {
            due,
            end: end.max(due),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use inferometer_core::Nanos;

    /// Requests every `1 / rate` seconds for `seconds`, each served alone in `service` seconds by the
    /// next free of `servers`: D/D/c, for which everything is known.
    fn queue(rate: f64, seconds: f64, servers: usize, service: f64) -> Vec<Record> {
        let mut free = vec![0.0_f64; servers];
        (0..(rate * seconds) as usize)
            .map(|index| {
                let due = index as f64 / rate;
                let next = free
                    .iter_mut()
                    .min_by(|a, b| a.total_cmp(b))
                    .expect("a server");
                *next = next.max(due) + service;
                Record {
                    index,
                    due: Nanos::from_secs_f64(due),
                    end: Some(Nanos::from_secs_f64(*next)),
                    ..Record::default()
                }
            })
            .collect()
    }

    #[test]
    fn completions_keep_up_below_the_capacity_and_fall_behind_above_it() {
        // Four servers of 0.1 s complete 40 requests a second.
        for (rate, supply) in [
            (10.0, Supply::KeepsUp),
            (39.9, Supply::KeepsUp),
            (42.0, Supply::FallsBehind),
            (80.0, Supply::FallsBehind),
            (32_768.0, Supply::FallsBehind),
        ] {
            let found = Served::of(&queue(rate, 60.0, 4, 0.1), 1.0);
            assert_eq!(found.supply, supply, "{rate}: {found:?}");
            let served = rate.min(40.0);
            assert!(
                (found.rate / served - 1.0).abs() < 0.02,
                "{rate}: {found:?}"
            );
        }
    }

    /// 40.5 of 40 requests a second are within the tolerance of the search; what is served is 40.
    #[test]
    fn a_rate_within_the_tolerance_lags_where_it_is_not_served() {
        for (rate, lags) in [(39.0, false), (40.5, true), (42.0, true)] {
            let found = Served::of(&queue(rate, 60.0, 4, 0.1), 1.0);
            assert_eq!(found.lags, lags, "{rate}: {found:?}");
        }
    }

    #[test]
    fn long_answers_need_a_longer_run_and_are_not_called_a_backlog() {
        // 1000 servers of 50 s serve 20 requests a second; 60 s of 10 a second only fill them.
        let short = Served::of(&queue(10.0, 60.0, 1000, 50.0), 1.0).supply;
        let Supply::Unknown { seconds } = short else {
            panic!("{short:?}");
        };
        assert_eq!(seconds, 200.0);
        let long = Served::of(&queue(10.0, seconds, 1000, 50.0), 1.0);
        assert_eq!(long.supply, Supply::KeepsUp, "{long:?}");
        let overload = Served::of(&queue(40.0, seconds, 1000, 50.0), 1.0);
        assert_eq!(overload.supply, Supply::FallsBehind, "{overload:?}");
    }

    #[test]
    fn a_run_of_few_or_no_requests_says_nothing_against_a_rate() {
        assert_eq!(Served::of(&[], 1.0).supply, Supply::KeepsUp);
        let one = Served::of(&queue(1.0, 1.0, 1, 100.0), 1.0);
        assert_eq!(one.supply, Supply::KeepsUp, "{one:?}");
    }
}
