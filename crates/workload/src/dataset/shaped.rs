//! `mix`: synthetic traffic of several classes, each with its own distribution of lengths.

use std::ops::Range;

use inferometer_core::Prompt;
use inferometer_core::random::{StreamRng, indexed_stream};
use rand::Rng;
use serde_json::{Value, json};

use super::limits::{MAX_PREFIX_TOKENS, check_tokens};
use super::spec::{DatasetSpec, LengthsSpec};
use super::texts::{NativeTexts, Prefixes, push_words};
use super::words::Words;
use super::{Context, Emit, MAX_TOKENS, Sample, chunk_size, chunks, request};
use crate::{LengthDistribution, MixSettings, SharedPrefixes, Tokenizer, WorkloadError};

impl MixSettings {
    /// The form that the manifest keeps.
    pub(super) fn spec(&self) -> DatasetSpec {
        let Self { classes, shared } = self;
        let classes: Vec<Value> = classes
            .iter()
            .map(|class| {
                json!({
                    "weight": class.weight, "input": class.input.to_string(),
                    "output": class.output.to_string(),
                })
            })
            .collect();
        let options = json!({
            "classes": classes,
            "shared_prefixes": {
                "groups": shared.groups, "len": shared.len, "zipf": shared.zipf,
                "fraction": shared.fraction,
            },
        });
        DatasetSpec::generated(LengthsSpec::default(), options)
    }
}

/// Makes the requests chunk by chunk. What it returns holds everything but the requests.
pub(super) fn in_chunks<E: From<WorkloadError>>(
    context: &Context<'_>,
    options: &MixSettings,
    emit: Emit<'_, E>,
) -> Result<Sample, E> {
    let tokenizer = context.tokenizer()?;
    let count = context.count()?;
    let special = tokenizer.num_special_tokens_to_add();
    let shapes = draw_shapes(context.settings.seed, options, count, special)?;
    check_prefixes(&options.shared)?;
    let lengths: Vec<usize> = shapes.iter().map(|shape| shape.input).collect();
    let mut sample = Sample {
        with_ids: true,
        force_ignore_eos: true,
        ..Sample::default()
    };
    let mean = lengths.iter().sum::<usize>() / count;
    let size = chunk_size(if options.shared.fraction.is_none() {
        mean + options.shared.len as usize
    } else {
        mean
    });
    let mut texts = match options.shared.groups {
        0 => Texts::Apart(NativeTexts::new(
            context,
            tokenizer,
            Prefixes::NONE,
            &lengths,
        )?),
        _ => Texts::Grouped(Grouped::new(context, tokenizer, &options.shared, &lengths)?),
    };
    for range in chunks(count, size) {
        let made = match &mut texts {
            Texts::Apart(texts) => texts.chunk(range.clone())?,
            Texts::Grouped(texts) => texts.chunk(range.clone()),
        };
        let made = made
            .into_iter()
            .zip(&shapes[range])
            .map(|((text, tokens), shape)| {
                let output = Some(shape.output as i64);
                let mut made = request(Prompt::Text(text), tokens + special, output);
                made.category = Some(options.classes[shape.class].name.clone());
                made
            });
        emit(made.collect(), count)?;
    }
    if let Texts::Apart(texts) = texts {
        texts.warn_of_duplicates(&mut sample.warnings);
    }
    Ok(sample)
}

/// The class of a request and its lengths in tokens.
struct Shape {
    class: usize,
    /// Without special tokens.
    input: usize,
    output: usize,
}

/// Draws the class and the lengths of every request, each from a random stream of its own.
fn draw_shapes(
    seed: u64,
    options: &MixSettings,
    count: usize,
    special: usize,
) -> Result<Vec<Shape>, WorkloadError> {
    let classes = &options.classes;
    let total: f64 = classes.iter().map(|class| class.weight).sum();
    let negative = classes
        .iter()
        .any(|class| class.weight.is_nan() || class.weight < 0.0);
    if negative || total <= 0.0 || !total.is_finite() {
        let message = "weights must not be negative, and one must be above 0";
        return Err(WorkloadError::setting("--mix", message));
    }
    let shapes = (0..count).map(|at| {
        let mut rng = indexed_stream(seed, "mix/lengths", at as u64);
        let mut left = unit(&mut rng) * total;
        let class = classes.iter().position(|class| {
            left -= class.weight;
            left < 0.0
        });
        // Rounding may leave a rest of the sum that belongs to no class.
        let class = class.unwrap_or(classes.len() - 1);
        let input = draw(&classes[class].input, &mut rng).max(special + 1);
        let output = draw(&classes[class].output, &mut rng);
        Shape {
            class,
            input: input - special,
            output,
        }
    });
    Ok(shapes.collect())
}

enum Texts<'a> {
    Apart(NativeTexts<'a>),
    Grouped(Grouped<'a>),
}

/// Refuses prefixes that do not fit into memory.
fn check_prefixes(shared: &SharedPrefixes) -> Result<(), WorkloadError> {
    check_tokens(
        "--prefix-group-len",
        i64::try_from(shared.len).unwrap_or(i64::MAX),
    )?;
    // A prefix without tokens has a place in the list.
    let tokens = (shared.groups as u64).saturating_mul(shared.len.max(1));
    if tokens > MAX_PREFIX_TOKENS {
        return Err(WorkloadError::setting(
            "--prefix-groups",
            format!(
                "is {} with prefixes of {} tokens, but all prefixes together must be at most {MAX_PREFIX_TOKENS} \
                 tokens",
                shared.groups, shared.len
            ),
        ));
    }
    Ok(())
}

/// Texts in groups that share a prefix.
struct Grouped<'a> {
    context: &'a Context<'a>,
    shared: &'a SharedPrefixes,
    lengths: &'a [usize],
    words: Words,
    /// Running sums of the groups' weights.
    sums: Vec<f64>,
}

impl<'a> Grouped<'a> {
    fn new(
        context: &'a Context<'a>,
        tokenizer: &Tokenizer,
        shared: &'a SharedPrefixes,
        lengths: &'a [usize],
    ) -> Result<Self, WorkloadError> {
        if !(shared.zipf >= 0.0 && shared.zipf.is_finite()) {
            return Err(WorkloadError::setting(
                "--prefix-zipf",
                "must be a number, 0 or more",
            ));
        }
        if !shared
            .fraction
            .is_none_or(|fraction| (0.0..1.0).contains(&fraction))
        {
            return Err(WorkloadError::setting(
                "--cache-hit-fraction",
                "must be at least 0 and below 1",
            ));
        }
        let words = Words::find(tokenizer)
            .filter(|words| words.first_len() > 0)
            .ok_or_else(|| WorkloadError::Unreachable {
                tokenizer: tokenizer.name().to_owned(),
                wanted: lengths.first().copied().unwrap_or_default(),
                message: "it has too few words of one token".into(),
            })?;
        let mut sums: Vec<f64> = Vec::with_capacity(shared.groups);
        for group in 1..=shared.groups {
            sums.push(sums.last().copied().unwrap_or_default() + (group as f64).powf(-shared.zipf));
        }
        Ok(Self {
            context,
            shared,
            lengths,
            words,
            sums,
        })
    }

    fn chunk(&self, range: Range<usize>) -> Vec<(String, usize)> {
        let Self {
            context,
            shared,
            lengths,
            words,
            sums,
        } = self;
        let total = sums.last().copied().unwrap_or(1.0);
        let seed = context.text_seed();
        context.parallel_of(range, lengths.len(), |at| {
            let mut rng = indexed_stream(context.settings.seed, "mix/group", at as u64);
            let draw = unit(&mut rng) * total;
            let group = sums
                .partition_point(|&sum| sum <= draw)
                .min(shared.groups - 1);
            let (prefix, own) = match shared.fraction {
                Some(fraction) => {
                    let prefix = (lengths[at] as f64 * fraction).round() as usize;
                    (prefix, lengths[at] - prefix)
                }
                None => (shared.len as usize, lengths[at]),
            };
            let mut text = String::with_capacity((prefix + own) * 7);
            push_words(
                words,
                &mut indexed_stream(seed, "mix/prefix", group as u64),
                prefix,
                &mut text,
            );
            push_words(
                words,
                &mut indexed_stream(seed, "mix/own", at as u64),
                own,
                &mut text,
            );
            (text, prefix + own)
        })
    }
}

/// A double in [0, 1).
fn unit(rng: &mut StreamRng) -> f64 {
    (rng.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
}

/// A standard normal deviate (Box and Muller).
fn normal(rng: &mut StreamRng) -> f64 {
    let radius = (-2.0 * (1.0 - unit(rng)).ln()).sqrt();
    radius * (std::f64::consts::TAU * unit(rng)).cos()
}

/// A length of at least 1 token.
pub(super) fn draw(lengths: &LengthDistribution, rng: &mut StreamRng) -> usize {
    let value = match lengths {
        LengthDistribution::Constant(len) => *len as f64,
        LengthDistribution::Uniform { low, high } => {
            *low as f64 + (unit(rng) * (high - low + 1) as f64).floor()
        }
        LengthDistribution::Normal { mean, deviation } => mean + deviation * normal(rng),
        LengthDistribution::LogNormal { median, sigma } => median * (sigma * normal(rng)).exp(),
        LengthDistribution::Zipf(exponent) => zipf(*exponent, rng),
        LengthDistribution::Poisson(mean) => poisson(*mean, rng),
        LengthDistribution::AtMost(inner, most) => (draw(inner, rng) as f64).min(*most as f64),
        LengthDistribution::Empirical(values) => {
            values[((unit(rng) * values.len() as f64) as usize).min(values.len() - 1)] as f64
        }
    };
    // A draw from the far tail must not exceed what a request can hold.
    value.round().clamp(1.0, MAX_TOKENS as f64) as usize
}

/// A number k from 1 on, in proportion to 1/k^s, by the rejection method of Devroye (1986, chapter
/// X.6).
fn zipf(exponent: f64, rng: &mut StreamRng) -> f64 {
    let power = exponent - 1.0;
    let scale = 2_f64.powf(power);
    loop {
        // Beyond a billion, which is cut below anyway, the ratio loses all its digits.
        let k = (1.0 - unit(rng)).powf(-1.0 / power).floor().min(1e9);
        let ratio = (1.0 + 1.0 / k).powf(power);
        if unit(rng) * k * (ratio - 1.0) / (scale - 1.0) <= ratio / scale {
            return k;
        }
    }
}

/// A Poisson number: by counting products for small means, by the normal law for large ones.
fn poisson(mean: f64, rng: &mut StreamRng) -> f64 {
    if mean > 500.0 {
        return (mean + mean.sqrt() * normal(rng)).max(0.0);
    }
    let limit = (-mean).exp();
    let (mut product, mut count) = (1.0 - unit(rng), 0.0);
    while product > limit {
        product *= 1.0 - unit(rng);
        count += 1.0;
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DatasetSettings, Tokenizer, WorkloadSettings, build};

    #[test]
    fn classes_come_by_weight_and_have_their_lengths() {
        let tokenizer = Tokenizer::builtin().unwrap();
        let mix = MixSettings::parse("70:16/8,30:uniform(40,60)/lognormal(20,0.5)").unwrap();
        let settings = WorkloadSettings {
            num_prompts: 1000,
            ..WorkloadSettings::new(DatasetSettings::Mix(mix))
        };
        let workload = build(&settings, Some(&tokenizer), &|_, _| {}).unwrap();
        let (mut small, mut large) = (0, 0);
        for request in &workload.requests {
            let tokens = tokenizer.encode(request.prompt.as_text().unwrap()).len() as u32;
            assert_eq!(tokens, request.prompt_tokens);
            if tokens == 16 {
                small += 1;
                assert_eq!(request.output_tokens, Some(8));
                assert_eq!(request.category.as_deref(), Some("16/8"));
            } else {
                large += 1;
                assert!((40..=60).contains(&tokens));
            }
        }
        assert!((640..760).contains(&small), "{small} of {}", small + large);
    }

    #[test]
    fn groups_share_a_prefix_and_the_reusable_fraction_is_predicted() {
        let tokenizer = Tokenizer::builtin().unwrap();
        let mut mix = MixSettings::parse("1:400/8").unwrap();
        mix.shared = SharedPrefixes {
            groups: 4,
            len: 0,
            zipf: 1.0,
            fraction: Some(0.5),
        };
        let mut settings = WorkloadSettings {
            num_prompts: 200,
            ..WorkloadSettings::new(DatasetSettings::Mix(mix))
        };
        let workload = build(&settings, Some(&tokenizer), &|_, _| {}).unwrap();
        let mut groups = std::collections::BTreeMap::<Vec<u32>, usize>::new();
        for request in &workload.requests {
            let ids = tokenizer.encode(request.prompt.as_text().unwrap());
            assert_eq!(ids.len(), 400);
            *groups.entry(ids[..200].to_vec()).or_default() += 1;
        }
        let mut sizes: Vec<usize> = groups.into_values().collect();
        sizes.sort_unstable();
        // In proportion to 1, 1/2, 1/3, 1/4.
        assert!(
            sizes.len() == 4 && (80..112).contains(&sizes[3]),
            "{sizes:?}"
        );
        let predicted = workload.about["reusable_prefix_share"].as_f64().unwrap();
        assert!((0.46..0.5).contains(&predicted), "{predicted}");

        settings.salt = Some("other".into());
        let salted = build(&settings, Some(&tokenizer), &|_, _| {}).unwrap();
        assert_ne!(salted.requests[0].prompt, workload.requests[0].prompt);
        assert_eq!(
            salted.requests[0].prompt_tokens,
            workload.requests[0].prompt_tokens
        );
    }

    #[test]
    fn means_of_the_distributions_are_right() {
        let mut rng = indexed_stream(1, "test", 0);
        for (text, low, high) in [
            ("normal(100,10)", 99.0, 101.0),
            ("lognormal(100,0.5)", 110.0, 116.5),
            ("uniform(0,100)", 49.0, 51.5),
            ("7", 7.0, 7.0),
            ("poisson(20)", 19.8, 20.2),
            ("zipf(3)", 1.33, 1.41),
        ] {
            let lengths: LengthDistribution = text.parse().unwrap();
            let mean = (0..20_000)
                .map(|_| draw(&lengths, &mut rng) as f64)
                .sum::<f64>()
                / 20_000.0;
            assert!((low..=high).contains(&mean), "{text}: {mean}");
        }
    }
}
