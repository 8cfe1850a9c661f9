//! The token counts of an answer, as the servers' APIs name and define them.

use inferometer_core::Usage;

use crate::json::{Count, Lenient};

/// The `usage` object in the spellings of all servers.
#[derive(Clone, Copy, Debug, Default, serde::Deserialize)]
#[serde(default)]
pub(crate) struct UsageObject {
    prompt_tokens: Count,
    completion_tokens: Count,
    input_tokens: Count,
    output_tokens: Count,
    total_tokens: Count,
    cache_read_input_tokens: Count,
    cache_creation_input_tokens: Count,
    /// Moonshot's name.
    cached_tokens: Count,
    /// DeepSeek's names; the two sum up to the prompt.
    prompt_cache_hit_tokens: Count,
    prompt_cache_miss_tokens: Count,
    /// vLLM's name within its engine, which some gateways keep.
    num_cached_tokens: Count,
    prompt_tokens_details: Lenient<InputDetails>,
    prompt_token_details: Lenient<InputDetails>,
    input_tokens_details: Lenient<InputDetails>,
    completion_tokens_details: Lenient<OutputDetails>,
    output_tokens_details: Lenient<OutputDetails>,
    reasoning_tokens: Count,
}

#[derive(Clone, Copy, Debug, Default, serde::Deserialize)]
#[serde(default)]
struct InputDetails {
    cached_tokens: Count,
}

#[derive(Clone, Copy, Debug, Default, serde::Deserialize)]
#[serde(default)]
struct OutputDetails {
    reasoning_tokens: Count,
}

/// The counts of an answer of Anthropic's API so far. It divides the prompt into three numbers without
/// overlap, which come in several messages, of which a later one may have some of them only. The counts
/// are cumulative, so none falls: a smaller one is a placeholder.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct CumulativeUsage {
    uncached: Option<u32>,
    read: Option<u32>,
    created: Option<u32>,
    most: Usage,
}

impl UsageObject {
    /// The counts as a [`Usage`], in APIs whose prompt includes what came from the cache.
    pub(crate) fn usage(&self) -> Usage {
        let details = self
            .prompt_tokens_details
            .0
            .or(self.prompt_token_details.0)
            .or(self.input_tokens_details.0)
            .and_then(|details| details.cached_tokens.0);
        let cached = details
            .or(self.cached_tokens.0)
            .or(self.prompt_cache_hit_tokens.0)
            .or(self.num_cached_tokens.0)
            .or(self.cache_read_input_tokens.0);
        let divided = self
            .prompt_cache_hit_tokens
            .0
            .zip(self.prompt_cache_miss_tokens.0)
            .map(|(hit, miss)| hit.saturating_add(miss));
        let reasoning = self
            .completion_tokens_details
            .0
            .or(self.output_tokens_details.0)
            .and_then(|details| details.reasoning_tokens.0)
            .or(self.reasoning_tokens.0);
        let prompt = self.prompt_tokens.0.or(self.input_tokens.0).or(divided);
        let completion = self.completion_tokens.0.or(self.output_tokens.0);
        let completion =
            completion.map(|completion| self.with_reasoning(prompt, completion, reasoning));
        Usage {
            prompt_tokens: prompt.map(|prompt| self.with_cached(prompt, completion, cached)),
            completion_tokens: completion,
            cached_tokens: cached,
            reasoning_tokens: reasoning,
        }
    }

    /// The prompt's tokens with those from the cache and those written to it. Gateways in front of
    /// Anthropic's API pass on its counts, which do not overlap, under OpenAI's names: there the total
    /// is the sum of all.
    fn with_cached(&self, prompt: u32, completion: Option<u32>, cached: Option<u32>) -> u32 {
        let (Some(total), Some(cached)) = (self.total_tokens.0, cached) else {
            return prompt;
        };
        let created = self.cache_creation_input_tokens.0.unwrap_or_default();
        let output = completion.unwrap_or_default();
        let is_total = |input: &u32| input.saturating_add(output) == total;
        let read = prompt.saturating_add(cached);
        let sums = [prompt, read, read.saturating_add(created)];
        sums.into_iter().find(is_total).unwrap_or(prompt)
    }

    /// The output tokens with those of the reasoning. xAI's API counts the two apart: there the total
    /// is the sum of all three numbers, or the reasoning alone exceeds the output.
    fn with_reasoning(&self, prompt: Option<u32>, completion: u32, reasoning: Option<u32>) -> u32 {
        let Some(reasoning) = reasoning.filter(|&count| count > 0) else {
            return completion;
        };
        let sum = completion.saturating_add(reasoning);
        let apart = self
            .total_tokens
            .0
            .zip(prompt)
            .map(|(total, prompt)| total == prompt.saturating_add(sum));
        if apart.unwrap_or(reasoning > completion) {
            sum
        } else {
            completion
        }
    }

    /// The counts in Anthropic's API, whose `input_tokens` are those that neither came from the
    /// cache nor were written to it. `known` has what earlier messages of the answer said.
    pub(crate) fn cumulative_usage(&self, known: &mut CumulativeUsage) -> Usage {
        let usage = self.usage();
        known.uncached = self.input_tokens.0.or(known.uncached);
        known.read = known.read.max(self.cache_read_input_tokens.0);
        known.created = known.created.max(self.cache_creation_input_tokens.0);
        let cached = known.read.unwrap_or_default();
        let created = known.created.unwrap_or_default();
        let sum = |uncached: u32| uncached.saturating_add(cached).saturating_add(created);
        let prompt = self.prompt_tokens.0.or(known.uncached.map(sum));
        let most = &mut known.most;
        most.cached_tokens = most.cached_tokens.max(known.read.or(usage.cached_tokens));
        most.prompt_tokens = most.prompt_tokens.max(prompt);
        most.completion_tokens = most.completion_tokens.max(usage.completion_tokens);
        most.reasoning_tokens = most.reasoning_tokens.max(usage.reasoning_tokens);
        *most
    }

    /// [`UsageObject::cumulative_usage`] of the first message, whose output count is that of an empty
    /// answer.
    pub(crate) fn opening_usage(&self, known: &mut CumulativeUsage) -> Usage {
        let opening = Self {
            completion_tokens: Count(None),
            output_tokens: Count(None),
            ..*self
        };
        opening.cumulative_usage(known)
    }

    /// The counts of an answer that has no output tokens, where some servers give only the total.
    pub(crate) fn input_usage(&self) -> Usage {
        let usage = self.usage();
        Usage {
            prompt_tokens: usage.prompt_tokens.or(self.total_tokens.0),
            ..usage
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> UsageObject {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn cached_tokens_have_many_names_and_meanings() {
        let usage = |json: &str| {
            let usage = read(json).usage();
            (usage.prompt_tokens, usage.cached_tokens)
        };
        for (json, cached) in [
            (
                r#"{"prompt_tokens":64,"prompt_tokens_details":{"cached_tokens":48}}"#,
                48,
            ),
            (
                r#"{"input_tokens":64,"input_tokens_details":{"cached_tokens":48}}"#,
                48,
            ),
            (
                r#"{"prompt_tokens":64,"prompt_cache_hit_tokens":48,"prompt_cache_miss_tokens":16}"#,
                48,
            ),
            (
                r#"{"prompt_cache_hit_tokens":48,"prompt_cache_miss_tokens":16}"#,
                48,
            ),
            (r#"{"prompt_tokens":64,"cached_tokens":48}"#, 48),
            (r#"{"prompt_tokens":64,"num_cached_tokens":48}"#, 48),
            (r#"{"prompt_tokens":64,"cache_read_input_tokens":48}"#, 48),
        ] {
            assert_eq!(usage(json), (Some(64), Some(cached)), "{json}");
        }
    }

    #[test]
    fn a_total_shows_whether_cached_tokens_are_part_of_the_prompt() {
        for (json, prompt) in [
            // OpenAI: part of it.
            (
                r#"{"prompt_tokens":100,"completion_tokens":5,"total_tokens":105,"prompt_tokens_details":{"cached_tokens":90}}"#,
                100,
            ),
            // Anthropic's counts under OpenAI's names: beside it.
            (
                r#"{"prompt_tokens":10,"completion_tokens":5,"total_tokens":105,"prompt_tokens_details":{"cached_tokens":90}}"#,
                100,
            ),
            (
                r#"{"prompt_tokens":60,"completion_tokens":5,"total_tokens":105,"cache_read_input_tokens":40}"#,
                100,
            ),
            (
                r#"{"prompt_tokens":10,"completion_tokens":5,"total_tokens":105,"cache_read_input_tokens":50,"cache_creation_input_tokens":40}"#,
                100,
            ),
            (
                r#"{"input_tokens":0,"output_tokens":5,"total_tokens":105,"input_tokens_details":{"cached_tokens":100}}"#,
                100,
            ),
            // xAI: the reasoning is beside the output, and the cached tokens are not.
            (
                r#"{"prompt_tokens":60,"completion_tokens":16,"total_tokens":156,"cached_tokens":40,"completion_tokens_details":{"reasoning_tokens":80}}"#,
                60,
            ),
            // A total that fits neither, and none: the record decides.
            (
                r#"{"prompt_tokens":10,"completion_tokens":5,"total_tokens":99,"cached_tokens":90}"#,
                10,
            ),
            (
                r#"{"prompt_tokens":10,"completion_tokens":5,"cached_tokens":90}"#,
                10,
            ),
        ] {
            assert_eq!(read(json).usage().prompt_tokens, Some(prompt), "{json}");
        }
    }

    #[test]
    fn reasoning_that_is_counted_apart_is_output_too() {
        for (json, completion) in [
            // OpenAI: part of the output.
            (
                r#"{"prompt_tokens":20,"completion_tokens":96,"total_tokens":116,"completion_tokens_details":{"reasoning_tokens":80}}"#,
                96,
            ),
            // xAI: beside it.
            (
                r#"{"prompt_tokens":20,"completion_tokens":16,"total_tokens":116,"completion_tokens_details":{"reasoning_tokens":80}}"#,
                96,
            ),
            (
                r#"{"completion_tokens":16,"completion_tokens_details":{"reasoning_tokens":80}}"#,
                96,
            ),
            (
                r#"{"completion_tokens":96,"completion_tokens_details":{"reasoning_tokens":80}}"#,
                96,
            ),
        ] {
            let usage = read(json).usage();
            assert_eq!(usage.completion_tokens, Some(completion), "{json}");
            assert_eq!(usage.reasoning_tokens, Some(80));
        }
    }

    #[test]
    fn anthropic_divides_the_prompt_and_may_do_so_in_two_messages() {
        let divided = |messages: &[&str]| {
            let mut known = CumulativeUsage::default();
            let mut last = Usage::default();
            for json in messages {
                last = read(json).cumulative_usage(&mut known);
            }
            (last.prompt_tokens, last.cached_tokens)
        };
        let all =
            r#"{"input_tokens":10,"cache_read_input_tokens":50,"cache_creation_input_tokens":40}"#;
        assert_eq!(divided(&[all]), (Some(100), Some(50)));
        assert_eq!(
            divided(&[all, r#"{"output_tokens":4}"#]),
            (Some(100), Some(50))
        );
        // vLLM: the first message has the whole prompt, the last one divides it.
        let last = r#"{"input_tokens":20,"cache_read_input_tokens":80,"output_tokens":4}"#;
        assert_eq!(
            divided(&[r#"{"input_tokens":100}"#, last]),
            (Some(100), Some(80))
        );
        assert_eq!(divided(&[r#"{"output_tokens":4}"#]), (None, None));
        // Zeros at the end are placeholders.
        let zeros = r#"{"input_tokens":0,"cache_read_input_tokens":0,"cache_creation_input_tokens":0,"output_tokens":4}"#;
        assert_eq!(divided(&[all, zeros]), (Some(100), Some(50)));
        assert_eq!(
            divided(&[r#"{"input_tokens":100}"#, last, zeros]),
            (Some(100), Some(80))
        );
        // And so are those at the start.
        assert_eq!(divided(&[zeros, all]), (Some(100), Some(50)));
    }

    #[test]
    fn the_output_of_anthropics_answers_does_not_fall() {
        let mut known = CumulativeUsage::default();
        let opening = read(r#"{"input_tokens":5,"output_tokens":3}"#).opening_usage(&mut known);
        assert_eq!(opening.completion_tokens, None);
        let counts = [2, 8, 0].map(|count| {
            let usage = read(&format!(r#"{{"output_tokens":{count}}}"#));
            usage.cumulative_usage(&mut known).completion_tokens
        });
        assert_eq!(counts, [Some(2), Some(8), Some(8)]);
    }
}
