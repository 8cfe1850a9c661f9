//! Settings and counters of the calling thread.

#![expect(
    unsafe_code,
    reason = "prctl and sched_setaffinity have no safe form in the standard library"
)]

use std::fmt;

use inferometer_core::Nanos;

/// Asks for wake-ups without the kernel's usual 50 µs of timer slack. True if granted.
pub fn minimise_timer_slack() -> bool {
    #[cfg(target_os = "linux")]
    {
        // SAFETY: PR_SET_TIMERSLACK takes one integer argument and touches no memory of ours.
        unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1, 0, 0, 0) == 0 }
    }
    #[cfg(not(target_os = "linux"))]
    false
}

/// Pins the calling thread to one CPU. True if granted.
pub fn pin_to_cpu(cpu: usize) -> bool {
    #[cfg(target_os = "linux")]
    {
        if cpu >= libc::CPU_SETSIZE as usize {
            return false;
        }
        // SAFETY: cpu_set_t is plain old data, `cpu` is below CPU_SETSIZE, and thread 0 is the
        // caller.
        unsafe {
            let mut set: libc::cpu_set_t = std::mem::zeroed();
            libc::CPU_SET(cpu, &mut set);
            libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set) == 0
        }
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = cpu;
        false
    }
}

/// The CPUs that the calling thread may run on, in order; `None` where the platform does not say.
fn allowed_cpus() -> Option<Vec<usize>> {
    allowed_cpus_of(0)
}

/// The CPUs that the first thread of process `process` may run on; 0 is the calling thread.
fn allowed_cpus_of(process: i32) -> Option<Vec<usize>> {
    #[cfg(target_os = "linux")]
    {
        // SAFETY: cpu_set_t is plain old data of the size that is given; a process that is not
        // there is an error.
        let set = unsafe {
            let mut set: libc::cpu_set_t = std::mem::zeroed();
            if libc::sched_getaffinity(process, size_of::<libc::cpu_set_t>(), &raw mut set) != 0 {
                return None;
            }
            set
        };
        // SAFETY: every number asked for is below CPU_SETSIZE.
        let allowed = |cpu: &usize| unsafe { libc::CPU_ISSET(*cpu, &set) };
        Some((0..libc::CPU_SETSIZE as usize).filter(allowed).collect())
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = process;
        None
    }
}

/// True when a thread that spins leaves a CPU to everything else.
///
/// A thread that was pinned to one CPU, by us or from outside, says nothing of the others: pinning
/// is what keeps the server on another one. The CPUs of the system (or the container) are those of
/// its first process; whether a quota of the control group leaves as many is not seen here for
/// pinned threads.
pub fn may_spin() -> bool {
    let count = |process| allowed_cpus_of(process).map_or(0, |cpus| cpus.len());
    if count(0) == 1 {
        return count(1) > 1;
    }
    std::thread::available_parallelism().is_ok_and(|processors| processors.get() > 1)
}

/// Why threads cannot be pinned to the requested CPUs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PinError {
    first: usize,
    last: usize,
    allowed: Option<Vec<usize>>,
}

impl fmt::Display for PinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(allowed) = &self.allowed else {
            return f.write_str("this platform cannot pin threads to CPUs");
        };
        let (first, last) = (self.first, self.last);
        write!(
            f,
            "CPUs {first} to {last} are needed, but this process may run on"
        )?;
        allowed.iter().enumerate().try_for_each(|(at, cpu)| {
            let separator = if at == 0 { " " } else { ", " };
            write!(f, "{separator}{cpu}")
        })
    }
}

impl std::error::Error for PinError {}

/// Checks that `count` threads can be pinned to the CPUs from `first` on.
///
/// # Errors
///
/// When the calling thread may not run on one of them.
pub fn check_pin(first: usize, count: usize) -> Result<(), PinError> {
    let wanted = first..first.saturating_add(count);
    let allowed = allowed_cpus();
    if allowed
        .as_ref()
        .is_some_and(|allowed| wanted.clone().all(|cpu| allowed.contains(&cpu)))
    {
        return Ok(());
    }
    Err(PinError {
        first,
        last: wanted.end.saturating_sub(1),
        allowed,
    })
}

/// Time that the calling thread was ready to run but had no CPU, where the platform says.
pub fn run_queue_delay() -> Option<Nanos> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    text.split_whitespace().nth(1)?.parse().ok().map(Nanos)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_pinned_thread_may_still_spin_where_the_system_has_other_cpus() {
        let everywhere = may_spin();
        let first = allowed_cpus().unwrap()[0];
        let pinned = std::thread::spawn(move || (pin_to_cpu(first), may_spin()))
            .join()
            .unwrap();
        assert_eq!(pinned, (true, everywhere));
    }
}
