//! Extras and verdicts of synthetic runs.

mod extras;
mod support;
mod verdict;
