//! Reads an answer that is already in memory: for fuzzing, and for captured streams.

use inferometer_core::{Nanos, Outcome, Record};

use crate::backend::Backend;
use crate::judge::conclusion;
use crate::probe::Stamp;
use crate::progress::{Counting, Progress};
use crate::reply::{Fault, KeepText, deliver};
use crate::settings::Limits;
use crate::sse::{Framer, SseEvent};

/// The record that `backend` makes of the body of a streamed answer in these chunks, all read at
/// one instant.
///
/// The record holds the outcome and, if it is not a good one, the reason, as after a real exchange.
pub fn read_stream<'a>(backend: &Backend, chunks: impl IntoIterator<Item = &'a [u8]>) -> Record {
    let chunks = chunks.into_iter().map(|chunk| (Nanos::ZERO, chunk));
    read(backend, Counting::default(), chunks, false)
}

/// As [`read_stream`], with each chunk read at its own instant.
pub fn read_timed<'a>(
    backend: &Backend,
    counting: Counting,
    chunks: impl IntoIterator<Item = (Nanos, &'a [u8])>,
) -> Record {
    read(backend, counting, chunks, true)
}

fn read<'a>(
    backend: &Backend,
    counting: Counting,
    chunks: impl IntoIterator<Item = (Nanos, &'a [u8])>,
    separate_reads: bool,
) -> Record {
    let mut record = Record::default();
    let chunks = chunks.into_iter().zip(1..).map(|((at, chunk), number)| {
        let stamp = Stamp {
            at,
            user: at,
            kernel: false,
            read: if separate_reads { number } else { 0 },
        };
        (stamp, chunk)
    });
    match try_read(backend, counting, chunks, &mut record) {
        Ok(()) => record.outcome = Outcome::Ok,
        Err(fault) => {
            record.outcome = fault.outcome;
            record.error = Some(fault.message);
        }
    }
    record
}

fn try_read<'a>(
    backend: &Backend,
    counting: Counting,
    chunks: impl IntoIterator<Item = (Stamp, &'a [u8])>,
    record: &mut Record,
) -> Result<(), Fault> {
    let limits = Limits::default();
    let mut reader = backend.reader();
    let mut progress = Progress::new(KeepText::Always, counting);
    let mut framer = Framer::new(limits.event);
    let mut last = Stamp::default();
    for chunk in chunks.into_iter().map(Some).chain([None]) {
        let stamp = chunk.map_or(last, |(stamp, _)| stamp);
        last = stamp;
        let each = |event: SseEvent<'_>| {
            deliver(
                event,
                reader.as_mut(),
                record,
                &mut progress,
                stamp,
                limits.events,
            )
        };
        let pushed = match chunk {
            Some((_, chunk)) => framer.push(chunk, each),
            None => framer.finish(each),
        };
        match pushed {
            // What follows the end marker is not part of the answer.
            Err(_) if progress.done => break,
            other => other?,
        }
    }
    record.unseparated_events = framer.unseparated();
    conclusion(record, &mut progress, reader.as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend;

    #[test]
    fn a_captured_stream_reads_as_it_was_sent() {
        let stream = b"data: {\"choices\":[{\"index\":0,\"text\":\"Hi\",\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";
        let vllm = backend::find("vllm").unwrap();
        let record = read_stream(vllm, [&stream[..]]);
        assert_eq!(
            (record.outcome, record.text.as_str(), record.events.len()),
            (Outcome::Ok, "Hi", 1)
        );
        assert_eq!(read_stream(vllm, stream.chunks(1)).text, "Hi");
        assert_eq!(
            read_stream(vllm, [&stream[..20]]).outcome,
            Outcome::Malformed
        );
    }
}
