//! A server's metrics page, whatever it holds, is read or refused.
#![no_main]

use libfuzzer_sys::fuzz_target;
use inferometer_telemetry::server::{Page, ServerState};

fuzz_target!(|text: &str| {
    let page = Page::parse(text);
    let _ = format!("{:?}", ServerState::of(&page));
});
