//! Extras and verdicts of made-up runs.

mod extras;
mod support;
mod verdict;
