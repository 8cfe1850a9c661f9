//! Writing to the connection, with the instants for the truth log.

use std::sync::atomic::Ordering;

use inferometer_core::Nanos;
use inferometer_os::clock;

use super::{Departure, Stream};
use crate::faults::FaultKind;
use crate::scratch::Scratch;
use crate::shared::Shared;

/// Events that the burst fault puts into one write.
const BURST_EVENTS: usize = 4;
/// Writes that may wait for the kernel's stamp before the stamps are fetched: as many as one call
/// fetches, and far fewer than the socket's error queue holds (some hundred).
const MAX_LEAVING: usize = 32;

impl Stream {
    /// Hands the outgoing bytes to the kernel and stamps the events in them.
    pub(super) fn hand_over(&mut self, shared: &Shared, scratch: &mut Scratch, flush: bool) {
        if self.fault == Some(FaultKind::Burst) {
            self.held.append(&mut scratch.out);
            if self.held_tokens.len() < BURST_EVENTS && !flush {
                return;
            }
            std::mem::swap(&mut self.held, &mut scratch.out);
            self.held.clear();
        }
        if scratch.out.is_empty() {
            return;
        }
        let stamp = clock::now();
        self.put_on_wire(&scratch.out);
        scratch.out.clear();
        self.note_events(shared, scratch, stamp);
    }

    /// Puts the events that were handed over at `stamp` into the record and the metrics.
    pub(super) fn note_events(&mut self, shared: &Shared, scratch: &mut Scratch, stamp: Nanos) {
        if shared.settings.flood.is_none() && self.fault.is_none() {
            let late = stamp.since(self.pace.due);
            self.record.max_late = self.record.max_late.max(late);
            scratch.lateness.add(late);
        }
        for tokens in self.held_tokens.drain(..) {
            let metrics = &shared.metrics;
            if self.record.events.is_empty() {
                metrics.ttft.add(stamp.since(self.record.body));
            } else {
                metrics.itl.add(stamp.since(self.previous));
            }
            self.previous = stamp;
            self.record.events.push(stamp);
            self.record.output_tokens += tokens;
            metrics
                .generation_tokens
                .fetch_add(u64::from(tokens), Ordering::Relaxed);
            if tokens != 1 && self.record.tokens.is_none() {
                self.record.tokens = Some(vec![1; self.record.events.len() - 1]);
            }
            if let Some(list) = &mut self.record.tokens {
                list.push(tokens);
            }
        }
        if self.conn.is_stamped() {
            self.note_departures(scratch);
        }
    }

    /// Takes note of the events that were just written, and now and then of those that have left.
    pub(super) fn note_departures(&mut self, scratch: &mut Scratch) {
        let places = self.record.kernel_sent.get_or_insert_default();
        let first = places.len();
        places.resize(self.record.events.len(), None);
        if let Some(end) = self.conn.written() {
            let events = first..places.len();
            self.leaving.push_back(Departure { end, events });
        }
        if self.leaving.len() >= MAX_LEAVING {
            self.collect_departures(scratch);
        }
    }

    /// Takes in the kernel's stamps of what has left.
    pub(crate) fn collect_departures(&mut self, scratch: &mut Scratch) {
        let Some(places) = self
            .record
            .kernel_sent
            .as_mut()
            .filter(|_| !self.leaving.is_empty())
        else {
            return;
        };
        let wall = scratch.wall.get_or_insert_default();
        wall.refresh(clock::now());
        let leaving = &mut self.leaving;
        self.conn
            .drain_stamps(&mut scratch.stamps, |last_byte, stamp| {
                while leaving
                    .front()
                    .is_some_and(|write| write.end <= last_byte + 1)
                {
                    let Some(write) = leaving.pop_front() else {
                        break;
                    };
                    places[write.events].fill(Some(wall.to_monotonic(stamp)));
                }
            });
    }

    /// Writes bytes to the connection, one by one where the fault wants it.
    pub(super) fn put_on_wire(&mut self, bytes: &[u8]) {
        let taken = if self.fault == Some(FaultKind::SplitBytes) {
            bytes
                .iter()
                .map(|byte| self.conn.write(std::slice::from_ref(byte)))
                .fold(true, |all, one| all & one)
        } else {
            self.conn.write(bytes)
        };
        if !taken {
            self.record.blocked_writes += 1;
        }
    }
}
