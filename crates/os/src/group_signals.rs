//! What a process group and its supervisor say to each other.

/// The signal at which the supervisor of a group kills all that it looks after.
pub(crate) const KILL_ALL: libc::c_int = libc::SIGUSR1;
