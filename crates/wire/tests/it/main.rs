//! The client against servers that follow a script.
//!
//! Programs of their own: `gate` and `multiplexed`, which measure instants, and `conservation`,
//! whose load would disturb those of others.

mod aside;
mod backends;
mod blanks;
mod choices;
mod closing;
mod common;
mod connections;
mod counts;
mod endless;
mod exchange;
mod faults;
mod forms;
mod goaway;
mod kinds;
mod lengths;
mod pieces;
mod transcripts;
mod trust;
mod vectors;
