//! Reads an answer that is already in memory: for fuzzing, and for captured streams.

use inferometer_core::{Outcome, Record};

use crate::backend::Backend;
use crate::judge::conclusion;
use crate::probe::Stamp;
use crate::reply::{Fault, KeepText, Progress, deliver};
use crate::settings::Limits;
use crate::sse::{Framer, SseEvent};

/// The record that `backend` makes of the body of a streamed answer in these chunks, all read at
/// one instant.
///
/// The record holds the outcome and, if it is not a good one, the reason, as after a real exchange.
pub fn read_stream<'a>(backend: &Backend, chunks: impl IntoIterator<Item = &'a [u8]>) -> Record {
    let mut record = Record::default();
    match try_read(backend, chunks, &mut record) {
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
    chunks: impl IntoIterator<Item = &'a [u8]>,
    record: &mut Record,
) -> Result<(), Fault> {
    let limits = Limits::default();
    let mut reader = backend.reader();
    let mut progress = Progress::new(KeepText::Always);
    let mut framer = Framer::new(limits.event);
    let mut read = |framer: &mut Framer, chunk: Option<&[u8]>, progress: &mut Progress| {
        let each = |event: SseEvent<'_>| {
            deliver(
                event,
                reader.as_mut(),
                record,
                progress,
                Stamp::default(),
                limits.events,
            )
        };
        match chunk {
            Some(chunk) => framer.push(chunk, each),
            None => framer.finish(each),
        }
    };
    for chunk in chunks.into_iter().map(Some).chain([None]) {
        match read(&mut framer, chunk, &mut progress) {
            // What follows the end marker is not part of the answer.
            Err(_) if progress.done => break,
            other => other?,
        }
    }
    conclusion(record, &progress, reader.as_ref())
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
