//! `mix`: synthetic traffic of several classes, each with its own distribution of lengths.

use rand::Rng;
use servebench_core::Prompt;
use servebench_core::random::{StreamRng, indexed_stream};

use super::random::{Prefixes, native_texts};
use super::{Context, Sample, request};
use crate::{LengthDistribution, MixSettings, WorkloadError};

pub(super) fn sample(context: &Context<'_>, options: &MixSettings) -> Result<Sample, WorkloadError> {
    let tokenizer = context.tokenizer()?;
    let count = context.count()?;
    let total: f64 = options.classes.iter().map(|class| class.weight).sum();
    let negative = options.classes.iter().any(|class| class.weight.is_nan() || class.weight < 0.0);
    if negative || total <= 0.0 || !total.is_finite() {
        return Err(WorkloadError::setting("--mix", "weights must not be negative, and one must be above 0"));
    }
    let seed = context.settings.seed;
    let special = tokenizer.num_special_tokens_to_add();
    let drawn: Vec<(usize, usize, usize)> = (0..count)
        .map(|at| {
            let mut rng = indexed_stream(seed, "mix/lengths", at as u64);
            let mut left = unit(&mut rng) * total;
            let class = options.classes.iter().position(|class| {
                left -= class.weight;
                left < 0.0
            });
            let class = class.unwrap_or(options.classes.len() - 1);
            let input = draw(&options.classes[class].input, &mut rng).max(special + 1);
            (class, input - special, draw(&options.classes[class].output, &mut rng))
        })
        .collect();
    let lengths: Vec<usize> = drawn.iter().map(|(_, input, _)| *input).collect();
    let mut sample = Sample { with_ids: true, force_ignore_eos: true, ..Sample::default() };
    let texts = native_texts(context, tokenizer, Prefixes::NONE, &lengths, &mut sample.warnings)?;
    sample.requests = texts
        .into_iter()
        .zip(&drawn)
        .map(|((text, tokens), (class, _, output))| {
            let mut made = request(Prompt::Text(text), tokens + special, Some(*output as i64));
            made.category = Some(options.classes[*class].name.clone());
            made
        })
        .collect();
    Ok(sample)
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
        LengthDistribution::Empirical(values) => {
            values[((unit(rng) * values.len() as f64) as usize).min(values.len() - 1)] as f64
        }
    };
    // A draw from the far tail must not ask for more than a request can hold.
    value.round().clamp(1.0, 16_777_216.0) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DatasetSettings, Tokenizer, WorkloadSettings, build};

    #[test]
    fn classes_come_by_weight_and_have_their_lengths() {
        let tokenizer = Tokenizer::builtin().unwrap();
        let mix = MixSettings::parse("70:16/8,30:uniform(40,60)/lognormal(20,0.5)").unwrap();
        let settings =
            WorkloadSettings { num_prompts: 1000, ..WorkloadSettings::new(DatasetSettings::Mix(mix)) };
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
    fn means_of_the_distributions_are_right() {
        let mut rng = indexed_stream(1, "test", 0);
        for (text, low, high) in [
            ("normal(100,10)", 99.0, 101.0),
            ("lognormal(100,0.5)", 110.0, 116.5),
            ("uniform(0,100)", 49.0, 51.5),
            ("7", 7.0, 7.0),
        ] {
            let lengths: LengthDistribution = text.parse().unwrap();
            let mean = (0..20_000).map(|_| draw(&lengths, &mut rng) as f64).sum::<f64>() / 20_000.0;
            assert!((low..=high).contains(&mean), "{text}: {mean}");
        }
    }
}
