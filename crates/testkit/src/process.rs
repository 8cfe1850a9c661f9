//! Processes: signals, results of those that end, and the machine for one test at a time.

use std::path::Path;
use std::process::{Child, Command};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;

use crate::{printed, read_json};

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Held by a test that needs the machine for itself: tests of one program that take it run one
/// after the other.
pub fn alone() -> MutexGuard<'static, ()> {
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Polls until a condition holds.
///
/// # Panics
/// When it does not within a minute; `what` names it in the message.
pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    const POLL_INTERVAL: Duration = Duration::from_millis(20);
    const POLLS: u32 = 3_000;
    for _ in 0..POLLS {
        if holds() {
            return;
        }
        std::thread::sleep(POLL_INTERVAL);
    }
    panic!("waited in vain for {what}");
}

/// Sends a signal such as `-STOP`.
pub fn signal(process: u32, name: &str) {
    let status = Command::new("kill")
        .args([name, &process.to_string()])
        .status()
        .unwrap();
    assert!(status.success(), "kill {name} {process}: {status}");
}

/// Waits for a run of [`Binary::start_run`](crate::Binary::start_run), which must succeed, and
/// returns its result file.
pub fn finish(child: Child, folder: &Path) -> Value {
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", printed(&output));
    read_json(&folder.join("r.json"))
}
