//! One monotonic clock for spans, and its relation to the wall clock.

#![expect(
    unsafe_code,
    reason = "clock_gettime has no safe form that gives raw nanoseconds"
)]

use inferometer_core::Nanos;

/// Now, on the monotonic clock (`CLOCK_MONOTONIC`).
///
/// All processes of one host share this axis until the next boot, so stamps of the simulator and of
/// the client can be subtracted.
pub fn now() -> Nanos {
    read(libc::CLOCK_MONOTONIC)
}

/// Now, on the wall clock, in nanoseconds since 1970.
///
/// For labels and for converting kernel stamps only; never subtract two of these.
pub fn wall() -> Nanos {
    read(libc::CLOCK_REALTIME)
}

/// CPU time that the calling thread has used.
pub fn thread_cpu() -> Nanos {
    read(libc::CLOCK_THREAD_CPUTIME_ID)
}

/// CPU time that the whole process has used.
pub fn process_cpu() -> Nanos {
    read(libc::CLOCK_PROCESS_CPUTIME_ID)
}

fn read(clock: libc::clockid_t) -> Nanos {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is a valid, writable timespec; the call has no other effect. It cannot fail
    // for the clocks used here, which every supported kernel has.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    Nanos(time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
}

/// The wall clock and the monotonic clock read at the same moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Anchor {
    /// Monotonic reading.
    pub monotonic: Nanos,
    /// Wall-clock reading.
    pub wall: Nanos,
    /// How far apart the two readings may be at most.
    pub uncertainty: Nanos,
}

impl Anchor {
    /// Reads both clocks, keeping the tightest of a few tries.
    pub fn sample() -> Self {
        (0..5)
            .map(|_| {
                let before = now();
                let wall = wall();
                let after = now();
                let uncertainty = after.since(before);
                Self {
                    monotonic: Nanos(before.0 + uncertainty.0 / 2),
                    wall,
                    uncertainty,
                }
            })
            .min_by_key(|anchor| anchor.uncertainty)
            .expect("five tries were made")
    }

    /// Wall minus monotonic, in nanoseconds.
    pub fn offset(self) -> i128 {
        i128::from(self.wall.0) - i128::from(self.monotonic.0)
    }
}

/// Converts wall-clock stamps of the kernel to the monotonic clock.
///
/// The two clocks drift apart by some microseconds per second and jump when the time is set,
/// so the offset is sampled again every second, and jumps are counted.
#[derive(Clone, Debug)]
pub struct WallConverter {
    anchor: Anchor,
    next_sample: Nanos,
    steps: u32,
    largest_step: Nanos,
}

/// Sampling interval of [`WallConverter`].
const RESAMPLE: Nanos = Nanos::from_millis(1_000);
/// A change of the offset per second above this is a step of the wall clock, not drift (500 ppm is
/// the most that the kernel slews; sampling noise on a busy machine stays below this).
const STEP: Nanos = Nanos::from_millis(2);

impl Default for WallConverter {
    fn default() -> Self {
        Self::new()
    }
}

impl WallConverter {
    /// A converter with a fresh sample.
    pub fn new() -> Self {
        let anchor = Anchor::sample();
        Self {
            anchor,
            next_sample: anchor.monotonic + RESAMPLE,
            steps: 0,
            largest_step: Nanos::ZERO,
        }
    }

    /// Samples again if the last sample is older than a second at `now`.
    pub fn refresh(&mut self, now: Nanos) {
        if now >= self.next_sample {
            self.accept(Anchor::sample());
        }
    }

    fn accept(&mut self, anchor: Anchor) {
        let elapsed_s = anchor
            .monotonic
            .since(self.anchor.monotonic)
            .as_secs_f64()
            .max(1.0);
        let change = Nanos(
            u64::try_from((anchor.offset() - self.anchor.offset()).unsigned_abs())
                .unwrap_or(u64::MAX),
        );
        if change.since(anchor.uncertainty).as_secs_f64() > STEP.as_secs_f64() * elapsed_s {
            self.steps += 1;
            self.largest_step = self.largest_step.max(change);
        }
        self.anchor = anchor;
        self.next_sample = anchor.monotonic + RESAMPLE;
    }

    /// The monotonic instant of a wall-clock stamp.
    pub fn to_monotonic(&self, wall: Nanos) -> Nanos {
        Nanos(u64::try_from(i128::from(wall.0) - self.anchor.offset()).unwrap_or(0))
    }

    /// Number of wall-clock steps seen, and the largest.
    pub fn steps(&self) -> (u32, Nanos) {
        (self.steps, self.largest_step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wall_stamps_come_back_to_the_monotonic_axis() {
        let converter = WallConverter::new();
        let error = converter.to_monotonic(wall()).0.abs_diff(now().0);
        assert!(error < 50_000_000, "{error} ns apart");
    }

    #[test]
    fn a_step_of_the_wall_clock_is_noticed_and_drift_is_not() {
        let mut converter = WallConverter::new();
        let start = converter.anchor;
        let at = |seconds: u64, shift: i64| Anchor {
            monotonic: start.monotonic + Nanos::from_millis(seconds * 1_000),
            wall: Nanos((start.wall.0 + seconds * 1_000_000_000).wrapping_add_signed(shift)),
            uncertainty: Nanos(100),
        };
        converter.accept(at(1, 200_000));
        assert_eq!(converter.steps().0, 0);
        converter.accept(at(2, 3_000_000_000));
        assert_eq!(converter.steps().0, 1);
        converter.accept(at(3, 3_000_000_000));
        assert_eq!(converter.steps().0, 1);
        converter.accept(at(4, -3_000_000_000));
        assert_eq!(converter.steps(), (2, Nanos(6_000_000_000)));
    }
}
