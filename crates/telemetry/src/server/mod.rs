//! What a server reports of itself: its counters before and after a run, and its version.
//!
//! The server counts all of its traffic, that of others included; numbers from here are therefore
//! never mixed with measured ones.

mod decoding;
mod prometheus;

pub use decoding::{Diffusion, SpecDecode};
pub use prometheus::{MAX_PAGE_BYTES, MAX_SAMPLES, Page, Sample};

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The inference engine behind a metrics page, recognised by the prefix of its names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Engine {
    /// Names begin with `vllm:`.
    Vllm,
    /// Names begin with `sglang:`.
    Sglang,
    /// Names begin with `llamacpp:`.
    LlamaCpp,
}

impl Engine {
    /// The engine that wrote `page`.
    pub fn of(page: &Page) -> Option<Self> {
        page.samples()
            .iter()
            .find_map(|sample| match sample.name.split_once(':')?.0 {
                "vllm" => Some(Self::Vllm),
                "sglang" => Some(Self::Sglang),
                "llamacpp" => Some(Self::LlamaCpp),
                _ => None,
            })
    }

    fn names(self) -> &'static Names {
        match self {
            Self::Vllm => &VLLM,
            Self::Sglang => &SGLANG,
            Self::LlamaCpp => &LLAMA_CPP,
        }
    }
}

/// What an engine calls its metrics; the first name that the page has counts.
struct Names {
    running: &'static [&'static str],
    waiting: &'static [&'static str],
    cache_usage: &'static [&'static str],
    prompt_tokens: &'static [&'static str],
    generation_tokens: &'static [&'static str],
    cache_queries: &'static [&'static str],
    cache_hits: &'static [&'static str],
    /// Prompt tokens that another store had and the prefix cache had not: among the same queries.
    more_cache_hits: &'static [&'static str],
    preemptions: &'static [&'static str],
    /// llama.cpp counts processed prompt tokens without the cached ones.
    prompt_excludes_cached: bool,
}

const VLLM: Names = Names {
    running: &["vllm:num_requests_running"],
    waiting: &["vllm:num_requests_waiting"],
    cache_usage: &["vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc"],
    prompt_tokens: &["vllm:prompt_tokens_total"],
    generation_tokens: &["vllm:generation_tokens_total"],
    cache_queries: &[
        "vllm:prefix_cache_queries_total",
        "vllm:gpu_prefix_cache_queries_total",
    ],
    cache_hits: &[
        "vllm:prefix_cache_hits_total",
        "vllm:gpu_prefix_cache_hits_total",
    ],
    more_cache_hits: &["vllm:external_prefix_cache_hits_total"],
    preemptions: &["vllm:num_preemptions_total"],
    prompt_excludes_cached: false,
};

const SGLANG: Names = Names {
    running: &["sglang:num_running_reqs"],
    waiting: &["sglang:num_queue_reqs"],
    cache_usage: &["sglang:token_usage"],
    prompt_tokens: &["sglang:prompt_tokens_total"],
    generation_tokens: &["sglang:generation_tokens_total"],
    cache_queries: &["sglang:prompt_tokens_total"],
    cache_hits: &["sglang:cached_tokens_total"],
    more_cache_hits: &[],
    preemptions: &["sglang:num_retracted_requests_total"],
    prompt_excludes_cached: false,
};

const LLAMA_CPP: Names = Names {
    running: &["llamacpp:requests_processing"],
    waiting: &["llamacpp:requests_deferred"],
    cache_usage: &["llamacpp:kv_cache_usage_ratio"],
    prompt_tokens: &["llamacpp:prompt_tokens_total"],
    generation_tokens: &["llamacpp:tokens_predicted_total"],
    cache_queries: &["llamacpp:prompt_tokens_total"],
    cache_hits: &["llamacpp:prompt_tokens_cached_total"],
    more_cache_hits: &[],
    preemptions: &[],
    prompt_excludes_cached: true,
};

/// The state of a server at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ServerState {
    /// Requests in execution.
    pub running: Option<f64>,
    /// Requests waiting for their turn.
    pub waiting: Option<f64>,
    /// Fraction of the KV cache in use, 0 to 1, of the fullest rank.
    pub cache_usage: Option<f64>,
}

impl ServerState {
    /// The state on a page.
    pub fn of(page: &Page) -> Self {
        let Some(engine) = Engine::of(page) else {
            return Self::default();
        };
        let names = engine.names();
        Self {
            running: sum(page, names.running),
            waiting: sum(page, names.waiting),
            cache_usage: names.cache_usage.iter().find_map(|name| page.max(name)),
        }
    }
}

/// What a server's counters gained between two pages.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ServerDelta {
    /// The engine that the pages come from.
    pub engine: Option<Engine>,
    /// True when a counter fell, so that the server must have restarted in between. Nothing else
    /// is reported then.
    pub restarted: bool,
    /// Prompt tokens, as the server counts them.
    pub prompt_tokens: Option<u64>,
    /// Generated tokens, as the server counts them.
    pub generation_tokens: Option<u64>,
    /// Prompt tokens that were looked up in the prefix cache.
    pub prefix_cache_queries: Option<u64>,
    /// Prompt tokens found there or in a store behind it; absent where it exceeds those that were looked
    /// up.
    pub prefix_cache_hits: Option<u64>,
    /// Requests preempted for lack of memory.
    pub preemptions: Option<u64>,
    /// Speculative decoding, if there was any.
    pub spec_decode: Option<SpecDecode>,
    /// Diffusion decoding, if there was any.
    pub diffusion: Option<Diffusion>,
}

impl ServerDelta {
    /// The gain from `before` to `after`, which are `seconds` of the run apart.
    pub fn between(before: &Page, after: &Page, seconds: f64) -> Self {
        let engine = Engine::of(after);
        let Some(names) = engine.map(Engine::names) else {
            return Self::default();
        };
        let mut gains = Gains {
            before,
            after,
            restarted: false,
        };
        let prompt_tokens = gains.of(names.prompt_tokens);
        let more = gains.of(names.more_cache_hits).unwrap_or_default();
        let hits = gains.of(names.cache_hits).map(|hits| hits + more);
        let mut queries = gains.of(names.cache_queries);
        if names.prompt_excludes_cached {
            queries = queries
                .zip(hits)
                .map(|(processed, cached)| processed + cached);
        }
        // More hits than queries cannot be: the two counters do not count the same.
        let hits = hits.filter(|hits| queries.is_none_or(|queries| *hits <= queries));
        let delta = Self {
            engine,
            restarted: false,
            prompt_tokens,
            generation_tokens: gains.of(names.generation_tokens),
            prefix_cache_queries: queries.filter(|_| hits.is_some()),
            prefix_cache_hits: hits,
            preemptions: gains.of(names.preemptions),
            spec_decode: SpecDecode::between(before, after),
            diffusion: Diffusion::between(before, after, seconds),
        };
        if gains.restarted {
            Self {
                engine,
                restarted: true,
                ..Self::default()
            }
        } else {
            delta
        }
    }

    /// Fraction of prompt tokens found in the prefix cache, 0 to 1.
    pub fn prefix_cache_hit_rate(&self) -> Option<f64> {
        let queries = self.prefix_cache_queries.filter(|&queries| queries > 0)?;
        Some(self.prefix_cache_hits? as f64 / queries as f64)
    }
}

struct Gains<'a> {
    before: &'a Page,
    after: &'a Page,
    restarted: bool,
}

impl Gains<'_> {
    /// The gain of the first of `names` that the later page has. A counter appears with its first
    /// event, so a missing one was zero before.
    fn of(&mut self, names: &[&str]) -> Option<u64> {
        let name = names
            .iter()
            .find(|name| self.after.named(name).next().is_some())?;
        let gain = self.after.sum(name)? - self.before.sum(name).unwrap_or(0.0);
        self.restarted |= gain < 0.0;
        gain.is_finite().then_some(gain.max(0.0).round() as u64)
    }
}

fn sum(page: &Page, names: &[&str]) -> Option<f64> {
    names.iter().find_map(|name| page.sum(name))
}

/// The version in the answer of a server's information page.
///
/// Knows vLLM's `/version`, SGLang's `/get_server_info` and `/server_info`, TGI's `/info` (all
/// `{"version": …}`) and llama.cpp's `/props` (`build_info`). `None` for anything else.
pub fn server_version(body: &str) -> Option<String> {
    let value: Value = serde_json::from_str(body).ok()?;
    let text = ["version", "build_info"]
        .iter()
        .find_map(|key| value.get(key)?.as_str())?;
    // Shown in reports and kept in files: only a short, printable text is accepted.
    let is_plain = text.len() <= 100 && !text.is_empty() && !text.chars().any(char::is_control);
    is_plain.then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const VLLM_PAGE: &str = include_str!("../../tests/data/vllm.prom");
    const LLAMA_PAGE: &str = include_str!("../../tests/data/llamacpp.prom");

    #[test]
    fn real_vllm_counters_give_hit_rate_and_tokens() {
        let before = Page::parse(VLLM_PAGE);
        assert_eq!(before.unread_lines(), 0);
        let later = VLLM_PAGE
            .replace(
                "prefix_cache_queries_total{engine=\"0\",model_name=\"tiny\"} 80.0",
                "prefix_cache_queries_total{engine=\"0\",model_name=\"tiny\"} 180.0",
            )
            .replace(
                "prefix_cache_hits_total{engine=\"0\",model_name=\"tiny\"} 0.0",
                "prefix_cache_hits_total{engine=\"0\",model_name=\"tiny\"} 25.0",
            );
        assert_ne!(later, VLLM_PAGE);
        let delta = ServerDelta::between(&before, &Page::parse(&later), 1.0);
        assert_eq!(delta.engine, Some(Engine::Vllm));
        assert_eq!(delta.prefix_cache_hit_rate(), Some(0.25));
        assert_eq!(
            (delta.preemptions, delta.spec_decode.clone()),
            (Some(0), None)
        );
        assert_eq!(ServerState::of(&before).running, Some(0.0));
        assert_eq!(ServerState::of(&before).cache_usage, Some(0.0));
        // vLLM looks up in its KV connector what its own cache does not have.
        let external = format!(
            "{later}vllm:external_prefix_cache_queries_total{{engine=\"0\"}} 75.0\n\
             vllm:external_prefix_cache_hits_total{{engine=\"0\"}} 45.0\n"
        );
        let delta = ServerDelta::between(&before, &Page::parse(&external), 1.0);
        assert_eq!(delta.prefix_cache_hit_rate(), Some(0.7));
        // 125 hits in 100 queries.
        let impossible = later.replace("} 25.0", "} 125.0");
        let delta = ServerDelta::between(&before, &Page::parse(&impossible), 1.0);
        assert_eq!(delta.prefix_cache_hit_rate(), None);
        assert_eq!(delta.prefix_cache_hits, None);
        let back = ServerDelta::between(&Page::parse(&later), &before, 1.0);
        assert!(back.restarted);
        assert_eq!(back.prefix_cache_queries, None);
    }

    #[test]
    fn real_llama_cpp_counters_add_cached_to_processed_tokens() {
        let before = Page::parse(
            "llamacpp:prompt_tokens_total 5000\nllamacpp:tokens_predicted_total 3600\n",
        );
        let after = Page::parse(LLAMA_PAGE);
        assert_eq!(after.unread_lines(), 0);
        let delta = ServerDelta::between(&before, &after, 1.0);
        assert_eq!(delta.engine, Some(Engine::LlamaCpp));
        assert_eq!(
            (delta.prompt_tokens, delta.generation_tokens),
            (Some(395), Some(12))
        );
        assert_eq!(delta.prefix_cache_queries, Some(395 + 1734));
        assert_eq!(ServerState::of(&after).waiting, Some(0.0));
    }

    #[test]
    fn sglang_counters_are_summed_over_sources() {
        let page = |prompt: u32, device: u32, host: u32| {
            Page::parse(&format!(
                "sglang:prompt_tokens_total{{is_streaming=\"true\"}} {prompt}.0\nsglang:cached_tokens_total{{cache_source=\"device\"}} {device}.0\n\
                 sglang:cached_tokens_total{{cache_source=\"host\"}} {host}.0\nsglang:num_running_reqs{{tp_rank=\"0\"}} 3.0\nsglang:num_queue_reqs 2.0\nsglang:token_usage 0.5\n"
            ))
        };
        let delta = ServerDelta::between(&page(100, 10, 0), &page(300, 50, 10), 1.0);
        assert_eq!(delta.prefix_cache_hit_rate(), Some(0.25));
        let state = ServerState::of(&page(1, 1, 1));
        assert_eq!(
            (state.running, state.waiting, state.cache_usage),
            (Some(3.0), Some(2.0), Some(0.5))
        );
    }

    #[test]
    fn a_page_of_no_known_engine_is_ignored() {
        let page = Page::parse("process_cpu_seconds_total 1\n");
        assert_eq!(
            ServerDelta::between(&page, &page, 1.0),
            ServerDelta::default()
        );
        assert_eq!(ServerState::of(&page), ServerState::default());
    }

    #[test]
    fn versions_are_found_where_servers_put_them() {
        assert_eq!(
            server_version(r#"{"version":"0.32.0"}"#).as_deref(),
            Some("0.32.0")
        );
        assert_eq!(
            server_version(r#"{"build_info":"b6442-abc","slots":1}"#).as_deref(),
            Some("b6442-abc")
        );
        for odd in [
            "",
            "Not Found",
            "[]",
            r#"{"version":1}"#,
            r#"{"version":"a\u001b[31m"}"#,
            r#"{"version":""}"#,
        ] {
            assert_eq!(server_version(odd), None, "{odd}");
        }
    }
}
