//! What an answer will be: everything about it but the time.

use serde::Deserialize;

use super::errors;
use super::openai::Identity;
use super::reply::Reply;
use crate::engine::Content;
use crate::format::{Answer, Finish, Format};
use crate::request::HttpRequest;
use crate::shared::Shared;
use crate::text;

/// Most answers to one request: prompts times choices. Each is a request to the engine model.
const MAX_SEQUENCES: usize = 4096;

/// When usage is reported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum UsageMode {
    /// Never.
    #[default]
    Never,
    /// Once, after the last token.
    AtEnd,
    /// With every event, and after the last token.
    Continuous,
}

/// An answer before it is written.
pub(crate) struct AnswerPlan {
    pub(crate) format: Box<dyn Format>,
    pub(crate) stream: bool,
    pub(crate) usage: UsageMode,
    /// One prompt for each answer.
    pub(crate) prompts: Vec<Content>,
    /// Prompt tokens of all sequences together.
    pub(crate) prompt_tokens: u32,
    /// Tokens of each answer.
    pub(crate) output_tokens: u32,
    /// Tokens at the start of each answer that are reasoning.
    pub(crate) reasoning_tokens: u32,
    /// True when the answer is the arguments of a tool call.
    pub(crate) tool_call: bool,
    /// False for endpoints that answer without generating (embeddings): their one token is never
    /// reported.
    pub(crate) generates: bool,
    pub(crate) finish: Finish,
    /// Selects the words.
    pub(crate) text_key: u64,
    pub(crate) priority: i32,
    pub(crate) lora: Option<u32>,
    /// The conversation, for sticky routing.
    pub(crate) conversation: Option<u64>,
}

impl AnswerPlan {
    /// Number of answers.
    pub(crate) fn sequences(&self) -> u32 {
        self.prompts.len() as u32
    }

    /// Appends the text of token `position` of an answer.
    pub(crate) fn write_token(&self, sequence: u32, position: u32, out: &mut String) {
        if self.tool_call && position >= self.reasoning_tokens {
            let first = position == self.reasoning_tokens;
            let last = position + 1 == self.output_tokens;
            match (first, last) {
                (true, true) => out.push_str("{}"),
                (true, false) => out.push_str("{\\\"text\\\":\\\""),
                (false, true) => out.push_str("\\\"}"),
                (false, false) => out.push_str(self.word(sequence, position)),
            }
        } else {
            out.push_str(self.word(sequence, position));
        }
    }

    /// The complete answers.
    pub(crate) fn answers(&self) -> Vec<Answer> {
        let write = |sequence: u32, from: u32, to: u32| {
            let mut text = String::new();
            (from..to).for_each(|position| self.write_token(sequence, position, &mut text));
            text
        };
        (0..self.sequences())
            .map(|sequence| {
                let reasoning = write(sequence, 0, self.reasoning_tokens);
                let rest = write(sequence, self.reasoning_tokens, self.output_tokens);
                if self.tool_call {
                    Answer {
                        reasoning,
                        tool_arguments: rest,
                        text: String::new(),
                    }
                } else {
                    Answer {
                        reasoning,
                        text: rest,
                        tool_arguments: String::new(),
                    }
                }
            })
            .collect()
    }

    fn word(&self, sequence: u32, position: u32) -> &'static str {
        text::word(self.text_key ^ text::mix(u64::from(sequence)), position)
    }

    /// The tokens of an answer as a later prompt would hold them, by the plain counting rule.
    pub(crate) fn answer_token_ids(&self, sequence: u32) -> Vec<u32> {
        (self.reasoning_tokens..self.output_tokens)
            .map(|position| {
                text::hash(self.word(sequence, position).trim_start().as_bytes()) as u32
            })
            .collect()
    }
}

/// The generation parameters of a request, whatever API it uses.
pub(crate) struct AnswerRequest {
    pub(crate) model: Option<String>,
    pub(crate) prompts: Vec<Content>,
    /// Answers for each prompt.
    pub(crate) choices: u32,
    pub(crate) output_tokens: Option<u32>,
    /// Answer length where neither the request nor the settings name one.
    pub(crate) default_output: u32,
    pub(crate) ignore_eos: bool,
    pub(crate) stream: bool,
    pub(crate) usage: UsageMode,
    /// True where the API knows reasoning.
    pub(crate) may_reason: bool,
    /// Name of the function to call, if the answer shall be a tool call.
    pub(crate) tool: Option<String>,
    pub(crate) priority: i32,
    /// What the answer's id begins with.
    pub(crate) id_prefix: &'static str,
}

impl Default for AnswerRequest {
    fn default() -> Self {
        Self {
            model: None,
            prompts: Vec::new(),
            choices: 1,
            output_tokens: None,
            default_output: 128,
            ignore_eos: false,
            stream: false,
            usage: UsageMode::Never,
            may_reason: false,
            tool: None,
            priority: 0,
            id_prefix: "cmpl",
        }
    }
}

impl AnswerRequest {
    /// Checks the request against the server's limits and plans the answer.
    pub(crate) fn plan(
        self,
        shared: &Shared,
        request: &HttpRequest,
        index: u64,
        format: impl FnOnce(Identity, u32) -> Box<dyn Format>,
    ) -> Result<AnswerPlan, Reply> {
        let settings = &shared.settings;
        let model = self.model.as_deref().unwrap_or(&settings.model);
        let lora = shared
            .find_model(model)
            .ok_or_else(|| errors::unknown_model(model, &settings.model))?;
        let room = self.check_length(shared.context_limit)?;
        let sequences = self.check_sequences()?;
        let (output_tokens, finish) = self.length(shared, index, room);
        let tool_call = self.tool.is_some();
        let text_key = text::mix(settings.seed ^ text::mix(index));
        let id = match &request.id {
            Some(id) => format!("{}-{id}", self.id_prefix),
            None => format!("{}-{text_key:016x}", self.id_prefix),
        };
        let created = inferometer_os::clock::wall().0 / 1_000_000_000;
        let identity = Identity::new(&id, created, model);
        let reasoning_tokens = if self.may_reason {
            settings
                .reasoning_tokens
                .min(output_tokens.saturating_sub(1))
        } else {
            0
        };
        let prompts = repeat_each(self.prompts, self.choices);
        Ok(AnswerPlan {
            format: format(identity, sequences),
            stream: self.stream,
            usage: self.usage,
            prompt_tokens: prompts
                .iter()
                .map(Content::len)
                .fold(0, u32::saturating_add),
            prompts,
            output_tokens,
            reasoning_tokens,
            tool_call,
            generates: true,
            finish: if tool_call { Finish::ToolCalls } else { finish },
            text_key,
            priority: self.priority,
            lora: (lora > 0).then_some(lora),
            conversation: request
                .conversation
                .as_ref()
                .map(|conversation| text::hash(conversation.as_bytes())),
        })
    }

    /// Refuses what does not fit into `limit` tokens; returns the tokens that the longest prompt
    /// leaves for its answer.
    fn check_length(&self, limit: u32) -> Result<u32, Reply> {
        let longest = self
            .prompts
            .iter()
            .map(Content::len)
            .max()
            .unwrap_or_default();
        if longest >= limit {
            return Err(errors::too_long(limit, longest, None));
        }
        let room = limit - longest;
        match self.output_tokens {
            Some(0) => Err(errors::bad_request(
                "max_tokens must be at least 1",
                Some("max_tokens"),
            )),
            Some(output) if output > room => Err(errors::too_long(limit, longest, Some(output))),
            _ => Ok(room),
        }
    }

    /// The number of answers, if there are any and not too many.
    fn check_sequences(&self) -> Result<u32, Reply> {
        let choices = self.choices.max(1) as usize;
        let sequences = self.prompts.len().saturating_mul(choices);
        if sequences == 0 || sequences > MAX_SEQUENCES {
            return Err(errors::bad_request(
                "the request has no prompt, or too many at once",
                Some("prompt"),
            ));
        }
        Ok(sequences as u32)
    }

    /// Tokens of each answer, and why it ends there.
    fn length(&self, shared: &Shared, index: u64, room: u32) -> (u32, Finish) {
        let natural = shared
            .settings
            .answer_tokens
            .filter(|_| !self.ignore_eos)
            .map(|length| {
                let mut rng = shared.stream("sim answer length", index);
                (length.sample(&mut rng).round() as u32).max(1)
            });
        let most = match self.output_tokens {
            Some(output) => output,
            None if natural.is_some() => room,
            None => self.default_output.min(room),
        };
        match natural {
            Some(natural) if natural < most => (natural, Finish::Stop),
            _ => (most, Finish::Length),
        }
    }
}

/// Each prompt as often as it is answered.
fn repeat_each(prompts: Vec<Content>, choices: u32) -> Vec<Content> {
    let repeated = |prompt| std::iter::repeat_n(prompt, choices.max(1) as usize);
    prompts.into_iter().flat_map(repeated).collect()
}

/// Reads a JSON body, or says why not in vLLM's form.
pub(crate) fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Reply> {
    serde_json::from_slice(body).map_err(|error| {
        let kind = if error.is_data() {
            "BadRequestError"
        } else {
            "Bad Request"
        };
        errors::error(
            400,
            kind,
            &format!("the body cannot be read as JSON: {error}"),
            Some("body"),
        )
    })
}
