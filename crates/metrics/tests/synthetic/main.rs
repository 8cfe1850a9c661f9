//! Extras, intervals and verdicts of synthetic runs.

mod answers;
mod denominators;
mod extras;
mod intervals;
mod support;
mod verdict;
