//! Small helpers for tasks.

use inferometer_core::Nanos;
use inferometer_os::{PreciseTimer, clock};

/// Waits for `span`. If the system has no timer left, it does not wait at all.
pub(crate) async fn pause(span: Nanos) {
    let Ok(timer) = PreciseTimer::new() else {
        tokio::task::yield_now().await;
        return;
    };
    let _ = timer.sleep_until(clock::now() + span).await;
}
