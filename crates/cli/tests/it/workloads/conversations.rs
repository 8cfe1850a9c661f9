//! Conversations with the replies that the server gives.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use inferometer_testkit::{Received, Recorder, printed, read_json, stderr};
use serde_json::{Value, json};

use super::{good, quick, run};
use crate::INFEROMETER;

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
