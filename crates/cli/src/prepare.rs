//! From settings to a plan: server, tokenizer, workload, schedule. The last moment to refuse.

use std::sync::Arc;

use rayon::prelude::*;
use servebench_core::{Nanos, Request, Schedule, Workload};
use servebench_engine::Plan;
use servebench_os::limits;
use servebench_wire::{BodySettings, ClientSettings, KeepText, Prepared, TlsSettings, Wire};
use servebench_workload::{DatasetSettings, HubSettings, Tokenizer, build};

use crate::exit::{Failure, OrFail};
use crate::progress::SlowBar;
use crate::server::{ModelNames, ServerFacts, Side, inspect, model_names};
use crate::settings::RunSettings;

/// How long to wait for requests in flight after the first Ctrl-C.
const DRAIN: Nanos = Nanos::from_millis(5_000);
/// Descriptors needed beside the connections: standard streams, timers, files, runtimes.
const OTHER_FILES: u64 = 64;
/// Runs of up to so many requests keep their answers' text until the tokens are counted.
const SMALL_RUN: i64 = 2_000;
/// Streams that one worker carries easily.
const STREAMS_PER_WORKER: usize = 2_000;
/// Requests per second that one worker sends easily.
const RATE_PER_WORKER: f64 = 5_000.0;

/// Everything that a run needs, ready to start.
#[derive(Debug)]
pub(crate) struct Ready {
    /// What to do.
    pub(crate) plan: Plan,
    /// What is sent, for the manifest.
    pub(crate) workload: Workload,
    /// Requests for the ready check and the warm-up, none of which is measured.
    pub(crate) spare: Vec<Prepared>,
    /// Counts tokens after the run.
    pub(crate) tokenizer: Tokenizer,
    /// What the tokenizer was loaded from.
    pub(crate) tokenizer_id: String,
    /// Names of the model.
    pub(crate) model: ModelNames,
    /// What the server said.
    pub(crate) facts: ServerFacts,
}

/// Does everything that can fail before the first measured request.
pub(crate) fn prepare(settings: &RunSettings) -> Result<Ready, Failure> {
    check_descriptors(settings)?;
    let spec = settings.target.tokenizer.clone().or_else(|| settings.target.model.clone());
    // Loading a tokenizer takes longer than asking the server, so both are done at once.
    let (tokenizer, server) = std::thread::scope(|scope| {
        let loading = spec.clone().map(|spec| scope.spawn(move || load_tokenizer(&spec)));
        let server = ask_server(settings);
        let tokenizer = loading.map(|thread| {
            thread.join().unwrap_or_else(|_panic| Err(Failure::usage("loading the tokenizer broke down")))
        });
        (tokenizer, server)
    });
    let (facts, model) = server?;
    let tokenizer_id = spec.unwrap_or_else(|| model.id.clone());
    let tokenizer = tokenizer.unwrap_or_else(|| load_tokenizer(&tokenizer_id))?;

    let (workload, spare) = workload(settings, &tokenizer)?;
    let wire = wire(settings, &model, workload.force_ignore_eos)?;
    let requests = serialise(&wire, &workload.requests)?;
    let spare = serialise(&wire, &spare)?.to_vec();
    let schedule = servebench_arrival::schedule(requests.len(), &settings.load.arrivals).or_usage()?;
    let workers = settings.load.workers.unwrap_or_else(|| default_workers(settings, &schedule));
    let plan = Plan {
        requests,
        schedule: Arc::new(schedule),
        max_concurrency: settings.load.max_concurrency,
        workers,
        pin: settings.load.pin,
        wire,
        events_in_memory: usize::MAX,
        drain: DRAIN,
    };
    Ok(Ready { plan, workload, spare, tokenizer, tokenizer_id, model, facts })
}

fn ask_server(settings: &RunSettings) -> Result<(ServerFacts, ModelNames), Failure> {
    let names = ModelNames { request: String::new(), id: String::new() };
    let side = Side::new(&wire(settings, &names, false)?)?;
    let facts = inspect(&side, &settings.target, settings.load.ready_check)?;
    let model = model_names(&settings.target, &facts)?;
    Ok((facts, model))
}

fn load_tokenizer(spec: &str) -> Result<Tokenizer, Failure> {
    Tokenizer::load(spec, &HubSettings::from_env()).or_usage()
}

fn wire(settings: &RunSettings, model: &ModelNames, force_ignore_eos: bool) -> Result<Arc<Wire>, Failure> {
    let (target, content) = (&settings.target, &settings.content);
    let generates = settings.metrics.kind == servebench_metrics::Kind::Generation;
    Wire::new(ClientSettings {
        endpoint: Some(target.endpoint.clone()),
        api_key: target.api_key.clone(),
        headers: target.headers.clone(),
        body: BodySettings {
            sampling: content.sampling.clone(),
            extra_body: content.extra_body.clone(),
            ignore_eos: content.ignore_eos || (force_ignore_eos && generates),
            logprobs: content.logprobs,
            omit_fields: target.omit_fields.clone(),
            ..BodySettings::new(&model.request)
        },
        keep_text: keep_text(settings),
        tls: TlsSettings { insecure: target.insecure, ..TlsSettings::default() },
        ..ClientSettings::new(target.backend, &target.base_url, &model.request)
    })
    .or_usage()
}

/// Answers are kept for `--save-detailed`, and in runs small enough to compare the server's token counts with
/// the tokenizer's; otherwise only until the server has told its count.
fn keep_text(settings: &RunSettings) -> KeepText {
    let small = settings.workload.num_prompts <= SMALL_RUN;
    if settings.saving.detailed || small { KeepText::Always } else { KeepText::UntilUsage }
}

/// The workload, and further requests for the ready check and the warm-up.
///
/// Random text has as many prompts as one likes, so those are of their own: a server that caches prefixes
/// must not have seen a measured prompt. From files, the first request has to serve, as in vLLM.
fn workload(settings: &RunSettings, tokenizer: &Tokenizer) -> Result<(Workload, Vec<Request>), Failure> {
    let wanted = settings.load.num_warmups + usize::from(!settings.load.ready_check.is_zero());
    let own = matches!(settings.workload.dataset, DatasetSettings::Random(_));
    let mut ask = settings.workload.clone();
    if own {
        ask.num_prompts += wanted as i64;
    }
    let bar = SlowBar::new("making requests");
    let mut workload = build(&ask, Some(tokenizer), &|done, total| bar.update(done, total)).or_usage()?;
    drop(bar);
    let spare = if own {
        let count = usize::try_from(settings.workload.num_prompts).unwrap_or(0);
        workload.requests.split_off(count.min(workload.requests.len()))
    } else {
        workload.requests.first().cloned().into_iter().cycle().take(wanted).collect()
    };
    Ok((workload, spare))
}

fn serialise(wire: &Wire, requests: &[Request]) -> Result<Arc<[Prepared]>, Failure> {
    let prepared: Result<Vec<_>, _> = requests.par_iter().map(|request| wire.prepare(request)).collect();
    Ok(prepared.or_usage()?.into())
}

/// Refuses a load for which the process may not open enough connections.
fn check_descriptors(settings: &RunSettings) -> Result<(), Failure> {
    let all = usize::try_from(settings.workload.num_prompts).unwrap_or(0);
    let at_once = !settings.load.arrivals.rate.is_finite();
    let (connections, flag) = match settings.load.max_concurrency {
        Some(cap) => (cap.min(all.max(1)), "--max-concurrency"),
        None => (all, "--num-prompts"),
    };
    let needed = connections as u64 + OTHER_FILES;
    let limit = limits::raise_file_limit(needed);
    let certain = at_once || settings.load.max_concurrency.is_some();
    if certain && limit.soft < needed {
        return Err(Failure::usage(format!(
            "{flag} {connections} needs {needed} open files, but this process may open {} at most: raise the \
             limit (ulimit -n {needed}, or the service's LimitNOFILE), or lower {}",
            limit.hard,
            if settings.load.max_concurrency.is_some() { flag } else { "the load with --max-concurrency" },
        )));
    }
    if certain && let Some((low, high)) = limits::local_port_range() {
        let ports = usize::from(high.saturating_sub(low)) + 1;
        if connections > ports {
            return Err(Failure::usage(format!(
                "{flag} {connections} needs more connections than the {ports} local ports of one address: lower \
                 it, or widen net.ipv4.ip_local_port_range"
            )));
        }
    }
    Ok(())
}

fn default_workers(settings: &RunSettings, schedule: &Schedule) -> usize {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let span = schedule.last().as_secs_f64();
    let rate = if span > 0.0 { schedule.len() as f64 / span } else { 0.0 };
    let streams = settings.load.max_concurrency.unwrap_or(schedule.len()).min(schedule.len());
    let by_streams = if schedule.is_at_once() || settings.load.max_concurrency.is_some() {
        streams.div_ceil(STREAMS_PER_WORKER)
    } else {
        1
    };
    let by_rate = (rate / RATE_PER_WORKER).ceil() as usize;
    // Half of the processors stay for the server, the kernel and the record log.
    by_streams.max(by_rate).clamp(1, (processors / 2).clamp(1, 8))
}
