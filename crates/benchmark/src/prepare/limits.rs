//! What this host allows: open files, local ports, worker threads, processors to pin.

use inferometer_core::Schedule;
use inferometer_os::{limits, thread};
use inferometer_workload::{DatasetSettings, RandomSettings};

use crate::error::Error;
use crate::settings::Settings;
use crate::threads::check_threads;

/// Descriptors needed besides the connections: standard streams, timers, files, runtimes. Chosen
/// with room to spare, not measured.
const OTHER_FILES: u64 = 64;

/// Streams per worker. Chosen, not measured: `inferometer selftest` measures what this host's client
/// can do, and the verdict reports a worker that is at its limit.
const STREAMS_PER_WORKER: usize = 2_000;
/// Requests per second and worker. Chosen, not measured, as [`STREAMS_PER_WORKER`].
const RATE_PER_WORKER: f64 = 5_000.0;

/// Refuses a load for which this process may not open enough connections, after raising its limit
/// as far as it may.
pub(super) fn check_descriptors(settings: &Settings) -> Result<(), Error> {
    let all = usize::try_from(settings.workload.num_prompts).unwrap_or(0);
    let at_once = !settings.load.arrivals.rate.is_finite();
    let (connections, flag) = match settings.load.max_concurrency {
        Some(cap) => (cap.min(all.max(1)), "--max-concurrency"),
        None => (all, "--num-prompts"),
    };
    let needed = connections as u64 + OTHER_FILES;
    let limit = limits::raise_file_limit(needed);
    let is_certain = at_once || settings.load.max_concurrency.is_some();
    if is_certain && limit.soft < needed {
        return Err(Error::usage(format!(
            "{flag} {connections} needs {needed} open files, but this process may open at most {}: raise the \
             limit (ulimit -n {needed}, or the service's LimitNOFILE), or lower {}",
            limit.hard,
            if settings.load.max_concurrency.is_some() {
                flag
            } else {
                "the load with --max-concurrency"
            },
        )));
    }
    if is_certain && let Some((low, high)) = limits::local_port_range() {
        let ports = usize::from(high.saturating_sub(low)) + 1;
        if connections > ports {
            return Err(Error::usage(format!(
                "{flag} {connections} needs more connections than the {ports} local ports of one address: lower \
                 it, or widen net.ipv4.ip_local_port_range"
            )));
        }
    }
    Ok(())
}

/// Bytes of a request besides its prompt: its record, its head and the parts of its body. Chosen, not
/// measured: half of the least that was seen.
const REQUEST_BYTES: f64 = 500.0;
/// Bytes of a token of synthetic text in a request's body. Chosen, not measured: English text has about
/// four letters per token.
const TOKEN_BYTES: f64 = 4.0;

/// Refuses synthetic prompts that this host's memory cannot hold, before they are made.
pub(super) fn check_memory(settings: &Settings) -> Result<(), Error> {
    let Some(memory) = limits::total_memory() else {
        return Ok(());
    };
    let workload = &settings.workload;
    let info = workload.dataset.info();
    if settings.shapes.replay.is_some() || info.has_clock || !workload.oversample {
        // The file decides how many requests there are.
        return Ok(());
    }
    let requests = workload.num_prompts as f64 + settings.load.num_warmups as f64;
    let tokens = prompt_tokens(&workload.dataset);
    let needed = requests * (REQUEST_BYTES + tokens * TOKEN_BYTES);
    if needed <= memory as f64 {
        return Ok(());
    }
    let gigabytes = |bytes: f64| bytes / 1e9;
    let prompts = if tokens > 0.0 {
        format!(" with prompts of {tokens:.0} tokens")
    } else {
        String::new()
    };
    Err(Error::usage(format!(
        "{requests:.0} requests{prompts} need about {:.0} GB of memory, and this host has {:.0} GB: lower \
         --num-prompts{}",
        gigabytes(needed),
        gigabytes(memory as f64),
        if tokens > 0.0 {
            ", --num-warmups or the length of the prompts"
        } else {
            " or --num-warmups"
        }
    )))
}

/// Tokens of a synthetic prompt; 0 where a file decides.
fn prompt_tokens(dataset: &DatasetSettings) -> f64 {
    let random = |random: &RandomSettings| {
        (random.input_len as f64 + random.prefix_len as f64) * random.batch_size as f64
    };
    let tokens = match dataset {
        DatasetSettings::Random(settings) => random(settings),
        DatasetSettings::RandomMm(settings) => random(&settings.text),
        DatasetSettings::RandomRerank(settings) => {
            settings.input_len as f64 * settings.batch_size as f64
        }
        DatasetSettings::PrefixRepetition(settings) => {
            settings.prefix_len as f64 + settings.suffix_len as f64
        }
        _ => 0.0,
    };
    tokens.max(0.0)
}

/// Number of worker threads, after a check that they can be started and pinned as requested.
pub(super) fn workers(settings: &Settings, schedule: &Schedule) -> Result<usize, Error> {
    let workers = settings
        .load
        .workers
        .unwrap_or_else(|| default_workers(settings, schedule));
    if let Some(first) = settings.load.pin {
        thread::check_pin(first, workers).map_err(|error| {
            Error::usage(format!(
                "--pin {first}: {error}; give a lower --pin or fewer --workers"
            ))
        })?;
    }
    check_threads(workers)?;
    Ok(workers)
}

/// Workers for the expected streams and rate, at most half of the processors and at most 8.
fn default_workers(settings: &Settings, schedule: &Schedule) -> usize {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let span = schedule.last().as_secs_f64();
    let rate = if span > 0.0 {
        schedule.len() as f64 / span
    } else {
        0.0
    };
    let streams = settings
        .load
        .max_concurrency
        .unwrap_or(schedule.len())
        .min(schedule.len());
    let by_streams = if schedule.is_at_once() || settings.load.max_concurrency.is_some() {
        streams.div_ceil(STREAMS_PER_WORKER)
    } else {
        1
    };
    let by_rate = (rate / RATE_PER_WORKER).ceil() as usize;
    // Half of the processors stay for the server, the kernel and the record log.
    by_streams
        .max(by_rate)
        .clamp(1, (processors / 2).clamp(1, 8))
}
