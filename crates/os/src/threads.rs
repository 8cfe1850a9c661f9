//! How many threads this process can start: users and containers have limits on them.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Builder;

/// Threads that could be started beside those that run.
#[derive(Debug)]
pub struct Startable {
    /// How many of those that were wanted.
    pub count: usize,
    /// Why no more could be started.
    pub refusal: Option<io::Error>,
}

/// Starts up to `wanted` threads at once, and ends them again.
pub fn startable(wanted: usize) -> Startable {
    let gate = Arc::new(Mutex::new(()));
    let closed = gate.lock().unwrap_or_else(PoisonError::into_inner);
    let (mut started, mut refusal) = (Vec::with_capacity(wanted), None);
    while started.len() < wanted {
        let gate = Arc::clone(&gate);
        // The least that every platform takes.
        let thread = Builder::new().stack_size(1 << 16);
        match thread.spawn(move || drop(gate.lock())) {
            Ok(thread) => started.push(thread),
            Err(error) => {
                refusal = Some(error);
                break;
            }
        }
    }
    drop(closed);
    let count = started.len();
    for thread in started {
        drop(thread.join());
    }
    Startable { count, refusal }
}

/// What to do where threads cannot be started, with the limits that are known: "raise the limit …".
pub fn remedy() -> String {
    let mut text = "raise the limit on processes and threads (ulimit -u".to_owned();
    // Writing to a string cannot fail.
    if let Some(limit) = user_limit() {
        let _ = write!(text, ", now {limit}");
    }
    text.push_str("), or that of the container (pids.max");
    if let Some(limit) = container_limit() {
        let _ = write!(text, ", now {limit}");
    }
    text + ")"
}

/// The soft limit on processes and threads of this user.
fn user_limit() -> Option<String> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max processes"))?;
    line.split_whitespace().next().map(str::to_owned)
}

/// The limit of the control group.
fn container_limit() -> Option<String> {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let own = groups.lines().find_map(|line| line.strip_prefix("0::/"));
    let root = Path::new("/sys/fs/cgroup");
    let folders = own.map(|own| root.join(own)).into_iter();
    folders
        .chain([root.to_owned(), root.join("pids")])
        .find_map(|folder| fs::read_to_string(folder.join("pids.max")).ok())
        .map(|limit| limit.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_are_counted_and_the_limits_named() {
        let found = startable(5);
        assert_eq!(found.count, 5);
        assert!(found.refusal.is_none());
        let remedy = remedy();
        assert!(
            remedy.contains("ulimit -u") && remedy.contains("pids.max"),
            "{remedy}"
        );
    }
}
