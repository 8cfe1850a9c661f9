//! Extras and verdicts of synthetic runs.

mod answers;
mod denominators;
mod extras;
mod support;
mod verdict;
