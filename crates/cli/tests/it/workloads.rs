//! Every dataset on the binary, against the simulator: traces with their own clock, conversations
//! with live replies, workload files, mixes, and structured answers.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::process::Output;

use inferometer_sim::Server;
use inferometer_testkit::{
    Received, Recorder, printed, read_json, run_folder, server, stderr, stdout,
};
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

#[test]
fn every_dataset_has_a_working_command() {
    let folder = tempfile::tempdir().unwrap();
    write_files(folder.path());
    let server = quick();
    let chat = "--backend openai-chat";
    for line in [
        "--dataset-name random --random-input-len 20 --random-output-len 4",
        &format!(
            "--dataset-name random-mm {chat} --random-input-len 20 --random-output-len 4 --random-mm-bucket-config \
             {{(16,16,1):1.0}}"
        ),
        "--dataset-name random-rerank --backend vllm-rerank --endpoint /v1/rerank --random-input-len 20 \
         --random-batch-size 3",
        "--dataset-name mix --mix 70:20/4,30:lognormal(30,0.5)/6",
        "--dataset-name prefix_repetition --prefix-repetition-prefix-len 16 --prefix-repetition-suffix-len 8 \
         --prefix-repetition-num-prefixes 2 --prefix-repetition-output-len 3",
        "--dataset-name sonnet --sonnet-input-len 300 --sonnet-prefix-len 100 --sonnet-output-len 3",
        "--dataset-name sharegpt --dataset-path talks.json",
        "--dataset-name custom --dataset-path prompts.jsonl --custom-output-len -1",
        &format!(
            "--dataset-name custom_image --dataset-path images.jsonl {chat} --custom-output-len 3"
        ),
        "--dataset-name custom_audio --dataset-path sounds.jsonl --backend openai-audio --endpoint \
         /v1/audio/transcriptions --custom-output-len 3",
        "--dataset-name burstgpt --dataset-path burst.csv",
        "--dataset-name spec_bench --dataset-path questions.jsonl --spec-bench-category math \
         --spec-bench-output-len 3",
        "--dataset-name speed_bench --dataset-path speed --speed-bench-output-len 3",
        "--dataset-name timed_trace --dataset-path timed.jsonl",
        "--dataset-name trace --dataset-path azure.csv --trace-speed 20",
        "--dataset-name trace --dataset-path burst.csv --trace-speed 200",
        &format!(
            "--dataset-name multi-turn --dataset-path talks.json {chat} --multi-turn-output-len 3"
        ),
        &format!("--multi-turn {chat} --multi-turn-first-len 20 --multi-turn-output-len 4"),
        "--dataset-name hf --dataset-path bench --hf-name philschmid/mt-bench --hf-output-len 3",
    ] {
        let arguments: Vec<&str> = line.split_whitespace().collect();
        let result = good(
            folder.path(),
            &server.url(),
            &[&arguments[..], &["--num-prompts", "6"]].concat(),
        );
        // Documents to rank count as prompts, as in vLLM.
        let expected = if line.contains("rerank") { 2 } else { 6 };
        assert_eq!(result["completed"], expected, "{line}");
    }
    server.stop().unwrap();
}

#[test]
fn a_trace_keeps_its_clock_and_reports_how_well() {
    let folder = tempfile::tempdir().unwrap();
    write_files(folder.path());
    let server = quick();
    let trace = [
        "--dataset-name",
        "trace",
        "--dataset-path",
        "azure.csv",
        "--num-prompts",
        "0",
    ];
    let stretch = [
        "--trace-speed",
        "10",
        "--trace-start",
        "1",
        "--trace-duration",
        "3",
    ];
    let output = run(
        folder.path(),
        &server.url(),
        &[&trace[..], &stretch[..]].concat(),
    );
    assert_eq!(output.status.code(), Some(0), "{}", printed(&output));
    assert!(
        stdout(&output).contains("Schedule kept: 3 of 6 rows sent"),
        "{}",
        printed(&output)
    );
    let result = read_json(&folder.path().join("r.json"));
    let fidelity = &result["inferometer"]["traffic"]["fidelity"];
    assert_eq!(
        (&fidelity["rows_used"], &fidelity["rows_in_file"]),
        (&json!(3), &json!(6))
    );
    assert_eq!(fidelity["out_of_order"], 0);
    // Rows one second apart, at ten times the speed.
    let starts: Vec<f64> = serde_json::from_value(result["start_times"].clone()).unwrap();
    for pair in starts.windows(2) {
        assert!((pair[1] - pair[0] - 0.1).abs() < 0.05, "{starts:?}");
    }
    // Latency from the due instant exists, although no rate was given.
    assert!(result["inferometer"]["extras"]["response"]["e2el_ms"]["p50"].is_number());

    // With a rate instead of the trace's clock.
    let other = run(
        folder.path(),
        &server.url(),
        &[&trace[..], &["--no-self-timed"]].concat(),
    );
    assert!(
        !stdout(&other).contains("Schedule kept"),
        "{}",
        printed(&other)
    );
    let refused = run(
        folder.path(),
        &server.url(),
        &[&trace[..], &["--request-rate", "5"]].concat(),
    );
    assert_eq!(refused.status.code(), Some(2));
    assert!(
        stderr(&refused).contains("--no-self-timed"),
        "{}",
        printed(&refused)
    );
    let refused = run(folder.path(), &server.url(), &["--trace-speed", "2"]);
    assert!(
        stderr(&refused).contains("--trace-speed"),
        "{}",
        printed(&refused)
    );
    server.stop().unwrap();
}

#[test]
fn the_schedule_of_a_trace_is_in_its_run_folder() {
    let folder = tempfile::tempdir().unwrap();
    write_files(folder.path());
    let server = quick();
    good(
        folder.path(),
        &server.url(),
        &[
            "--dataset-name",
            "timed_trace",
            "--dataset-path",
            "timed.jsonl",
            "--num-prompts",
            "6",
        ],
    );
    server.stop().unwrap();
    let kept = read_json(&run_folder(folder.path()).join("schedule.json"));
    assert_eq!(
        kept["due"],
        json!([
            0,
            100_000_000,
            200_000_000,
            300_000_000,
            400_000_000,
            500_000_000
        ])
    );
}

fn turns(recorder: &Recorder) -> Vec<Received> {
    recorder.to("/chat/completions")
}

#[test]
fn the_history_of_a_conversation_holds_the_actual_replies() {
    let folder = tempfile::tempdir().unwrap();
    let recorder = Recorder::start();
    let shape = [
        "--multi-turn",
        "--backend",
        "openai-chat",
        "--multi-turn-min-turns",
        "3",
    ];
    let lengths = [
        "--multi-turn-max-turns",
        "3",
        "--multi-turn-first-len",
        "9",
        "--multi-turn-output-len",
        "2",
    ];
    let load = [
        "--num-prompts",
        "6",
        "--max-concurrency",
        "2",
        "--multi-turn-think-time",
        "0.05",
    ];
    let result = good(
        folder.path(),
        &recorder.url,
        &[&shape[..], &lengths[..], &load[..]].concat(),
    );
    let asked = turns(&recorder);
    assert_eq!(asked.len(), 6);
    let of_length = |n: usize| {
        asked
            .iter()
            .filter(move |a| a.body["messages"].as_array().unwrap().len() == n)
    };
    for n in [1, 3, 5] {
        assert_eq!(of_length(n).count(), 2, "{asked:?}");
    }
    let texts: Vec<String> = serde_json::from_value(result["generated_texts"].clone()).unwrap();
    for last in of_length(5) {
        let messages = last.body["messages"].as_array().unwrap();
        let roles: Vec<&str> = messages
            .iter()
            .map(|message| message["role"].as_str().unwrap())
            .collect();
        assert_eq!(roles, ["user", "assistant", "user", "assistant", "user"]);
        assert!(
            texts
                .iter()
                .any(|text| messages[1]["content"] == text.as_str()),
            "{messages:?} {texts:?}"
        );
        assert!(!messages[1]["content"].as_str().unwrap().is_empty());
        // It begins with everything that the previous turn sent.
        assert!(of_length(3).any(|before| before.body["messages"] == json!(messages[..3])));
    }
    let talks = &result["inferometer"]["traffic"]["conversations"];
    assert_eq!(
        (&talks["sessions"], &talks["complete"]),
        (&json!(2), &json!(2))
    );
    assert_eq!(talks["turns"].as_array().unwrap().len(), 3);
    // The user thinks between an answer and the next turn.
    let starts: Vec<f64> = serde_json::from_value(result["start_times"].clone()).unwrap();
    for at in [0, 1, 3, 4] {
        assert!(starts[at + 1] - starts[at] >= 0.05, "{starts:?}");
    }
}

#[test]
fn concurrent_conversations_can_be_limited() {
    let folder = tempfile::tempdir().unwrap();
    let recorder = Recorder::start();
    let shape = [
        "--multi-turn",
        "--backend",
        "openai-chat",
        "--multi-turn-min-turns",
        "2",
    ];
    let lengths = [
        "--multi-turn-max-turns",
        "2",
        "--multi-turn-first-len",
        "9",
        "--multi-turn-output-len",
        "2",
    ];
    let load = [
        "--num-prompts",
        "8",
        "--multi-turn-think-time",
        "0.02",
        "--multi-turn-max-active",
        "1",
    ];
    good(
        folder.path(),
        &recorder.url,
        &[&shape[..], &lengths[..], &load[..]].concat(),
    );
    // One after the other, although the number of requests is not limited.
    let asked: Vec<usize> = turns(&recorder)
        .iter()
        .map(|a| a.body["messages"].as_array().unwrap().len())
        .collect();
    assert_eq!(asked, [1, 3, 1, 3, 1, 3, 1, 3]);
    let output = run(
        folder.path(),
        &recorder.url,
        &["--max-active-conversations", "2", "--num-prompts", "4"],
    );
    assert_eq!(output.status.code(), Some(2));
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("--multi-turn"),
        "{output:?}"
    );
}

#[test]
fn a_failed_conversation_is_not_continued() {
    let folder = tempfile::tempdir().unwrap();
    let server = quick();
    // The second turn is longer than the simulator's model allows.
    let shape = [
        "--multi-turn",
        "--backend",
        "openai-chat",
        "--multi-turn-min-turns",
        "3",
    ];
    let lengths = [
        "--multi-turn-max-turns",
        "3",
        "--multi-turn-input-len",
        "140000",
        "--multi-turn-first-len",
        "9",
    ];
    let load = ["--num-prompts", "3", "--multi-turn-output-len", "2"];
    let output = run(
        folder.path(),
        &server.url(),
        &[&shape[..], &lengths[..], &load[..]].concat(),
    );
    server.stop().unwrap();
    let result = read_json(&folder.path().join("r.json"));
    assert_eq!(result["completed"], 1, "{}", printed(&output));
    assert_eq!(
        result["inferometer"]["extras"]["outcomes"],
        json!({"ok": 1, "http_error": 1, "unfinished": 1})
    );
    assert!(
        result["errors"][2]
            .as_str()
            .unwrap()
            .contains("an earlier turn"),
        "{}",
        result["errors"]
    );
}

#[test]
fn turns_of_a_conversation_stay_with_one_server_and_name_their_session() {
    let folder = tempfile::tempdir().unwrap();
    let servers = [Recorder::start(), Recorder::start()];
    let output = INFEROMETER
        .command(folder.path())
        .args([
            "run",
            "--base-url",
            &servers[0].url,
            &servers[1].url,
            "--model",
            "sim",
            "--tokenizer",
            "builtin",
        ])
        .args([
            "--multi-turn",
            "--backend",
            "openai-chat",
            "--balance",
            "session-sticky",
            "--disable-tqdm",
        ])
        .args([
            "--multi-turn-min-turns",
            "2",
            "--multi-turn-max-turns",
            "2",
            "--num-prompts",
            "8",
        ])
        .args([
            "--multi-turn-first-len",
            "9",
            "--multi-turn-output-len",
            "2",
            "--skip-model-check",
        ])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", printed(&output));
    for server in &servers {
        let asked = turns(server);
        assert_eq!(asked.len(), 4, "{}", printed(&output));
        let first: Vec<&Value> = asked
            .iter()
            .map(|asked| &asked.body["messages"][0]["content"])
            .collect();
        let mut different = first.clone();
        different.sort_by_key(ToString::to_string);
        different.dedup();
        assert_eq!(
            different.len(),
            2,
            "two turns of each of two conversations: {first:?}"
        );
    }
}

#[test]
fn every_turn_names_its_session() {
    let folder = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let heard = std::thread::spawn(move || {
        // The tokenizer and the model are not asked for here, so that the first request is a turn.
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let (mut text, mut buffer) = (String::new(), [0; 4096]);
            while !text.contains("\r\n\r\n") {
                match stream.read(&mut buffer) {
                    Ok(read) if read > 0 => {
                        text.push_str(&String::from_utf8_lossy(&buffer[..read]));
                    }
                    _ => break,
                }
            }
            drop(
                stream
                    .write_all(b"HTTP/1.1 404 x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"),
            );
            if text.starts_with("POST /v1/chat/completions") {
                return text;
            }
        }
        String::new()
    });
    let flags = [
        "--multi-turn",
        "--backend",
        "openai-chat",
        "--num-prompts",
        "1",
        "--connect",
        "lazy",
    ];
    run(
        folder.path(),
        &url,
        &[&flags[..], &["--request-id-prefix", "run-"]].concat(),
    );
    let head = heard.join().unwrap().to_lowercase();
    assert!(head.contains("x-session-id: run-s0\r\n"), "{head}");
}

#[test]
fn conversations_need_a_backend_for_chats() {
    let folder = tempfile::tempdir().unwrap();
    let server = quick();
    let output = run(
        folder.path(),
        &server.url(),
        &["--multi-turn", "--backend", "vllm", "--num-prompts", "4"],
    );
    server.stop().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", printed(&output));
    assert!(stderr(&output).contains("messages"), "{}", printed(&output));
}

fn build(folder: &Path, file: &str, arguments: &[&str]) -> Output {
    INFEROMETER
        .command(folder)
        .args([
            "workload",
            "build",
            "--tokenizer",
            "builtin",
            "--model",
            "sim",
            "-o",
            file,
        ])
        .args(arguments)
        .output()
        .unwrap()
}

#[test]
fn a_workload_file_is_replayed_byte_for_byte() {
    let folder = tempfile::tempdir().unwrap();
    let flags = [
        "--num-prompts",
        "12",
        "--random-input-len",
        "30",
        "--random-output-len",
        "3",
        "--seed",
        "5",
    ];
    let flags = [
        &flags[..],
        &["--random-range-ratio", "0.5", "--request-rate", "200"],
    ]
    .concat();
    for file in ["w.jsonl", "again.jsonl"] {
        let output = build(folder.path(), file, &flags);
        assert_eq!(output.status.code(), Some(0), "{}", printed(&output));
    }
    let read = |file: &str| fs::read(folder.path().join(file)).unwrap();
    assert_eq!(read("w.jsonl"), read("again.jsonl"));

    // What the file sends is what the flags send.
    let (by_flags, by_file) = (Recorder::start(), Recorder::start());
    let prefix = ["--request-id-prefix", "bench-"];
    good(
        folder.path(),
        &by_flags.url,
        &[&flags[..], &prefix[..]].concat(),
    );
    let result = good(folder.path(), &by_file.url, &["--workload", "w.jsonl"]);
    let sent = |recorder: &Recorder| {
        let mut sent: Vec<(String, String)> = recorder
            .to("/completions")
            .into_iter()
            .map(|asked| (asked.id.unwrap_or_default(), asked.body.to_string()))
            .collect();
        sent.sort();
        sent
    };
    assert_eq!(sent(&by_flags), sent(&by_file));
    assert_eq!(sent(&by_file).len(), 12);
    let hash = result["inferometer"]["traffic"]["workload_file_sha256"]
        .as_str()
        .unwrap()
        .to_owned();

    let shown = INFEROMETER
        .command(folder.path())
        .args(["workload", "show", "w.jsonl", "--html", "w.html"])
        .output()
        .unwrap();
    let text = stdout(&shown);
    for part in [
        "12 requests",
        &hash,
        "prompt tokens: mean",
        "█",
        "milliseconds between due instants",
    ] {
        assert!(text.contains(part), "{part}: {}", printed(&shown));
    }
    let page = String::from_utf8(read("w.html")).unwrap();
    assert!(page.contains("<svg") && page.contains(&hash));

    let refused = run(
        folder.path(),
        &by_file.url,
        &["--workload", "w.jsonl", "--dataset-name", "random"],
    );
    assert!(
        stderr(&refused).contains("--dataset-name cannot"),
        "{}",
        printed(&refused)
    );
    let broken = String::from_utf8(read("w.jsonl"))
        .unwrap()
        .replacen("bench-3", "bench-x", 1);
    fs::write(folder.path().join("broken.jsonl"), broken).unwrap();
    let refused = run(folder.path(), &by_file.url, &["--workload", "broken.jsonl"]);
    assert!(
        stderr(&refused).contains("was changed"),
        "{}",
        printed(&refused)
    );
}

#[test]
fn conversations_can_be_kept_in_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let flags = [
        "--multi-turn",
        "--backend",
        "openai-chat",
        "--num-prompts",
        "6",
        "--multi-turn-min-turns",
        "2",
    ];
    let output = build(
        folder.path(),
        "w.jsonl",
        &[&flags[..], &["--multi-turn-output-len", "3"]].concat(),
    );
    assert_eq!(output.status.code(), Some(0), "{}", printed(&output));
    let server = quick();
    let result = good(
        folder.path(),
        &server.url(),
        &["--workload", "w.jsonl", "--backend", "openai-chat"],
    );
    server.stop().unwrap();
    let talks = &result["inferometer"]["traffic"]["conversations"];
    assert_eq!(talks["sessions"], talks["complete"]);
    assert_eq!(talks["turns"][0]["completed"], talks["sessions"]);
}

#[test]
fn a_mix_reports_its_classes_and_what_a_cache_could_reuse() {
    let folder = tempfile::tempdir().unwrap();
    let recorder = Recorder::start();
    let mix = [
        "--mix",
        "1:200/4,1:400/8",
        "--num-prompts",
        "40",
        "--cache-hit-fraction",
        "0.5",
    ];
    let result = good(folder.path(), &recorder.url, &mix);
    let traffic = &result["inferometer"]["traffic"];
    let classes: Vec<&str> = traffic["classes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|class| class["name"].as_str().unwrap())
        .collect();
    assert_eq!(classes, ["200/4", "400/8"]);
    let share = traffic["reusable_prefix_share"].as_f64().unwrap();
    assert!((0.4..0.5).contains(&share), "{share}");

    let salted = Recorder::start();
    let result = good(
        folder.path(),
        &salted.url,
        &[&mix[..], &["--salt", "seven"]].concat(),
    );
    assert_eq!(result["inferometer"]["traffic"]["salt"], "seven");
    let prompts = |recorder: &Recorder| -> Vec<String> {
        recorder
            .to("/completions")
            .iter()
            .map(|request| request.body["prompt"].to_string())
            .collect()
    };
    let plain = prompts(&recorder);
    assert!(
        prompts(&salted)
            .iter()
            .all(|prompt| !plain.contains(prompt))
    );
    let refused = run(folder.path(), &recorder.url, &["--prefix-groups", "3"]);
    assert!(stderr(&refused).contains("--mix"), "{}", printed(&refused));
}

#[test]
fn structured_answers_are_requested_and_checked() {
    let folder = tempfile::tempdir().unwrap();
    for (kind, key) in [
        ("json", "json"),
        ("regex", "regex"),
        ("choice", "choice"),
        ("grammar", "grammar"),
    ] {
        let recorder = Recorder::start();
        let flags = [
            "--structured-output",
            kind,
            "--structured-output-ratio",
            "0.5",
            "--num-prompts",
            "40",
        ];
        let lengths = ["--random-input-len", "8", "--random-output-len", "4"];
        let result = good(
            folder.path(),
            &recorder.url,
            &[&flags[..], &lengths[..]].concat(),
        );
        let asked = recorder.to("/completions");
        let with = asked
            .iter()
            .filter(|asked| !asked.body["structured_outputs"][key].is_null())
            .count();
        let structured = &result["inferometer"]["traffic"]["structured"];
        assert_eq!(structured["asked"], with, "{kind}");
        assert!((8..33).contains(&with), "{with} of 40");
        // The recorder answers with words, not with JSON.
        assert_eq!(
            (&structured["conforming"], &structured["share"]),
            (&json!(0), &json!(0.0)),
            "{kind}"
        );
    }
    // A choice that equals the recorder's answer.
    let recorder = Recorder::start();
    let lengths = [
        "--random-input-len",
        "8",
        "--random-output-len",
        "4",
        "--num-prompts",
        "10",
    ];
    let said = good(folder.path(), &recorder.url, &lengths)["generated_texts"][0]
        .as_str()
        .unwrap()
        .to_owned();
    fs::write(
        folder.path().join("choices.txt"),
        format!("{said}\nother\n"),
    )
    .unwrap();
    let flags = [
        "--structured-output",
        "choice",
        "--structured-output-file",
        "choices.txt",
    ];
    let result = good(
        folder.path(),
        &recorder.url,
        &[&flags[..], &lengths[..]].concat(),
    );
    assert_eq!(
        result["inferometer"]["traffic"]["structured"]["share"], 1.0,
        "{said:?}"
    );
}

/// A server whose tokens are at most five letters of a word; it requires a key.
fn other_tokenizer() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            std::thread::spawn(move || answer_with_five_letters(&stream));
        }
    });
    url
}

fn answer_with_five_letters(mut stream: &std::net::TcpStream) {
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
        let text = body["prompt"].as_str().unwrap_or_default();
        let (status, answer) = match path.as_str() {
            _ if !authorised => (401, String::new()),
            "/tokenize" => (200, json!({"tokens": five_letters(text)}).to_string()),
            "/detokenize" => {
                let tokens = body["tokens"].as_array().unwrap().iter();
                let text: String = tokens.map(|token| token.as_str().unwrap()).collect();
                (200, json!({"prompt": text}).to_string())
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
        let kind = if path == "/v1/completions" {
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
    let url = other_tokenizer();
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
