use serde_json::json;

use super::*;
use crate::media::tests::wav;
use crate::{Compat, DatasetSettings, HubSettings, Tokenizer, WorkloadSettings, build};

fn run(
    name: &str,
    file: &str,
    rows: &[Value],
    change: impl FnOnce(&mut HfSettings, &mut WorkloadSettings),
) -> Result<inferometer_core::Workload, WorkloadError> {
    let dir = tempfile::tempdir().unwrap();
    let lines: Vec<String> = rows.iter().map(Value::to_string).collect();
    std::fs::write(dir.path().join(file), lines.join("\n")).unwrap();
    let mut options = HfSettings::new(dir.path().to_str().unwrap(), HubSettings::offline());
    options.name = Some(name.to_owned());
    let mut settings = WorkloadSettings::new(DatasetSettings::Hf(options.clone()));
    settings.num_prompts = 0;
    settings.shuffle = false;
    change(&mut options, &mut settings);
    settings.dataset = DatasetSettings::Hf(options);
    build(&settings, Some(&Tokenizer::builtin().unwrap()), &|_, _| {})
}

#[test]
fn every_text_class_reads_its_rows() {
    let long = "word and word again ".repeat(4);
    for (name, file, row, part, output) in [
        (
            "Aeala/ShareGPT_Vicuna_unfiltered",
            "x.jsonl",
            json!({"conversations": [{"value": long}, {"value": "an answer of some words"}]}),
            "word and",
            None,
        ),
        (
            "likaixin/InstructCoder",
            "train.jsonl",
            json!({"input": "x = 1", "instruction": "Add two."}),
            "x = 1\n\nAdd two. Just output",
            Some(200),
        ),
        (
            "philschmid/mt-bench",
            "train.jsonl",
            json!({"turns": ["Why?", "How?"]}),
            "Why?",
            Some(256),
        ),
        (
            "openai/openai_humaneval",
            "test.jsonl",
            json!({"prompt": "def f():"}),
            "def f():",
            Some(256),
        ),
        (
            "openai/gsm8k",
            "main-test.jsonl",
            json!({"question": "1 + 1?"}),
            "1 + 1?",
            Some(256),
        ),
        (
            "AI-MO/NuminaMath-CoT",
            "train.jsonl",
            json!({"problem": long, "solution": long}),
            "word and",
            None,
        ),
        (
            "zed-industries/zeta",
            "train.jsonl",
            json!({"events": "E", "input": "I", "output": "x<|editable_region_start|>y"}),
            "taking into account the cursor location.\n\n### User Edits:\n\nE\n\n### User Excerpt:\n\nI\n\n### \
             Response:\n\n",
            None,
        ),
        (
            "vdaita/edit_5k_char",
            "train.jsonl",
            json!({"code": "a = 1", "change_request": "b", "norm_distance": 0.5}),
            "new file.\n\nOriginal file:\n```python\na = 1\n```\n\nChange request:\nb\n\nPlease generate the new code \
             file in the \"New file\" section below.",
            Some(4000),
        ),
        (
            "mgoin/mlperf-inference-llama2-data",
            "train.jsonl",
            json!({"system_prompt": "Be kind.", "question": "Who?", "output": "somebody or other"}),
            "system\nBe kind.",
            None,
        ),
    ] {
        let workload =
            run(name, file, &[row], |_, _| {}).unwrap_or_else(|error| panic!("{name}: {error}"));
        let request = &workload.requests[0];
        let text = request.prompt.as_text().unwrap();
        assert!(text.contains(part), "{name}: {text}");
        assert!(
            output.is_none_or(|output| request.output_tokens == Some(output)),
            "{name}"
        );
        assert!(request.output_tokens.unwrap() > 0, "{name}");
    }
}

#[test]
fn audio_and_images_are_sent() {
    let audio = BASE64_STANDARD.encode(wav(1.0));
    let row = json!({"audio": {"bytes": audio, "path": "a.wav"}});
    let rows = [
        row.clone(),
        json!({"audio": {"bytes": BASE64_STANDARD.encode(wav(9.0)), "path": "b.wav"}}),
    ];
    let workload = run(
        "openslr/librispeech_asr",
        "train.jsonl",
        &rows,
        |options, _| options.audio_seconds = (0.0, 5.0),
    );
    let workload = workload.unwrap();
    assert_eq!(workload.requests.len(), 1);
    assert_eq!(workload.requests[0].audio.as_ref().unwrap().seconds, 1.0);

    let image = json!({"question": "What? Options: A, B", "image": "https://x/y.png"});
    let chat = |_: &mut HfSettings, settings: &mut WorkloadSettings| settings.is_openai_chat = true;
    let workload = run(
        "Lin-Chen/MMStar",
        "val.jsonl",
        std::slice::from_ref(&image),
        chat,
    )
    .unwrap();
    assert_eq!(workload.requests[0].prompt.as_text(), Some("What?"));
    assert_eq!(
        workload.requests[0].media[0]["image_url"]["url"],
        "https://x/y.png"
    );
    let error = run("Lin-Chen/MMStar", "val.jsonl", &[image], |_, _| {})
        .unwrap_err()
        .to_string();
    assert!(error.contains("openai-chat"), "{error}");
}

#[test]
fn videos_are_sent_as_files_of_the_dataset() {
    let row = |video: Value| json!({"question": "What?", "choices": {"A": "x", "B": null}, "video": video});
    let of_dataset = "https://huggingface.co/datasets/yale-nlp/MMVU/resolve/main/videos/1.webm";
    let rows = [
        row(of_dataset.into()),
        row("https://x/y.mp4".into()),
        row(json!({"bytes": "AAEC", "path": "z.mp4"})),
    ];
    let with_file = |vllm: bool| {
        run(
            "yale-nlp/MMVU",
            "validation.jsonl",
            &rows,
            |options, settings| {
                settings.is_openai_chat = true;
                if vllm {
                    settings.compat = Compat::Vllm;
                }
                let folder = PathBuf::from(&options.path).join("videos");
                std::fs::create_dir(&folder).unwrap();
                std::fs::write(folder.join("1.webm"), [0, 1, 2]).unwrap();
            },
        )
        .unwrap()
    };
    let url = |workload: &inferometer_core::Workload, at: usize| {
        let part = &workload.requests[at].media[0];
        assert_eq!(part["type"], "video_url");
        part["video_url"]["url"].as_str().unwrap().to_owned()
    };
    let workload = with_file(false);
    assert_eq!(
        workload.requests[0].prompt.as_text(),
        Some("What? A.x B.None")
    );
    assert_eq!(workload.requests[0].output_tokens, Some(128));
    assert_eq!(url(&workload, 0), "data:video/webm;base64,AAEC");
    assert_eq!(url(&workload, 1), "https://x/y.mp4");
    assert_eq!(url(&workload, 2), "data:video/mp4;base64,AAEC");
    let named = url(&with_file(true), 0);
    assert!(
        named.starts_with("file:///") && named.ends_with("/videos/1.webm"),
        "{named}"
    );

    let chat = |_: &mut HfSettings, settings: &mut WorkloadSettings| settings.is_openai_chat = true;
    // A row cannot have another file of this machine sent.
    let outside = tempfile::NamedTempFile::new().unwrap();
    for name in [
        outside.path().to_str().unwrap(),
        "../secret.mp4",
        "videos/../../x.mp4",
    ] {
        let error = run(
            "yale-nlp/MMVU",
            "validation.jsonl",
            &[row(name.into())],
            chat,
        )
        .unwrap_err()
        .to_string();
        assert!(error.contains("expected a relative path"), "{error}");
    }
    let error = run("yale-nlp/MMVU", "validation.jsonl", &rows, chat)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("videos/1.webm") && error.contains("HF_HUB_OFFLINE"),
        "{error}"
    );
}

#[test]
fn functions_become_tools() {
    let row = json!({
        "question": [[{"role": "user", "content": "Call it."}]],
        "function": [{"name": "f", "parameters": {"type": "dict", "properties": {"x": {"type": "float"}}}}],
    });
    let workload = run(
        "gorilla-llm/Berkeley-Function-Calling-Leaderboard",
        "BFCL_v3_simple.json",
        &[row],
        |options, settings| {
            options.bfcl_categories = vec!["simple".into()];
            settings.is_openai_chat = true;
        },
    );
    let request = &workload.unwrap().requests[0];
    let parameters = &request.overrides["tools"][0]["function"]["parameters"];
    assert_eq!(parameters["type"], "object");
    assert_eq!(parameters["properties"]["x"]["type"], "number");
    assert_eq!(request.overrides["tool_choice"], "auto");
}

#[test]
fn messages_name_the_problem() {
    let row = [json!({"text": "x"})];
    for (name, file, part) in [
        ("some/other", "train.jsonl", "--hf-name"),
        ("yale-nlp/MMVU", "validation.jsonl", "openai-chat"),
        ("openai/gsm8k", "main-train.jsonl", "--hf-split"),
        (
            "philschmid/mt-bench",
            "train.jsonl",
            "the columns are `text`",
        ),
    ] {
        let error = run(name, file, &row, |_, _| {}).unwrap_err().to_string();
        assert!(error.contains(part), "{name}: {error}");
    }
}

/// Without the mark, the answer in vLLM's benchmark is `output[-1:]`: one character.
#[test]
fn an_edit_without_its_mark_counts_as_in_vllm() {
    let row = json!({"events": "E", "input": "I", "output": "some words of code"});
    let length = |compat| {
        let rows = [row.clone()];
        let workload = run(
            "zed-industries/zeta",
            "train.jsonl",
            &rows,
            |_, settings| {
                settings.compat = compat;
            },
        );
        workload.unwrap().requests[0].output_tokens.unwrap()
    };
    assert_eq!(length(Compat::Vllm), 1);
    assert!(length(Compat::Native) > 1);
}

/// `get_samples` of vLLM 0.33 passes the arguments to `custom` and `speed_bench` only.
#[test]
fn template_arguments_have_no_effect_on_these_datasets_in_vllm() {
    let text = |compat, words: &str| {
        let rows = [json!({"turns": ["Why?"]})];
        let workload = run(
            "philschmid/mt-bench",
            "train.jsonl",
            &rows,
            |_, settings| {
                settings.compat = compat;
                let kwargs = json!({"add_generation_prompt": false});
                settings.chat_template_kwargs = kwargs.as_object().unwrap().clone();
            },
        )
        .unwrap();
        assert_eq!(
            workload
                .warnings
                .iter()
                .any(|warning| warning.contains(words)),
            compat == Compat::Vllm
        );
        workload.requests[0].prompt.as_text().unwrap().to_owned()
    };
    let turn = "<|im_start|>user\nWhy?<|im_end|>\n";
    assert_eq!(text(Compat::Native, "--chat-template-kwargs"), turn);
    assert_eq!(
        text(Compat::Vllm, "--chat-template-kwargs"),
        format!("{turn}<|im_start|>assistant\n")
    );
}

/// vLLM's `apply_multimodal_chat_transformation` writes the text before the type.
#[test]
fn text_and_image_are_one_message_where_asked() {
    let row = json!({"question": "Which?", "image": "http://x/y.png"});
    let workload = run(
        "Lin-Chen/MMStar",
        "val.jsonl",
        &[row],
        |options, settings| {
            options.multimodal_chat = true;
            settings.is_openai_chat = true;
            settings.is_chat = true;
        },
    )
    .unwrap();
    let Prompt::Messages(messages) = &workload.requests[0].prompt else {
        panic!("{:?}", workload.requests[0].prompt);
    };
    assert!(
        messages[0]["content"]
            .to_string()
            .starts_with(r#"[{"text":"Which?","type":"text"},{"type":"image_url""#),
        "{}",
        messages[0]
    );
    assert!(workload.requests[0].media.is_empty());
}
