//! Prompts whose length is corrected with the server's own tokenizer.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;

use inferometer_testkit::{printed, read_json, stderr};
use serde_json::{Value, json};

use super::run;
use crate::INFEROMETER;

/// A server whose tokens are at most five letters of a word; it requires a key. `text_key` is what the
/// text is called in `/tokenize` and `/detokenize`: `prompt` as in vLLM, `content` as in llama.cpp.
fn other_tokenizer(text_key: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            std::thread::spawn(move || answer_with_five_letters(&stream, text_key));
        }
    });
    url
}

fn answer_with_five_letters(mut stream: &std::net::TcpStream, text_key: &str) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    loop {
        let (mut head, mut length) = (String::new(), 0);
        loop {
            let before = head.len();
            if reader.read_line(&mut head).unwrap_or(0) == 0 {
                return;
            }
            let line = head[before..].trim().to_lowercase();
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            if line.is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
        let authorised = head.to_lowercase().contains("authorization: bearer key-1");
        let is_completion = path == "/v1/completions";
        let text = body[if is_completion { "prompt" } else { text_key }]
            .as_str()
            .unwrap_or_default();
        let (status, answer) = match path.as_str() {
            _ if !authorised => (401, String::new()),
            "/tokenize" => (200, json!({"tokens": five_letters(text)}).to_string()),
            "/detokenize" => {
                let tokens = body["tokens"].as_array().unwrap().iter();
                let text: String = tokens.map(|token| token.as_str().unwrap()).collect();
                (200, json!({(text_key): text}).to_string())
            }
            "/v1/completions" => (200, {
                let usage =
                    json!({"prompt_tokens": five_letters(text).len(), "completion_tokens": 1});
                let token = json!({"choices": [{"text": "a", "finish_reason": "length"}]});
                format!(
                    "data: {token}\n\ndata: {}\n\ndata: [DONE]\n\n",
                    json!({"choices": [], "usage": usage})
                )
            }),
            _ => (404, String::new()),
        };
        let kind = if is_completion {
            "text/event-stream"
        } else {
            "application/json"
        };
        let head = format!(
            "HTTP/1.1 {status} x\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n",
            answer.len()
        );
        if stream.write_all((head + &answer).as_bytes()).is_err() {
            return;
        }
    }
}

fn five_letters(text: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    for word in text.split_inclusive(' ') {
        tokens.extend(
            word.as_bytes()
                .chunks(5)
                .map(|part| String::from_utf8_lossy(part).into_owned()),
        );
    }
    tokens
}

#[test]
fn prompts_get_their_length_from_the_servers_tokenizer() {
    let folder = tempfile::tempdir().unwrap();
    let url = other_tokenizer("prompt");
    let flags = [
        "--random-input-len",
        "40",
        "--random-output-len",
        "1",
        "--num-prompts",
        "12",
    ];
    let output = INFEROMETER
        .command(folder.path())
        .env("OPENAI_API_KEY", "key-1")
        .args([
            "run",
            "--base-url",
            &url,
            "--model",
            "sim",
            "--tokenizer",
            "builtin",
            "--disable-tqdm",
        ])
        .args([
            "--save-result",
            "--save-detailed",
            "--result-filename",
            "r.json",
            "--skip-model-check",
        ])
        .args(flags)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", printed(&output));
    let result = read_json(&folder.path().join("r.json"));
    assert_eq!(
        result["input_lens"],
        json!(vec![40; 12]),
        "{}",
        printed(&output)
    );
    let lengths = &result["inferometer"]["traffic"]["lengths"];
    assert_eq!(
        (&lengths["corrected"], &lengths["wrong"]),
        (&json!(12), &json!(0)),
        "{lengths}"
    );
    assert!(
        stderr(&output).contains("corrected"),
        "{}",
        printed(&output)
    );

    // Without the flag nothing is corrected.
    let plain = run(
        folder.path(),
        &url,
        &[&flags[..], &["--no-verify-lengths"]].concat(),
    );
    assert!(!stderr(&plain).contains("corrected"), "{}", printed(&plain));
}

/// The user of a tutorial runs `--model your_model_name` without a connection to the hub.
#[test]
fn without_the_models_tokenizer_the_servers_gives_the_lengths() {
    for text_key in ["prompt", "content"] {
        let folder = tempfile::tempdir().unwrap();
        let url = other_tokenizer(text_key);
        let flags = "--random-input-len 40 --random-output-len 1 --num-prompts 5 --save-result \
                     --save-detailed --result-filename r.json --skip-model-check --disable-tqdm";
        let run = |more: &[&str]| {
            INFEROMETER
                .command(folder.path())
                .env("OPENAI_API_KEY", "key-1")
                .args(["run", "--base-url", &url, "--model", "your_model_name"])
                .args(flags.split_whitespace())
                .args(more)
                .output()
                .unwrap()
        };
        let output = run(&[]);
        assert_eq!(output.status.code(), Some(0), "{}", printed(&output));
        let line = "The tokenizer of your_model_name cannot be loaded (it is not in the cache and HF_HUB_OFFLINE \
                    is set), so the built-in one is used; the server's /tokenize gives the prompt lengths.";
        assert!(stderr(&output).contains(line), "{}", printed(&output));
        assert!(
            !stderr(&output).contains("counts differently"),
            "one line: {}",
            printed(&output)
        );
        let result = read_json(&folder.path().join("r.json"));
        assert_eq!(result["input_lens"], json!(vec![40; 5]));
        assert_eq!(result["tokenizer_id"], "builtin");
        let hash = result["inferometer"]["tokenizer_sha256"].as_str().unwrap();
        assert_eq!(hash.len(), 64);

        // Recorded prompts are counted, and a named tokenizer is not replaced.
        std::fs::write(
            folder.path().join("rows.jsonl"),
            "{\"prompt\": \"incomprehensible\"}\n",
        )
        .unwrap();
        let rows = "--dataset-name custom --dataset-path rows.jsonl --custom-output-len 1";
        let rows: Vec<&str> = rows.split_whitespace().collect();
        let output = run(&rows);
        assert_eq!(output.status.code(), Some(0), "{}", printed(&output));
        let result = read_json(&folder.path().join("r.json"));
        assert_eq!(
            result["input_lens"],
            json!(vec![4; 5]),
            "{}",
            printed(&output)
        );
        let output = run(&["--tokenizer", "your_model_name"]);
        assert_eq!(output.status.code(), Some(2), "{}", printed(&output));
        for remedy in [
            "--tokenizer FOLDER",
            "--tokenizer builtin",
            "HF_ENDPOINT",
            "--skip-tokenizer-init",
        ] {
            assert!(stderr(&output).contains(remedy), "{}", printed(&output));
        }
    }
}
