use serde_json::json;

use super::*;

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn urls_are_shown_without_their_secrets() {
    for (url, shown) in [
        ("http://host:8000/v1", "http://host:8000/v1"),
        ("https://user:p@ss@host/v1/x@y", "https://***@host/v1/x@y"),
        ("user:secret@proxy:3128", "***@proxy:3128"),
        (
            "http://h/v1?api_key=sk-1&debug",
            "http://h/v1?api_key=***&***",
        ),
        (
            "/v1/chat?api-version=2026-01&code=x",
            "/v1/chat?api-version=2026-01&code=***",
        ),
        ("", ""),
    ] {
        assert_eq!(redact_url(url), shown);
    }
}

#[test]
fn names_of_secrets_are_distinguished_from_names_of_counts() {
    for name in [
        "api_key",
        "apiKey",
        "API-KEY",
        "Authorization",
        "hf_token",
        "x-api-key",
        "pwd",
        "clientSecret",
    ] {
        assert!(is_secret_name(name), "{name}");
    }
    for name in [
        "max_tokens",
        "tokenizer",
        "stop_token_ids",
        "prompt",
        "keyframes",
        "",
        "é",
        "skip-tokenizer-init",
    ] {
        assert!(!is_secret_name(name), "{name}");
    }
}

#[test]
fn secrets_are_left_out_of_foreign_text() {
    register("Bearer sk-known-0123");
    register("EMPTY");
    for (text, shown) in [
        ("invalid key sk-known-0123!", "invalid key ***!"),
        (
            "Incorrect API key provided: sk-k******0123. You can",
            "Incorrect API key provided: ***. You can",
        ),
        ("key sk-know... is unknown", "key *** is unknown"),
        ("key ...0123, key …0123", "key ***, key ***"),
        ("cut off: sk-known-0", "cut off: ***"),
        (
            "a list of sk-k and known... 0123",
            "a list of sk-k and known... 0123",
        ),
        ("wait... done.", "wait... done."),
        ("Bearer sk-known-0123", "***"),
        ("api key EMPTY is fine", "api key EMPTY is fine"),
        (
            "cannot reach http://me:pw@h:1/v1 or https://a@b",
            "cannot reach http://***@h:1/v1 or https://***@b",
        ),
        (
            "mail me@host, see http://h/@x",
            "mail me@host, see http://h/@x",
        ),
        ("://@ ://", "://***@ ://"),
    ] {
        assert_eq!(redact_text(text), shown);
        assert_eq!(redact_text(shown), shown, "twice is once");
    }
}

#[test]
fn json_is_shown_without_the_values_of_keys() {
    let mut value = json!({
        "max_tokens": 5, "api_key": "k", "a": [{"password": "p", "url": "http://u:p@h"}],
        "text": "{\"token\": \"t\", \"n\": 1}",
    });
    redact_json(&mut value);
    let shown = json!({
        "max_tokens": 5, "api_key": "***", "a": [{"password": "***", "url": "http://***@h"}],
        "text": "{\"token\":\"***\",\"n\":1}",
    });
    assert_eq!(value, shown);
}

#[test]
fn arguments_are_shown_without_secrets() {
    for (line, shown) in [
        (
            "run --header Authorization=Bearer-x Other=y --base-url https://me:pw@host/v1 --seed 1",
            "run --header Authorization=*** Other=*** --base-url https://***@host/v1 --seed 1",
        ),
        (
            "--api_key=k --api-key k --max-tokens 5",
            "--api_key=*** --api-key *** --max-tokens 5",
        ),
        (
            "--extra-body {\"api_key\":\"k\",\"n\":1}",
            "--extra-body {\"api_key\":\"***\",\"n\":1}",
        ),
        (
            "--endpoint /v1/x?key=k --tokenizer t",
            "--endpoint /v1/x?key=*** --tokenizer t",
        ),
        (
            "--metadata token=t gpu=h100",
            "--metadata token=*** gpu=h100",
        ),
    ] {
        assert_eq!(redact_arguments(&words(line)).join(" "), shown);
    }
    let commands = [
        "--serve-cmd",
        "VLLM_API_KEY=k vllm serve m --api-key 'a b' --x \"c d\" --hf-token=t",
    ];
    assert_eq!(
        redact_arguments(&commands.map(str::to_owned))[1],
        "VLLM_API_KEY=*** vllm serve m --api-key '***' --x \"c d\" --hf-token=***"
    );
}
