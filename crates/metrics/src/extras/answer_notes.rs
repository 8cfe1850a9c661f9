//! What is particular about what the answers hold, as notes.

use std::collections::BTreeMap;

use inferometer_core::Record;

use super::Note;

/// Names of unknown output that are kept apart; no server has more of them.
const MAX_NAMES: usize = 8;

/// Successful answers with something that the numbers leave out.
#[derive(Debug, Default)]
pub(super) struct AnswerNotes {
    /// Answers by the name of their unknown output.
    unknown: BTreeMap<String, usize>,
    /// Answers with tokens in the usage that did not come.
    hidden: usize,
    /// The sum of these tokens.
    hidden_tokens: u64,
    /// Answers of which it is unknown how many tokens came.
    uncounted: usize,
}

impl AnswerNotes {
    /// Adds a successful answer.
    pub(super) fn add(&mut self, record: &Record) {
        if let Some(name) = &record.unknown_output {
            if let Some(count) = self.unknown.get_mut(name) {
                *count += 1;
            } else if self.unknown.len() < MAX_NAMES {
                self.unknown.insert(name.clone(), 1);
            }
        }
        let hidden = record.hidden_output_tokens();
        self.hidden += usize::from(hidden > 0);
        self.hidden_tokens += u64::from(hidden);
        self.uncounted += usize::from(record.has_unknown_hidden_tokens());
    }

    /// The notes. With vLLM's definition, TPOT counts hidden tokens.
    pub(super) fn notes(&self, as_vllm: bool) -> impl Iterator<Item = Note> + use<> {
        let unknown = (!self.unknown.is_empty()).then(|| self.unknown_output());
        let hidden = (self.hidden > 0 && !as_vllm).then(|| self.hidden_output());
        let uncounted = (self.uncounted > 0 && !as_vllm).then(|| self.uncounted_output());
        unknown.into_iter().chain(hidden).chain(uncounted)
    }

    fn unknown_output(&self) -> Note {
        let names = |of: &dyn Fn(&str, usize) -> String, between: &str| {
            let parts: Vec<String> = self.unknown.iter().map(|(name, &n)| of(name, n)).collect();
            parts.join(between)
        };
        Note {
            code: "unknown_output".into(),
            message: format!(
                "answers with a member that may be output of a kind that is not known: {}; it has no part in TTFT, \
                 TPOT and ITL",
                names(&|name, n| format!("{name:?} in {n}"), ", ")
            ),
            zh: format!(
                "部分回答含有可能是输出但类型未知的成员：{}；它不计入 TTFT、TPOT 和 ITL",
                names(&|name, n| format!("{name:?} 见于 {n} 个回答"), "，")
            ),
        }
    }

    fn hidden_output(&self) -> Note {
        let (answers, tokens) = (self.hidden, self.hidden_tokens);
        Note {
            code: "hidden_output".into(),
            message: format!(
                "answers whose usage has tokens that did not come, as with reasoning that the server keeps to itself: \
                 {answers} (tokens: {tokens}); TPOT leaves these tokens out, the throughput counts them"
            ),
            zh: format!(
                "{answers} 个回答的 usage 含有未发送的 token（共 {tokens} 个），例如服务器不公开的推理；TPOT 不计入这些 token，吞吐量计入"
            ),
        }
    }

    fn uncounted_output(&self) -> Note {
        let answers = self.uncounted;
        Note {
            code: "uncounted_reasoning".into(),
            message: format!(
                "answers with reasoning that the server keeps to itself and does not count: {answers}; how many of their \
                 tokens came is unknown, and so is TPOT; with --tokenizer, the text is counted"
            ),
            zh: format!(
                "{answers} 个回答含有服务器不公开也不计数的推理；实际收到多少 token 未知，因此 TPOT 未知；指定 --tokenizer 即可按文本计数"
            ),
        }
    }
}
