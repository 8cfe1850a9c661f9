//! How often the verdict is wrong, measured on virtual time: clean runs of many shapes, and runs in
//! which something is wrong.
//!
//! Everything is seeded. The seeds were never chosen: they are the numbers from 0 on.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic")]

mod clean;
mod power;
mod shapes;
