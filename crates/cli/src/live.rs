//! How a run stands, in a form that can be drawn here or sent to the sweep that started this
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

/// Time between two looks.
pub(crate) const TICK: Duration = Duration::from_millis(100);
/// Latencies are those of requests that ended so long ago at most.
const WINDOW: Nanos = Nanos::from_millis(10_000);
/// The socket on which a sweep listens to its runs.
const VARIABLE: &str = "INFEROMETER_LIVE";
/// More than any state takes.
const LARGEST: usize = 4096;

/// How a run stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Live {
    /// Requests of the run.
    pub(crate) total: u64,
    /// Requests that ended well.
    pub(crate) ok: u64,
    /// Requests that ended in any other way.
    pub(crate) failed: u64,
    /// Requests in flight.
    pub(crate) in_flight: u64,
    /// Token events received.
    pub(crate) events: u64,
    /// Seconds since the watching began.
    pub(crate) elapsed_s: f64,
    /// Requests that ended in the last ten seconds.
    pub(crate) window: usize,
    /// Their times to first token, mean gaps, and how late they were sent: p50, p90, p99, largest,
    /// in milliseconds.
    pub(crate) spreads: [Option<[f64; 4]>; 3],
}

impl Live {
    /// How `progress` stands at `now`, if it began at `started`.
    pub(crate) fn of(progress: &Progress, started: Nanos, now: Nanos) -> Self {
        let snapshot = progress.snapshot();
        let (window, spreads) = spreads(&progress.recent());
        Self {
            total: snapshot.total,
            ok: snapshot.ok,
            failed: snapshot.failed,
            in_flight: snapshot.in_flight,
            events: snapshot.events,
            elapsed_s: now.since(started).as_secs_f64(),
            window,
            spreads,
        }
    }
}

/// Percentiles of the requests that ended last.
pub(crate) fn spreads(recent: &[Recent]) -> (usize, [Option<[f64; 4]>; 3]) {
    let end = recent
        .iter()
        .map(|request| request.end)
        .max()
        .unwrap_or(Nanos::ZERO);
    let window: Vec<&Recent> = recent
        .iter()
        .filter(|request| end.since(request.end) <= WINDOW)
        .collect();
    let of = |value: fn(&Recent) -> Option<f64>| {
        let mut values: Vec<f64> = window.iter().filter_map(|request| value(request)).collect();
        numpy::sort(&mut values);
        let at = |percentile| numpy::percentile(&values, percentile);
        (!values.is_empty()).then(|| [at(50.0), at(90.0), at(99.0), at(100.0)])
    };
    let all = [
        of(|request| request.ttft_ms),
        of(|request| request.itl_ms),
        of(|request| request.lateness_ms),
    ];
    (window.len(), all)
}

/// Tells the sweep that started this process how the run stands, until it is dropped.
#[derive(Debug)]
pub(crate) struct Teller {
    _thread: Background,
}

impl Teller {
    /// Begins to tell; `None` when nobody listens.
    pub(crate) fn follow(progress: Arc<Progress>) -> Option<Self> {
        let path = std::env::var_os(VARIABLE)?;
        let socket = UnixDatagram::unbound().ok()?;
        // A listener that is slow misses states; the run does not wait for it.
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

/// What the present run of a sweep said last.
#[derive(Clone, Debug, Default)]
pub(crate) struct Heard(Arc<Mutex<Option<Live>>>);

impl Heard {
    /// The last state; `None` before the first one.
    pub(crate) fn last(&self) -> Option<Live> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Forgets the last state: another run begins.
    pub(crate) fn clear(&self) {
        self.put(None);
    }

    fn put(&self, state: Option<Live>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }
}

/// Listens to the runs of a sweep until it is dropped.
#[derive(Debug)]
pub(crate) struct Listener {
    folder: TempDir,
    heard: Heard,
}

impl Listener {
    /// Opens a socket in a folder of its own.
    pub(crate) fn open() -> io::Result<Self> {
        let folder = tempfile::Builder::new().prefix("inferometer-").tempdir()?;
        let socket = UnixDatagram::bind(folder.path().join("live"))?;
        let heard = Heard::default();
        let put = heard.clone();
        // The thread waits for the next state as long as the process lives; it holds nothing else.
        std::thread::spawn(move || {
            let mut buffer = [0; LARGEST];
            while let Ok(length) = socket.recv(&mut buffer) {
                let Some(text) = buffer.get(..length).filter(|text| !text.is_empty()) else {
                    return;
                };
                if let Ok(state) = serde_json::from_slice(text) {
                    put.put(Some(state));
                }
            }
        });
        Ok(Self { folder, heard })
    }

    /// What was heard.
    pub(crate) fn heard(&self) -> Heard {
        self.heard.clone()
    }

    /// What runs need in their environment.
    pub(crate) fn variable(&self) -> (String, String) {
        (VARIABLE.to_owned(), self.path().display().to_string())
    }

    fn path(&self) -> std::path::PathBuf {
        Path::new(self.folder.path()).join("live")
    }
}

impl Drop for Listener {
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
    fn what_a_run_tells_is_heard_and_forgotten() {
        let listener = Listener::open().unwrap();
        let heard = listener.heard();
        assert_eq!(heard.last(), None);
        let state = Live {
            total: 7,
            ok: 3,
            spreads: [Some([1.0; 4]), None, None],
            ..Live::default()
        };
        let socket = UnixDatagram::unbound().unwrap();
        socket.send_to(b"not a state", listener.path()).unwrap();
        socket
            .send_to(&serde_json::to_vec(&state).unwrap(), listener.path())
            .unwrap();
        let found = (0..1_000_000).find_map(|_| {
            std::thread::yield_now();
            heard.last()
        });
        assert_eq!(found, Some(state));
        heard.clear();
        assert_eq!(heard.last(), None);
    }

    #[test]
    fn percentiles_are_those_of_the_last_ten_seconds() {
        let request = |end, ttft| Recent {
            end: Nanos::from_millis(end),
            ttft_ms: ttft,
            ..Recent::default()
        };
        let (window, spreads) = spreads(&[
            request(10, Some(9.0)),
            request(10_500, Some(2.0)),
            request(11_000, None),
        ]);
        assert_eq!((window, spreads), (2, [Some([2.0; 4]), None, None]));
    }
}
