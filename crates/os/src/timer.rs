//! A precise alarm: it wakes up some 50 µs after its instant, not a millisecond.

#![expect(
    unsafe_code,
    reason = "timerfd has no safe form in the standard library"
)]

use std::io;

use inferometer_core::Nanos;

use crate::clock;

/// An alarm for tokio tasks on an absolute instant of the monotonic clock.
///
/// tokio's own timers work in whole milliseconds and wake up about 1.1 ms late at the median; a
/// timerfd in the same event loop wakes up some 50 µs late. What remains can be closed by
/// [`PreciseTimer::spin_until`]. One timer serves one task.
#[derive(Debug)]
pub struct PreciseTimer {
    #[cfg(target_os = "linux")]
    descriptor: tokio::io::unix::AsyncFd<std::os::fd::OwnedFd>,
}

#[cfg(target_os = "linux")]
impl PreciseTimer {
    /// A timer in the current tokio runtime.
    ///
    /// # Errors
    ///
    /// The kernel gives no timer, or no runtime is entered.
    pub fn new() -> io::Result<Self> {
        use std::os::fd::{FromRawFd, OwnedFd};
        // SAFETY: the call takes no pointers; the result is checked before use.
        let raw = unsafe {
            libc::timerfd_create(
                libc::CLOCK_MONOTONIC,
                libc::TFD_NONBLOCK | libc::TFD_CLOEXEC,
            )
        };
        if raw < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: `raw` is a fresh descriptor that nothing else owns.
        let owned = unsafe { OwnedFd::from_raw_fd(raw) };
        let descriptor = crate::watch(owned, tokio::io::Interest::READABLE)?;
        Ok(Self { descriptor })
    }

    /// Waits until `instant`; returns at once if it has passed.
    ///
    /// Dropping the future before it is ready is safe: the next call sets the alarm anew.
    ///
    /// # Errors
    ///
    /// The timer cannot be set or read.
    pub async fn sleep_until(&self, instant: Nanos) -> io::Result<()> {
        if instant <= clock::now() {
            return Ok(());
        }
        self.arm(instant)?;
        loop {
            let mut ready = self.descriptor.readable().await?;
            // The expiry count itself is of no interest; reading it makes the descriptor quiet
            // again.
            let expired = ready.try_io(|descriptor| read_expiries(descriptor.get_ref()));
            if matches!(expired, Ok(Ok(_))) && clock::now() >= instant {
                return Ok(());
            }
            if clock::now() >= instant {
                return Ok(());
            }
        }
    }

    fn arm(&self, instant: Nanos) -> io::Result<()> {
        use std::os::fd::AsRawFd;
        let spec = libc::itimerspec {
            it_interval: libc::timespec {
                tv_sec: 0,
                tv_nsec: 0,
            },
            it_value: libc::timespec {
                tv_sec: (instant.0 / 1_000_000_000) as libc::time_t,
                tv_nsec: (instant.0 % 1_000_000_000) as libc::c_long,
            },
        };
        // SAFETY: the descriptor is our own timerfd, `spec` is a valid itimerspec, and the old
        // value is not asked for.
        let result = unsafe {
            libc::timerfd_settime(
                self.descriptor.get_ref().as_raw_fd(),
                libc::TFD_TIMER_ABSTIME,
                &raw const spec,
                std::ptr::null_mut(),
            )
        };
        if result == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    }
}

#[cfg(target_os = "linux")]
fn read_expiries(descriptor: &std::os::fd::OwnedFd) -> io::Result<u64> {
    use std::os::fd::AsRawFd;
    let mut count = 0_u64;
    // SAFETY: the buffer is a live u64, and a timerfd read writes exactly eight bytes.
    let read = unsafe {
        libc::read(
            descriptor.as_raw_fd(),
            (&raw mut count).cast(),
            size_of::<u64>(),
        )
    };
    if read < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(count)
    }
}

#[cfg(not(target_os = "linux"))]
impl PreciseTimer {
    /// A timer in the current tokio runtime.
    pub fn new() -> io::Result<Self> {
        Ok(Self {})
    }

    /// Waits until `instant`; returns at once if it has passed.
    pub async fn sleep_until(&self, instant: Nanos) -> io::Result<()> {
        tokio::time::sleep(instant.since(clock::now()).to_duration()).await;
        Ok(())
    }
}

impl PreciseTimer {
    /// Spins until `instant`, and returns the first reading at or after it.
    pub fn spin_until(instant: Nanos) -> Nanos {
        loop {
            let now = clock::now();
            if now >= instant {
                return now;
            }
            std::hint::spin_loop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_alarm_is_never_early_and_can_be_set_again() {
        let timer = PreciseTimer::new().unwrap();
        for us in [0, 200, 1_500, 50] {
            let due = clock::now() + Nanos::from_micros(us);
            timer.sleep_until(due).await.unwrap();
            assert!(clock::now() >= due);
        }
        let far = clock::now() + Nanos::from_millis(60_000);
        tokio::select! {
            _ = timer.sleep_until(far) => panic!("a minute cannot have passed"),
            () = tokio::task::yield_now() => {}
        }
        timer
            .sleep_until(clock::now() + Nanos::from_micros(100))
            .await
            .unwrap();
    }
}
