//! Bad input is answered before anything is sent: the message names the flag, the value and the
//! remedy, and the exit code is 2.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use inferometer_testkit::{printed, server, stderr};

use crate::INFEROMETER;

/// Runs against a live server, expects refusal, and makes sure that nothing was sent.
fn refused(more: &[&str], words: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let server = server(1.0, 1.0);
    let output = INFEROMETER.run(folder.path(), &server.url(), more);
    assert_eq!(
        output.status.code(),
        Some(2),
        "{more:?}: {}",
        printed(&output)
    );
    let message = stderr(&output);
    for word in words {
        assert!(message.contains(word), "{more:?}: no {word:?} in {message}");
    }
    assert!(server.truth().is_empty(), "{more:?}: a request was sent");
    assert!(
        !folder.path().join("inferometer-runs").exists(),
        "{more:?}: a run folder was left"
    );
    server.stop().unwrap();
    message
}

#[test]
fn loads_that_make_no_sense_are_refused() {
    for (more, words) in [
        (&["--request-rate", "0"][..], &["--request-rate", "0"][..]),
        (&["--request-rate", "-3"], &["--request-rate", "-3"]),
        (&["--request-rate", "nan"], &["--request-rate"]),
        (&["--burstiness", "0"], &["--burstiness"]),
        (
            &["--max-concurrency", "0"],
            &["--max-concurrency 0", "at least 1"],
        ),
        (&["--max-concurrency", "-2"], &["--max-concurrency -2"]),
        (&["--num-prompts", "0"], &["--num-prompts 0"]),
        (&["--ramp-up-strategy", "linear"], &["--ramp-up-start-rps"]),
        (
            &[
                "--ramp-up-strategy",
                "linear",
                "--ramp-up-start-rps",
                "9",
                "--ramp-up-end-rps",
                "3",
            ],
            &["--ramp-up-start-rps", "9", "3"],
        ),
        (&["--workers", "0"], &["--workers 0"]),
        (
            &["--pin", "1000"],
            &["--pin 1000", "may run on", "fewer --workers"],
        ),
        (
            &[
                "--pin",
                "0",
                "--workers",
                "5000",
                "--max-concurrency",
                "6000",
            ],
            &["--pin 0", "0 to 4999"],
        ),
        (&["--temperature", "nan"], &["--temperature", "NaN"]),
        (&["--top-p", "inf"], &["--top-p", "inf"]),
        (&["--random-input-len", "0"], &["--random-input-len"]),
        (
            &["--random-range-ratio", "1.5"],
            &["--random-range-ratio", "1.5"],
        ),
    ] {
        refused(more, words);
    }
}

#[test]
fn a_url_with_the_endpoint_in_it_is_explained() {
    // Nobody listens at these: the URL alone is refused.
    let folder = tempfile::tempdir().unwrap();
    for (url, twice) in [
        ("http://127.0.0.1:9/v1", "with /v1 twice"),
        ("http://127.0.0.1:9/v1/", "with /v1 twice"),
        (
            "http://127.0.0.1:9/v1/completions",
            "with /v1/completions twice",
        ),
    ] {
        let output = INFEROMETER.run(folder.path(), url, &[]);
        assert_eq!(output.status.code(), Some(2), "{}", printed(&output));
        let message = stderr(&output);
        assert!(
            message.contains(&format!("--base-url {url}")) && message.contains(twice),
            "{message}"
        );
    }
    let server = server(1.0, 1.0);
    let output = INFEROMETER.run(
        folder.path(),
        &format!("{}/", server.url()),
        &["--no-run-folder"],
    );
    assert_eq!(
        output.status.code(),
        Some(0),
        "a slash at the end is nothing: {}",
        printed(&output)
    );
    assert_eq!(server.truth().len(), 20);
    server.stop().unwrap();
}

#[test]
fn a_field_that_is_not_there_cannot_be_omitted() {
    let folder = tempfile::tempdir().unwrap();
    let server = server(1.0, 1.0);
    let fields = [
        "--no-run-folder",
        "--omit-field",
        "logprobs,nosuch",
        "--omit-field",
        "repetition_penalty",
    ];
    let output = INFEROMETER.run(folder.path(), &server.url(), &fields);
    assert_eq!(output.status.code(), Some(0), "{}", printed(&output));
    let words = printed(&output);
    assert!(
        words.contains("--omit-field nosuch changes nothing"),
        "{words}"
    );
    assert!(
        !words.contains("--omit-field repetition_penalty"),
        "{words}"
    );
    assert!(!words.contains("--omit-field logprobs"), "{words}");
    server.stop().unwrap();
    refused(&["--omit-field", "logprobs,"], &["--omit-field"]);
}

/// A server that knows no more fields than OpenAI's API has, and says so as transformers serve
/// does.
fn strict_server() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        // Connections are opened ahead, so one that is silent must not keep the others waiting.
        listener
            .incoming()
            .flatten()
            .for_each(|stream| drop(std::thread::spawn(|| refuse_fields(stream))));
    });
    url
}

fn refuse_fields(mut stream: TcpStream) {
    let (mut request, mut piece) = (Vec::new(), [0; 4_096]);
    // The bodies of these tests end in a brace; what has none ends with its head.
    let whole = |request: &[u8]| {
        request.ends_with(b"}") || (request.starts_with(b"GET") && request.ends_with(b"\r\n\r\n"))
    };
    while !whole(&request) {
        match stream.read(&mut piece) {
            Ok(length @ 1..) => request.extend_from_slice(&piece[..length]),
            _ => return,
        }
    }
    let text = String::from_utf8_lossy(&request).into_owned();
    let unknown = ["'ignore_eos'", "'repetition_penalty'"];
    let unknown = unknown
        .into_iter()
        .filter(|name| text.contains(&name.replace('\'', "\"")));
    let unknown = unknown.collect::<Vec<_>>().join(", ");
    let (status, body) = if unknown.is_empty() {
        (400, "nothing to find fault with".to_owned())
    } else {
        (
            422,
            format!("{{\"detail\":\"Unexpected fields in the request: {{{unknown}}}\"}}"),
        )
    };
    let head = format!(
        "HTTP/1.1 {status} No\r\nContent-Length: {}\r\nConnection: close",
        body.len()
    );
    drop(stream.write_all(format!("{head}\r\n\r\n{body}").as_bytes()));
}

#[test]
fn the_fields_that_a_server_refuses_are_named_as_the_flag_takes_them() {
    let folder = tempfile::tempdir().unwrap();
    let url = strict_server();
    let flags = ["--no-run-folder", "--ignore-eos", "--skip-model-check"];
    let words = printed(&INFEROMETER.run(folder.path(), &url, &flags));
    let remedy = "--omit-field repetition_penalty,ignore_eos";
    assert!(
        words.contains(&format!("can be left out with {remedy})")),
        "{words}"
    );
    let mended: Vec<&str> = flags.into_iter().chain(remedy.split(' ')).collect();
    let words = printed(&INFEROMETER.run(folder.path(), &url, &mended));
    assert!(
        words.contains("nothing to find fault with") && !words.contains("422"),
        "{words}"
    );
    assert!(!words.contains("--omit-field"), "{words}");
}

#[test]
fn reporting_that_makes_no_sense_is_refused() {
    for (more, words) in [
        (
            &["--metadata", "gpu"][..],
            &["--metadata gpu", "KEY=VALUE"][..],
        ),
        (
            &["--label", "../x", "--save-result"],
            &["--label ../x", "--result-dir"],
        ),
        (&["--goodput", "ttfb:200"], &["--goodput", "ttfb", "ttft"]),
        (&["--goodput", "ttft=200"], &["--goodput", "ttft=200"]),
        (&["--goodput", "ttft:-1"], &["--goodput", "-1"]),
        (
            &["--percentile-metrics", "ttft,latency"],
            &["--percentile-metrics", "latency", "e2el"],
        ),
        (
            &["--metric-percentiles", "99,101"],
            &["--metric-percentiles", "101"],
        ),
        (&["--extra-body", "{not json"], &["--extra-body", "JSON"]),
        (
            &["--extra-body", "{\"seed\": 18446744073709551616}"],
            &["--extra-body", "18446744073709551616", "64 bits"],
        ),
        (
            &["--extra-body.a.b", "-9223372036854775809"],
            &["--extra-body.a.b", "-9223372036854775809"],
        ),
        (
            &[
                "--extra-body",
                "{\"seed\": 99999999999999999999}",
                "--extra-body.k",
                "1",
            ],
            &["--extra-body", "9999"],
        ),
        (
            &["--chat-template-kwargs", "{\"k\": 18446744073709551616}"],
            &["--chat-template-kwargs", "64 bits"],
        ),
        (
            &["--header", "secret-without-equals"],
            &["--header", "NAME=VALUE"],
        ),
    ] {
        let message = refused(more, words);
        assert!(!message.contains("secret-without-equals"), "{message}");
    }
}

#[test]
fn what_cannot_be_measured_without_a_stream_is_refused() {
    for whole in [&["--no-streaming"][..], &["--backend", "deepspeed-mii"]] {
        let with = |more: &[&'static str]| [whole, more].concat();
        refused(
            &with(&["--percentile-metrics", "ttft,e2el"]),
            &["--percentile-metrics", "ttft", whole[0]],
        );
        refused(
            &with(&["--goodput", "ttft:100"]),
            &["--goodput: ttft", whole[0], "e2el"],
        );
        refused(
            &with(&["--goodput", "tpot:10"]),
            &["--goodput: tpot", whole[0]],
        );
    }
}

#[test]
fn a_wrong_target_is_refused() {
    refused(&["--model", "gpt-5"], &["--model gpt-5", "It serves: sim"]);
    refused(
        &["--backend", "openai-chat", "--endpoint", "/v1/completions"],
        &[
            "--endpoint /v1/completions",
            "openai-chat",
            "chat/completions",
        ],
    );
    refused(
        &["--backend", "open-ai"],
        &["--backend open-ai", "openai-chat"],
    );
    refused(
        &["--tokenizer", "no-such-folder/model"],
        &["no-such-folder/model"],
    );
}

#[test]
fn an_unreachable_server_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let server = server(1.0, 1.0);
    let url = server.url();
    server.stop().unwrap();
    let output = INFEROMETER.run(folder.path(), &url, &[]);
    assert_eq!(output.status.code(), Some(2), "{}", printed(&output));
    let message = stderr(&output);
    assert!(
        message.contains(&url) && message.contains("--base-url"),
        "{message}"
    );
    assert!(message.contains("--ready-check-timeout-sec"), "{message}");
}

#[test]
fn datasets_that_cannot_be_read_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let not_json = path("broken.json", "[{\"conversations\": ");
    let no_rows = path("empty.json", "[]");
    let no_prompt = path("rows.jsonl", "{\"question\": \"why?\"}\n");
    for (name, file, words) in [
        ("sharegpt", "missing.json", &["missing.json"][..]),
        ("sharegpt", &not_json, &["broken.json"]),
        ("sharegpt", &no_rows, &["empty.json"]),
        ("custom", &no_prompt, &["rows.jsonl", "prompt", "question"]),
    ] {
        refused(&["--dataset-name", name, "--dataset-path", file], words);
    }
    refused(&["--dataset-name", "sharegpt"], &["--dataset-path"]);
    refused(
        &["--dataset-name", "random", "--dataset-path", "x.json"],
        &["--dataset-path x.json"],
    );
    refused(
        &["--dataset-name", "sharepgt"],
        &["--dataset-name sharepgt", "sharegpt"],
    );
}

#[test]
fn an_unwritable_result_folder_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let under_a_file = file.join("results").display().to_string();
    refused(
        &["--save-result", "--result-dir", &under_a_file],
        &["--result-dir", "results"],
    );
    refused(&["--runs-dir", &under_a_file], &["--runs-dir", "results"]);
}

#[test]
fn too_few_descriptors_for_the_load_are_told_with_the_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let server = server(1.0, 1.0);
    let command = format!(
        "ulimit -n 200 && exec {} run --backend vllm --base-url {} --model sim --tokenizer builtin \
         --num-prompts 1000 --max-concurrency 500",
        INFEROMETER.path(),
        server.url()
    );
    let mut shell = std::process::Command::new("sh");
    let output = shell
        .current_dir(folder.path())
        .args(["-c", &command])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", printed(&output));
    let message = stderr(&output);
    assert!(
        message.contains("--max-concurrency 500") && message.contains("ulimit -n"),
        "{message}"
    );
    assert!(server.truth().is_empty());
    server.stop().unwrap();
}

#[test]
fn flags_that_are_not_built_are_refused_and_never_ignored() {
    let folder = tempfile::tempdir().unwrap();
    for (typed, named) in [
        ("--use-beam-search", "use-beam-search"),
        ("--use_beam_search", "use-beam-search"),
    ] {
        let output = INFEROMETER
            .command(folder.path())
            .args(["run", "--model", "m", typed])
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2));
        assert!(stderr(&output).contains(named), "{}", printed(&output));
    }
}
