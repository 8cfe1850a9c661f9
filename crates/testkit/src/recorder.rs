//! A server that keeps what it receives: every request with its body, in order of arrival. It also
//! serves a small copy of the Hugging Face hub, with one dataset.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::Value;

/// One request as it arrived.
#[derive(Clone, Debug)]
pub struct Received {
    /// The path of its URL.
    pub path: String,
    /// The header `x-request-id`.
    pub id: Option<String>,
    /// The body, null if it is not JSON.
    pub body: Value,
}

/// A recording server; answers completions and chat with two tokens.
#[derive(Debug)]
pub struct Recorder {
    /// Where it listens.
    pub url: String,
    received: Arc<Mutex<Vec<Received>>>,
}

impl Recorder {
    /// Starts one on a free port; it ends with the test program.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let received = Arc::new(Mutex::new(Vec::new()));
        let keep = Arc::clone(&received);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let keep = Arc::clone(&keep);
                thread::spawn(move || serve(&stream.unwrap(), &keep));
            }
        });
        Self { url, received }
    }

    /// All requests so far.
    pub fn all(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }

    /// The requests to paths that end in `ending`.
    pub fn to(&self, ending: &str) -> Vec<Received> {
        self.all()
            .into_iter()
            .filter(|received| received.path.ends_with(ending))
            .collect()
    }
}

fn serve(stream: &TcpStream, keep: &Mutex<Vec<Received>>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut out = stream.try_clone().unwrap();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
        let (mut length, mut id) = (0, None);
        loop {
            let mut header = String::new();
            if reader.read_line(&mut header).unwrap_or(0) == 0 {
                return;
            }
            let Some((name, value)) = header.trim().split_once(':') else {
                break;
            };
            match name.to_lowercase().as_str() {
                "content-length" => length = value.trim().parse().unwrap(),
                "x-request-id" => id = Some(value.trim().to_owned()),
                _ => {}
            }
        }
        let mut body = vec![0; length];
        if reader.read_exact(&mut body).is_err() {
            return;
        }
        let body = serde_json::from_slice(&body).unwrap_or_default();
        let done = keep
            .lock()
            .unwrap()
            .iter()
            .filter(|received| received.path.ends_with("completions"))
            .count();
        let (status, kind, answer) = answer(&path, &body, done);
        keep.lock().unwrap().push(Received { path, id, body });
        let head = format!(
            "HTTP/1.1 {status} x\r\ncontent-type: {kind}\r\ncontent-length: {}\r\netag: \"e1\"\r\n\
             x-repo-commit: c1\r\n\r\n",
            answer.len()
        );
        if out.write_all((head + &answer).as_bytes()).is_err() {
            return;
        }
    }
}

/// A PNG of one pixel.
const PIXEL: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg==";

fn answer(path: &str, body: &Value, done: usize) -> (u16, &'static str, String) {
    const JSON: &str = "application/json";
    const USAGE: &str = r#"{"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}"#;
    match path {
        "/v1/models" => (
            200,
            JSON,
            r#"{"data": [{"id": "served", "root": "builtin"}, {"id": "m"}]}"#.into(),
        ),
        "/api/datasets/lmarena-ai/VisionArena-Chat/revision/main" => (
            200,
            JSON,
            r#"{"siblings": [{"rfilename": "data/train.jsonl"}]}"#.into(),
        ),
        "/datasets/lmarena-ai/VisionArena-Chat/resolve/main/data/train.jsonl" => {
            let row = format!(
                r#"{{"conversation": [[{{"role": "user", "content": "What is this?"}}]], "images": [{{"bytes": "{PIXEL}"}}]}}"#
            );
            (200, JSON, format!("{row}\n{row}\n"))
        }
        // Counters of a server that drafts two tokens per request and accepts one of them.
        "/metrics" => {
            let counter = |name: &str, more: &str, value: usize| {
                format!("vllm:spec_decode_{name}_total{{{more}}} {value}.0\n")
            };
            let text = counter("num_drafts", "", done)
                + &counter("num_draft_tokens", "", done * 2)
                + &counter("num_accepted_tokens", "", done)
                + &counter("num_accepted_tokens_per_pos", "position=\"0\"", done)
                + &counter("num_accepted_tokens_per_pos", "position=\"1\"", 0);
            (200, "text/plain", text)
        }
        "/reset_prefix_cache" => (200, JSON, r#"{"success": false}"#.into()),
        "/start_profile" | "/stop_profile" => (200, JSON, "{}".into()),
        "/v1/completions" if body["stream"] == false => (
            200,
            JSON,
            format!(
                r#"{{"choices": [{{"text": "a b", "finish_reason": "length"}}], "usage": {USAGE}}}"#
            ),
        ),
        "/v1/completions" => {
            let token = r#"data: {"choices": [{"text": "a"}]}"#;
            let usage = format!(r#"data: {{"choices": [], "usage": {USAGE}}}"#);
            events(format!("{token}\n\n{token}\n\n{usage}\n\ndata: [DONE]\n\n"))
        }
        "/v1/chat/completions" => {
            let token = r#"data: {"choices": [{"delta": {"content": "a"}}]}"#;
            let usage = format!(r#"data: {{"choices": [], "usage": {USAGE}}}"#);
            events(format!("{token}\n\n{token}\n\n{usage}\n\ndata: [DONE]\n\n"))
        }
        "/v1/messages" => {
            let delta = r#"data: {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "a"}}"#;
            let usage = r#"data: {"type": "message_delta", "delta": {"stop_reason": "max_tokens"}, "usage": {"input_tokens": 3, "output_tokens": 2}}"#;
            let stop = r#"data: {"type": "message_stop"}"#;
            events(format!("{delta}\n\n{delta}\n\n{usage}\n\n{stop}\n\n"))
        }
        "/v1/responses" => {
            let delta = r#"data: {"type": "response.output_text.delta", "delta": "a"}"#;
            let end = r#"data: {"type": "response.completed", "response": {"status": "completed", "usage": {"input_tokens": 3, "output_tokens": 2}}}"#;
            events(format!("{delta}\n\n{delta}\n\n{end}\n\n"))
        }
        _ => (404, JSON, "{}".into()),
    }
}

/// An answer that is a stream of events.
fn events(text: String) -> (u16, &'static str, String) {
    (200, "text/event-stream", text)
}
