//! `custom_image` and `custom_audio`: JSON Lines with images or audio in each row.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use inferometer_core::random::PythonRandom;
use inferometer_core::{Audio, Prompt, Request};
use serde_json::{Value, json};

use super::custom::{output_tokens, templated};
use super::spec::{DatasetSpec, LengthsSpec};
use super::{Context, Sample, media_part, request};
use crate::{WorkloadError, media, read};

/// Options of `custom_image` and `custom_audio`.
#[derive(Clone, Debug)]
pub struct CustomMediaSettings {
    /// The JSON Lines file.
    pub path: PathBuf,
    /// Output tokens for every request; -1 takes `output_tokens` of the row.
    pub output_len: i64,
    /// Images are read or fetched here and sent inside the request
    /// (`--custom-ensure-client-side-data`).
    pub client_side_data: bool,
    /// Audio is sent inside chat messages (`--enable-multimodal-chat`).
    pub multimodal_chat: bool,
}

impl Default for CustomMediaSettings {
    fn default() -> Self {
        Self {
            path: PathBuf::new(),
            output_len: 256,
            client_side_data: false,
            multimodal_chat: false,
        }
    }
}

impl CustomMediaSettings {
    /// The form that the manifest keeps.
    pub(super) fn spec(&self) -> DatasetSpec {
        let Self {
            path,
            output_len,
            client_side_data,
            multimodal_chat,
        } = self;
        let lengths = LengthsSpec::output(Some(*output_len));
        let options =
            json!({"client_side_data": client_side_data, "multimodal_chat": multimodal_chat});
        DatasetSpec::of_file(path, lengths, options)
    }
}

type Row = (usize, Value);

pub(super) fn sample_images(
    context: &Context<'_>,
    options: &CustomMediaSettings,
) -> Result<Sample, WorkloadError> {
    rows(context, options, |line, row| {
        image_request(context, options, line, row)
    })
}

pub(super) fn sample_audio(
    context: &Context<'_>,
    options: &CustomMediaSettings,
) -> Result<Sample, WorkloadError> {
    rows(context, options, |line, row| {
        audio_request(context, options, line, row)
    })
}

fn rows(
    context: &Context<'_>,
    options: &CustomMediaSettings,
    make: impl Fn(usize, &Value) -> Result<Request, WorkloadError> + Sync,
) -> Result<Sample, WorkloadError> {
    let mut rows: Vec<Row> = read::json_lines(&options.path)?;
    if rows.is_empty() {
        return Err(WorkloadError::NoRows {
            path: options.path.clone(),
            message: "it is empty".into(),
        });
    }
    if context.settings.shuffle {
        PythonRandom::new(context.settings.seed).shuffle(&mut rows);
    }
    let wanted = context.count_or_all(rows.len()).min(rows.len());
    let made = context.parallel(wanted, |at| make(rows[at].0, &rows[at].1));
    Ok(Sample::of_rows(
        &options.path,
        made.into_iter().collect::<Result<_, _>>()?,
    ))
}

/// Output tokens of a row: the flag's, or with -1 the row's own.
fn output(options: &CustomMediaSettings, line: usize, row: &Value) -> Result<i64, WorkloadError> {
    if options.output_len > 0 {
        return Ok(options.output_len);
    }
    output_tokens(&row["output_tokens"])
        .filter(|n| options.output_len == -1 && *n > 0)
        .ok_or_else(|| {
            WorkloadError::format(
                &options.path,
                Some(line),
                format!(
                    "--custom-output-len is {}, and the row has no `output_tokens`; it has {}",
                    options.output_len,
                    read::columns(row)
                ),
            )
        })
}

fn image_request(
    context: &Context<'_>,
    options: &CustomMediaSettings,
    line: usize,
    row: &Value,
) -> Result<Request, WorkloadError> {
    let wrong = |message: String| WorkloadError::format(&options.path, Some(line), message);
    let output = output(options, line, row)?;
    let count = |text: &str| {
        context
            .tokenizer
            .map_or(1, |tokenizer| tokenizer.count(text, true))
    };
    let image = |source: &Value| part(options, line, source);
    if let Some(content) = row["content"].as_array() {
        let mut text = String::new();
        let mut parts = Vec::with_capacity(content.len());
        for item in content {
            match item["type"].as_str() {
                Some("text") => {
                    text.push_str(item["text"].as_str().unwrap_or_default());
                    parts.push(item.clone());
                }
                Some("image") => parts.push(image(&item["image"])?),
                Some("image_url") => parts.push(image(&item["image_url"])?),
                other => {
                    return Err(wrong(format!(
                        "a part of `content` has the type {other:?}; known are text, image and image_url"
                    )));
                }
            }
        }
        return Ok(request(Prompt::Parts(parts), count(&text), Some(output)));
    }
    let Some(prompt) = row["prompt"].as_str() else {
        let columns = read::columns(row);
        return Err(wrong(format!(
            "missing `prompt` or `content`; the row has {columns}"
        )));
    };
    let files = match &row["image_files"] {
        Value::Array(files) => files.iter().map(image).collect::<Result<Vec<_>, _>>()?,
        Value::String(_) => vec![image(&row["image_files"])?],
        Value::Null => Vec::new(),
        other => {
            return Err(wrong(format!(
                "`image_files` must be a list of paths or URLs, not {other}"
            )));
        }
    };
    let mut made = request(Prompt::Text(prompt.to_owned()), count(prompt), Some(output));
    made.media = files;
    Ok(made)
}

/// The content part for an image named in a row.
fn part(
    options: &CustomMediaSettings,
    line: usize,
    source: &Value,
) -> Result<Value, WorkloadError> {
    let name = source
        .as_str()
        .or_else(|| source["url"].as_str())
        .ok_or_else(|| {
            let message = format!("an image must be a path or a URL, not {source}");
            WorkloadError::format(&options.path, Some(line), message)
        })?;
    let remote = ["http://", "https://", "data:"]
        .iter()
        .any(|start| name.starts_with(start));
    if !options.client_side_data || name.starts_with("data:") {
        return Ok(media_part("image_url", &Value::from(name)));
    }
    let bytes = if remote {
        fetch(options, line, name)?
    } else {
        media::local_file(&options.path, line, name)?
    };
    media::image_part(&bytes, false).map_err(|message| {
        WorkloadError::format(&options.path, Some(line), format!("{name}: {message}"))
    })
}

fn fetch(options: &CustomMediaSettings, line: usize, url: &str) -> Result<Vec<u8>, WorkloadError> {
    // Far above any image; more would be a wrong address.
    const MAX_BYTES: u64 = 256 << 20;
    let body = ureq::get(url).call().and_then(|mut answer| {
        answer
            .body_mut()
            .with_config()
            .limit(MAX_BYTES)
            .read_to_vec()
    });
    body.map_err(|error| {
        WorkloadError::format(
            &options.path,
            Some(line),
            format!("cannot fetch {url}: {error}"),
        )
    })
}

fn audio_request(
    context: &Context<'_>,
    options: &CustomMediaSettings,
    line: usize,
    row: &Value,
) -> Result<Request, WorkloadError> {
    let wrong = |message: String| WorkloadError::format(&options.path, Some(line), message);
    let output = output(options, line, row)?;
    let name = row["audio"].as_str().ok_or_else(|| {
        wrong(format!(
            "missing path in `audio`; the row has {}",
            read::columns(row)
        ))
    })?;
    let file = media::local_file(&options.path, line, name)?;
    let is_vllm = context.settings.is_vllm();
    let rewritten = is_vllm.then(|| media::python_wav(&file)).flatten();
    let is_rewritten = rewritten.is_some();
    let bytes = rewritten.unwrap_or(file);
    let prompt = row["prompt"].as_str().unwrap_or_default();
    if options.multimodal_chat {
        let format = Path::new(name)
            .extension()
            .and_then(|end| end.to_str())
            .filter(|_| !is_rewritten)
            .unwrap_or("wav")
            .to_lowercase();
        let tokens = context
            .tokenizer
            .map_or(1, |tokenizer| tokenizer.count(prompt, true));
        let mut made = request(Prompt::Text(prompt.to_owned()), tokens, Some(output));
        let data = BASE64_STANDARD.encode(&bytes);
        made.media =
            vec![json!({"type": "input_audio", "input_audio": {"data": data, "format": format}})];
        return Ok(made);
    }
    let seconds = media::audio_seconds(&bytes).ok_or_else(|| {
        wrong(format!(
            "{name} is neither WAV nor FLAC, so its length is unknown"
        ))
    })?;
    let mut made = match context.tokenizer {
        // A tokenizer without a template is no error here, other than with text.
        Some(tokenizer) if is_vllm && !tokenizer.has_chat_template() => {
            let tokens = tokenizer.count(prompt, true);
            request(Prompt::Text(prompt.to_owned()), tokens, Some(output))
        }
        _ => templated(context, prompt, Some(output))?,
    };
    if is_vllm {
        // vLLM counts the prompt and does not send it.
        made.prompt = Prompt::Text(String::new());
    }
    let file_name = Path::new(if is_rewritten { "audio.wav" } else { name })
        .file_name()
        .map_or(name.into(), |name| name.to_string_lossy().into_owned());
    made.audio = Some(Arc::new(Audio {
        file_name,
        bytes,
        seconds,
    }));
    Ok(made)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::tests::wav;
    use crate::{DatasetSettings, Tokenizer, WorkloadSettings, build};

    fn run(
        lines: &str,
        dataset: impl FnOnce(CustomMediaSettings) -> DatasetSettings,
        change: impl FnOnce(&mut CustomMediaSettings),
    ) -> Result<inferometer_core::Workload, WorkloadError> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("sound.wav"), wav(2.0)).unwrap();
        let lines = lines.replace("DIR", dir.path().to_str().unwrap());
        let path = dir.path().join("rows.jsonl");
        std::fs::write(&path, lines).unwrap();
        let mut options = CustomMediaSettings {
            path,
            output_len: 32,
            ..CustomMediaSettings::default()
        };
        change(&mut options);
        let settings = WorkloadSettings {
            num_prompts: 0,
            shuffle: false,
            is_chat: true,
            ..WorkloadSettings::new(dataset(options))
        };
        build(&settings, Some(&Tokenizer::builtin().unwrap()), &|_, _| {})
    }

    #[test]
    fn images_are_named_by_url_or_path() {
        let lines = "{\"prompt\": \"what is it\", \"image_files\": [\"http://x/y.png\", \"/a/b.jpg\"]}\n\
            {\"content\": [{\"type\": \"text\", \"text\": \"look\"}, {\"type\": \"image\", \"image\": \"data:image/png;base64,AA\"}]}\n";
        let workload = run(lines, DatasetSettings::CustomImage, |_| {}).unwrap();
        assert_eq!(
            workload.requests[0].media[0]["image_url"]["url"],
            "http://x/y.png"
        );
        assert_eq!(
            workload.requests[0].media[1]["image_url"]["url"],
            "file:///a/b.jpg"
        );
        let Prompt::Parts(parts) = &workload.requests[1].prompt else {
            panic!("parts")
        };
        assert_eq!(parts[1]["image_url"]["url"], "data:image/png;base64,AA");
        assert_eq!(workload.requests[1].output_tokens, Some(32));
    }

    #[test]
    fn audio_is_read_with_its_length() {
        let lines =
            "{\"prompt\": \"write it down\", \"audio\": \"DIR/sound.wav\", \"output_tokens\": 5}\n";
        let workload = run(lines, DatasetSettings::CustomAudio, |options| {
            options.output_len = -1;
        })
        .unwrap();
        let audio = workload.requests[0].audio.as_ref().unwrap();
        assert_eq!(
            (audio.file_name.as_str(), audio.seconds),
            ("sound.wav", 2.0)
        );
        assert_eq!(workload.requests[0].output_tokens, Some(5));
        let workload = run(lines, DatasetSettings::CustomAudio, |options| {
            options.multimodal_chat = true;
        })
        .unwrap();
        assert_eq!(
            workload.requests[0].media[0]["input_audio"]["format"],
            "wav"
        );
    }

    #[test]
    fn bad_rows_name_the_line() {
        for (lines, part) in [
            (
                "{\"text\": 1}\n",
                "line 1: missing `prompt` or `content`; the row has `text`",
            ),
            (
                "\n{\"prompt\": \"x\", \"image_files\": 3}\n",
                "line 2: `image_files` must be",
            ),
        ] {
            let error = run(lines, DatasetSettings::CustomImage, |_| {})
                .unwrap_err()
                .to_string();
            assert!(error.contains(part), "{error}");
        }
        let missing = "{\"prompt\": \"x\", \"audio\": \"DIR/none.wav\"}\n";
        let error = run(missing, DatasetSettings::CustomAudio, |_| {})
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("line 1: cannot read") && error.contains("none.wav"),
            "{error}"
        );
    }
}
