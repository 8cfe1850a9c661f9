//! What is said, and how soon, before and at the beginning of a run whose server is not as it should
//! be.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};

use inferometer_core::Nanos;
use inferometer_os::clock;
use inferometer_testkit::{printed, signal, stderr};

use crate::INFEROMETER;

/// What the server does with a request.
#[derive(Clone, Copy)]
enum Page {
    /// Answers with this status and body.
    Answers(u16, &'static str),
    /// Never answers.
    Hangs,
}

const MODELS: &str = r#"{"data":[{"id":"m"}]}"#;

/// Two tokens and the end of a completion.
const STREAM: &str = concat!(
    r#"data: {"choices":[{"index":0,"text":"x","finish_reason":null}]}"#,
    "\n\n",
    r#"data: {"choices":[{"index":0,"text":"y","finish_reason":"length"}]}"#,
    "\n\ndata: [DONE]\n\n"
);

/// A server that does with each request line what `page` says; its threads end with the test.
fn server(page: impl Fn(&str) -> Page + Send + Clone + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let page = page.clone();
            std::thread::spawn(move || serve(&stream.unwrap(), &page));
        }
    });
    url
}

fn serve(stream: &TcpStream, page: &dyn Fn(&str) -> Page) {
    let mut reader = BufReader::new(stream);
    loop {
        let (mut first, mut length) = (String::new(), 0);
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            if line == "\r\n" {
                break;
            }
            if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            if first.is_empty() {
                first = line;
            }
        }
        if reader.read_exact(&mut vec![0; length]).is_err() {
            return;
        }
        match page(first.rsplit_once(' ').map_or("", |(page, _)| page)) {
            Page::Answers(status, body) => {
                let kind = if body.starts_with("data:") {
                    "text/event-stream"
                } else {
                    "application/json"
                };
                let answer = format!(
                    "HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n{body}",
                    body.len()
                );
                drop((&*stream).write_all(answer.as_bytes()));
            }
            Page::Hangs => {
                drop(reader.read(&mut [0; 16]));
                return;
            }
        }
    }
}

/// A run of two requests, ready to be started.
fn run(folder: &Path, url: &str, flags: &[&str]) -> Command {
    let mut command = INFEROMETER.command(folder);
    command
        .args([
            "run",
            "--backend",
            "vllm",
            "--model",
            "m",
            "--tokenizer",
            "builtin",
        ])
        .args([
            "--base-url",
            url,
            "--random-input-len",
            "8",
            "--random-output-len",
            "2",
        ])
        .args(["--num-prompts", "2", "--disable-tqdm", "--no-run-folder"])
        .args(flags);
    command
}

#[test]
fn pages_that_hang_are_named_and_cost_seconds() {
    let url = server(|page| match page {
        "GET /v1/models" => Page::Answers(200, MODELS),
        "POST /v1/completions" => Page::Answers(200, STREAM),
        _ => Page::Hangs,
    });
    let folder = tempfile::tempdir().unwrap();
    let begin = clock::now();
    let output = run(folder.path(), &url, &[]).output().unwrap();
    let took = clock::now().since(begin);
    assert_eq!(output.status.code(), Some(0), "{}", printed(&output));
    for page in ["GET /version", "POST /tokenize", "GET /metrics"] {
        let words = page.replacen(" /", &format!(" {url}/"), 1) + " did not answer within 2 s";
        assert!(
            stderr(&output).contains(&words),
            "{words}: {}",
            printed(&output)
        );
    }
    // Three pages of 2 s each, and a busy machine.
    assert!(took < Nanos::from_millis(20_000), "{took:?}");
}

#[test]
fn a_metrics_page_without_known_counters_is_named() {
    let url = server(|page| match page {
        "GET /v1/models" => Page::Answers(200, MODELS),
        "POST /v1/completions" => Page::Answers(200, STREAM),
        "GET /metrics" => Page::Answers(200, "http_requests_total 5\n"),
        _ => Page::Answers(404, "{}"),
    });
    let folder = tempfile::tempdir().unwrap();
    let output = run(folder.path(), &url, &[]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", printed(&output));
    assert!(
        stderr(&output).contains("/metrics) has none of the counters of vLLM, SGLang or llama.cpp"),
        "{}",
        printed(&output)
    );
}

#[test]
fn requests_of_a_kind_that_the_server_does_not_know_are_named_while_the_run_continues() {
    let url = server(|page| match page {
        "GET /v1/models" => Page::Answers(200, MODELS),
        _ => Page::Answers(404, r#"{"detail":"Not Found"}"#),
    });
    let folder = tempfile::tempdir().unwrap();
    // An hour of requests, but for the interrupt.
    let mut child = run(
        folder.path(),
        &url,
        &["--num-prompts", "36000", "--request-rate", "10"],
    )
    .stdout(Stdio::null())
    .stderr(Stdio::piped())
    .spawn()
    .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let warning = lines
        .find_map(|line| line.ok().filter(|line| line.contains("has succeeded")))
        .unwrap();
    for words in ["HTTP 404", "does not know this path or model", "--endpoint"] {
        assert!(warning.contains(words), "{warning}");
    }
    signal(child.id(), "-INT");
    lines.for_each(drop);
    child.wait().unwrap();
}

#[test]
fn an_interrupt_ends_the_ready_check_at_once() {
    for answer in [Page::Hangs, Page::Answers(503, "{}")] {
        let url = server(move |page| match page {
            "GET /v1/models" => Page::Answers(200, MODELS),
            "POST /v1/completions" => answer,
            _ => Page::Answers(404, "{}"),
        });
        let folder = tempfile::tempdir().unwrap();
        let mut child = run(folder.path(), &url, &["--ready-check-timeout-sec", "600"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap().contains("Waiting for endpoint")));
        // In the middle of the check, or of the pause after it.
        std::thread::sleep(std::time::Duration::from_millis(300));
        let begin = clock::now();
        signal(child.id(), "-INT");
        let output = child.wait_with_output().unwrap();
        let took = clock::now().since(begin);
        assert!(took < Nanos::from_millis(3_000), "{took:?}");
        assert!(
            stderr(&output).contains("stopped before the measurement began"),
            "{}",
            printed(&output)
        );
    }
}
