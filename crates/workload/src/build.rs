//! From settings to a workload.

use inferometer_core::random::PythonRandom;
use inferometer_core::{Request, Workload};

use crate::dataset::{Context, Loaded, Sample};
use crate::{Tokenizer, WorkloadError, WorkloadSettings, dataset, prefixes};

/// Makes the requests of a run.
///
/// `progress` is called from time to time, from any thread, with the number of requests made so far
/// and the number of requests in all.
///
/// # Errors
///
/// Settings that the dataset refuses, files that cannot be read, and rows that cannot be used.
pub fn build(
    settings: &WorkloadSettings,
    tokenizer: Option<&Tokenizer>,
    progress: &(dyn Fn(usize, usize) + Sync),
) -> Result<Workload, WorkloadError> {
    check_salt(settings)?;
    let context = Context {
        settings,
        tokenizer,
        progress,
    };
    let mut sample = dataset::sample(&context)?;
    if let Some(repeats) = Repeats::of(&context, &mut sample)? {
        sample
            .requests
            .reserve_exact(repeats.wanted - sample.requests.len());
        for row in repeats {
            let copy = sample.requests[row].clone();
            sample.requests.push(copy);
        }
    }
    if let Some(salt) = settings
        .salt
        .as_ref()
        .filter(|_| !settings.dataset.is_synthetic())
    {
        prefixes::add_salt(&mut sample.requests, salt, tokenizer);
    }
    let reusable = prefixes::reusable_fraction(&sample.requests, tokenizer);
    number(&mut sample.requests, 0, settings, sample.with_ids);
    Ok(conclude(sample, settings, reusable))
}

/// Sets the indices of requests, from `first` on, and their ids.
fn number(requests: &mut [Request], first: usize, settings: &WorkloadSettings, with_ids: bool) {
    for (index, request) in (first..).zip(requests) {
        request.index = index;
        if with_ids {
            request.id = Some(format!("{}{index}", settings.request_id_prefix));
        }
    }
}

/// The workload, with the facts about all its requests.
fn conclude(sample: Sample, settings: &WorkloadSettings, reusable: Option<f64>) -> Workload {
    let mut about = sample.about;
    let mut warnings = sample.warnings;
    if settings.ignores_template_kwargs() {
        warnings.push(format!(
            "--chat-template-kwargs has no effect with --compat vllm on the dataset {}, as in vLLM.",
            settings.dataset.name()
        ));
    }
    if let Some(salt) = &settings.salt {
        about.insert("salt".into(), salt.clone().into());
    }
    if let Some(reusable) = reusable {
        about.insert("reusable_prefix_share".into(), reusable.into());
    }
    Workload {
        requests: sample.requests,
        warnings,
        force_ignore_eos: sample.force_ignore_eos && !settings.is_pooling,
        about,
    }
}

/// Makes the requests of a run and hands them to `emit` chunk by chunk, each chunk with the number
/// of requests in all. Returns everything else about the workload. Requests and facts are those of
/// [`build`].
///
/// Of a synthetic dataset only one chunk is in memory, so that a workload may be larger than
/// memory. Rows of a file are held in memory and emitted at once; where they have to be repeated,
/// the copies are made in chunks. Conversations come in one chunk.
///
/// # Errors
///
/// As [`build`], and the error of `emit`.
pub fn build_in_chunks<E: From<WorkloadError>>(
    settings: &WorkloadSettings,
    tokenizer: Option<&Tokenizer>,
    progress: &(dyn Fn(usize, usize) + Sync),
    emit: &mut dyn FnMut(Vec<Request>, usize) -> Result<(), E>,
) -> Result<Workload, E> {
    check_salt(settings)?;
    let context = Context {
        settings,
        tokenizer,
        progress,
    };
    let mut reusable = prefixes::ReusableFraction::new(tokenizer);
    let mut next = 0;
    let mut pass_on = |mut requests: Vec<Request>, total: usize, with_ids: bool| {
        for request in &requests {
            reusable.add(request);
        }
        number(&mut requests, next, settings, with_ids);
        next += requests.len();
        emit(requests, total)
    };
    let with_ids = !settings.is_vllm() || settings.dataset.info().has_ids_in_vllm;
    let loaded = dataset::load(&context, &mut |requests, total| {
        pass_on(requests, total, with_ids)
    })?;
    let sample = match loaded {
        Loaded::Emitted(sample) => sample,
        Loaded::Whole(mut sample) => {
            let repeats = Repeats::of(&context, &mut sample)?;
            if let Some(salt) = settings
                .salt
                .as_ref()
                .filter(|_| !settings.dataset.is_synthetic())
            {
                prefixes::add_salt(&mut sample.requests, salt, tokenizer);
            }
            let rows = std::mem::take(&mut sample.requests);
            match repeats {
                None => {
                    let total = rows.len();
                    pass_on(rows, total, sample.with_ids)?;
                }
                Some(repeats) => {
                    let (usable, total) = (rows.len(), repeats.wanted);
                    let order: Vec<usize> = (0..usable).chain(repeats).collect();
                    for range in dataset::chunks(total, REPEATED_CHUNK) {
                        let copies = order[range].iter().map(|&row| rows[row].clone()).collect();
                        pass_on(copies, total, sample.with_ids)?;
                    }
                }
            }
            sample
        }
    };
    Ok(conclude(sample, settings, reusable.result()))
}

/// Requests of a chunk where rows of a file are repeated. A row may hold an image, so chunks
/// are small.
const REPEATED_CHUNK: usize = 256;

fn check_salt(settings: &WorkloadSettings) -> Result<(), WorkloadError> {
    if settings.salt.is_some() && settings.is_vllm() {
        return Err(WorkloadError::setting(
            "--salt",
            "cannot be combined with --compat vllm",
        ));
    }
    Ok(())
}

/// The rows to repeat until there are `wanted` requests.
struct Repeats {
    rng: PythonRandom,
    usable: usize,
    wanted: usize,
    made: usize,
    is_vllm: bool,
    shuffle: bool,
    /// Rows left in this round, the next one last.
    round: Vec<usize>,
}

impl Repeats {
    /// `None` where nothing is repeated. Warns in `sample` where rows are repeated or too few.
    fn of(context: &Context<'_>, sample: &mut Sample) -> Result<Option<Self>, WorkloadError> {
        let settings = context.settings;
        let wanted = usize::try_from(settings.num_prompts).unwrap_or(0);
        let usable = sample.requests.len();
        if !sample.may_oversample || wanted <= usable {
            return Ok(None);
        }
        if usable == 0 {
            return Err(sample.no_rows());
        }
        if !settings.oversample {
            if settings.is_vllm() {
                sample.warnings.push(format!(
                    "Only {usable} of the {wanted} requested prompts are sent: the dataset has no more usable \
                     rows, and --no-oversample forbids repeating them."
                ));
                return Ok(None);
            }
            return Err(WorkloadError::TooShort {
                path: sample.path.clone(),
                usable,
                asked: wanted,
            });
        }
        sample.warnings.push(format!(
            "The dataset has {usable} usable rows for {wanted} requests, so rows are repeated; a server with a \
             prefix cache answers repeated prompts faster."
        ));
        Ok(Some(Self {
            rng: PythonRandom::new(settings.seed),
            usable,
            wanted,
            made: usable,
            is_vllm: settings.is_vllm(),
            shuffle: settings.shuffle,
            round: Vec::new(),
        }))
    }
}

impl Iterator for Repeats {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        if self.made == self.wanted {
            return None;
        }
        if self.is_vllm {
            self.made += 1;
            return Some(self.rng.randbelow(self.usable));
        }
        // Whole rounds, each in a new order: no row is used a third time before all are used twice.
        if self.round.is_empty() {
            self.round = (0..self.usable).collect();
            if self.shuffle {
                self.rng.shuffle(&mut self.round);
            }
            self.round.reverse();
        }
        self.made += 1;
        self.round.pop()
    }
}

#[cfg(test)]
mod tests;
