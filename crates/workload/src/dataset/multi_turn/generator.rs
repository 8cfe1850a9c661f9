//! The input of vLLM's multi-turn script that describes conversations instead of holding them.

use std::io::Read;
use std::path::Path;

use inferometer_os::files::{self, SMALL_FILE};
use serde_json::Value;

use crate::{LengthDistribution, SyntheticTurns, WorkloadError};

/// Bytes at the start of a file that decide what it is: enough for leading white space.
const HEAD: u64 = 4096;

/// The shape that the file describes; `None` for a file of conversations.
pub(super) fn read(path: &Path) -> Result<Option<SyntheticTurns>, WorkloadError> {
    let failed = |source| WorkloadError::Io {
        path: path.to_owned(),
        source,
    };
    let mut head = Vec::new();
    files::open(path)
        .map_err(failed)?
        .take(HEAD)
        .read_to_end(&mut head)
        .map_err(failed)?;
    if head.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'{') {
        return Ok(None);
    }
    let wrong = |message: String| WorkloadError::format(path, None, message);
    let text = files::text(path, SMALL_FILE).map_err(failed)?;
    let all: Value = serde_json::from_str(&text)
        .map_err(|error| wrong(format!("not a JSON object: {error}")))?;
    if all["filetype"] != "generate_conversations" {
        return Err(wrong(
            "a JSON object must have \"filetype\": \"generate_conversations\"; conversations are a JSON list"
                .into(),
        ));
    }
    let part = |pointer: &str| {
        let found = all.pointer(pointer);
        found
            .map(distribution)
            .transpose()
            .map_err(|error| wrong(format!("{pointer}: {error}")))
    };
    let needed =
        |pointer: &str| part(pointer)?.ok_or_else(|| wrong(format!("{pointer} is missing")));
    let conversations = all["num_conversations"].as_u64();
    let turns = needed("/prompt_input/num_turns")?;
    let shared = part("/prompt_input/common_prefix_num_tokens")?;
    let input = needed("/prompt_input/num_tokens")?;
    Ok(Some(SyntheticTurns {
        // vLLM's script counts the turns of both sides, and rounds to pairs.
        turns: Some(halved(turns)),
        own_prefix: part("/prompt_input/prefix_num_tokens")?,
        conversations: Some(
            conversations
                .and_then(|n| usize::try_from(n).ok())
                .filter(|&n| n > 0)
                .ok_or_else(|| wrong("num_conversations must be a number above 0".into()))?,
        ),
        shared_prefix: shared.map_or(Ok(0), |shared| match shared {
            LengthDistribution::Constant(len) => Ok(len),
            _ => Err(wrong(
                "common_prefix_num_tokens must be constant: it is the same for all".into(),
            )),
        })?,
        first_input: input.clone(),
        input,
        output: needed("/prompt_output/num_tokens")?,
    }))
}

/// A distribution as that script writes it.
fn distribution(value: &Value) -> Result<LengthDistribution, String> {
    let number = |name: &str| value[name].as_f64().filter(|n| n.is_finite());
    let need = |name: &str| number(name).ok_or_else(|| format!("the number {name} is missing"));
    let kind = value["distribution"].as_str().unwrap_or_default();
    let made = match kind {
        "constant" => LengthDistribution::Constant(need("value")?.max(0.0) as u64),
        "uniform" => LengthDistribution::Uniform {
            low: need("min")?.max(0.0) as u64,
            high: need("max")?.max(need("min")?).max(1.0) as u64,
        },
        "lognormal" => match number("average") {
            Some(average) => {
                // A median of `median_ratio` times the mean, since mean = median·exp(σ²/2).
                let ratio = number("median_ratio").unwrap_or(0.85).clamp(1e-6, 1.0);
                let sigma = (-2.0 * ratio.ln()).sqrt();
                LengthDistribution::LogNormal {
                    median: average * ratio,
                    sigma,
                }
            }
            None => LengthDistribution::LogNormal {
                median: need("mean")?.exp(),
                sigma: need("sigma")?.max(0.0),
            },
        },
        "zipf" => match need("alpha")? {
            alpha if alpha > 1.0 => LengthDistribution::Zipf(alpha),
            alpha => return Err(format!("alpha is {alpha}, but must be above 1")),
        },
        "poisson" => match need("alpha")? {
            alpha if alpha > 0.0 => LengthDistribution::Poisson(alpha),
            alpha => return Err(format!("alpha is {alpha}, but must be above 0")),
        },
        other => return Err(format!("unknown distribution {other:?}")),
    };
    Ok(match number("max").filter(|_| kind != "uniform") {
        Some(most) => LengthDistribution::AtMost(Box::new(made), most.max(1.0) as u64),
        None => made,
    })
}

/// Half of every length.
fn halved(turns: LengthDistribution) -> LengthDistribution {
    match turns {
        LengthDistribution::Constant(n) => LengthDistribution::Constant((n / 2).max(1)),
        LengthDistribution::Uniform { low, high } => LengthDistribution::Uniform {
            low: (low / 2).max(1),
            high: (high / 2).max(1),
        },
        LengthDistribution::LogNormal { median, sigma } => LengthDistribution::LogNormal {
            median: median / 2.0,
            sigma,
        },
        LengthDistribution::Poisson(mean) => LengthDistribution::Poisson(mean / 2.0),
        LengthDistribution::AtMost(inner, most) => {
            LengthDistribution::AtMost(Box::new(halved(*inner)), (most / 2).max(1))
        }
        other => other,
    }
}
