//! Extras and verdicts of synthetic runs.

mod denominators;
mod extras;
mod support;
mod verdict;
