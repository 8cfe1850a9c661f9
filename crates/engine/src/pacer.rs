//! Waking up in time for a due instant: sleep until shortly before it, make the request ready, then
//! spin.

use std::cell::Cell;
use std::io;

use inferometer_core::Nanos;
use inferometer_os::{PreciseTimer, clock};

/// Wake-ups measured to calibrate the guard. With [`CALIBRATION_SLEEP`] they take one to two
/// milliseconds of a run's start-up; 16 sleeps of 200 µs took about five.
const CALIBRATION_ROUNDS: usize = 10;
/// Length of each calibrating sleep. It only has to be longer than the lateness it measures, which
/// is some 50 µs for a timerfd (see [`PreciseTimer`]).
const CALIBRATION_SLEEP: Nanos = Nanos::from_micros(100);
/// The guard never grows above this, three times the usual lateness of a wake-up: a thread that
/// wakes up later than that is being pre-empted, and spinning does not help against it.
const LARGEST_GUARD: Nanos = Nanos::from_micros(150);
/// Added to the measured lateness: 10 µs because the calibration sees only a few wake-ups, and
/// 20 µs because the request is made ready in this time (a connection is looked up, headers are
/// encoded), which costs some 10 to 20 µs.
const MARGIN: Nanos = Nanos::from_micros(30);

/// Waits for due instants on one worker.
#[derive(Debug)]
pub(crate) struct Pacer {
    timer: PreciseTimer,
    guard: Nanos,
    spun: Cell<Nanos>,
}

impl Pacer {
    /// A pacer in the current runtime. Without `may_spin` (a single CPU, where spinning would keep
    /// the server from running) it relies on the timer alone.
    pub(crate) async fn calibrated(may_spin: bool) -> io::Result<Self> {
        let timer = PreciseTimer::new()?;
        let guard = if may_spin {
            calibrate(&timer).await?
        } else {
            Nanos::ZERO
        };
        Ok(Self {
            timer,
            guard,
            spun: Cell::new(Nanos::ZERO),
        })
    }

    /// Waits until about `instant` on the monotonic clock, without spinning. Cancel-safe.
    pub(crate) async fn sleep_until(&self, instant: Nanos) -> io::Result<()> {
        self.timer.sleep_until(instant).await
    }

    /// Waits until `instant` on the monotonic clock.
    ///
    /// Cancel-safe: the last stretch is not interruptible, but it is at most the guard.
    pub(crate) async fn wait_until(&self, instant: Nanos) -> io::Result<()> {
        self.timer.sleep_until(instant.since(self.guard)).await?;
        let before = clock::now();
        if before < instant {
            let after = PreciseTimer::spin_until(instant);
            self.spun.set(self.spun.get() + after.since(before));
        }
        Ok(())
    }

    /// CPU time spent spinning so far.
    pub(crate) fn spun(&self) -> Nanos {
        self.spun.get()
    }

    /// How long before a due instant the spinning begins; zero when the pacer never spins.
    pub(crate) fn guard(&self) -> Nanos {
        self.guard
    }
}

/// The 90th percentile of the lateness of some wake-ups, and the margin.
async fn calibrate(timer: &PreciseTimer) -> io::Result<Nanos> {
    let mut lateness = [Nanos::ZERO; CALIBRATION_ROUNDS];
    for late in &mut lateness {
        let due = clock::now() + CALIBRATION_SLEEP;
        timer.sleep_until(due).await?;
        *late = clock::now().since(due);
    }
    lateness.sort_unstable();
    let p90 = lateness[CALIBRATION_ROUNDS * 9 / 10];
    Ok((p90 + MARGIN).min(LARGEST_GUARD))
}
