//! Whatever a server streams, every backend ends in one outcome, and the cut of the bytes changes
//! nothing.
#![no_main]

use libfuzzer_sys::fuzz_target;
use inferometer_wire::{backend, offline};

fuzz_target!(|input: (u8, u8, &[u8])| {
    let (which, cut, bytes) = input;
    let backend = backend::ALL[usize::from(which) % backend::ALL.len()];
    let whole = offline::read_stream(backend, [bytes]);
    let pieces = offline::read_stream(backend, bytes.chunks(1 + usize::from(cut % 16)));
    assert_eq!(whole.outcome, pieces.outcome, "{:?} / {:?}", whole.error, pieces.error);
    if whole.is_ok() {
        assert_eq!((&whole.text, &whole.other_text), (&pieces.text, &pieces.other_text));
        assert_eq!((whole.events.len(), whole.usage), (pieces.events.len(), pieces.usage));
    }
});
