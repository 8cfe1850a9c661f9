//! Readiness of descriptors in the tokio event loop.

#![expect(
    unsafe_code,
    reason = "tokio asks for a promise that the descriptor stays open"
)]

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Registers a non-blocking descriptor with the current runtime.
///
/// # Errors
///
/// The runtime cannot watch the descriptor.
pub fn watch(descriptor: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an OwnedFd owns its descriptor, gives the same number on every call, and closes it
    // only when dropped, which AsyncFd does after deregistering.
    unsafe { AsyncFd::register_with_interest(descriptor, interest) }
        .map_err(|error| error.into_parts().1)
}
