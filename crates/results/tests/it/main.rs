//! Tests of the files as a user of the crate sees them.

#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test fails where the test would"
)]

mod aggregate;
mod folder;
mod foreign;
mod import;
mod records;
mod vllm;
