//! The server's count of the output against the tokenizer's.

use inferometer_core::{Bilingual, Record, ends_by_itself};
use serde::{Deserialize, Serialize};

use super::PromptCounts;

/// The server's output token count against the client's tokenizer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TokenAgreement {
    /// Answers compared.
    pub requests: usize,
    /// Answers with equal counts.
    pub equal: usize,
    /// Tokens by usage.
    pub usage_total: u64,
    /// Tokens by the tokenizer.
    pub tokenizer_total: u64,
    /// Tokens of the usage that end an answer and have no text: at most one per choice of an answer
    /// that ended by itself, where the usage has more than the tokenizer. Servers count the token at
    /// which they stop, as vLLM does.
    #[serde(default, skip_serializing_if = "no_tokens")]
    pub end_tokens: u64,
    /// |usage − `end_tokens` − tokenizer| / usage over the totals.
    pub relative_difference: f64,
    /// Token events of the compared answers.
    #[serde(default)]
    pub events_total: u64,
    /// True when the difference comes from the text and from neither count: the two agree on the
    /// prompts, and the text does not encode into the tokens that it was decoded from, as with
    /// random weights.
    #[serde(default)]
    pub retokenised: bool,
}

/// Counts that differ by less than this fraction agree: the limit of `usage_disagreement`.
const AGREEMENT: f64 = 0.05;

impl TokenAgreement {
    /// Adds an answer that has `usage` output tokens, hidden ones excluded, and `own` by the tokenizer.
    pub(super) fn add(&mut self, record: &Record, usage: u32, own: u32) {
        if record.finish_reason.as_deref().is_none_or(ends_by_itself) {
            let choices = record.choices.map_or(1, |choices| choices.count);
            let more = usage.saturating_sub(own);
            self.end_tokens += u64::from(more.min(choices));
        }
        self.requests += 1;
        self.equal += usize::from(usage == own);
        self.usage_total += u64::from(usage);
        self.tokenizer_total += u64::from(own);
        self.events_total += record.events.len() as u64;
    }

    /// Computes what follows from the totals.
    pub(super) fn finish(&mut self, prompts: Option<&PromptCounts>) {
        let difference = self.with_text().abs_diff(self.tokenizer_total);
        self.relative_difference = difference as f64 / self.usage_total.max(1) as f64;
        self.retokenised = self.is_retokenised(prompts);
    }

    /// Tokens by usage, without those that end an answer.
    const fn with_text(&self) -> u64 {
        self.usage_total.saturating_sub(self.end_tokens)
    }

    /// How many tokens of the usage end an answer, in English and Chinese; empty where none does.
    pub(crate) fn ends(&self) -> Bilingual {
        match self.end_tokens {
            0 => Bilingual::default(),
            ends => Bilingual {
                en: format!(" ({ends} of them the ends of answers)"),
                zh: format!("（其中 {ends} 个为回答的结束符）"),
            },
        }
    }

    /// Decides [`TokenAgreement::retokenised`] by the counts of the prompts: a tokenizer that counts
    /// them as the server does is the right one. The server's count of the output is wrong, too,
    /// where the number of events confirms the tokenizer and not the server.
    fn is_retokenised(&self, prompts: Option<&PromptCounts>) -> bool {
        let differ = |a: u64, b: u64| a.abs_diff(b) as f64 >= AGREEMENT * a.max(1) as f64;
        let same_tokenizer = prompts.is_some_and(|prompts| prompts.deviation < AGREEMENT);
        let confirms_tokenizer = !differ(self.events_total, self.tokenizer_total)
            && differ(self.events_total, self.with_text());
        self.relative_difference >= AGREEMENT && same_tokenizer && !confirms_tokenizer
    }
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature that serde requires"
)]
const fn no_tokens(tokens: &u64) -> bool {
    *tokens == 0
}
