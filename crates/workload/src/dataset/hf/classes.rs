//! What each known dataset looks like.

use serde_json::{Value, json};

use crate::{HfSettings, WorkloadError};

/// How a known dataset is read.
pub(super) struct Class {
    /// Name for messages.
    pub(super) name: &'static str,
    /// Names on the hub.
    paths: &'static [&'static str],
    /// Split that is taken when none is given.
    pub(super) split: &'static str,
    /// Subset that is taken when none is given.
    pub(super) subset: Option<&'static str>,
    /// Columns that are needed, for messages.
    pub(super) needs: &'static str,
    /// The client puts the chat template around the prompt.
    pub(super) template: bool,
    /// Rows carry images, videos or audio.
    pub(super) has_media: bool,
    /// Rows name videos, each a file of the dataset.
    pub(super) is_video: bool,
    /// Rows carry audio.
    pub(super) is_audio: bool,
    /// Where the number of output tokens comes from.
    pub(super) output: Output,
    /// The recorded answer is counted without special tokens.
    pub(super) answer_without_special: bool,
    /// Maximum tokens of a prompt, and of prompt and answer, where they differ from the usual ones.
    pub(super) limits: Option<(usize, usize)>,
    /// Reads a row; `None` when it lacks something.
    pub(super) read: fn(&Value, &HfSettings) -> Option<Item>,
}

impl Class {
    /// True for the classes in which vLLM's benchmark reads `--enable-multimodal-chat`.
    pub(super) fn takes_multimodal_chat(&self) -> bool {
        (self.has_media && !self.is_audio) || self.name == "Conversation"
    }
}

/// Where the number of output tokens comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Output {
    /// A fixed number.
    Fixed(i64),
    /// The length of the recorded answer; rows outside the limits are left out.
    Answer,
    /// The length of the recorded answer, whatever `--hf-output-len` says.
    AlwaysAnswer,
}

/// The parts of a row that are used.
#[derive(Debug, Default)]
pub(super) struct Item {
    pub(super) prompt: String,
    pub(super) answer: String,
    /// What vLLM's benchmark takes for the answer, where that is something else.
    pub(super) vllm_answer: Option<String>,
    pub(super) images: Vec<Value>,
    pub(super) audio: Option<Value>,
    pub(super) video: Option<Value>,
    /// Messages that the chat template turns into the prompt, whatever the flags say.
    pub(super) messages: Option<Vec<Value>>,
}

const PLAIN: Class = Class {
    name: "",
    paths: &[],
    split: "train",
    subset: None,
    needs: "",
    template: false,
    has_media: false,
    is_video: false,
    is_audio: false,
    output: Output::Fixed(256),
    answer_without_special: false,
    limits: None,
    read: |_, _| None,
};

static CLASSES: [Class; 16] = [
    Class {
        name: "Conversation",
        paths: &["Aeala/ShareGPT_Vicuna_unfiltered"],
        needs: "conversations with two turns or more",
        output: Output::Answer,
        read: |row, _| conversation(row),
        ..PLAIN
    },
    Class {
        name: "MultiModalConversation",
        paths: &["lmms-lab/LLaVA-OneVision-Data"],
        needs: "conversations and image",
        has_media: true,
        output: Output::Answer,
        read: |row, _| {
            Some(Item {
                images: vec![present(&row["image"])?],
                ..conversation(row)?
            })
        },
        ..PLAIN
    },
    Class {
        name: "VisionArena",
        paths: &["lmarena-ai/VisionArena-Chat"],
        needs: "conversation and images",
        has_media: true,
        output: Output::Fixed(128),
        read: |row, _| vision_arena(row, "conversation"),
        ..PLAIN
    },
    Class {
        name: "VisionArena bench",
        paths: &["lmarena-ai/vision-arena-bench-v0.1"],
        needs: "turns and images",
        has_media: true,
        output: Output::Fixed(128),
        read: |row, _| vision_arena(row, "turns"),
        ..PLAIN
    },
    Class {
        name: "MMVU",
        paths: &["yale-nlp/MMVU"],
        split: "validation",
        needs: "question, choices and video",
        has_media: true,
        is_video: true,
        output: Output::Fixed(128),
        read: |row, _| mmvu(row),
        ..PLAIN
    },
    Class {
        name: "InstructCoder",
        paths: &["likaixin/InstructCoder"],
        needs: "input and instruction",
        template: true,
        output: Output::Fixed(200),
        read: |row, _| {
            let (input, instruction) = (text(row, "input")?, text(row, "instruction")?);
            Some(prompt(format!(
                "{input}\n\n{instruction} Just output the code, do not include any explanation."
            )))
        },
        ..PLAIN
    },
    Class {
        name: "MTBench",
        paths: &["philschmid/mt-bench"],
        needs: "turns",
        template: true,
        read: |row, _| Some(prompt(row["turns"][0].as_str()?)),
        ..PLAIN
    },
    Class {
        name: "HumanEval",
        paths: &["openai/openai_humaneval"],
        split: "test",
        needs: "prompt",
        template: true,
        read: |row, _| Some(prompt(text(row, "prompt")?)),
        ..PLAIN
    },
    Class {
        name: "GSM8K",
        paths: &["openai/gsm8k"],
        split: "test",
        subset: Some("main"),
        needs: "question",
        template: true,
        read: |row, _| Some(prompt(text(row, "question")?)),
        ..PLAIN
    },
    Class {
        name: "AIMO",
        paths: &[
            "AI-MO/aimo-validation-aime",
            "AI-MO/NuminaMath-1.5",
            "AI-MO/NuminaMath-CoT",
        ],
        needs: "problem and solution",
        output: Output::Answer,
        limits: Some((2048, 32_000)),
        read: |row, _| {
            let (problem, solution) = (text(row, "problem")?, text(row, "solution")?);
            Some(Item {
                prompt: problem.to_owned(),
                answer: solution.to_owned(),
                ..Item::default()
            })
        },
        ..PLAIN
    },
    Class {
        name: "NextEdit",
        paths: &["zed-industries/zeta"],
        needs: "events, input and output",
        output: Output::AlwaysAnswer,
        read: |row, _| next_edit(row),
        ..PLAIN
    },
    Class {
        name: "ASR",
        paths: &[
            "openslr/librispeech_asr",
            "facebook/voxpopuli",
            "LIUM/tedlium",
            "edinburghcstr/ami",
            "speechcolab/gigaspeech",
            "kensho/spgispeech",
            "ArtificialAnalysis/Earnings22-Cleaned-AA",
            "D4nt3/esb-datasets-earnings22-validation-tiny-filtered",
        ],
        needs: "audio in WAV or FLAC",
        has_media: true,
        is_audio: true,
        output: Output::Fixed(1024),
        read: |row, _| {
            Some(Item {
                audio: Some(present(&row["audio"])?),
                ..Item::default()
            })
        },
        ..PLAIN
    },
    Class {
        name: "Blazedit",
        paths: &["vdaita/edit_5k_char", "vdaita/edit_10k_char"],
        needs: "code, change_request and norm_distance",
        template: true,
        output: Output::Fixed(4000),
        read: blazedit,
        ..PLAIN
    },
    Class {
        name: "MLPerf",
        paths: &[
            "mgoin/mlperf-inference-llama2-data",
            "mgoin/mlperf-inference-llama3.1-data",
        ],
        needs: "system_prompt, question and output",
        output: Output::Answer,
        answer_without_special: true,
        read: |row, _| {
            let messages = vec![
                json!({"role": "system", "content": text(row, "system_prompt")?}),
                json!({"role": "user", "content": text(row, "question")?}),
            ];
            let answer = text(row, "output")?.to_owned();
            Some(Item {
                messages: Some(messages),
                answer,
                ..Item::default()
            })
        },
        ..PLAIN
    },
    Class {
        name: "MMStar",
        paths: &["Lin-Chen/MMStar"],
        split: "val",
        needs: "question and image",
        has_media: true,
        output: Output::Fixed(128),
        read: |row, _| {
            let question = text(row, "question")?;
            let question = question
                .split("Options:")
                .next()
                .unwrap_or(question)
                .trim()
                .to_owned();
            Some(Item {
                prompt: question,
                images: vec![present(&row["image"])?],
                ..Item::default()
            })
        },
        ..PLAIN
    },
    Class {
        name: "BFCL",
        paths: &["gorilla-llm/Berkeley-Function-Calling-Leaderboard"],
        needs: "question and function",
        output: Output::Fixed(512),
        ..PLAIN
    },
];

/// The class of the dataset that the settings name.
pub(super) fn find(options: &HfSettings) -> Result<&'static Class, WorkloadError> {
    let name = options.name.as_deref().unwrap_or(&options.path);
    CLASSES.iter().find(|class| class.paths.contains(&name)).ok_or_else(|| {
        let known: Vec<&str> = CLASSES.iter().flat_map(|class| class.paths).copied().collect();
        let flag = if options.name.is_some() { "--hf-name" } else { "--dataset-path" };
        WorkloadError::setting(
            flag,
            format!(
                "{name:?} is not a known dataset. For a local folder, give the dataset's name on the hub with \
                 --hf-name. Known are {}",
                known.join(", ")
            ),
        )
    })
}

fn text<'a>(row: &'a Value, column: &str) -> Option<&'a str> {
    row[column].as_str()
}

fn present(value: &Value) -> Option<Value> {
    (!value.is_null()).then(|| value.clone())
}

fn prompt(prompt: impl Into<String>) -> Item {
    Item {
        prompt: prompt.into(),
        ..Item::default()
    }
}

fn conversation(row: &Value) -> Option<Item> {
    let turns = row["conversations"].as_array()?;
    let (first, second) = (turns.first()?, turns.get(1)?);
    Some(Item {
        prompt: first["value"].as_str()?.to_owned(),
        answer: second["value"].as_str()?.to_owned(),
        ..Item::default()
    })
}

fn vision_arena(row: &Value, column: &str) -> Option<Item> {
    Some(Item {
        prompt: row[column][0][0]["content"].as_str()?.to_owned(),
        images: vec![present(&row["images"][0])?],
        ..Item::default()
    })
}

/// A question about a video, with its choices behind it.
fn mmvu(row: &Value) -> Option<Item> {
    let choices = row["choices"]
        .as_object()?
        .iter()
        .map(|(letter, choice)| match choice {
            Value::String(text) => format!("{letter}.{text}"),
            // As Python writes a missing one.
            Value::Null => format!("{letter}.None"),
            other => format!("{letter}.{other}"),
        });
    let choices = choices.collect::<Vec<_>>().join(" ");
    let prompt = format!("{} {choices}", text(row, "question")?);
    Some(Item {
        prompt,
        video: Some(present(&row["video"])?),
        ..Item::default()
    })
}

/// An edit that follows from earlier edits, in the input format that the Zeta model was trained on.
fn next_edit(row: &Value) -> Option<Item> {
    const MARK: &str = "<|editable_region_start|>";
    let (events, input, output) = (
        text(row, "events")?,
        text(row, "input")?,
        text(row, "output")?,
    );
    let marked = output.find(MARK);
    let answer = &output[marked.unwrap_or(0)..];
    // Without the mark, Python's find() is -1, and the text from there on its last character.
    let last = || output.chars().next_back().map(String::from);
    Some(Item {
        prompt: format!(
            "### Instruction:\nYou are a code completion assistant and your task is to analyze user edits and then \
             rewrite an excerpt that the user provides, suggesting the appropriate edits within the excerpt, taking \
             into account the cursor location.\n\n### User Edits:\n\n{events}\n\n### User Excerpt:\n\n{input}\n\n\
             ### Response:\n\n"
        ),
        answer: answer.to_owned(),
        vllm_answer: marked.is_none().then(last).flatten(),
        ..Item::default()
    })
}

/// A change request for a file of code, in the input format of the Blazedit experiments.
fn blazedit(row: &Value, options: &HfSettings) -> Option<Item> {
    let (code, change) = (text(row, "code")?, text(row, "change_request")?);
    let distance = row["norm_distance"].as_f64().unwrap_or(0.0);
    let (least, most) = options.blazedit_distance;
    if distance < least || distance > most {
        return None;
    }
    Some(prompt(format!(
        "Given a code file, please apply the change requests and generate the new file.\n\nOriginal \
         file:\n```python\n{code}\n```\n\nChange request:\n{change}\n\nPlease generate the new code file in the \
         \"New file\" section below."
    )))
}
