//! Enough threads for a command, checked before it starts: a thread that is missing later would end or
//! hang what is measured.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use inferometer_os::threads::{remedy, startable};
use rayon::ThreadPoolBuilder;

use crate::error::Error;

/// Threads besides the workers and the pool: signals, displays, the collector, the watch over the host,
/// look-ups of names. Counted, with some to spare.
const OTHER_THREADS: usize = 8;

/// Workers of a run at most, unless `--workers` says more.
const USUAL_WORKERS: usize = 8;

/// True where no thread could be started for the pool.
static WITHOUT_POOL: AtomicBool = AtomicBool::new(false);

/// Threads that could be started beside those of the pool, so that they need not be tried again.
static BESIDE_POOL: AtomicUsize = AtomicUsize::new(0);

/// Prepares the pool of threads that share computations: one per processor, or fewer where the limits of
/// this process allow no more. To be called on the main thread.
pub fn prepare_pool() {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let found = startable(OTHER_THREADS + USUAL_WORKERS.min(processors) + processors).count;
    BESIDE_POOL.store(found.saturating_sub(processors), Ordering::Relaxed);
    if found < OTHER_THREADS + processors {
        let pool = ThreadPoolBuilder::new();
        let pool = match found.saturating_sub(OTHER_THREADS) {
            0 => {
                WITHOUT_POOL.store(true, Ordering::Relaxed);
                pool.num_threads(1).use_current_thread()
            }
            some => pool.num_threads(some),
        };
        // It fails where there is a pool already.
        drop(pool.build_global());
    }
}

/// Checks that the threads can be started that send a load with `workers`, or serve one.
///
/// # Errors
///
/// A usage error that names the limits on threads.
pub fn check_threads(workers: usize) -> Result<(), Error> {
    let needed = OTHER_THREADS + workers;
    // Only the main thread computes then, and it waits for others.
    let without_pool = WITHOUT_POOL.load(Ordering::Relaxed);
    if needed <= BESIDE_POOL.load(Ordering::Relaxed) && !without_pool {
        return Ok(());
    }
    let found = startable(needed);
    if found.count == needed && !without_pool {
        return Ok(());
    }
    let reason = found.refusal.map(|error| format!(" ({error})"));
    Err(Error::usage(format!(
        "this needs {} threads, and only {} can be started{}: {}",
        needed + usize::from(without_pool),
        found.count,
        reason.unwrap_or_default(),
        remedy()
    )))
}

/// A thread that could not be started after all, because others took the threads that were left.
pub(crate) fn not_started(error: &std::io::Error) -> Error {
    Error::usage(format!("cannot start a thread ({error}): {}", remedy()))
}
