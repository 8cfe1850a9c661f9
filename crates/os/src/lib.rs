//! The operating system's part: the clock, precise waiting, receive and send stamps, limits.
//!
//! This is the only crate with `unsafe` code, and the only one that reads a clock directly; the
//! rooms above call [`clock::now`]. Everything that only Linux offers has a plainer fallback
//! elsewhere, and says so in its result.

pub mod clock;
pub mod limits;
pub mod process;
pub mod send_stamps;
pub mod stamps;
pub mod thread;
mod timer;
mod watch;

pub use timer::PreciseTimer;
pub use watch::watch;
