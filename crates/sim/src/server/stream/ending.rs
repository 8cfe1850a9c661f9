//! How an answer ends: as it should, or as its fault wants it.

use std::sync::atomic::Ordering;

use inferometer_os::clock;

use super::Stream;
use crate::api::UsageMode;
use crate::faults::FaultKind;
use crate::format::Finish;
use crate::scratch::Scratch;
use crate::server::fault_bytes;
use crate::server::http::push_chunk;
use crate::server::ticket::Ending;
use crate::shared::Shared;

impl Stream {
    /// What ends the answer before its end, if the fault is one of those and its moment has come.
    pub(super) fn break_off(&mut self, scratch: &mut Scratch) -> Option<Ending> {
        let fault = self.fault?;
        if !self.is_half_way() {
            return None;
        }
        let ending = match fault {
            FaultKind::ResetMidStream => Ending::Reset,
            FaultKind::HalfClose => Ending::HalfClose,
            FaultKind::Stall => Ending::Silence,
            FaultKind::EarlyEnd => {
                self.end_body(scratch);
                Ending::Done
            }
            FaultKind::ErrorInStream => {
                scratch.events.clear();
                scratch
                    .events
                    .push(|bytes| bytes.extend_from_slice(fault_bytes::ERROR_EVENT));
                self.plan
                    .format
                    .done(&mut scratch.events, self.plan.finish, None);
                self.frame(scratch);
                self.end_body(scratch);
                Ending::Done
            }
            _ => return None,
        };
        Some(ending)
    }

    /// Usage, end marker and closing chunk.
    pub(super) fn close(&mut self, shared: &Shared, scratch: &mut Scratch) -> Ending {
        scratch.events.clear();
        let reported = self.plan.usage != UsageMode::Never
            && !matches!(
                self.fault,
                Some(FaultKind::UsageMissing | FaultKind::UsageOnLastChoice)
            );
        let usage = reported.then(|| self.counts());
        self.plan
            .format
            .close(&mut scratch.events, self.plan.finish, usage);
        if self.fault != Some(FaultKind::MissingDone) {
            self.plan
                .format
                .done(&mut scratch.events, self.plan.finish, usage);
        }
        if self.fault == Some(FaultKind::DuplicateDone) {
            self.plan
                .format
                .done(&mut scratch.events, self.plan.finish, usage);
        }
        self.frame(scratch);
        self.end_body(scratch);
        self.count_finished(shared);
        if self.fault == Some(FaultKind::CloseAfterStream) {
            Ending::Close
        } else {
            Ending::Done
        }
    }

    /// Counts the request as finished.
    pub(super) fn count_finished(&self, shared: &Shared) {
        let counter = match self.plan.finish {
            Finish::Length => &shared.metrics.finished_length,
            Finish::Stop | Finish::ToolCalls => &shared.metrics.finished_stop,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Sends what is outgoing, and the closing chunk.
    pub(super) fn end_body(&mut self, scratch: &mut Scratch) {
        if let Some(gzip) = self.gzip.take() {
            push_chunk(&mut scratch.out, &gzip.finish(), self.chunked);
        }
        if self.chunked {
            scratch.out.extend_from_slice(b"0\r\n\r\n");
        }
        if !scratch.out.is_empty() {
            self.put_on_wire(&scratch.out);
            scratch.out.clear();
        }
        self.record.end = Some(clock::now());
    }

    /// Writes an answer that is one body.
    pub(super) fn emit_whole(&mut self, shared: &Shared, scratch: &mut Scratch) -> Ending {
        let answers = self.plan.answers();
        for sequence in &mut self.sequences {
            sequence.position = self.plan.output_tokens;
        }
        self.sent = self.plan.output_tokens * self.plan.sequences();
        let body = self
            .plan
            .format
            .whole(&answers, self.plan.finish, self.counts());
        let (bytes, ending) = fault_bytes::whole(self.fault, &body, self.keep_alive);
        let stamp = clock::now();
        self.put_on_wire(&bytes);
        self.record.end = Some(clock::now());
        let tokens = if self.plan.generates { self.sent } else { 0 };
        self.held_tokens.push(tokens);
        self.note_events(shared, scratch, stamp);
        self.count_finished(shared);
        ending
    }
}
