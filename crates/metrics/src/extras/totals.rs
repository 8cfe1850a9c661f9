//! Totals: numbers that need neither order nor percentiles.

use std::collections::{BTreeMap, VecDeque};

use inferometer_core::{Nanos, Record, TokenSource};

use super::{CachedTokens, OutputLengths, PromptCounts, TokenAgreement, TokenCounts, fraction};
use crate::tokens_by_event;

/// Token counts of successful requests.
#[derive(Debug, Default)]
pub(super) struct TokenTotals {
    counts: TokenCounts,
    agreement: TokenAgreement,
    /// By target, and whether one of its answers reports cached tokens.
    cached: BTreeMap<u16, (CachedTokens, bool)>,
    prompts: PromptCounts,
    /// Differences of prompt counts that are more than a template or special tokens.
    prompt_deviation: u64,
    lengths: OutputLengths,
    asked: u64,
    got: u64,
}

/// Tokens of a prompt that the client's tokenizer may add and the server may not: those that mark its
/// start and its end.
const SPECIAL_TOKENS: u32 = 2;

impl TokenTotals {
    /// Adds a successful request. `prompt_tolerance` is that of
    /// [`MetricSettings`](crate::MetricSettings).
    pub(super) fn add(&mut self, record: &Record, prompt_tolerance: Option<u32>) {
        let counts = &mut self.counts;
        *match record.token_source {
            TokenSource::Usage => &mut counts.from_usage,
            TokenSource::Tokenizer => &mut counts.from_tokenizer,
            TokenSource::Events => &mut counts.from_events,
            TokenSource::None => &mut counts.without,
        } += 1;
        if let Some(reasoning) = record.usage.reasoning_tokens {
            *counts.reasoning.get_or_insert_default() += u64::from(reasoning);
        }
        let mut is_impossible = false;
        for why in record.impossible_usage() {
            counts.usage_impossible_by.add(why);
            is_impossible = true;
        }
        counts.usage_impossible += usize::from(is_impossible);
        // The frame of a tool call is in the usage, and in no text.
        let is_text = record.marks.first_tool_call.is_none();
        if let (true, Some(usage), Some(own)) = (
            is_text,
            record.reported_output_tokens(),
            record.tokenizer_output_tokens,
        ) {
            // What did not come cannot be counted by the tokenizer. What the server does not announce as
            // hidden stays a disagreement.
            let usage = usage.saturating_sub(record.announced_hidden_tokens());
            self.agreement.add(record, usage, own);
        }
        self.add_cached(record);
        if let Some(tolerance) = prompt_tolerance {
            self.add_prompt(record, tolerance);
        }
        // The length is requested for each choice.
        let choices = record.choices.map_or(1, |choices| choices.count);
        let asked = record.asked_output_tokens;
        if let Some(asked) = asked.map(|asked| asked.saturating_mul(choices)) {
            self.lengths.requests += 1;
            self.asked += u64::from(asked);
            self.got += u64::from(record.output_tokens);
            *match record.output_tokens.cmp(&asked) {
                std::cmp::Ordering::Less => &mut self.lengths.shorter,
                std::cmp::Ordering::Equal => &mut self.lengths.exact,
                std::cmp::Ordering::Greater => &mut self.lengths.longer,
            } += 1;
        }
    }

    /// Servers leave the number of cached tokens out where it is 0, so that an answer with usage and
    /// without that number counts as 0 if another answer of the same target has one.
    fn add_cached(&mut self, record: &Record) {
        let Some(cached) = record.cached_or_left_out(true) else {
            return;
        };
        let (sum, reports) = self.cached.entry(record.target).or_default();
        *reports |= record.cached_tokens().is_some();
        sum.requests += 1;
        sum.cached_tokens += u64::from(cached);
        sum.prompt_tokens += u64::from(record.input_tokens());
    }

    /// Compares the two counts of a prompt. Later turns of a conversation are left out: their history
    /// holds answers, which only the server counts.
    ///
    /// A template can only add tokens, so that `tolerance` excuses a server that counts more. One that
    /// counts less lacks [`SPECIAL_TOKENS`], or has dropped part of the prompt.
    fn add_prompt(&mut self, record: &Record, tolerance: u32) {
        let first = record.session.is_none_or(|(_, turn)| turn == 0);
        let client = record.prompt_tokens;
        let Some(server) = record
            .reported_input_tokens()
            .filter(|_| first && client > 0)
        else {
            return;
        };
        let of_all = |tokens: u32| tokens.saturating_mul(record.sequences.max(1));
        let tolerance = of_all(tolerance);
        self.prompts.requests += 1;
        self.prompts.client_total += u64::from(client);
        self.prompts.server_total += u64::from(server);
        let more = server.saturating_sub(client);
        let fewer = client.saturating_sub(server);
        self.prompts.template_total += u64::from(more.min(tolerance));
        self.prompt_deviation += u64::from(if fewer > of_all(SPECIAL_TOKENS) {
            fewer
        } else {
            more.saturating_sub(tolerance)
        });
    }

    pub(super) fn finish(mut self) -> (TokenCounts, Option<OutputLengths>) {
        if self.prompts.requests > 0 {
            let prompts = &mut self.prompts;
            prompts.deviation = fraction(self.prompt_deviation, prompts.client_total);
            self.counts.prompts = Some(self.prompts);
        }
        if self.agreement.requests > 0 {
            self.agreement.finish(self.counts.prompts.as_ref());
            self.counts.usage_against_tokenizer = Some(self.agreement);
        }
        let reporting = self.cached.into_values().filter(|&(_, reports)| reports);
        self.counts.cached = reporting.map(|(sum, _)| sum).reduce(|mut all, one| {
            all.requests += one.requests;
            all.cached_tokens += one.cached_tokens;
            all.prompt_tokens += one.prompt_tokens;
            all
        });
        if let Some(cached) = &mut self.counts.cached {
            cached.share = fraction(cached.cached_tokens, cached.prompt_tokens);
        }
        let lengths = (self.lengths.requests > 0).then(|| {
            let n = self.lengths.requests as f64;
            self.lengths.mean_asked = self.asked as f64 / n;
            self.lengths.mean_got = self.got as f64 / n;
            self.lengths.ratio = self.got as f64 / self.asked.max(1) as f64;
            self.lengths
        });
        (self.counts, lengths)
    }
}

/// Output tokens in bins of 10 ms, to find the busiest second.
#[derive(Debug, Default)]
pub(super) struct TokenRate {
    /// The first day, which covers nearly every run.
    bins: Vec<f64>,
    /// Later bins.
    late: BTreeMap<u64, f64>,
}

const BIN: u64 = 10_000_000;
const BINS_PER_SECOND: u64 = 100;
const BINS_PER_DAY: u64 = 86_400 * BINS_PER_SECOND;

impl TokenRate {
    /// Adds the tokens of one answer, as [`tokens_by_event`] places them.
    pub(super) fn add(&mut self, record: &Record) {
        for (at, tokens) in tokens_by_event(record) {
            self.put(at.0 / BIN, tokens);
        }
    }

    /// Most tokens in any second that begins with a bin.
    pub(super) fn peak(&self) -> f64 {
        let early = self
            .bins
            .iter()
            .enumerate()
            .map(|(bin, &tokens)| (bin as u64, tokens));
        let bins = early.chain(self.late.iter().map(|(&bin, &tokens)| (bin, tokens)));
        let mut window: VecDeque<(u64, f64)> = VecDeque::new();
        let mut sum = 0.0;
        let mut most: f64 = 0.0;
        for (bin, tokens) in bins.filter(|&(_, tokens)| tokens > 0.0) {
            while let Some(&(first, old)) = window.front()
                && first + BINS_PER_SECOND <= bin
            {
                sum -= old;
                window.pop_front();
            }
            sum += tokens;
            window.push_back((bin, tokens));
            most = most.max(sum);
        }
        most
    }

    fn put(&mut self, bin: u64, tokens: f64) {
        if bin >= BINS_PER_DAY {
            *self.late.entry(bin).or_default() += tokens;
            return;
        }
        let bin = bin as usize;
        if bin >= self.bins.len() {
            self.bins.resize(bin + 1, 0.0);
        }
        self.bins[bin] += tokens;
    }
}

/// Uncertainty of each event's stamp: how much earlier it may have arrived. Zero unless it shared a
/// read with a later event; then it arrived after the last stamp of an earlier read.
pub(super) fn stamp_widths(record: &Record) -> impl Iterator<Item = Nanos> + '_ {
    let marks = [
        record.marks.first_byte,
        record.marks.headers,
        record.send_end,
        record.send_start,
    ];
    let first = record.events.first().map_or(Nanos::ZERO, |event| event.at);
    // The last instant before the first event that is known to be of an earlier read.
    let mut earlier = marks
        .into_iter()
        .flatten()
        .filter(|&mark| mark < first)
        .max()
        .unwrap_or(first);
    let mut current = first;
    record.events.iter().map(move |event| {
        if event.at > current {
            earlier = current;
            current = event.at;
        }
        if event.coalesced() {
            event.at.since(earlier)
        } else {
            Nanos::ZERO
        }
    })
}

#[cfg(test)]
mod tests {
    use inferometer_core::{Event, EventKind, Marks};

    use super::*;

    fn events(stamps: &[(u64, bool, u16)]) -> Vec<Event> {
        stamps
            .iter()
            .map(|&(ms, coalesced, tokens)| {
                let mut event = Event::new(
                    Nanos::from_millis(ms),
                    Nanos::ZERO,
                    EventKind::Text,
                    coalesced,
                    true,
                );
                event.tokens = tokens;
                event
            })
            .collect()
    }

    #[test]
    fn the_busiest_second_counts_tokens_in_a_sliding_window() {
        let mut rate = TokenRate::default();
        let events = events(&[
            (500, false, 10),
            (1490, false, 3),
            (1500, false, 4),
            (9000, false, 1),
        ]);
        rate.add(&Record {
            events,
            ..Record::default()
        });
        assert_eq!(rate.peak(), 13.0);
        let unknown = self::events(&[(0, false, 0), (10, false, 0)]);
        rate.add(&Record {
            events: unknown,
            output_tokens: 50,
            ..Record::default()
        });
        assert_eq!(rate.peak(), 60.0);
        assert_eq!(TokenRate::default().peak(), 0.0);
        let day = 86_400_000;
        let later = self::events(&[(day - 10, false, 40), (day, false, 50), (3 * day, false, 1)]);
        rate.add(&Record {
            events: later,
            ..Record::default()
        });
        assert_eq!(rate.peak(), 90.0);
    }

    #[test]
    fn a_coalesced_stamp_reaches_back_to_the_read_before() {
        let marks = Marks {
            first_byte: Some(Nanos::from_millis(4)),
            ..Marks::default()
        };
        let events = events(&[
            (10, true, 1),
            (10, false, 1),
            (30, true, 1),
            (30, true, 1),
            (30, false, 1),
        ]);
        let record = Record {
            events,
            marks,
            send_start: Some(Nanos(0)),
            ..Record::default()
        };
        let widths: Vec<u64> = stamp_widths(&record)
            .map(|width| width.0 / 1_000_000)
            .collect();
        assert_eq!(widths, [6, 0, 20, 20, 0]);
    }
}
