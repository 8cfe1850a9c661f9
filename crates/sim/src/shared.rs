//! The state that all threads of a server share.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use inferometer_core::Nanos;
use inferometer_core::random::{StreamRng, indexed_stream};
use inferometer_os::clock;

use crate::metrics::Metrics;
use crate::scratch::Scratch;
use crate::settings::{SimError, SimSettings};
use crate::truth::{Lateness, LatenessHistogram, TruthLog};

/// What all threads of a server share.
pub(crate) struct Shared {
    pub(crate) settings: SimSettings,
    pub(crate) truth: TruthLog,
    pub(crate) metrics: Metrics,
    /// Unix time of the start, in seconds.
    pub(crate) created: u64,
    /// When it stops refusing everything.
    pub(crate) ready_at: Nanos,
    /// Longest prompt plus answer that is accepted.
    pub(crate) context_limit: u32,
    /// Where it serves over TLS.
    pub(crate) tls: Option<Arc<rustls::ServerConfig>>,
    /// One for each thread, held while it writes events and logs the requests that end with them.
    turns: Vec<Mutex<Scratch>>,
    /// Names and numbers of the LoRA adapters.
    adapters: Mutex<Vec<(String, u32)>>,
    next_adapter: AtomicU32,
    /// Number of the next generation request.
    pub(crate) next_request: AtomicU64,
    /// Number of the next connection.
    pub(crate) next_connection: AtomicU64,
}

impl Shared {
    /// The state of a server that starts now. Adapters of the settings are loaded; an error when one
    /// is named twice.
    pub(crate) fn new(
        settings: SimSettings,
        truth: TruthLog,
        tls: Option<Arc<rustls::ServerConfig>>,
        context_limit: u32,
    ) -> Result<Self, SimError> {
        let shared = Self {
            truth,
            metrics: Metrics::new(&settings.model),
            created: clock::wall().0 / 1_000_000_000,
            ready_at: clock::now() + Nanos::from(settings.ready_after),
            context_limit,
            tls,
            turns: (0..settings.threads).map(|_| Mutex::default()).collect(),
            adapters: Mutex::default(),
            next_adapter: AtomicU32::new(1),
            next_request: AtomicU64::new(0),
            next_connection: AtomicU64::new(0),
            settings,
        };
        for name in &shared.settings.lora_modules {
            if !shared.load_adapter(name) {
                return Err(SimError::Setting(format!(
                    "the LoRA adapter `{name}` is named twice"
                )));
            }
        }
        Ok(shared)
    }

    /// The random stream `name` of request `index`.
    pub(crate) fn stream(&self, name: &str, index: u64) -> StreamRng {
        indexed_stream(self.settings.seed, name, index)
    }

    /// Until the guard is dropped, thread `thread` may have written the end of an answer without
    /// having logged it yet.
    pub(crate) fn begin_turn(&self, thread: usize) -> MutexGuard<'_, Scratch> {
        self.turns[thread]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// How far events were behind their due moments since the last reset.
    pub(crate) fn lateness(&self) -> Lateness {
        let mut total = LatenessHistogram::default();
        for thread in 0..self.turns.len() {
            total.add_all(&self.begin_turn(thread).lateness);
        }
        total.summary()
    }

    /// Forgets the records and the lateness so far.
    pub(crate) fn reset_truth(&self) {
        for thread in 0..self.turns.len() {
            self.begin_turn(thread).lateness = LatenessHistogram::default();
        }
        self.truth.reset();
    }

    /// Waits until every answer whose end a client may have seen is in the log.
    pub(crate) fn settle(&self) {
        for thread in 0..self.turns.len() {
            drop(self.begin_turn(thread));
        }
    }

    /// The adapter number of a model name; 0 is the base model.
    pub(crate) fn find_model(&self, name: &str) -> Option<u32> {
        if name == self.settings.model {
            return Some(0);
        }
        self.adapters()
            .iter()
            .find(|(adapter, _)| adapter == name)
            .map(|&(_, number)| number)
    }

    /// Names and numbers of the LoRA adapters.
    pub(crate) fn adapters(&self) -> MutexGuard<'_, Vec<(String, u32)>> {
        self.adapters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an adapter. False when the name is taken.
    pub(crate) fn load_adapter(&self, name: &str) -> bool {
        if self.find_model(name).is_some() {
            return false;
        }
        let number = self.next_adapter.fetch_add(1, Ordering::Relaxed);
        self.adapters().push((name.into(), number));
        true
    }

    /// Removes an adapter. False when there is none of this name.
    pub(crate) fn unload_adapter(&self, name: &str) -> bool {
        let mut adapters = self.adapters();
        let before = adapters.len();
        adapters.retain(|(adapter, _)| adapter != name);
        adapters.len() < before
    }
}
