//! The operating system: the clock, precise waiting, receive and send stamps, limits.
//!
//! This is the only crate with `unsafe` code, and the only one that reads the system clock
//! directly; the crates above call [`clock::now`]. What only Linux offers has a simpler fallback
//! elsewhere, and the result says so.

pub mod clock;
pub mod files;
mod group_signals;
pub mod limits;
pub mod process;
pub mod send_stamps;
pub mod stamps;
#[cfg(target_os = "linux")]
mod supervisor;
pub mod thread;
pub mod threads;
mod timer;
mod watch;

pub use timer::PreciseTimer;
pub use watch::watch;
