//! The requests and when they are due.

use std::sync::Arc;

use inferometer_arrival::ArrivalSettings;
use inferometer_core::random::indexed_stream;
use inferometer_core::{Nanos, Prompt, Request, Schedule, Workload};
use inferometer_engine::Conversations;
use inferometer_wire::Prepared;
use inferometer_workload::{Tokenizer, WorkloadError, build, build_in_chunks};

use super::server::load_tokenizer;
use crate::error::{Cause, Error, OrError};
use crate::observer::Observer;
use crate::request_adjust::Adjust;
use crate::settings::{Cancellation, Settings};

/// The workload, and extra requests for the ready check and the warm-up.
///
/// A dataset of random text can make any number of prompts, so the extra requests have prompts of
/// their own: a server that caches prefixes must not have seen a measured prompt. Under vLLM's rules
/// there are none.
pub(super) fn workload(
    settings: &Settings,
    tokenizer: Option<&Tokenizer>,
    observer: &dyn Observer,
) -> Result<(Workload, Vec<Request>), Error> {
    if let Some(replay) = &settings.shapes.replay {
        return Ok((replay.bundle.workload.clone(), Vec::new()));
    }
    let own = !settings.compat.is_vllm() && settings.workload.dataset.info().has_own_warmup;
    let mut ask = settings.workload.clone();
    if own {
        ask.num_prompts += extra_wanted(settings) as i64;
    }
    let progress = |done, total| observer.preparing(done, total);
    let workload = build(&ask, tokenizer, &progress).or_usage();
    observer.prepared();
    let mut workload = workload?;
    end_with_structures(settings, &mut workload);
    let count = usize::try_from(settings.workload.num_prompts).unwrap_or(0);
    let extra = if own {
        workload
            .requests
            .split_off(count.min(workload.requests.len()))
    } else {
        Vec::new()
    };
    Ok((workload, extra))
}

/// Lets the answers of synthetic prompts end with the structure that all of them ask for: text that
/// continues to its length conforms to none.
fn end_with_structures(settings: &Settings, workload: &mut Workload) {
    let Some(structured) = &settings.shapes.structured else {
        return;
    };
    workload.force_ignore_eos &= !structured.is_asked_of_all();
    if settings.content.ignore_eos {
        workload.warnings.push(
            "--ignore-eos makes answers continue after the structure of --structured-output, so \
             that they may not conform; omit it to let them end."
                .to_owned(),
        );
    }
}

/// Number of requests that are sent before the run.
fn extra_wanted(settings: &Settings) -> usize {
    settings.load.num_warmups + usize::from(!settings.load.ready_check.is_zero())
}

/// Requests to send before the run, without ids. Where `own` is empty, the first request of the run
/// is repeated, as in vLLM.
pub(super) fn extra_requests(
    settings: &Settings,
    workload: &Workload,
    own: Vec<Request>,
) -> Vec<Request> {
    let mut extra = own;
    if extra.is_empty() {
        extra = workload
            .requests
            .first()
            .cloned()
            .into_iter()
            .cycle()
            .take(extra_wanted(settings))
            .collect();
    }
    for request in &mut extra {
        request.id = None;
        request.model = None;
        request.session = None;
    }
    extra
}

/// Turns conversations into chat messages; returns which turn follows which, and at most how many
/// conversations are active at once.
pub(super) fn chat_turns(
    requests: &mut [Request],
    max_active: Option<usize>,
) -> Result<Option<Arc<Conversations>>, Error> {
    for request in requests
        .iter_mut()
        .filter(|request| request.session.is_some())
    {
        if let Some(text) = request.prompt.as_text() {
            request.prompt =
                Prompt::Messages(vec![serde_json::json!({"role": "user", "content": text})]);
        }
    }
    let conversations = Conversations::of(requests).or_usage()?;
    Ok(conversations.map(|mut all| {
        all.max_active = max_active;
        Arc::new(all)
    }))
}

/// Chooses the requests that are cancelled, by the workload's seed.
pub(super) fn mark_cancellations(settings: &Settings, requests: &mut [Prepared]) {
    use rand::Rng as _;
    let Some(Cancellation { fraction, delay }) = settings.load.cancellation else {
        return;
    };
    for (index, request) in requests.iter_mut().enumerate() {
        let mut random = indexed_stream(settings.workload.seed, "cancellation", index as u64);
        let draw = f64::from(random.next_u32()) / f64::from(u32::MAX);
        if draw < fraction {
            request.cancel_after = Some(delay);
        }
    }
}

/// The due instants of a run: by rate, or those of the trace or workload file.
pub(super) fn schedule(settings: &Settings, workload: &Workload) -> Result<Schedule, Error> {
    if let (true, Some(replay)) = (settings.load.self_timed, &settings.shapes.replay) {
        return Ok(replay.bundle.schedule.clone());
    }
    if !settings.load.self_timed {
        return arrivals(&workload.requests, &settings.load.arrivals);
    }
    let due = workload
        .requests
        .iter()
        .map(|request| request.trace_at.unwrap_or_default())
        .collect();
    Schedule::new(due).or_usage()
}

/// The due instants of `requests` at a rate. With conversations the rate is that of conversations:
/// all turns are due when the first one is.
///
/// # Errors
///
/// A usage error when the settings give no schedule.
pub fn arrivals(requests: &[Request], settings: &ArrivalSettings) -> Result<Schedule, Error> {
    let opens = |request: &&Request| request.session.as_ref().is_none_or(|turn| turn.turn == 0);
    let schedule = inferometer_arrival::schedule(requests.iter().filter(opens).count(), settings)
        .or_usage()?;
    let mut opened = 0;
    let due = requests.iter().map(|request| {
        opened += usize::from(opens(&request));
        schedule.due(opened.max(1) - 1)
    });
    Schedule::new(due.collect()).or_usage()
}

/// Makes the workload and schedule that a run with these settings would have, without asking a
/// server. `give` gets each request with its due instant; the returned workload holds everything but
/// the requests. Synthetic datasets need memory for one chunk only.
///
/// # Errors
///
/// Usage errors of the settings and the dataset, and those of `give`.
pub fn offline(
    settings: &Settings,
    observer: &dyn Observer,
    give: &mut dyn FnMut(Nanos, &Request) -> Result<(), Error>,
) -> Result<(Workload, Schedule), Error> {
    let named = settings
        .target
        .tokenizer
        .as_ref()
        .or(settings.target.model.as_ref());
    let tokenizer = match named.filter(|_| settings.target.has_tokenizer) {
        Some(spec) => Some(load_tokenizer(spec, settings.compat)?),
        None if settings.target.has_tokenizer => {
            return Err(Error::usage(
                "--model and --tokenizer are missing: this command contacts no server that could name the model; set \
                 one of the two (`--tokenizer builtin` needs no download)",
            ));
        }
        None => None,
    };
    let tokenizer = tokenizer.as_ref();
    let progress = |done, total| observer.preparing(done, total);
    let mut adjust = Adjust::new(settings);
    let (mut by_rate, mut traced) = (None, Vec::new());
    let mut workload = build_in_chunks(
        &settings.workload,
        tokenizer,
        &progress,
        &mut |mut chunk, total| {
            adjust.apply(tokenizer, &mut chunk)?;
            // Conversations are in one chunk.
            chat_turns(&mut chunk, None)?;
            if settings.load.self_timed {
                return chunk.iter().try_for_each(|request| {
                    let due = request.trace_at.unwrap_or_default();
                    traced.push(due);
                    give(due, request)
                });
            }
            let schedule = match &mut by_rate {
                Some(schedule) => schedule,
                none if chunk.len() == total => {
                    none.insert(arrivals(&chunk, &settings.load.arrivals)?)
                }
                none => none.insert(
                    inferometer_arrival::schedule(total, &settings.load.arrivals).or_usage()?,
                ),
            };
            chunk
                .iter()
                .try_for_each(|request| give(schedule.due(request.index), request))
        },
    )?;
    end_with_structures(settings, &mut workload);
    let schedule = match by_rate {
        Some(schedule) => schedule,
        None => Schedule::new(traced).or_usage()?,
    };
    Ok((workload, schedule))
}

impl From<WorkloadError> for Error {
    fn from(error: WorkloadError) -> Self {
        Self::Usage(Cause::of(error))
    }
}
