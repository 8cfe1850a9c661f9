//! Speculative and diffusion decoding out of a server's counters, by vLLM's formulas.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Page;

/// Speculative decoding between two pages.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SpecDecode {
    /// Accepted tokens over drafted tokens, in percent.
    pub acceptance_rate: f64,
    /// Tokens that a draft yields: 1 + accepted tokens over drafts.
    pub acceptance_length: f64,
    /// Drafts made.
    pub num_drafts: u64,
    /// Tokens drafted.
    pub draft_tokens: u64,
    /// Drafted tokens that were accepted.
    pub accepted_tokens: u64,
    /// For each position in a draft, the fraction of drafts accepted there, 0 to 1.
    pub per_position_acceptance_rates: Vec<f64>,
}

impl SpecDecode {
    /// The gain from `before` to `after`; `None` when no token was drafted, the counters fell, or more
    /// tokens were accepted than drafted, which cannot be.
    pub fn between(before: &Page, after: &Page) -> Option<Self> {
        let before = SpecCounters::read(before);
        let after = SpecCounters::read(after);
        let num_drafts = after.drafts.checked_sub(before.drafts)?;
        let draft_tokens = after
            .draft_tokens
            .checked_sub(before.draft_tokens)
            .filter(|&tokens| tokens > 0)?;
        let accepted_tokens = after
            .accepted_tokens
            .checked_sub(before.accepted_tokens)
            .filter(|&tokens| tokens <= draft_tokens)?;
        let over_drafts = |count: u64| {
            if num_drafts > 0 {
                count as f64 / num_drafts as f64
            } else {
                0.0
            }
        };
        let rates = after.per_position.iter().map(|(position, &accepted)| {
            over_drafts(
                accepted.saturating_sub(before.per_position.get(position).copied().unwrap_or(0)),
            )
        });
        Some(Self {
            acceptance_rate: accepted_tokens as f64 / draft_tokens as f64 * 100.0,
            acceptance_length: if num_drafts > 0 {
                1.0 + over_drafts(accepted_tokens)
            } else {
                0.0
            },
            num_drafts,
            draft_tokens,
            accepted_tokens,
            // More accepted drafts than drafts at a position cannot be either.
            per_position_acceptance_rates: rates.take_while(|&rate| rate <= 1.0).collect(),
        })
    }
}

#[derive(Debug, Default)]
struct SpecCounters {
    drafts: u64,
    draft_tokens: u64,
    accepted_tokens: u64,
    per_position: BTreeMap<u32, u64>,
}

impl SpecCounters {
    fn read(page: &Page) -> Self {
        let mut counters = Self::default();
        for sample in page.samples() {
            // vLLM and llama.cpp share these names.
            let Some((_, name)) = sample.name.split_once(":spec_decode_") else {
                continue;
            };
            let count = sample.value.max(0.0) as u64;
            match name {
                "num_drafts_total" => counters.drafts += count,
                "num_draft_tokens_total" => counters.draft_tokens += count,
                "num_accepted_tokens_total" => counters.accepted_tokens += count,
                "num_accepted_tokens_per_pos_total" => {
                    if let Some(position) =
                        sample.label("position").and_then(|text| text.parse().ok())
                    {
                        *counters.per_position.entry(position).or_default() += count;
                    }
                }
                _ => {}
            }
        }
        counters
    }
}

/// Diffusion decoding between two pages.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Diffusion {
    /// Committed tokens per second.
    pub committed_throughput: f64,
    /// Denoising steps per canvas.
    pub steps_per_canvas: f64,
    /// Committed tokens per denoising step.
    pub committed_per_step: f64,
    /// Committed tokens.
    pub committed_tokens: u64,
    /// Denoising steps, without the one that commits each canvas.
    pub denoising_steps: u64,
    /// Canvas positions evaluated.
    pub canvas_positions: u64,
}

impl Diffusion {
    /// The gain from `before` to `after` over `seconds`; `None` when nothing was committed.
    ///
    /// A canvas has positions ÷ steps places, the canvases are committed tokens ÷ that, and each
    /// takes one step that only commits, so that denoising steps are steps − canvases.
    pub fn between(before: &Page, after: &Page, seconds: f64) -> Option<Self> {
        let gain = |name: &str| {
            let name = format!("vllm:diffusion_{name}_total");
            let gain = after.sum(&name)? - before.sum(&name).unwrap_or(0.0);
            (gain > 0.0 && gain.is_finite()).then_some(gain)
        };
        let steps = gain("num_denoising_steps")?;
        let positions = gain("num_canvas_positions")?;
        let committed = gain("num_committed_tokens")?;
        let canvases = committed / (positions / steps);
        let denoising = (steps - canvases).max(0.0);
        let over = |count: f64, whole: f64| if whole > 0.0 { count / whole } else { 0.0 };
        Some(Self {
            committed_throughput: over(committed, seconds),
            steps_per_canvas: over(denoising, canvases),
            committed_per_step: over(committed, denoising),
            committed_tokens: committed as u64,
            denoising_steps: denoising.round() as u64,
            canvas_positions: positions as u64,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn per_position(rank: usize, counts: impl IntoIterator<Item = (usize, u64)>) -> String {
        let line = |(position, count)| {
            format!(
                "vllm:spec_decode_num_accepted_tokens_per_pos_total\
                 {{engine=\"{rank}\",position=\"{position}\"}} {count}.0"
            )
        };
        counts.into_iter().map(line).collect::<Vec<_>>().join("\n")
    }

    fn page(drafts: u64, tokens: u64, accepted: u64, positions: [u64; 3]) -> Page {
        Page::parse(&format!(
            "vllm:spec_decode_num_drafts_total{{engine=\"0\"}} {drafts}.0\n\
             vllm:spec_decode_num_drafts_created{{engine=\"0\"}} 1.79e+09\n\
             vllm:spec_decode_num_draft_tokens_total{{engine=\"0\"}} {tokens}.0\n\
             vllm:spec_decode_num_accepted_tokens_total{{engine=\"0\"}} {accepted}.0\n{}",
            per_position(0, positions.into_iter().enumerate())
        ))
    }

    #[test]
    fn speculative_decoding_by_hand() {
        let spec = SpecDecode::between(
            &page(10, 30, 12, [6, 4, 2]),
            &page(30, 90, 48, [22, 16, 10]),
        )
        .unwrap();
        assert_eq!(
            (spec.num_drafts, spec.draft_tokens, spec.accepted_tokens),
            (20, 60, 36)
        );
        assert_eq!((spec.acceptance_rate, spec.acceptance_length), (60.0, 2.8));
        assert_eq!(spec.per_position_acceptance_rates, [0.8, 0.6, 0.4]);
    }

    #[test]
    fn positions_are_in_order_of_their_number_and_ranks_are_summed() {
        let rank = |rank| {
            per_position(
                rank,
                (0..12)
                    .rev()
                    .map(|position| (position, 12 - position as u64)),
            )
        };
        let after = Page::parse(&format!(
            "{}\n{}\nvllm:spec_decode_num_drafts_total 24\nvllm:spec_decode_num_draft_tokens_total 288\n",
            rank(0),
            rank(1)
        ));
        let rates = SpecDecode::between(&Page::default(), &after)
            .unwrap()
            .per_position_acceptance_rates;
        let expected: Vec<_> = (0..12)
            .map(|position| f64::from(2 * (12 - position)) / 24.0)
            .collect();
        assert_eq!(rates, expected);
    }

    #[test]
    fn no_drafts_or_a_restart_mean_no_numbers() {
        let one = page(10, 30, 12, [6, 4, 2]);
        assert_eq!(SpecDecode::between(&one, &one), None);
        assert_eq!(SpecDecode::between(&one, &page(1, 2, 1, [1, 0, 0])), None);
        // More accepted than drafted: 40 of 30.
        assert_eq!(
            SpecDecode::between(&Page::default(), &page(10, 30, 40, [0; 3])),
            None
        );
        // 12 of 10 drafts accepted at the second position.
        let spec = SpecDecode::between(&Page::default(), &page(10, 30, 21, [9, 12, 0]));
        assert_eq!(spec.unwrap().per_position_acceptance_rates, [0.9]);
        assert_eq!(
            SpecDecode::between(&Page::default(), &Page::default()),
            None
        );
    }

    #[test]
    fn diffusion_decoding_by_hand() {
        // Canvases of 4 positions, 10 steps, 8 tokens: 2 canvases, 8 denoising steps.
        let after = Page::parse(
            "vllm:diffusion_num_denoising_steps_total 10\nvllm:diffusion_num_canvas_positions_total 40\n\
             vllm:diffusion_num_committed_tokens_total 8\n",
        );
        let diffusion = Diffusion::between(&Page::default(), &after, 2.0).unwrap();
        assert_eq!(
            diffusion,
            Diffusion {
                committed_throughput: 4.0,
                steps_per_canvas: 4.0,
                committed_per_step: 1.0,
                committed_tokens: 8,
                denoising_steps: 8,
                canvas_positions: 40,
            }
        );
        assert_eq!(Diffusion::between(&after, &after, 2.0), None);
    }
}
