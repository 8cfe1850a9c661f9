//! When a request is sent again: only where that cannot count it twice on the server.

use inferometer_core::{Nanos, Record};
use inferometer_os::{PreciseTimer, clock};

use crate::reply::Fault;
use crate::settings::Timeouts;

/// Refusals of one request after which it fails. A server that closes each connection after 100
/// requests and is offered 1,000 at once refuses the last of them nine times.
const REFUSALS: u32 = 100;
/// Longest pause before a request whose stream was refused is sent again.
const PAUSE: Nanos = Nanos::from_millis(100);

/// The attempts of one request.
#[derive(Debug, Default)]
pub(crate) struct Resends {
    lost: bool,
    refusals: u32,
}

impl Resends {
    /// True once: a reused connection may have been closed before the request came. Twice in a row
    /// is no coincidence.
    pub(crate) fn after_a_lost_connection(&mut self) -> bool {
        !std::mem::replace(&mut self.lost, true)
    }

    /// Counts a refusal, and returns when the request may be sent again.
    ///
    /// A connection that is being closed (`leaves`) is replaced at once. A refused stream finds the
    /// same server busy, and waits: 1 ms, and twice as long each time.
    ///
    /// # Errors
    /// `fault`, when there were too many refusals, or no time is left for another attempt.
    pub(crate) async fn after_a_refusal(
        &mut self,
        fault: Fault,
        leaves: bool,
        record: &mut Record,
        timeouts: &Timeouts,
    ) -> Result<(), Fault> {
        self.refusals += 1;
        let pause = if leaves {
            Nanos::ZERO
        } else {
            Nanos(Nanos::from_millis(1).0 << (self.refusals - 1).min(16)).min(PAUSE)
        };
        let start = record.send_start.unwrap_or_else(clock::now);
        let limit = timeouts
            .first_byte
            .min(timeouts.total.unwrap_or(Nanos::MAX));
        let in_time = clock::now().since(start) + pause < limit;
        if self.refusals >= REFUSALS || !in_time {
            let message = format!("{} (refused {} times)", fault.message, self.refusals);
            return Err(Fault::new(fault.outcome, message));
        }
        record.reconnects += 1;
        if pause > Nanos::ZERO
            && let Ok(timer) = PreciseTimer::new()
        {
            // Without a timer it is sent at once, which is only less polite.
            drop(timer.sleep_until(clock::now() + pause).await);
        }
        Ok(())
    }
}
