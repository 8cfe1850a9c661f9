//! The virtual driver: the same dispatcher as a real run, against the engine model instead of
//! sockets, on a clock that jumps from event to event.
//!
//! There is no network and no client here, so every record is exact: a request is sent when the
//! dispatcher says so, and a token arrives when the step that computed it ends.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use inferometer_core::{ClientHealth, Event, EventKind, Nanos, Outcome, Record, Schedule, Usage};
use inferometer_os::clock::Anchor;
use inferometer_sim::engine::{Cluster, ClusterConfig, EngineRequest, EngineStats, TokenEvent};

use crate::EngineError;
use crate::dispatch::{Dispatcher, Source, Step};
use crate::run::Finished;
use crate::stop::StopLevel;

/// A run that needs no server.
#[derive(Clone, Debug)]
pub struct VirtualPlan {
    /// The requests in order: what the engine gets, and the record as far as it is known.
    pub requests: Vec<VirtualRequest>,
    /// Their due instants.
    pub schedule: Schedule,
    /// Slots, or `None` for no limit.
    pub max_concurrency: Option<usize>,
    /// Most conversations under way, or `None` for no limit.
    pub most_conversations: Option<usize>,
    /// The engines.
    pub cluster: ClusterConfig,
    /// Seed of the engines' jitter and draws.
    pub seed: u64,
}

/// One request of a [`VirtualPlan`].
#[derive(Clone, Debug)]
pub struct VirtualRequest {
    /// What the engine gets. Its id must be its position in the plan.
    pub engine: EngineRequest,
    /// Facts known beforehand: id, token counts, session. A `finish_reason` given here is kept;
    /// else it is `length`.
    pub facts: Record,
    /// Hang up this long after the request was sent.
    pub cancel_after: Option<Nanos>,
    /// For a later turn of a conversation, which must stand right after the turn before it: the
    /// pause between that turn's answer and this request. The schedule then only holds the
    /// conversation's start.
    pub think: Option<Nanos>,
}

/// Runs `plan` on a virtual clock that begins at zero. The same plan gives the same records,
/// always.
///
/// Also returns the engines' own counters at the end.
pub fn simulate(plan: VirtualPlan) -> Result<(Finished, EngineStats), EngineError> {
    let VirtualPlan {
        requests,
        schedule,
        max_concurrency,
        most_conversations,
        cluster,
        seed,
    } = plan;
    let mut cluster = Cluster::new(cluster, seed)?;
    let mut records: Vec<Record> = Vec::with_capacity(requests.len());
    let mut unsent = Vec::with_capacity(requests.len());
    let thinks: Vec<Option<Nanos>> = requests.iter().map(|request| request.think).collect();
    let starts: Vec<usize> = (0..thinks.len())
        .filter(|&index| thinks[index].is_none())
        .collect();
    for (index, request) in requests.into_iter().enumerate() {
        let expected = request.engine.output_tokens as usize;
        let events = Vec::with_capacity(if request.cancel_after.is_none() {
            expected
        } else {
            0
        });
        records.push(Record {
            index,
            due: schedule.due(index),
            events,
            ..request.facts
        });
        unsent.push(Some((request.engine, request.cancel_after)));
    }
    let mut dispatcher = Dispatcher::new(
        &schedule,
        Source::Shard { next: 0, stride: 1 },
        max_concurrency,
    )
    .with_starts(&starts)
    .with_conversations(most_conversations);
    let mut hang_ups: BinaryHeap<Reverse<(Nanos, usize)>> = BinaryHeap::new();
    let (mut now, mut tokens) = (Nanos::ZERO, Vec::new());
    let mut peak = 0;
    // Requests in flight, summed up over the time, in nanoseconds.
    let mut occupied: u128 = 0;
    loop {
        let next_send = loop {
            match dispatcher.step(now) {
                Step::Send(index) => {
                    let Some((request, cancel_after)) = unsent[index].take() else {
                        continue;
                    };
                    records[index].due = dispatcher.sent_due();
                    if send(&mut cluster, request, &mut records[index], now) {
                        hang_ups.extend(cancel_after.map(|after| Reverse((now + after, index))));
                    } else {
                        dispatcher.completed();
                        dispatcher.conversation_ended();
                        abandon(&mut records, &thinks, index);
                    }
                    peak = peak.max(dispatcher.in_flight() as u64);
                }
                Step::WaitUntil(due) => break Some(due),
                Step::WaitForSlot | Step::Finished => break None,
            }
        };
        let hang_up = hang_ups.peek().map(|&Reverse((at, _))| at);
        let Some(next) = [next_send, hang_up, cluster.next_step_at()]
            .into_iter()
            .flatten()
            .min()
        else {
            break;
        };
        occupied += dispatcher.in_flight() as u128 * u128::from(next.since(now).0);
        now = next;
        cluster.step(now, &mut tokens);
        for token in tokens.drain(..) {
            let index = token.request as usize;
            if receive(&mut records[index], &token) {
                dispatcher.completed();
                if let Some(&Some(think)) = thinks.get(index + 1) {
                    dispatcher.follow_up(index + 1, token.at + think);
                } else {
                    dispatcher.conversation_ended();
                }
            }
        }
        while let Some(&Reverse((at, index))) =
            hang_ups.peek().filter(|Reverse((at, _))| *at <= now)
        {
            hang_ups.pop();
            if cluster.cancel(index as u64) {
                records[index].outcome = Outcome::Cancelled;
                records[index].end = Some(at);
                dispatcher.completed();
                dispatcher.conversation_ended();
                abandon(&mut records, &thinks, index);
            }
        }
    }
    // Little's law, on every run: the time that all requests spent is the number in flight over
    // time.
    let spans = records
        .iter()
        .filter_map(|record| Some(record.end?.since(record.send_start?)));
    let spent: u128 = spans.map(|span| u128::from(span.0)).sum();
    if occupied != spent {
        return Err(EngineError::LostTrack { occupied, spent });
    }
    let wall = records
        .iter()
        .filter_map(|record| record.end)
        .max()
        .unwrap_or_default();
    let health = ClientHealth {
        wall,
        kernel_stamps: true,
        in_flight_peak: peak,
        ..ClientHealth::default()
    };
    // No clock of this host has a part in it: the same plan gives the same bytes in files.
    let start = Anchor {
        monotonic: Nanos::ZERO,
        wall: Nanos::ZERO,
        uncertainty: Nanos::ZERO,
    };
    let finished = Finished {
        records,
        spilled: false,
        health,
        start,
        stopped: StopLevel::Run,
        log_error: None,
    };
    Ok((finished, cluster.stats()))
}

/// Nobody can go on from a failed answer: the turns after it are not sent.
fn abandon(records: &mut [Record], thinks: &[Option<Nanos>], failed: usize) {
    let rest = (failed + 1..records.len()).take_while(|&index| thinks[index].is_some());
    for index in rest {
        records[index].error =
            Some("not sent: an earlier turn of its conversation failed".to_owned());
    }
}

/// Hands a request to the engines. False when they refuse it, as a server would with status 400.
fn send(cluster: &mut Cluster, request: EngineRequest, record: &mut Record, now: Nanos) -> bool {
    record.dequeued = Some(now);
    record.send_start = Some(now);
    record.send_end = Some(now);
    let prompt_tokens = request.prompt.len();
    match cluster.submit(request, now) {
        Ok(replica) => {
            record.target = replica as u16;
            record.status = Some(200);
            record.usage = Usage {
                prompt_tokens: Some(prompt_tokens),
                ..Usage::default()
            };
            true
        }
        Err(error) => {
            record.status = Some(400);
            record.outcome = Outcome::HttpError;
            record.error = Some(error.to_string());
            record.end = Some(now);
            false
        }
    }
}

/// Notes a token event. True when it was the request's last.
fn receive(record: &mut Record, token: &TokenEvent) -> bool {
    let mut event = Event::new(token.at, Nanos::ZERO, EventKind::Text, false, true);
    event.tokens = u16::try_from(token.tokens).unwrap_or(u16::MAX);
    record.events.push(event);
    let marks = &mut record.marks;
    for first in [
        &mut marks.first_byte,
        &mut marks.headers,
        &mut marks.first_event,
        &mut marks.first_content,
        &mut marks.first_answer,
    ] {
        first.get_or_insert(token.at);
    }
    marks.last_content = Some(token.at);
    let told = record.usage.completion_tokens.get_or_insert(0);
    *told += token.tokens;
    if token.finished {
        record.usage.cached_tokens = Some(token.cached_tokens);
        record.marks.usage = Some(token.at);
        record.marks.done = Some(token.at);
        record
            .finish_reason
            .get_or_insert_with(|| "length".to_owned());
        record.outcome = Outcome::Ok;
        record.end = Some(token.at);
    }
    token.finished
}

#[cfg(test)]
mod tests {
    use inferometer_sim::engine::{Content, EngineConfig};

    use super::*;

    fn plan(n: usize, gap_ms: u64, cap: Option<usize>) -> VirtualPlan {
        let due = (0..n as u64)
            .map(|i| Nanos::from_millis(i * gap_ms))
            .collect();
        let requests = (0..n)
            .map(|i| VirtualRequest {
                engine: EngineRequest::new(i as u64, Content::Unshared(100), 20),
                facts: Record {
                    prompt_tokens: 100,
                    asked_output_tokens: Some(20),
                    ..Record::default()
                },
                cancel_after: None,
                think: None,
            })
            .collect();
        VirtualPlan {
            requests,
            schedule: Schedule::new(due).unwrap(),
            max_concurrency: cap,
            most_conversations: None,
            cluster: ClusterConfig::default(),
            seed: 7,
        }
    }

    #[test]
    fn every_request_is_answered_in_full_and_the_same_plan_gives_the_same_records() {
        let (first, stats) = simulate(plan(200, 5, None)).unwrap();
        let (second, _) = simulate(plan(200, 5, None)).unwrap();
        assert_eq!(first.records, second.records);
        for record in &first.records {
            assert_eq!(
                (record.outcome, record.usage.completion_tokens),
                (Outcome::Ok, Some(20))
            );
            assert_eq!(record.lateness(), Some(Nanos::ZERO));
            assert!(record.events.windows(2).all(|pair| pair[0].at < pair[1].at));
            assert_eq!(record.last_token(), record.end);
        }
        assert_eq!(stats.generated_tokens, 200 * 20);
    }

    #[test]
    fn a_cap_of_one_serves_one_after_the_other() {
        let (finished, _) = simulate(plan(20, 0, Some(1))).unwrap();
        for pair in finished.records.windows(2) {
            assert_eq!(pair[1].send_start, pair[0].end);
        }
        assert_eq!(finished.health.in_flight_peak, 1);
    }

    #[test]
    fn a_request_that_can_never_run_is_refused_like_by_a_server() {
        let mut plan = plan(3, 1, Some(1));
        plan.cluster.engine = EngineConfig {
            max_model_len: 110,
            ..plan.cluster.engine
        };
        let (finished, _) = simulate(plan).unwrap();
        for record in &finished.records {
            assert_eq!(
                (record.outcome, record.status),
                (Outcome::HttpError, Some(400))
            );
        }
    }

    #[test]
    fn a_request_that_is_given_up_frees_its_slot_and_keeps_its_tokens() {
        let mut plan = plan(3, 0, Some(1));
        plan.requests[1].cancel_after = Some(Nanos::from_millis(50));
        let (finished, stats) = simulate(plan).unwrap();
        let given_up = &finished.records[1];
        assert_eq!(given_up.outcome, Outcome::Cancelled);
        assert_eq!(
            given_up.end,
            given_up
                .send_start
                .map(|sent| sent + Nanos::from_millis(50))
        );
        assert!(!given_up.events.is_empty() && given_up.events.len() < 20);
        assert_eq!(finished.records[2].send_start, given_up.end);
        assert_eq!((stats.finished, stats.cancelled), (2, 1));
    }

    #[test]
    fn a_turn_follows_the_answer_before_it_and_finds_it_in_the_cache() {
        let mut plan = plan(4, 0, None);
        let answer: Vec<u32> = (1_000..1_020).collect();
        let mut said: Vec<u32> = (0..100).collect();
        for (turn, request) in plan.requests.iter_mut().enumerate() {
            request.engine.prompt = Content::Tokens(said.clone());
            request.engine.answer.clone_from(&answer);
            said.extend(&answer);
            said.extend(0..12);
            request.think = (turn > 0).then_some(Nanos::from_millis(250));
        }
        let (finished, _) = simulate(plan).unwrap();
        for pair in finished.records.windows(2) {
            let due = pair[0].end.map(|end| end + Nanos::from_millis(250));
            assert_eq!((Some(pair[1].due), pair[1].send_start), (due, due));
            // All full blocks of what was said, less the newest token of the answer, which was
            // never computed.
            let known = pair[0].usage.prompt_tokens.unwrap() + 20 - 1;
            assert_eq!(pair[1].usage.cached_tokens, Some(known / 16 * 16));
        }
    }

    #[test]
    fn no_more_conversations_are_under_way_than_allowed_and_a_failed_one_makes_room() {
        let mut plan = plan(12, 0, None);
        for (index, request) in plan.requests.iter_mut().enumerate() {
            request.think = (index % 3 > 0).then_some(Nanos::from_millis(400));
        }
        plan.most_conversations = Some(2);
        // The second turn of the second conversation can never run.
        plan.requests[4].engine.prompt = Content::Unshared(1_000_000);
        let (finished, _) = simulate(plan).unwrap();
        let spans: Vec<(Nanos, Nanos)> = finished
            .records
            .chunks(3)
            .map(|turns| {
                let ends = turns.iter().filter_map(|turn| turn.end);
                (turns[0].send_start.unwrap(), ends.max().unwrap())
            })
            .collect();
        for &(start, _) in &spans {
            let under_way = spans
                .iter()
                .filter(|(from, to)| *from <= start && start < *to)
                .count();
            assert!(under_way <= 2, "{spans:?}");
        }
        // The third took the place of the one that failed.
        assert_eq!(spans[2].0, spans[1].1);
        assert_eq!(finished.records[5].outcome, Outcome::Unfinished);
        assert!(
            finished.records[9..]
                .iter()
                .all(|record| record.outcome == Outcome::Ok)
        );
    }

    #[test]
    fn turns_after_one_that_is_refused_are_not_sent() {
        let mut plan = plan(3, 0, None);
        plan.cluster.engine = EngineConfig {
            max_model_len: 110,
            ..plan.cluster.engine
        };
        for request in &mut plan.requests[1..] {
            request.think = Some(Nanos::ZERO);
        }
        let (finished, _) = simulate(plan).unwrap();
        let outcomes: Vec<_> = finished
            .records
            .iter()
            .map(|record| record.outcome)
            .collect();
        assert_eq!(
            outcomes,
            [Outcome::HttpError, Outcome::Unfinished, Outcome::Unfinished]
        );
        assert!(
            finished.records[2]
                .error
                .as_ref()
                .unwrap()
                .contains("earlier turn")
        );
    }
}
