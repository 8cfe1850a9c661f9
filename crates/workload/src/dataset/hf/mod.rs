//! `hf`: known datasets of the Hugging Face hub, from a local folder or downloaded.

mod bfcl;
mod classes;
mod files;
mod order;
mod parquet;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use inferometer_core::{Audio, Prompt, Request};
use inferometer_os::files::bytes;
use rayon::prelude::*;
use serde_json::{Value, json};

use self::classes::{Class, Item, Output};
use super::custom::templated;
use super::spec::{DatasetSpec, LengthsSpec};
use super::{Context, Sample, is_valid_sequence, one_message, request};
use crate::{HubSettings, RepoKind, WorkloadError, media, read};

/// Options of `hf`.
#[derive(Clone, Debug)]
pub struct HfSettings {
    /// A local folder, or the dataset's name on the hub.
    pub path: String,
    /// The dataset's name on the hub, when `path` is a folder.
    pub name: Option<String>,
    /// Subset (configuration).
    pub subset: Option<String>,
    /// Split; `None` takes the dataset's default.
    pub split: Option<String>,
    /// Tokens of an answer; `None` takes the dataset's default.
    pub output_len: Option<i64>,
    /// Shuffle over all rows instead of a window of 1,000 (`--no-stream`).
    pub no_stream: bool,
    /// Text and images are one ready message (`--enable-multimodal-chat`).
    pub multimodal_chat: bool,
    /// Categories of BFCL.
    pub bfcl_categories: Vec<String>,
    /// Least and greatest edit distance of Blazedit rows.
    pub blazedit_distance: (f64, f64),
    /// Shortest and longest audio, in seconds.
    pub audio_seconds: (f64, f64),
    /// Where the hub is.
    pub hub: HubSettings,
}

impl HfSettings {
    /// The default options for a dataset.
    pub fn new(path: impl Into<String>, hub: HubSettings) -> Self {
        Self {
            path: path.into(),
            name: None,
            subset: None,
            split: None,
            output_len: None,
            no_stream: false,
            multimodal_chat: false,
            bfcl_categories: ["simple", "live_simple", "multiple"]
                .map(str::to_owned)
                .to_vec(),
            blazedit_distance: (0.0, 1.0),
            audio_seconds: (0.0, f64::INFINITY),
            hub,
        }
    }

    /// The form that the manifest keeps.
    pub(super) fn spec(&self) -> DatasetSpec {
        let Self {
            path,
            name,
            subset,
            split,
            output_len,
            no_stream,
            multimodal_chat,
            bfcl_categories,
            blazedit_distance,
            audio_seconds,
            hub: _,
        } = self;
        // JSON has no infinity, which is the default of the longest audio.
        let finite = |(low, high): (f64, f64)| json!([low, high.is_finite().then_some(high)]);
        let options = json!({
            "name": name, "subset": subset, "split": split, "no_stream": no_stream,
            "multimodal_chat": multimodal_chat,
            "bfcl_categories": bfcl_categories, "blazedit_distance": finite(*blazedit_distance),
            "audio_seconds": finite(*audio_seconds),
        });
        DatasetSpec::of_file(Path::new(path), LengthsSpec::output(*output_len), options)
    }
}

pub(super) fn sample(context: &Context<'_>, options: &HfSettings) -> Result<Sample, WorkloadError> {
    let class = classes::find(options)?;
    if context.tokenizer.is_none() {
        return Err(WorkloadError::TokenizerNeeded { dataset: "hf" });
    }
    if class.has_media
        && !context.settings.is_openai_chat
        && !context.settings.is_pooling
        && !class.is_audio
    {
        return Err(WorkloadError::setting(
            "--dataset-path",
            format!(
                "{} holds images or videos, which need --backend openai-chat",
                class.name
            ),
        ));
    }
    if options.output_len.is_some_and(|len| len < 1) {
        return Err(WorkloadError::setting(
            "--hf-output-len",
            "must be at least 1",
        ));
    }
    if class.name == "BFCL" {
        return bfcl::sample(context, options);
    }
    let files = files::find(options, class)?;
    let folder = PathBuf::from(&options.path);
    let mut rows = order::rows(files, context.settings, options.no_stream)?;
    let wanted = usize::try_from(context.settings.num_prompts)
        .ok()
        .filter(|&n| n > 0);
    let mut requests: Vec<Request> = Vec::new();
    let mut seen = 0;
    let mut columns = String::new();
    while wanted.is_none_or(|wanted| requests.len() < wanted) {
        let missing = wanted.map(|wanted| wanted - requests.len());
        let batch: Vec<Value> = rows
            .by_ref()
            .take(batch_size(class, missing))
            .collect::<Result<_, _>>()?;
        if batch.is_empty() {
            break;
        }
        if columns.is_empty() {
            columns = read::columns(&batch[0]);
        }
        seen += batch.len();
        let made: Vec<Result<Option<Request>, WorkloadError>> = batch
            .par_iter()
            .map(|row| make(context, options, class, row))
            .collect();
        for item in made {
            if wanted.is_some_and(|wanted| requests.len() == wanted) {
                break;
            }
            requests.extend(item?);
        }
        (context.progress)(requests.len(), wanted.unwrap_or(requests.len()));
    }
    let usable = requests.len();
    let mut sample = Sample::of_rows(&folder, requests);
    sample.skipped = format!(
        "of {seen} rows {usable} have what {} needs ({}) and are within its limits; the columns are {columns}",
        class.name, class.needs
    );
    if usable == 0 {
        return Err(sample.no_rows());
    }
    Ok(sample)
}

/// Rows that are tried together: somewhat more than are missing, since some are not usable.
fn batch_size(class: &Class, missing: Option<usize>) -> usize {
    // Rows may hold images, so that more of them would fill the memory.
    const MAX: usize = 4096;
    let Some(missing) = missing else { return MAX };
    // A video too many would be megabytes downloaded for nothing.
    let rows = if class.is_video {
        missing
    } else {
        missing * 5 / 4 + 16
    };
    rows.min(MAX)
}

/// The request for a row; `None` for a row that is not usable.
fn make(
    context: &Context<'_>,
    options: &HfSettings,
    class: &Class,
    row: &Value,
) -> Result<Option<Request>, WorkloadError> {
    let tokenizer = context.tokenizer()?;
    let Some(item) = (class.read)(row, options) else {
        return Ok(None);
    };
    let Item {
        prompt,
        mut answer,
        vllm_answer,
        images,
        audio,
        video,
        messages,
    } = item;
    if let Some(theirs) = vllm_answer.filter(|_| context.settings.is_vllm()) {
        answer = theirs;
    }
    let fixed = options
        .output_len
        .filter(|_| class.output != Output::AlwaysAnswer);
    let output = match (fixed, class.output) {
        (Some(len), _) | (None, Output::Fixed(len)) => len,
        (None, Output::Answer | Output::AlwaysAnswer) => {
            tokenizer.count(&answer, !class.answer_without_special) as i64
        }
    };
    let mut made = if let Some(messages) = messages {
        let text = tokenizer.apply_chat_template(&messages, context.settings.template_kwargs())?;
        let tokens = tokenizer.count(&text, true);
        request(Prompt::Text(text), tokens, Some(output))
    } else if class.template {
        templated(context, &prompt, Some(output))?
    } else {
        let tokens = tokenizer.count(&prompt, true);
        request(Prompt::Text(prompt), tokens, Some(output))
    };
    let is_recorded = fixed.is_none() && class.output == Output::Answer;
    if is_recorded && !is_within_limits(class, made.prompt_tokens as usize, output as usize) {
        return Ok(None);
    }
    for image in &images {
        let Some(part) = image_part(context, options, image)? else {
            return Ok(None);
        };
        made.media.push(part);
    }
    if let Some(video) = video {
        let Some(part) = video_part(context, options, &video)? else {
            return Ok(None);
        };
        made.media.push(part);
    }
    if let Some(audio) = audio {
        let Some(mut audio) = audio_file(options, &audio) else {
            return Ok(None);
        };
        if context.settings.is_vllm() {
            if let Some(bytes) = media::python_wav(&audio.bytes) {
                audio.bytes = bytes;
                "audio.wav".clone_into(&mut audio.file_name);
            }
            // vLLM counts the prompt and does not send it.
            made.prompt = Prompt::Text(String::new());
        }
        made.audio = Some(Arc::new(audio));
    }
    if options.multimodal_chat && context.settings.is_openai_chat && class.takes_multimodal_chat() {
        one_message(&mut made);
    }
    Ok(Some(made))
}

/// True where prompt and recorded answer have lengths that the dataset's class takes.
fn is_within_limits(class: &Class, prompt: usize, output: usize) -> bool {
    match class.limits {
        Some((prompt_limit, total)) => {
            prompt >= 4 && output >= 4 && prompt <= prompt_limit && prompt + output <= total
        }
        None => is_valid_sequence(prompt, output, false),
    }
}

/// The content part for an image: named by a URL, or its bytes inside the row.
fn image_part(
    context: &Context<'_>,
    options: &HfSettings,
    image: &Value,
) -> Result<Option<Value>, WorkloadError> {
    if let Value::String(url) = image {
        let part = super::media_part("image_url", &Value::from(url.as_str()));
        return Ok(Some(part));
    }
    let Some(bytes) = blob(image) else {
        return Ok(None);
    };
    media::image_part(&bytes, context.settings.is_vllm())
        .map(Some)
        .map_err(|message| {
            WorkloadError::format(&options.path, None, format!("an image: {message}"))
        })
}

/// The audio inside a row; `None` where its length is unknown or outside the limits.
fn audio_file(options: &HfSettings, audio: &Value) -> Option<Audio> {
    let bytes = blob(audio)?;
    let seconds = media::audio_seconds(&bytes)?;
    let (least, most) = options.audio_seconds;
    let file_name = audio["path"]
        .as_str()
        .filter(|path| !path.is_empty())
        .unwrap_or("audio.wav")
        .to_owned();
    (seconds >= least && seconds <= most).then_some(Audio {
        file_name,
        bytes,
        seconds,
    })
}

/// The content part for a video: inside the row, a file of the dataset, or somewhere on the web.
///
/// vLLM's benchmark downloads the whole dataset and names files that the server has to find on its
/// own disk. `--compat vllm` names them too, but downloads only the videos that are sent. Otherwise
/// the file is sent inside the request.
fn video_part(
    context: &Context<'_>,
    options: &HfSettings,
    video: &Value,
) -> Result<Option<Value>, WorkloadError> {
    let part = |url: String| Ok(Some(super::media_part("video_url", &Value::from(url))));
    let Some(name) = video.as_str().or_else(|| video["url"].as_str()) else {
        let Some(bytes) = blob(video) else {
            return Ok(None);
        };
        let name = video["path"].as_str().unwrap_or_default();
        return part(media::data_url(media::video_type(name), &bytes));
    };
    let dataset = options.name.as_deref().unwrap_or(&options.path);
    let root = format!("https://huggingface.co/datasets/{dataset}/resolve/main/");
    let file = name.strip_prefix(&root).unwrap_or(name);
    if file.contains("://") || file.starts_with("data:") {
        return part(name.to_owned());
    }
    // The rows of a dataset may be anybody's: none may have another file of this machine sent.
    options.hub.check_inside(dataset, file)?;
    let local = PathBuf::from(&options.path).join(file);
    let path = if local.is_file() {
        local
    } else {
        options.hub.file(RepoKind::Dataset, dataset, file)?
    };
    let unreadable = |source| WorkloadError::Io {
        path: path.clone(),
        source,
    };
    if context.settings.is_vllm() {
        return part(format!(
            "file://{}",
            std::path::absolute(&path).map_err(unreadable)?.display()
        ));
    }
    let bytes = bytes(&path, media::MAX_MEDIA).map_err(unreadable)?;
    part(media::data_url(media::video_type(file), &bytes))
}

/// The bytes of a file inside a row.
fn blob(value: &Value) -> Option<Vec<u8>> {
    let encoded = value["bytes"].as_str().or_else(|| value.as_str())?;
    BASE64_STANDARD.decode(encoded).ok()
}

#[cfg(test)]
mod tests;
