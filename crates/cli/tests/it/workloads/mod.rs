//! Every dataset on the binary, against the simulator: traces with their own clock, conversations
//! with live replies, workload files, mixes, and structured answers.

mod conversations;
mod datasets;
mod files;
mod server_tokenizer;
mod structured;
mod traces;

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Output;

use inferometer_sim::Server;
use inferometer_testkit::{printed, read_json, server};
use serde_json::{Value, json};

use crate::INFEROMETER;

fn run(folder: &Path, url: &str, arguments: &[&str]) -> Output {
    INFEROMETER
        .command(folder)
        .args([
            "run",
            "--base-url",
            url,
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
        .args(arguments)
        .output()
        .unwrap()
}

/// The result of a run in which every request succeeds.
fn good(folder: &Path, url: &str, arguments: &[&str]) -> Value {
    let output = run(folder, url, arguments);
    assert_eq!(
        output.status.code(),
        Some(0),
        "{arguments:?}: {}",
        printed(&output)
    );
    let result = read_json(&folder.join("r.json"));
    let issued = &result["inferometer"]["extras"]["issued"];
    assert_eq!(
        &result["completed"],
        issued,
        "{arguments:?}: {}",
        printed(&output)
    );
    result
}

fn quick() -> Server {
    server(1.0, 0.1)
}

/// A WAV file of a tenth of a second.
fn wav_file() -> Vec<u8> {
    let samples = vec![0_u8; 3_200];
    let mut file = Vec::new();
    file.extend(b"RIFF");
    file.extend((36 + samples.len() as u32).to_le_bytes());
    file.extend(b"WAVEfmt ");
    for (value, bytes) in [
        (16_u32, 4),
        (1, 2),
        (1, 2),
        (16_000, 4),
        (32_000, 4),
        (2, 2),
        (16, 2),
    ] {
        file.extend(&value.to_le_bytes()[..bytes]);
    }
    file.extend(b"data");
    file.extend((samples.len() as u32).to_le_bytes());
    file.extend(samples);
    file
}

/// One small file for each dataset that reads one.
fn write_files(folder: &Path) {
    let long = "some words of an ordinary conversation that is long enough";
    let talk = |n: usize| {
        let turn = |from: &str| json!({"from": from, "value": format!("{long} {n}")});
        json!({"id": n, "conversations": [turn("human"), turn("gpt"), turn("human"), turn("gpt")]})
    };
    let talks: Vec<Value> = (0..6).map(talk).collect();
    fs::write(folder.join("talks.json"), json!(talks).to_string()).unwrap();
    let lines = |row: &dyn Fn(usize) -> Value| {
        (0..6).fold(String::new(), |mut text, n| {
            text.push_str(&row(n).to_string());
            text.push('\n');
            text
        })
    };
    let write = |name: &str, text: String| fs::write(folder.join(name), text).unwrap();
    write(
        "prompts.jsonl",
        lines(&|n| json!({"prompt": format!("{long} {n}"), "output_tokens": 3 + n})),
    );
    write(
        "images.jsonl",
        lines(
            &|n| json!({"prompt": format!("look {n}"), "image_files": ["data:image/png;base64,AA=="]}),
        ),
    );
    fs::write(folder.join("sound.wav"), wav_file()).unwrap();
    let path = folder.join("sound.wav").display().to_string();
    write(
        "sounds.jsonl",
        lines(&|_| json!({"prompt": "", "audio": path, "output_tokens": 4})),
    );
    write(
        "questions.jsonl",
        lines(
            &|n| json!({"question_id": n, "category": "math", "turns": [format!("{long} {n}?")]}),
        ),
    );
    fs::create_dir_all(folder.join("speed")).unwrap();
    let speed = |n| {
        json!({"category": "low", "messages": [{"role": "user", "content": format!("{long} {n}")}],
        "turns": [format!("{long} {n}?")]})
    };
    fs::write(folder.join("speed/qualitative.jsonl"), lines(&speed)).unwrap();
    fs::create_dir_all(folder.join("bench")).unwrap();
    fs::write(
        folder.join("bench/train.jsonl"),
        lines(&|n| json!({"turns": [format!("{long} {n}?")]})),
    )
    .unwrap();
    write("burst.csv", {
        let head =
            "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n".to_owned();
        (0..6).fold(head, |mut text, n| {
            let _ = writeln!(text, "{},GPT-4,{},5,30,API log", n * 10, 20 + n);
            text
        })
    });
    write("azure.csv", {
        let head = "TIMESTAMP,ContextTokens,GeneratedTokens\n".to_owned();
        (0..6).fold(head, |mut text, n| {
            let _ = writeln!(text, "2023-11-16 18:15:0{n}.5000000,{},4", 30 + n);
            text
        })
    });
    write(
        "timed.jsonl",
        lines(
            &|n| json!({"timestamp": n as f64 / 10.0, "input_length": 20, "output_length": 3, "hash_ids": [1, n]}),
        ),
    );
}
