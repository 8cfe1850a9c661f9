//! Warns early in a run if no request succeeds.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use inferometer_engine::Progress;

use crate::observer::Observer;

/// Failures without a success after which it is said, so that one unlucky request says nothing.
const FAILURES: u64 = 3;
/// How often the counters are read.
const INTERVAL: Duration = Duration::from_millis(50);

/// What to do about a request that failed with HTTP `status`, in one sentence.
pub fn advice(status: Option<u16>) -> &'static str {
    match status {
        Some(401 | 403) => {
            "set OPENAI_API_KEY, or pass the header that the server expects with --header"
        }
        Some(404 | 405 | 501) => {
            "the server does not know this path or model: correct --backend, --endpoint or --model"
        }
        Some(400 | 422) => {
            "the server does not accept the request: omit fields with --omit-field, or choose another --backend"
        }
        _ => "see the server's log",
    }
}

/// Runs `work`, and warns as soon as the first requests have all failed.
pub(super) fn watched<T>(
    progress: &Progress,
    requests: usize,
    observer: &dyn Observer,
    work: impl FnOnce() -> T,
) -> T {
    let over = AtomicBool::new(false);
    let enough = FAILURES.min(requests as u64);
    std::thread::scope(|scope| {
        let watch = || {
            while !over.load(Ordering::Relaxed) {
                let counts = progress.snapshot();
                if counts.ok > 0 {
                    return;
                }
                // The reason comes a little later than the count.
                if counts.failed >= enough
                    && let Some(first) = progress.first_failure()
                {
                    observer.warning(&format!(
                        "none of the first {} requests has succeeded; the first failed with {}: {}. Ctrl-C ends \
                         the run; inferometer check tries one request of each kind",
                        counts.failed,
                        first.reason,
                        advice(first.status)
                    ));
                    return;
                }
                std::thread::sleep(INTERVAL);
            }
        };
        // The warning is not worth a run that could be measured without it.
        drop(std::thread::Builder::new().spawn_scoped(scope, watch));
        let result = work();
        over.store(true, Ordering::Relaxed);
        result
    })
}
