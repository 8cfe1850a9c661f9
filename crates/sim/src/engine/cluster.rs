//! Several engines behind a router, each possibly split into one for prompts and one for answers.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::str::FromStr;

use inferometer_core::Nanos;
use inferometer_core::random::{StreamRng, stream};
use inferometer_core::suggest::meant;
use rand::RngExt;

use super::{Content, Engine, EngineConfig, EngineRequest, EngineStats, ModelError, TokenEvent};
use crate::text::mix;

/// Which replica takes a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Router {
    /// One after the other.
    #[default]
    RoundRobin,
    /// The one with the fewest requests; the first of several.
    LeastInFlight,
    /// The one with fewer requests of two drawn at random.
    PowerOfTwo,
    /// By the first 256 tokens of the prompt, so that equal prefixes meet one cache; the
    /// least loaded instead when the chosen one has 16 requests more than the least loaded.
    PrefixAffinity,
    /// By the conversation; requests without one go round-robin.
    Sticky,
}

/// Replicas and blocks of the largest cluster. Chosen, not measured: the blocks take some gigabytes.
const MAX_REPLICAS: usize = 10_000;
const MAX_BLOCKS_OF_ALL: usize = 100_000_000;

/// Tokens at the start of a prompt that decide its replica: 16 blocks of 16. Documented in
/// docs/simulator.md.
pub(super) const PREFIX_TOKENS: usize = 256;
/// Requests by which the chosen replica may exceed the least loaded one before affinity yields.
/// Documented in docs/simulator.md.
pub(super) const IMBALANCE: usize = 16;

impl Router {
    /// All routers.
    pub const ALL: [Self; 5] = [
        Self::RoundRobin,
        Self::LeastInFlight,
        Self::PowerOfTwo,
        Self::PrefixAffinity,
        Self::Sticky,
    ];

    /// Its name in settings.
    pub const fn name(self) -> &'static str {
        match self {
            Self::RoundRobin => "round-robin",
            Self::LeastInFlight => "least-in-flight",
            Self::PowerOfTwo => "power-of-two",
            Self::PrefixAffinity => "prefix-affinity",
            Self::Sticky => "sticky",
        }
    }
}

impl fmt::Display for Router {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A name that no router has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "unknown router `{0}`: expected round-robin, least-in-flight, power-of-two, prefix-affinity or sticky{meant}",
    meant = meant(.0, Router::ALL.map(Router::name))
)]
pub struct RouterError(String);

impl FromStr for Router {
    type Err = RouterError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let router = Self::ALL.into_iter().find(|router| router.name() == name);
        router.ok_or_else(|| RouterError(name.into()))
    }
}

/// Prompts and answers on separate engines: the keys and values of a prompt travel from one to the
/// other.
#[derive(Clone, Debug, PartialEq)]
pub struct Transfer {
    /// The engine that computes prompts.
    pub prefill: EngineConfig,
    /// Time of every transfer.
    pub base: Nanos,
    /// Time for each prompt token.
    pub per_token: Nanos,
}

/// Settings of a [`Cluster`].
#[derive(Clone, Debug, PartialEq)]
pub struct ClusterConfig {
    /// Every replica's engine; the one for answers when prompts have their own.
    pub engine: EngineConfig,
    /// Number of replicas.
    pub replicas: usize,
    /// Which replica takes a request.
    pub router: Router,
    /// Separate engines for prompts.
    pub transfer: Option<Transfer>,
}

impl Default for ClusterConfig {
    fn default() -> Self {
        Self {
            engine: EngineConfig::default(),
            replicas: 1,
            router: Router::RoundRobin,
            transfer: None,
        }
    }
}

struct Replica {
    engine: Engine,
    prefill: Option<Engine>,
    in_flight: usize,
    /// Requests whose prompt is being computed elsewhere.
    prompts: HashMap<u64, Waiting>,
    /// Requests on their way between the engines, by the instant of their arrival.
    travelling: BTreeMap<(Nanos, u64), Waiting>,
}

struct Waiting {
    request: EngineRequest,
    first_scheduled: Nanos,
    cached_tokens: u32,
}

/// What the prompt's engine did for a request, for the request's later events.
#[derive(Clone, Copy)]
struct Prefilled {
    first_scheduled: Nanos,
    cached_tokens: u32,
}

/// Engines behind a router, driven like a single [`Engine`].
pub struct Cluster {
    config: ClusterConfig,
    replicas: Vec<Replica>,
    homes: HashMap<u64, u32>,
    /// Requests whose prompts were computed on an engine of their own.
    prefilled: HashMap<u64, Prefilled>,
    next: usize,
    rng: StreamRng,
    buffer: Vec<TokenEvent>,
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl Cluster {
    /// Idle engines. Each has its own random stream.
    ///
    /// # Errors
    ///
    /// Settings that no engine can have.
    pub fn new(config: ClusterConfig, seed: u64) -> Result<Self, ModelError> {
        if config.replicas > MAX_REPLICAS
            || config.replicas > 1
                && config.replicas.saturating_mul(config.engine.num_blocks) > MAX_BLOCKS_OF_ALL
        {
            return Err(ModelError::Setting {
                name: "replicas",
                wanted: "at most 10000, with at most 100000000 blocks of all together",
                found: config.replicas.to_string(),
            });
        }
        if config.replicas == 0 {
            return Err(ModelError::Setting {
                name: "replicas",
                wanted: "at least 1",
                found: "0".into(),
            });
        }
        let replicas = (0..config.replicas as u64)
            .map(|number| {
                let seed = if number == 0 {
                    seed
                } else {
                    mix(seed ^ mix(number))
                };
                let prefill = config.transfer.as_ref().map(|transfer| {
                    let prefill = EngineConfig {
                        speculation: None,
                        ..transfer.prefill.clone()
                    };
                    Engine::new(prefill, mix(seed))
                });
                Ok(Replica {
                    engine: Engine::new(config.engine.clone(), seed)?,
                    prefill: prefill.transpose()?,
                    in_flight: 0,
                    prompts: HashMap::new(),
                    travelling: BTreeMap::new(),
                })
            })
            .collect::<Result<_, ModelError>>()?;
        Ok(Self {
            config,
            replicas,
            homes: HashMap::new(),
            prefilled: HashMap::new(),
            next: 0,
            rng: stream(seed, "sim router"),
            buffer: Vec::new(),
        })
    }

    /// The cluster's settings.
    pub fn config(&self) -> &ClusterConfig {
        &self.config
    }

    /// Longest prompt plus answer that can ever run.
    pub fn context_limit(&self) -> u32 {
        let replica = &self.replicas[0];
        let prefill = replica
            .prefill
            .as_ref()
            .map_or(u64::MAX, Engine::context_limit);
        u32::try_from(replica.engine.context_limit().min(prefill)).unwrap_or(u32::MAX)
    }

    /// Refuses a request that can never run.
    ///
    /// # Errors
    ///
    /// A request that needs more tokens than the model's context or more blocks than the cache.
    pub fn check(&self, prompt: u32, output: u32) -> Result<(), ModelError> {
        self.replicas[0].engine.check(prompt, output)?;
        self.replicas[0]
            .prefill
            .as_ref()
            .map_or(Ok(()), |prefill| prefill.check(prompt, 1))
    }

    /// Routes a request that arrives at `now` and returns its replica.
    ///
    /// # Errors
    ///
    /// As [`Self::check`].
    pub fn submit(&mut self, request: EngineRequest, now: Nanos) -> Result<u32, ModelError> {
        let id = request.id;
        self.check(request.prompt.len(), request.output_tokens)?;
        if self.homes.contains_key(&id) {
            return Err(ModelError::DuplicateId(id));
        }
        let home = self.route(&request);
        let replica = &mut self.replicas[home];
        if let Some(prefill) = &mut replica.prefill {
            let prompt = EngineRequest {
                output_tokens: 1,
                answer: Vec::new(),
                ..request.clone()
            };
            prefill.submit(prompt, now)?;
            let waiting = Waiting {
                request,
                first_scheduled: now,
                cached_tokens: 0,
            };
            replica.prompts.insert(id, waiting);
        } else {
            replica.engine.submit(request, now)?;
        }
        replica.in_flight += 1;
        self.homes.insert(id, home as u32);
        Ok(home as u32)
    }

    /// Cancels a request. False when it is not in the cluster.
    pub fn cancel(&mut self, id: u64) -> bool {
        let Some(home) = self.homes.remove(&id) else {
            return false;
        };
        let replica = &mut self.replicas[home as usize];
        replica.in_flight -= 1;
        if let Some(prefill) = &mut replica.prefill {
            prefill.cancel(id);
        }
        replica.engine.cancel(id);
        replica.prompts.remove(&id);
        replica.travelling.retain(|key, _| key.1 != id);
        self.prefilled.remove(&id);
        true
    }

    /// When something happens next; `None` when all engines are idle.
    pub fn next_step_at(&self) -> Option<Nanos> {
        self.replicas.iter().filter_map(Replica::next_at).min()
    }

    /// Makes everything happen up to `now`, and appends the tokens that came out, in order of
    /// time.
    pub fn step(&mut self, now: Nanos, events: &mut Vec<TokenEvent>) {
        let first = events.len();
        for number in 0..self.replicas.len() {
            while self.replicas[number].next_at().is_some_and(|at| at <= now) {
                self.turn(number, events);
            }
        }
        if self.replicas.len() > 1 {
            // Stable, so that tokens of one step keep their order.
            events[first..].sort_by_key(|event| event.at);
        }
    }

    /// Counters and gauges of all engines together; the prompt engines' prompts are not counted
    /// twice.
    pub fn stats(&self) -> EngineStats {
        let mut total = EngineStats::default();
        for replica in &self.replicas {
            add(&mut total, &replica.engine.stats());
            if let Some(prefill) = &replica.prefill {
                add_work(&mut total, &prefill.stats());
                total.waiting += replica.travelling.len();
            }
        }
        total
    }

    /// Forgets the content of all prefix caches. False if one was in use, and kept.
    pub fn reset_prefix_cache(&mut self) -> bool {
        self.replicas.iter_mut().fold(true, |all, replica| {
            let prefill = replica
                .prefill
                .as_mut()
                .is_none_or(Engine::reset_prefix_cache);
            replica.engine.reset_prefix_cache() && prefill && all
        })
    }

    /// Makes the next thing happen in one replica.
    fn turn(&mut self, number: usize, events: &mut Vec<TokenEvent>) {
        let replica = &mut self.replicas[number];
        let Some(at) = replica.next_at() else { return };
        let start = events.len();
        if let Some(prefill) = &mut replica.prefill {
            self.buffer.clear();
            prefill.step(at, &mut self.buffer);
            let transfer = self
                .config
                .transfer
                .as_ref()
                .expect("it has an engine for prompts");
            for event in self.buffer.drain(..) {
                let Some(mut waiting) = replica.prompts.remove(&event.request) else {
                    continue;
                };
                let tokens = u64::from(waiting.request.prompt.len());
                let arrival = event.at + transfer.base + Nanos(transfer.per_token.0 * tokens);
                waiting.first_scheduled = event.first_scheduled;
                waiting.cached_tokens = event.cached_tokens;
                replica.travelling.insert((arrival, event.request), waiting);
            }
        }
        replica.engine.step(at, events);
        while let Some(entry) = replica
            .travelling
            .first_entry()
            .filter(|entry| entry.key().0 <= at)
        {
            let ((arrival, id), waiting) = entry.remove_entry();
            let prefilled = Prefilled {
                first_scheduled: waiting.first_scheduled,
                cached_tokens: waiting.cached_tokens,
            };
            self.prefilled.insert(id, prefilled);
            let mut request = waiting.request;
            request.transferred_tokens = request.prompt.len() - 1;
            let taken = replica.engine.submit(request, arrival);
            debug_assert!(taken.is_ok(), "it was checked when it came");
        }
        for event in &mut events[start..] {
            event.replica = number as u32;
            if let Some(prefilled) = self.prefilled.get(&event.request) {
                event.first_scheduled = prefilled.first_scheduled;
                event.cached_tokens = prefilled.cached_tokens;
            }
            if event.finished {
                self.homes.remove(&event.request);
                self.prefilled.remove(&event.request);
                replica.in_flight -= 1;
            }
        }
    }

    fn route(&mut self, request: &EngineRequest) -> usize {
        let count = self.replicas.len();
        let load = |replica: usize| self.replicas[replica].in_flight;
        let least = || {
            (0..count)
                .min_by_key(|&replica| load(replica))
                .unwrap_or_default()
        };
        match (self.config.router, &request.prompt, request.conversation) {
            (Router::LeastInFlight, ..) => least(),
            (Router::PowerOfTwo, ..) if count > 1 => {
                let first = self.rng.random_range(0..count);
                let second = (first + self.rng.random_range(1..count)) % count;
                if load(second) < load(first) {
                    second
                } else {
                    first
                }
            }
            (Router::PrefixAffinity, Content::Tokens(tokens), _) => {
                let prefix = &tokens[..tokens.len().min(PREFIX_TOKENS)];
                let hash = prefix
                    .iter()
                    .fold(0, |state, &token| mix(state ^ u64::from(token)));
                let chosen = (hash % count as u64) as usize;
                let least = least();
                if load(chosen) >= load(least) + IMBALANCE {
                    least
                } else {
                    chosen
                }
            }
            (Router::Sticky, _, Some(conversation)) => (mix(conversation) % count as u64) as usize,
            _ => {
                let chosen = self.next % count;
                self.next = (chosen + 1) % count;
                chosen
            }
        }
    }
}

impl Replica {
    fn next_at(&self) -> Option<Nanos> {
        let prefill = self.prefill.as_ref().and_then(Engine::next_step_at);
        let travelling = self.travelling.first_key_value().map(|(key, _)| key.0);
        [self.engine.next_step_at(), prefill, travelling]
            .into_iter()
            .flatten()
            .min()
    }
}

/// Adds what an engine has and does, apart from whose requests they are.
fn add_work(total: &mut EngineStats, stats: &EngineStats) {
    total.running += stats.running;
    total.waiting += stats.waiting;
    total.blocks_used += stats.blocks_used;
    total.blocks_total += stats.blocks_total;
    total.computed_tokens += stats.computed_tokens;
    total.prefix_queries += stats.prefix_queries;
    total.prefix_hits += stats.prefix_hits;
    total.preemptions += stats.preemptions;
    total.lost_tokens += stats.lost_tokens;
    total.swapped += stats.swapped;
    total.swapped_out_tokens += stats.swapped_out_tokens;
    total.swapped_in_tokens += stats.swapped_in_tokens;
    total.steps += stats.steps;
    total.busy += stats.busy;
}

fn add(total: &mut EngineStats, stats: &EngineStats) {
    add_work(total, stats);
    total.block_size = stats.block_size;
    total.submitted += stats.submitted;
    total.finished += stats.finished;
    total.cancelled += stats.cancelled;
    total.prompt_tokens += stats.prompt_tokens;
    total.generated_tokens += stats.generated_tokens;
    total.transferred_tokens += stats.transferred_tokens;
    total.drafts += stats.drafts;
    total.draft_tokens += stats.draft_tokens;
    for (sum, count) in total
        .accepted_by_position
        .iter_mut()
        .zip(stats.accepted_by_position)
    {
        *sum += count;
    }
    total.accepted_tokens += stats.accepted_tokens;
}
