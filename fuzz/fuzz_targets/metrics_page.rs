//! Any text as a metrics page of a server is either read or rejected; nothing panics.
#![no_main]

use libfuzzer_sys::fuzz_target;
use inferometer_telemetry::server::{Page, ServerState};

fuzz_target!(|text: &str| {
    let page = Page::parse(text);
    let _ = format!("{:?}", ServerState::of(&page));
});
