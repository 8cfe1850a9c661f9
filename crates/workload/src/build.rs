//! From settings to a workload.

use inferometer_core::random::PythonRandom;
use inferometer_core::{Request, Workload};

use crate::dataset::{Context, Loaded, Sample};
use crate::{Tokenizer, WorkloadError, WorkloadSettings, dataset, prefixes};

/// Makes the requests of a run.
///
/// `progress` is called now and then, from any thread, with the number of requests made and the
/// number wanted.
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

/// Makes the requests of a run and gives them away chunk by chunk, each with the number of requests
/// there will be in all. Returns everything else about the workload. Requests and facts are those
/// of [`build`].
///
/// Of datasets that are made up only a chunk is in memory, so that a workload may be larger than
/// that. Of datasets in files what was read is held, and given away at once, unless it has to be
/// repeated: then the copies are made in chunks. Conversations come in one chunk.
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
    let mut share = prefixes::ReusableShare::default();
    let mut next = 0;
    let mut pass_on = |mut requests: Vec<Request>, total: usize, with_ids: bool| {
        for request in &requests {
            share.add(request);
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
                    for range in dataset::chunks(total, REPEATED) {
                        let copies = order[range].iter().map(|&row| rows[row].clone()).collect();
                        pass_on(copies, total, sample.with_ids)?;
                    }
                }
            }
            sample
        }
    };
    Ok(conclude(sample, settings, share.result()))
}

/// Requests of a chunk, where rows of a file are repeated.
const REPEATED: usize = 256;

fn check_salt(settings: &WorkloadSettings) -> Result<(), WorkloadError> {
    if settings.salt.is_some() && settings.is_vllm() {
        return Err(WorkloadError::setting(
            "--salt",
            "cannot be had with vLLM's own prompts",
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
    /// Rows still to come in this round, the next one last.
    round: Vec<usize>,
}

impl Repeats {
    /// `None` where nothing is repeated. Says so among the warnings of `sample` where rows are, or
    /// are too few.
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
                    "Only {usable} of the {wanted} requests asked for are sent: the dataset has no more usable \
                     rows, and --no-oversample forbids to repeat them."
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
        // Whole rounds in a new order each: no row is loaded a third time before all were loaded
        // twice.
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
mod tests {
    use super::*;
    use crate::{
        BurstGptSettings, Compat, CustomSettings, DatasetSettings, MixSettings,
        PrefixRepetitionSettings, RandomMmSettings, RandomSettings, RangeRatio, RerankSettings,
        SharedPrefixes, TimedTraceSettings, TraceSettings,
    };

    /// Makes the workload both ways and compares them; gives the number of chunks.
    fn chunks_of(settings: &WorkloadSettings) -> usize {
        let tokenizer = Tokenizer::builtin().unwrap();
        let name = settings.dataset.name();
        let whole = build(settings, Some(&tokenizer), &|_, _| {}).unwrap();
        let (mut requests, mut chunks) = (Vec::new(), 0);
        let rest = build_in_chunks::<WorkloadError>(
            settings,
            Some(&tokenizer),
            &|_, _| {},
            &mut |chunk, total| {
                chunks += 1;
                assert_eq!(total, whole.requests.len(), "{name}");
                requests.extend(chunk);
                Ok(())
            },
        );
        let rest = rest.unwrap();
        assert!(whole.requests == requests, "{name}");
        assert_eq!(
            (rest.warnings, rest.about),
            (whole.warnings, whole.about),
            "{name}"
        );
        assert_eq!(rest.force_ignore_eos, whole.force_ignore_eos, "{name}");
        chunks
    }

    fn of(dataset: DatasetSettings, num_prompts: i64) -> WorkloadSettings {
        WorkloadSettings {
            num_prompts,
            ..WorkloadSettings::new(dataset)
        }
    }

    #[test]
    fn chunks_are_the_whole() {
        let random = |input_len| RandomSettings {
            input_len,
            output_len: 5,
            range_ratio: RangeRatio {
                input: 0.5,
                output: 0.5,
            },
            prefix_len: 3,
            ..RandomSettings::default()
        };
        // Short prompts repeat by chance, so that those of later chunks must know of earlier ones.
        let short = PrefixRepetitionSettings {
            prefix_len: 8,
            suffix_len: 2,
            num_prefixes: 2,
            output_len: 4,
        };
        let mix = || MixSettings::parse("70:2/8,30:uniform(2,6)/4").unwrap();
        let mut grouped = mix();
        grouped.shared = SharedPrefixes {
            groups: 4,
            len: 5,
            zipf: 1.0,
            fraction: None,
        };
        let mut hits = mix();
        hits.shared = SharedPrefixes {
            groups: 4,
            len: 0,
            zipf: 1.0,
            fraction: Some(0.5),
        };
        let mm = RandomMmSettings {
            text: random(4),
            buckets: vec![crate::MmBucket {
                height: 8,
                width: 8,
                frames: 1,
                share: 1.0,
            }],
            ..RandomMmSettings::default()
        };
        let rerank = RerankSettings {
            input_len: 16,
            batch_size: 3,
            ..RerankSettings::default()
        };
        let rerank = WorkloadSettings {
            is_pooling: true,
            ..of(DatasetSettings::RandomRerank(rerank), 3000)
        };
        let batches = RandomSettings {
            batch_size: 3,
            ..random(4)
        };
        let batches = WorkloadSettings {
            is_pooling: true,
            ..of(DatasetSettings::Random(batches), 3001)
        };
        let all = [
            of(DatasetSettings::Random(random(2)), 10_000),
            of(DatasetSettings::PrefixRepetition(short.clone()), 9_000),
            of(DatasetSettings::Mix(mix()), 3000),
            of(DatasetSettings::Mix(grouped), 3000),
            of(DatasetSettings::Mix(hits), 3000),
            of(DatasetSettings::RandomMm(mm), 200),
            rerank.clone(),
            batches,
        ];
        for settings in &all {
            assert!(chunks_of(settings) > 2, "{}", settings.dataset.name());
            let salted = WorkloadSettings {
                salt: Some("x".into()),
                ..settings.clone()
            };
            assert!(chunks_of(&salted) > 2, "{}", settings.dataset.name());
        }
        let vllm = |settings: WorkloadSettings| WorkloadSettings {
            compat: Compat::Vllm,
            ..settings
        };
        assert!(chunks_of(&vllm(of(DatasetSettings::Random(random(8)), 2500))) > 2);
        assert!(chunks_of(&vllm(rerank)) > 2);
        let mut ordered = vllm(of(DatasetSettings::PrefixRepetition(short), 2501));
        assert_eq!(chunks_of(&ordered), 1);
        ordered.shuffle = false;
        assert!(chunks_of(&ordered) > 2);
    }

    #[test]
    fn chunks_of_files_are_the_whole() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, text: String| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let rows = |line: &dyn Fn(usize) -> String| (0..2500).map(line).collect::<String>();
        let mooncake = file(
            "trace.jsonl",
            rows(&|at| {
                format!(
                    "{{\"timestamp\": {at}, \"input_length\": {}, \"output_length\": 2, \"hash_ids\": [{}]}}\n",
                    3 + at % 5,
                    at % 7
                )
            }),
        );
        let burst =
            "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n".to_owned();
        let burst = file(
            "b.csv",
            burst + &rows(&|at| format!("{at},GPT-4,{},7,27,API log\n", 2 + at % 3)),
        );
        let custom = file(
            "custom.jsonl",
            rows(&|at| {
                if at < 7 {
                    format!("{{\"prompt\": \"word {at}\"}}\n")
                } else {
                    String::new()
                }
            }),
        );
        let burst = of(
            DatasetSettings::BurstGpt(BurstGptSettings { path: burst }),
            3000,
        );
        let trace = TraceSettings {
            path: mooncake.clone(),
            ..TraceSettings::default()
        };
        let timed = TimedTraceSettings {
            path: mooncake,
            ..TimedTraceSettings::default()
        };
        let custom = CustomSettings {
            path: custom,
            output_len: 3,
        };
        for settings in [
            burst.clone(),
            WorkloadSettings {
                compat: Compat::Vllm,
                ..burst
            },
            of(DatasetSettings::Trace(trace), 0),
            of(DatasetSettings::TimedTrace(timed), 0),
            of(DatasetSettings::Custom(custom.clone()), 1000),
            WorkloadSettings {
                salt: Some("x".into()),
                ..of(DatasetSettings::Custom(custom.clone()), 1000)
            },
            WorkloadSettings {
                compat: Compat::Vllm,
                ..of(DatasetSettings::Custom(custom.clone()), 1000)
            },
        ] {
            assert!(chunks_of(&settings) > 2, "{}", settings.dataset.name());
        }
        assert_eq!(chunks_of(&of(DatasetSettings::Custom(custom), 5)), 1);
    }

    /// What the program made before it made chunks.
    #[test]
    fn contents_stay() {
        let tokenizer = Tokenizer::builtin().unwrap();
        for (settings, hash) in contents() {
            let made = build(&settings, Some(&tokenizer), &|_, _| {}).unwrap();
            let text = serde_json::to_vec(&made.requests).unwrap();
            let found = format!("{:x}", <sha2::Sha256 as sha2::Digest>::digest(&text));
            assert_eq!(&found[..16], hash, "{}", settings.dataset.name());
        }
    }

    fn contents() -> Vec<(WorkloadSettings, &'static str)> {
        let short = PrefixRepetitionSettings {
            prefix_len: 8,
            suffix_len: 2,
            num_prefixes: 2,
            output_len: 4,
        };
        let mut mix = MixSettings::parse("70:2/8,30:uniform(2,6)/4").unwrap();
        let plain = of(DatasetSettings::Mix(mix.clone()), 3000);
        mix.shared = SharedPrefixes {
            groups: 4,
            len: 5,
            zipf: 1.0,
            fraction: None,
        };
        let random = RandomSettings {
            input_len: 9,
            output_len: 5,
            prefix_len: 3,
            ..RandomSettings::default()
        };
        let random = of(DatasetSettings::Random(random), 2500);
        let prefixes = of(DatasetSettings::PrefixRepetition(short), 3000);
        let vllm = |settings: WorkloadSettings| WorkloadSettings {
            compat: Compat::Vllm,
            ..settings
        };
        let rerank = RerankSettings {
            input_len: 16,
            batch_size: 3,
            ..RerankSettings::default()
        };
        let rerank = WorkloadSettings {
            is_pooling: true,
            ..of(DatasetSettings::RandomRerank(rerank), 3000)
        };
        vec![
            (vllm(random.clone()), "dcbd7fdf0e1b274c"),
            (random, "8b4b4bcf950a8ad0"),
            (vllm(prefixes.clone()), "6d9cd63e9f729f35"),
            (prefixes, "5598391cbf03179c"),
            (plain, "2e51d19aa70d2a41"),
            (of(DatasetSettings::Mix(mix), 3000), "8b0d77e35600feb0"),
            (vllm(rerank.clone()), "068350c5081640f1"),
            (rerank, "d0efc412f2531d16"),
        ]
    }
}
