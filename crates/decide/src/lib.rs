//! Decisions about groups of runs: is the candidate worse than the baseline, and could these runs have seen
//! it?
//!
//! A *group* is the repeats of one setting on one server. [`Groups`] reads two of them from the rows of
//! result files, and refuses those that did not measure the same; [`compare`] and [`gate`] decide from the
//! values of their runs. `docs/statistics.md` explains the methods and their limits.
//!
//! Pure: no files, no clock, no random numbers.

mod effect;
#[cfg(test)]
mod example;
mod foresight;
mod gate;
mod gate_file;
mod groups;
mod judge;
mod looks;
mod metric;
mod power;
mod recipe;

pub use effect::{Design, Effect, Interval, NoEffect};
pub use foresight::{Foreseen, Foresight, foresee};
pub use gate::{Gate, Outcome, contrast, gate};
pub use gate_file::{DecisionFile, GateError, GateFile, Look};
pub use groups::{Asked, DecideError, Failures, Groups, LeftOut, Member, NotComparable};
pub use judge::{Decision, Judgement, POWER, Values, compare};
pub use looks::Looks;
pub use metric::{Direction, Row, number, unit};
pub use recipe::{Difference, Recipe, flatten, is_below};
