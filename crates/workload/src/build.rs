//! From settings to a workload.

use servebench_core::random::PythonRandom;
use servebench_core::{Request, Workload};

use crate::dataset::{Context, Sample};
use crate::{
    DatasetSettings, MultiTurnSource, Tokenizer, WorkloadError, WorkloadSettings, dataset, prefixes,
};

/// Makes the requests of a run.
///
/// `progress` is called now and then, from any thread, with the number of requests made and the number
/// wanted.
pub fn build(
    settings: &WorkloadSettings,
    tokenizer: Option<&Tokenizer>,
    progress: &(dyn Fn(usize, usize) + Sync),
) -> Result<Workload, WorkloadError> {
    let context = Context { settings, tokenizer, progress };
    let mut sample = dataset::sample(&context)?;
    let wanted = usize::try_from(settings.num_prompts).unwrap_or(0);
    if sample.may_oversample && wanted > sample.requests.len() {
        oversample(&context, &mut sample, wanted)?;
    }
    if let Some(salt) = &settings.salt {
        if settings.is_vllm() {
            return Err(WorkloadError::setting("--salt", "cannot be had with vLLM's own prompts"));
        }
        if !makes_text(settings) {
            prefixes::add_salt(&mut sample.requests, salt, tokenizer);
        }
    }
    let share = prefixes::reusable_share(&sample.requests);
    number(&mut sample.requests, 0, settings, sample.with_ids);
    Ok(conclude(sample, settings, share))
}

/// Gives requests their places, the first of them `first`, and their ids.
fn number(requests: &mut [Request], first: usize, settings: &WorkloadSettings, with_ids: bool) {
    for (index, request) in (first..).zip(requests) {
        request.index = index;
        if with_ids {
            request.id = Some(format!("{}{index}", settings.request_id_prefix));
        }
    }
}

/// The workload, with what is known of all its requests.
fn conclude(sample: Sample, settings: &WorkloadSettings, reusable_share: Option<f64>) -> Workload {
    let mut about = sample.about;
    if let Some(salt) = &settings.salt {
        about.insert("salt".into(), salt.clone().into());
    }
    if let Some(share) = reusable_share {
        about.insert("reusable_prefix_share".into(), share.into());
    }
    Workload {
        requests: sample.requests,
        warnings: sample.warnings,
        force_ignore_eos: sample.force_ignore_eos && !settings.is_pooling,
        about,
    }
}

/// True when [`build_in_pieces`] needs memory for a piece only; other datasets are made whole.
pub fn is_made_in_pieces(settings: &WorkloadSettings) -> bool {
    matches!(&settings.dataset, DatasetSettings::Random(options) if options.batch_size == 1)
        && !settings.is_vllm()
}

/// Makes the requests of a run and gives them away piece by piece, so that a workload may be larger than memory.
/// Returns everything else about it. Requests and facts are those of [`build`].
pub fn build_in_pieces<E: From<WorkloadError>>(
    settings: &WorkloadSettings,
    tokenizer: Option<&Tokenizer>,
    progress: &(dyn Fn(usize, usize) + Sync),
    give: &mut dyn FnMut(Vec<Request>) -> Result<(), E>,
) -> Result<Workload, E> {
    let DatasetSettings::Random(options) = &settings.dataset else {
        return whole(settings, tokenizer, progress, give);
    };
    if !is_made_in_pieces(settings) {
        return whole(settings, tokenizer, progress, give);
    }
    let context = Context { settings, tokenizer, progress };
    let mut share = prefixes::ReusableShare::default();
    let mut next = 0;
    let sample = dataset::random::in_pieces(&context, options, &mut |mut requests: Vec<Request>| {
        for request in &requests {
            share.add(request);
        }
        number(&mut requests, next, settings, true);
        next += requests.len();
        give(requests)
    })?;
    Ok(conclude(sample, settings, share.result()))
}

fn whole<E: From<WorkloadError>>(
    settings: &WorkloadSettings,
    tokenizer: Option<&Tokenizer>,
    progress: &(dyn Fn(usize, usize) + Sync),
    give: &mut dyn FnMut(Vec<Request>) -> Result<(), E>,
) -> Result<Workload, E> {
    let mut workload = build(settings, tokenizer, progress)?;
    give(std::mem::take(&mut workload.requests))?;
    Ok(workload)
}

/// True when the dataset makes up what is sent, so that the salt is in every word.
fn makes_text(settings: &WorkloadSettings) -> bool {
    match &settings.dataset {
        DatasetSettings::Random(_)
        | DatasetSettings::RandomMm(_)
        | DatasetSettings::RandomRerank(_)
        | DatasetSettings::PrefixRepetition(_)
        | DatasetSettings::BurstGpt(_)
        | DatasetSettings::TimedTrace(_)
        | DatasetSettings::Trace(_)
        | DatasetSettings::Mix(_) => true,
        DatasetSettings::MultiTurn(options) => matches!(options.source, MultiTurnSource::Synthetic(_)),
        _ => false,
    }
}

/// Repeats requests until there are `wanted`.
fn oversample(context: &Context<'_>, sample: &mut Sample, wanted: usize) -> Result<(), WorkloadError> {
    let settings = context.settings;
    let usable = sample.requests.len();
    if usable == 0 {
        return Err(sample.no_rows());
    }
    if !settings.oversample {
        if settings.is_vllm() {
            sample.warnings.push(format!(
                "Only {usable} of the {wanted} requests asked for are sent: the dataset has no more usable \
                 rows, and --no-oversample forbids to repeat them."
            ));
            return Ok(());
        }
        return Err(WorkloadError::TooShort { path: sample.path.clone(), usable, asked: wanted });
    }
    sample.requests.reserve(wanted - usable);
    let mut rng = PythonRandom::new(settings.seed);
    if settings.is_vllm() {
        for _ in usable..wanted {
            let copy: Request = sample.requests[rng.randbelow(usable)].clone();
            sample.requests.push(copy);
        }
    } else {
        // Whole rounds in a new order each: no row is taken a third time before all were taken twice.
        let mut round: Vec<usize> = Vec::new();
        while sample.requests.len() < wanted {
            if round.is_empty() {
                round = (0..usable).collect();
                if settings.shuffle {
                    rng.shuffle(&mut round);
                }
                round.reverse();
            }
            if let Some(row) = round.pop() {
                let copy = sample.requests[row].clone();
                sample.requests.push(copy);
            }
        }
    }
    sample.warnings.push(format!(
        "The dataset has {usable} usable rows for {wanted} requests, so rows are repeated; a server with a \
         prefix cache answers repeated prompts faster."
    ));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{RandomSettings, RangeRatio};

    #[test]
    fn pieces_are_the_whole() {
        let tokenizer = Tokenizer::builtin().unwrap();
        let mut settings = WorkloadSettings::new(DatasetSettings::Random(RandomSettings {
            // Short prompts repeat by chance, so that those of later pieces must know of earlier ones.
            input_len: 2,
            output_len: 5,
            range_ratio: RangeRatio { input: 0.5, output: 0.5 },
            prefix_len: 3,
            ..RandomSettings::default()
        }));
        settings.num_prompts = 10_000;
        for salt in [None, Some("x".to_owned())] {
            settings.salt = salt;
            let whole = build(&settings, Some(&tokenizer), &|_, _| {}).unwrap();
            let (mut requests, mut pieces) = (Vec::new(), 0);
            let rest =
                build_in_pieces::<WorkloadError>(&settings, Some(&tokenizer), &|_, _| {}, &mut |piece| {
                    pieces += 1;
                    requests.extend(piece);
                    Ok(())
                })
                .unwrap();
            assert!(is_made_in_pieces(&settings) && pieces > 2);
            assert!(whole.requests == requests);
            assert!(!whole.warnings.is_empty(), "prompts of one token cannot all differ");
            assert_eq!((rest.warnings, rest.about), (whole.warnings, whole.about));
        }
    }
}
