//! The state of a run, in a form that can be drawn here or sent to the sweep that started this
//! process.

use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use inferometer_core::Nanos;
use inferometer_engine::{Progress, Recent};
use inferometer_metrics::numpy;
use inferometer_os::clock;
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use crate::background::Background;

/// Time between two polls of a run's state: ten frames per second.
pub(crate) const TICK: Duration = Duration::from_millis(100);
/// Latencies are those of requests that ended within this time before the last one.
const WINDOW: Nanos = Nanos::from_millis(10_000);
/// Environment variable with the path of the socket to which runs of a sweep send their states.
const VARIABLE: &str = "INFEROMETER_LIVE";
/// Bytes of the longest message, more than any state needs.
const MAX_MESSAGE: usize = 4096;

/// The state of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Live {
    /// Requests of the run.
    pub total: u64,
    /// Requests that succeeded.
    pub ok: u64,
    /// Requests that ended in any other way.
    pub failed: u64,
    /// Requests in flight.
    pub in_flight: u64,
    /// Token events received.
    pub events: u64,
    /// Seconds since this process began to watch the run.
    pub elapsed_s: f64,
    /// The requests that ended last.
    pub recent: RecentRequests,
}

/// The requests that ended in the last ten seconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RecentRequests {
    /// Their number.
    pub count: usize,
    /// Their times to first token.
    pub ttft: Option<Spread>,
    /// Their mean gaps between tokens.
    pub itl: Option<Spread>,
    /// How late they were sent.
    pub lateness: Option<Spread>,
}

/// Percentiles of a duration, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// Median.
    pub p50: f64,
    /// 90th percentile.
    pub p90: f64,
    /// 99th percentile.
    pub p99: f64,
    /// Largest value.
    pub max: f64,
}

impl Live {
    /// The state of `progress` at `now`, if it began at `started`.
    pub fn of(progress: &Progress, started: Nanos, now: Nanos) -> Self {
        let snapshot = progress.snapshot();
        Self {
            total: snapshot.total,
            ok: snapshot.ok,
            failed: snapshot.failed,
            in_flight: snapshot.in_flight,
            events: snapshot.events,
            elapsed_s: now.since(started).as_secs_f64(),
            recent: RecentRequests::of(&progress.recent()),
        }
    }
}

impl RecentRequests {
    /// Those of `requests` that ended at most [`WINDOW`] before the last one.
    fn of(requests: &[Recent]) -> Self {
        let end = requests
            .iter()
            .map(|request| request.end)
            .max()
            .unwrap_or(Nanos::ZERO);
        let window: Vec<&Recent> = requests
            .iter()
            .filter(|request| end.since(request.end) <= WINDOW)
            .collect();
        let spread = |value: fn(&Recent) -> Option<f64>| {
            Spread::of(window.iter().filter_map(|request| value(request)).collect())
        };
        Self {
            count: window.len(),
            ttft: spread(|request| request.ttft_ms),
            itl: spread(|request| request.itl_ms),
            lateness: spread(|request| request.lateness_ms),
        }
    }
}

impl Spread {
    /// The spread of some values, in any order; `None` without any.
    fn of(mut values: Vec<f64>) -> Option<Self> {
        numpy::sort(&mut values);
        let at = |percentile| numpy::percentile(&values, percentile);
        (!values.is_empty()).then(|| Self {
            p50: at(50.0),
            p90: at(90.0),
            p99: at(99.0),
            max: at(100.0),
        })
    }
}

/// Sends the state of the run to the sweep that started this process, until it is dropped.
#[derive(Debug)]
pub struct LivePublisher {
    _thread: Background,
}

impl LivePublisher {
    /// Starts sending; `None` if no sweep listens.
    pub fn follow(progress: Arc<Progress>) -> Option<Self> {
        let path = std::env::var_os(VARIABLE)?;
        let socket = UnixDatagram::unbound().ok()?;
        // A slow subscriber misses states; the run does not wait for it.
        socket.set_nonblocking(true).ok()?;
        socket.connect(path).ok()?;
        let started = clock::now();
        let thread = Background::spawn(move |stopped| {
            loop {
                let end = stopped.within(TICK);
                if let Ok(state) = serde_json::to_vec(&Live::of(&progress, started, clock::now())) {
                    drop(socket.send(&state));
                }
                if end {
                    return;
                }
            }
        });
        Some(Self { _thread: thread })
    }
}

/// The last state that the current run of a sweep sent.
#[derive(Clone, Debug, Default)]
pub struct LastUpdate(Arc<Mutex<Option<Live>>>);

impl LastUpdate {
    /// The last state; `None` before the first one.
    pub fn last(&self) -> Option<Live> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Forgets the last state: another run begins.
    pub fn clear(&self) {
        self.put(None);
    }

    fn put(&self, state: Option<Live>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }
}

/// Receives the states of the runs of a sweep until it is dropped.
#[derive(Debug)]
pub struct LiveSubscriber {
    folder: TempDir,
    last_update: LastUpdate,
}

impl LiveSubscriber {
    /// Opens a socket in a temporary folder.
    ///
    /// # Errors
    ///
    /// The folder or the socket cannot be created.
    pub fn open() -> io::Result<Self> {
        let folder = tempfile::Builder::new().prefix("inferometer-").tempdir()?;
        let socket = UnixDatagram::bind(folder.path().join("live"))?;
        let last_update = LastUpdate::default();
        let shared = last_update.clone();
        // The thread waits for states until an empty message arrives; it holds no other resource.
        std::thread::Builder::new().spawn(move || {
            let mut buffer = [0; MAX_MESSAGE];
            while let Ok(length) = socket.recv(&mut buffer) {
                let Some(text) = buffer.get(..length).filter(|text| !text.is_empty()) else {
                    return;
                };
                if let Ok(state) = serde_json::from_slice(text) {
                    shared.put(Some(state));
                }
            }
        })?;
        Ok(Self {
            folder,
            last_update,
        })
    }

    /// The last state, as it changes.
    pub fn last_update(&self) -> LastUpdate {
        self.last_update.clone()
    }

    /// The environment variable that runs need: name and value.
    pub fn variable(&self) -> (String, String) {
        (VARIABLE.to_owned(), self.path().display().to_string())
    }

    fn path(&self) -> std::path::PathBuf {
        Path::new(self.folder.path()).join("live")
    }
}

impl Drop for LiveSubscriber {
    fn drop(&mut self) {
        // An empty message ends the thread.
        if let Ok(socket) = UnixDatagram::unbound() {
            drop(socket.send_to(&[], self.path()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_state_of_a_run_is_received_and_cleared() {
        let subscriber = LiveSubscriber::open().unwrap();
        let last_update = subscriber.last_update();
        assert_eq!(last_update.last(), None);
        let state = Live {
            total: 7,
            ok: 3,
            recent: RecentRequests {
                count: 1,
                ttft: Some(Spread::default()),
                ..RecentRequests::default()
            },
            ..Live::default()
        };
        let socket = UnixDatagram::unbound().unwrap();
        socket.send_to(b"not a state", subscriber.path()).unwrap();
        socket
            .send_to(&serde_json::to_vec(&state).unwrap(), subscriber.path())
            .unwrap();
        let found = (0..1_000_000).find_map(|_| {
            std::thread::yield_now();
            last_update.last()
        });
        assert_eq!(found, Some(state));
        last_update.clear();
        assert_eq!(last_update.last(), None);
    }

    #[test]
    fn percentiles_are_those_of_the_last_ten_seconds() {
        let request = |end, ttft| Recent {
            end: Nanos::from_millis(end),
            ttft_ms: ttft,
            ..Recent::default()
        };
        let recent = RecentRequests::of(&[
            request(10, Some(9.0)),
            request(10_500, Some(2.0)),
            request(11_000, None),
        ]);
        let two = Spread {
            p50: 2.0,
            p90: 2.0,
            p99: 2.0,
            max: 2.0,
        };
        let expected = RecentRequests {
            count: 2,
            ttft: Some(two),
            ..RecentRequests::default()
        };
        assert_eq!(recent, expected);
    }
}
