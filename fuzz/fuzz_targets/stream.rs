//! Whatever bytes a server streams, every backend ends in exactly one outcome, and the outcome does
//! not depend on how the bytes are split into chunks.
#![no_main]

use libfuzzer_sys::fuzz_target;
use inferometer_wire::{backend, offline};

fuzz_target!(|input: (u8, u8, &[u8])| {
    let (which, cut, bytes) = input;
    let backend = backend::ALL[usize::from(which) % backend::ALL.len()];
    let whole = offline::read_stream(backend, [bytes]);
    let chunked = offline::read_stream(backend, bytes.chunks(1 + usize::from(cut % 16)));
    assert_eq!(whole.outcome, chunked.outcome, "{:?} / {:?}", whole.error, chunked.error);
    if whole.is_ok() {
        assert_eq!((&whole.text, &whole.other_text), (&chunked.text, &chunked.other_text));
        assert_eq!((whole.events.len(), whole.usage), (chunked.events.len(), chunked.usage));
    }
});
