//! What the server's own counters report about its decoding: speculative drafts, diffusion steps.

use std::sync::Arc;

use http::Method;
use inferometer_engine::StopHandle;
use inferometer_report::console::{Cell, Section, SpeculativeDecoding};
use inferometer_results::{VllmDiffusion, VllmResult, VllmSpecDecode};
use inferometer_telemetry::server::{Diffusion, Page, ServerDelta, ServerState, SpecDecode};
use inferometer_wire::{Client, Live, Wire};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The gain of the counters during a run, kept in the manifest because no record has it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Decoding {
    /// Drafts and how many tokens of them were accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    spec: Option<SpecDecode>,
    /// Denoising steps and what they committed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    diffusion: Option<Diffusion>,
}

impl Decoding {
    /// The gain between two metrics pages that are `seconds` apart; `None` when the server reports neither.
    pub fn between(before: Option<&Page>, after: Option<&Page>, seconds: f64) -> Option<Self> {
        let (before, after) = (before?, after?);
        let found = Self {
            spec: SpecDecode::between(before, after),
            diffusion: Diffusion::between(before, after, seconds),
        };
        (found != Self::default()).then_some(found)
    }

    /// Sections for the end of the table; as in vLLM, diffusion replaces drafts.
    pub fn sections(&self) -> Vec<Section> {
        match (&self.diffusion, &self.spec) {
            (Some(diffusion), _) => vec![diffusion_section(diffusion)],
            (None, Some(spec)) => vec![Section::speculative_decoding(&SpeculativeDecoding {
                acceptance_rate: spec.acceptance_rate,
                acceptance_length: spec.acceptance_length,
                drafts: spec.num_drafts,
                draft_tokens: spec.draft_tokens,
                accepted_tokens: spec.accepted_tokens,
                per_position: spec.per_position_acceptance_rates.clone(),
            })],
            (None, None) => Vec::new(),
        }
    }

    /// Tokens per step of speculative decoding.
    pub fn acceptance_length(&self) -> Option<f64> {
        self.spec.as_ref().map(|spec| spec.acceptance_length)
    }

    /// Puts the numbers into vLLM's result.
    pub fn fill(&self, result: &mut VllmResult) {
        result.spec_decode = self.spec.as_ref().map(|spec| VllmSpecDecode {
            acceptance_rate: spec.acceptance_rate,
            acceptance_length: spec.acceptance_length,
            num_drafts: spec.num_drafts,
            draft_tokens: spec.draft_tokens,
            accepted_tokens: spec.accepted_tokens,
            per_position_acceptance_rates: spec.per_position_acceptance_rates.clone(),
        });
        result.diffusion = self.diffusion.as_ref().map(|diffusion| VllmDiffusion {
            committed_throughput: diffusion.committed_throughput,
            steps_per_canvas: diffusion.steps_per_canvas,
            committed_per_step: diffusion.committed_per_step,
            committed_tokens: diffusion.committed_tokens,
            denoising_steps: diffusion.denoising_steps,
            canvas_positions: diffusion.canvas_positions,
        });
    }
}

/// What the server's own counters report about the run: their gain, and the server's state at both
/// ends. `Null` where they were not read or are of an unknown engine. They count all of the server's
/// traffic, so nothing measured is mixed with them.
pub(crate) fn counter_deltas(before: Option<&Page>, after: Option<&Page>, seconds: f64) -> Value {
    let Some((before, after)) = before.zip(after) else {
        return Value::Null;
    };
    let delta = ServerDelta::between(before, after, seconds);
    if delta.engine.is_none() {
        return Value::Null;
    }
    let known = |value: serde_json::Result<Value>| match value {
        // What the engine does not report is left out.
        Ok(Value::Object(map)) => map
            .into_iter()
            .filter(|(_, value)| !value.is_null())
            .collect(),
        _ => Value::Null,
    };
    let mut gained: Value = known(serde_json::to_value(&delta));
    if let (Value::Object(map), Some(rate)) = (&mut gained, delta.prefix_cache_hit_rate()) {
        map.insert("prefix_cache_hit_rate".to_owned(), rate.into());
    }
    json!({
        "gained": gained,
        "at_start": known(serde_json::to_value(ServerState::of(before))),
        "at_end": known(serde_json::to_value(ServerState::of(after))),
    })
}

/// Fraction of prompt tokens that the server found in its prefix cache, 0 to 1, by its counters; `None`
/// where it has none, or was restarted.
pub(crate) fn counted_cached(
    before: Option<&Page>,
    after: Option<&Page>,
    seconds: f64,
) -> Option<f64> {
    let delta = ServerDelta::between(before?, after?, seconds);
    delta.prefix_cache_hit_rate().filter(|_| !delta.restarted)
}

fn diffusion_section(diffusion: &Diffusion) -> Section {
    let row = |label: &str, cell| (label.to_owned(), Some(cell));
    Section {
        title: "Diffusion Decoding".into(),
        rows: vec![
            row(
                "Committed throughput (tok/s)",
                Cell::Float(diffusion.committed_throughput),
            ),
            row(
                "Denoising steps per canvas",
                Cell::Float(diffusion.steps_per_canvas),
            ),
            row(
                "Committed per denoising step",
                Cell::Float(diffusion.committed_per_step),
            ),
            row("Committed tokens", Cell::Int(diffusion.committed_tokens)),
            row("Denoising steps", Cell::Int(diffusion.denoising_steps)),
            row(
                "Canvas positions evaluated",
                Cell::Int(diffusion.canvas_positions),
            ),
        ],
    }
}

/// What to say of a metrics page that none of the known engines has written: its counters would
/// otherwise be missing without a word.
pub(crate) fn unknown_counters(page: &Page) -> Option<&'static str> {
    ServerDelta::between(page, page, 1.0)
        .engine
        .is_none()
        .then_some(
            "the server's metrics page (/metrics) has none of the counters of vLLM, SGLang or llama.cpp: what the \
             server itself counts (prompt tokens, cache hits, queue) is left out",
        )
}

/// The metrics pages of all servers as one; `None` where one of them has none, or `stop` was raised
/// first.
pub(crate) fn page(wire: &Arc<Wire>, stop: &StopHandle) -> Option<Page> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .ok()?;
    let client = Client::new(wire, 0, Arc::new(Live::default()));
    let local = tokio::task::LocalSet::new();
    let mut text = String::new();
    for number in 0..wire.settings().base_urls.len() {
        let page = client.page(number, Method::GET, "/metrics", None);
        let reply = local.block_on(&runtime, async {
            tokio::select! {
                biased;
                reply = page => reply.ok(),
                () = stop.raised() => None,
            }
        })?;
        if reply.status != 200 {
            return None;
        }
        text.push_str(&String::from_utf8_lossy(&reply.body));
        text.push('\n');
    }
    Some(Page::parse(&text))
}
