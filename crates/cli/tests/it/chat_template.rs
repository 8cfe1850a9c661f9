//! Who puts the chat template around a prompt.

use std::fs;

use inferometer_testkit::{Recorder, printed};
use serde_json::Value;

use crate::INFEROMETER;

/// What the tokenizer's template puts in front of a user's message.
const MARK: &str = "<|im_start|>user\n";

/// The bodies that arrive at `endpoint` when one row of `custom` is sent with a tokenizer that has
/// a chat template.
fn sent(backend: &str, endpoint: &str, more: &[&str]) -> Vec<Value> {
    let (server, folder) = (Recorder::start(), tempfile::tempdir().unwrap());
    fs::write(
        folder.path().join("rows.jsonl"),
        r#"{"prompt": "Tell me.", "output_tokens": 2}"#,
    )
    .unwrap();
    let tokenizer = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../workload/tests/golden/underscores"
    );
    let output = INFEROMETER
        .command(folder.path())
        .args(["run", "--backend", backend, "--endpoint", endpoint])
        .args(["--base-url", &server.url, "--model", "m"])
        .args(["--tokenizer", tokenizer, "--disable-tqdm"])
        .args(["--dataset-name", "custom", "--dataset-path", "rows.jsonl"])
        .args(["--num-prompts", "1", "--num-warmups", "0"])
        .args(more)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", printed(&output));
    server
        .to(endpoint)
        .into_iter()
        .map(|asked| asked.body)
        .collect()
}

#[test]
fn the_template_is_applied_once_by_client_or_server() {
    for (backend, endpoint, prompt, by_client) in [
        ("vllm", "/v1/completions", "/prompt", true),
        (
            "openai-chat",
            "/v1/chat/completions",
            "/messages/0/content/0/text",
            false,
        ),
        ("anthropic", "/v1/messages", "/messages/0/content", false),
        ("openai-responses", "/v1/responses", "/input", false),
    ] {
        let text_of = |body: &Value| body.pointer(prompt).unwrap().as_str().unwrap().to_owned();
        let bodies = sent(backend, endpoint, &[]);
        let text = text_of(bodies.last().unwrap());
        assert!(text.contains("Tell me."), "{backend}: {text}");
        assert_eq!(
            text.matches(MARK).count(),
            usize::from(by_client),
            "{backend}: {text}"
        );
        // vLLM's datasets put it there for chat backends as well.
        let bodies = sent(backend, endpoint, &["--compat", "vllm"]);
        let text = text_of(bodies.last().unwrap());
        assert_eq!(text.matches(MARK).count(), 1, "{backend}: {text}");
    }
}
