//! `sharegpt`: a JSON list of conversations; the first turn is the prompt, the second gives the
//! output length. Turns in the form of OpenAI's messages are read too; of those, a system message
//! is not the prompt.

use std::path::PathBuf;

use inferometer_core::Prompt;
use inferometer_core::random::PythonRandom;
use serde_json::{Value, json};

use super::spec::{DatasetSpec, LengthsSpec};
use super::turns::{LISTS, Row, Turn};
use super::{Context, Sample, is_valid_sequence, one_message, request};
use crate::{WorkloadError, read};

/// Options of `sharegpt`.
#[derive(Clone, Debug, Default)]
pub struct ShareGptSettings {
    /// The JSON file.
    pub path: PathBuf,
    /// Output tokens for every request; `None` takes the length of the recorded answer.
    pub output_len: Option<i64>,
    /// Text and image are one ready message (`--enable-multimodal-chat`).
    pub multimodal_chat: bool,
}

impl ShareGptSettings {
    /// The form that the manifest keeps.
    pub(super) fn spec(&self) -> DatasetSpec {
        let Self {
            path,
            output_len,
            multimodal_chat,
        } = self;
        let options = json!({"multimodal_chat": multimodal_chat});
        DatasetSpec::of_file(path, LengthsSpec::output(*output_len), options)
    }
}

/// What is kept of a conversation with at least two turns.
struct Pair {
    prompt: String,
    answer: String,
    media: Option<Value>,
}

pub(super) fn sample(
    context: &Context<'_>,
    options: &ShareGptSettings,
) -> Result<Sample, WorkloadError> {
    let tokenizer = context.tokenizer()?;
    let settings = context.settings;
    if options.output_len.is_some_and(|len| len < 1) {
        return Err(WorkloadError::setting(
            "--sharegpt-output-len",
            "must be at least 1",
        ));
    }
    let (mut pairs, rows) = load(options)?;
    if settings.shuffle {
        PythonRandom::new(settings.seed).shuffle(&mut pairs);
    }
    let wanted = context.count_or_all(pairs.len());
    let usable = pairs.len();
    let requests = context.parallel_until(
        pairs,
        wanted,
        |Pair {
             prompt,
             answer,
             media,
         }| {
            let prompt_tokens = tokenizer.count(&prompt, true);
            let output = match options.output_len {
                Some(len) => len as usize,
                None => tokenizer.count(&answer, true),
            };
            if !is_valid_sequence(prompt_tokens, output, options.output_len.is_some()) {
                return Ok::<_, WorkloadError>(None);
            }
            let mut made = request(Prompt::Text(prompt), prompt_tokens, Some(output as i64));
            made.media.extend(media.filter(|_| !settings.drops_media));
            if options.multimodal_chat && settings.is_openai_chat {
                one_message(&mut made);
            }
            Ok(Some(made))
        },
    )?;
    let kept = requests.len();
    let mut sample = Sample::of_rows(&options.path, requests);
    sample.skipped = format!(
        "of {rows} entries {usable} have two turns or more, and {kept} of those are within the limits (prompt \
         4 to 1024 tokens, answer at least 4, together at most 2048)"
    );
    if kept == 0 {
        return Err(sample.no_rows());
    }
    Ok(sample)
}

/// All conversations with two turns or more, in the order of the file, and the number of all
/// entries.
fn load(options: &ShareGptSettings) -> Result<(Vec<Pair>, usize), WorkloadError> {
    let mut pairs = Vec::new();
    let mut rows = 0;
    let mut bad_rows = 0;
    read::json_array(&options.path, parse, |line, parsed| {
        rows += 1;
        match parsed {
            Ok(pair) => pairs.extend(pair),
            Err(message) if rows <= 1 => {
                return Err(WorkloadError::format(&options.path, Some(line), message));
            }
            Err(_) => bad_rows += 1,
        }
        Ok(())
    })?;
    if pairs.is_empty() {
        return Err(WorkloadError::NoRows {
            path: options.path.clone(),
            message: format!(
                "none of its {rows} entries has a list {LISTS} with two turns or more"
            ),
        });
    }
    Ok((pairs, rows))
}

/// One entry; `None` when it has fewer than two turns.
fn parse(bytes: &[u8]) -> Result<Option<Pair>, String> {
    let mut entry: Row = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    let mut turns = entry
        .take_turns()
        .into_iter()
        .skip_while(Turn::is_instruction);
    let (Some(first), Some(second)) = (turns.next(), turns.next()) else {
        return Ok(None);
    };
    let (Some(prompt), Some(answer)) = (first.into_text(), second.into_text()) else {
        return Ok(None);
    };
    let media = entry
        .image
        .map(|image| super::media_part("image_url", &image));
    let media = media.or_else(|| {
        entry
            .video
            .map(|video| super::media_part("video_url", &video))
    });
    Ok(Some(Pair {
        prompt,
        answer,
        media,
    }))
}
