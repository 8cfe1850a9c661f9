//! Bad input is refused before anything is sent: the message names the flag, the value and the
//! remedy, and the exit code is 2.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use inferometer_testkit::{Redaction, printed, server, snapshot, transcript, transcript_of};

use crate::INFEROMETER;

/// Makes a run with each of these flags against a live server, expects refusals, and makes sure
/// that nothing was sent. Returns what was printed; `…` stands for the flags of every run here.
fn refusals(cases: &[&[&str]]) -> String {
    let server = server(1.0, 1.0);
    let mut text = String::new();
    for more in cases {
        let folder = tempfile::tempdir().unwrap();
        let output = INFEROMETER.run(folder.path(), &server.url(), more);
        let shown = transcript_of(&[&["run", "…"], *more].concat(), &output);
        assert_eq!(output.status.code(), Some(2), "{shown}");
        assert!(server.truth().is_empty(), "a request was sent: {shown}");
        assert!(
            !folder.path().join("inferometer-runs").exists(),
            "a run folder was left: {shown}"
        );
        text += &shown;
        text.push('\n');
    }
    server.stop().unwrap();
    text
}

#[test]
fn loads_out_of_range_are_refused() {
    let cases: &[&[&str]] = &[
        &["--request-rate", "0"],
        &["--request-rate", "-3"],
        &["--request-rate", "nan"],
        &["--burstiness", "0"],
        &["--max-concurrency", "0"],
        &["--max-concurrency", "-2"],
        &["--num-prompts", "0"],
        &["--random-input-len", "0"],
        &["--random-range-ratio", "1.5"],
    ];
    snapshot!("refused_load", refusals(cases));
    let ramp = ["--ramp-up-strategy", "linear"];
    let falling = ["--ramp-up-start-rps", "9", "--ramp-up-end-rps", "3"];
    let cases: &[&[&str]] = &[&ramp, &[&ramp[..], &falling].concat()];
    snapshot!("refused_ramp", refusals(cases));
    let cases: &[&[&str]] = &[&["--temperature", "nan"], &["--top-p", "inf"]];
    snapshot!("refused_sampling", refusals(cases));
}

#[test]
fn workers_that_the_machine_cannot_hold_are_refused() {
    let many = ["--workers", "5000", "--max-concurrency", "6000"];
    let cases: &[&[&str]] = &[
        &["--workers", "0"],
        &["--pin", "1000", "--workers", "1"],
        &[&["--pin", "0"][..], &many].concat(),
    ];
    // Which processors there are depends on the machine.
    let processors: &[Redaction] = &[(r"may run on [\d, to–-]*\d", "may run on [processors]")];
    snapshot!("refused_workers", refusals(cases), processors);
}

#[test]
fn a_url_with_the_endpoint_in_it_is_explained() {
    // Nothing listens at these: the URL itself is refused.
    let folder = tempfile::tempdir().unwrap();
    let mut text = String::new();
    for url in [
        "http://127.0.0.1:9/v1",
        "http://127.0.0.1:9/v1/",
        "http://127.0.0.1:9/v1/completions",
    ] {
        let output = INFEROMETER.run(folder.path(), url, &[]);
        assert_eq!(output.status.code(), Some(2), "{}", printed(&output));
        text += &transcript_of(&["run", "…", "--base-url", url], &output);
        text.push('\n');
    }
    snapshot!("refused_base_url", text);
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
fn omitting_an_unknown_field_is_warned_of() {
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
    snapshot!(
        "refused_omit_field",
        refusals(&[&["--omit-field", "logprobs,"]])
    );
}

/// A server that refuses fields that OpenAI's API does not have, in the words of `transformers
/// serve`.
fn strict_server() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        // Connections are opened ahead of time: an idle one must not block the others.
        listener
            .incoming()
            .flatten()
            .for_each(|stream| drop(std::thread::spawn(|| refuse_fields(stream))));
    });
    url
}

fn refuse_fields(mut stream: TcpStream) {
    let (mut request, mut piece) = (Vec::new(), [0; 4_096]);
    // The bodies of these tests end in a brace; requests without a body end with their head.
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
fn reports_that_cannot_be_made_are_refused() {
    let cases: &[&[&str]] = &[
        &["--metadata", "gpu"],
        &["--label", "../x", "--save-result"],
        &["--percentile-metrics", "ttft,latency"],
        &["--metric-percentiles", "99,101"],
    ];
    snapshot!("refused_report", refusals(cases));
    let cases: &[&[&str]] = &[
        &["--goodput", "ttfb:200"],
        &["--goodput", "ttft=200"],
        &["--goodput", "ttft:-1"],
    ];
    snapshot!("refused_goodput", refusals(cases));
}

#[test]
fn request_bodies_that_are_not_json_are_refused() {
    let wide = "{\"seed\": 99999999999999999999}";
    let cases: &[&[&str]] = &[
        &["--extra-body", "{not json"],
        &["--extra-body", "{\"seed\": 18446744073709551616}"],
        &["--extra-body.a.b", "-9223372036854775809"],
        &["--extra-body", wide, "--extra-body.k", "1"],
        &["--chat-template-kwargs", "{\"k\": 18446744073709551616}"],
    ];
    snapshot!("refused_body", refusals(cases));
}

#[test]
fn a_header_without_a_name_is_refused_and_not_repeated() {
    let refused = refusals(&[&["--header", "secret-without-equals"]]);
    let printed = refused.split_once('\n').unwrap().1;
    assert!(!printed.contains("secret-without-equals"), "{printed}");
    snapshot!("refused_header", refused);
}

#[test]
fn what_cannot_be_measured_without_a_stream_is_refused() {
    let mut text = String::new();
    for whole in [&["--no-streaming"][..], &["--backend", "deepspeed-mii"]] {
        let with = |more: &[&'static str]| [whole, more].concat();
        text += &refusals(&[
            &with(&["--percentile-metrics", "ttft,e2el"]),
            &with(&["--goodput", "ttft:100"]),
            &with(&["--goodput", "tpot:10"]),
        ]);
    }
    snapshot!("refused_without_stream", text);
}

#[test]
fn a_wrong_target_is_refused() {
    let cases: &[&[&str]] = &[
        &["--model", "gpt-5"],
        &["--backend", "openai-chat", "--endpoint", "/v1/completions"],
        &["--backend", "open-ai"],
        &["--tokenizer", "no-such-folder/model"],
    ];
    snapshot!("refused_target", refusals(cases));
}

#[test]
fn an_unreachable_server_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let server = server(1.0, 1.0);
    let url = server.url();
    server.stop().unwrap();
    let output = INFEROMETER.run(folder.path(), &url, &[]);
    snapshot!(
        "refused_unreachable",
        transcript_of(&["run", "…", "--base-url", &url], &output)
    );
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
    let load = |name, file| ["--dataset-name", name, "--dataset-path", file];
    let cases: &[&[&str]] = &[
        &load("sharegpt", "missing.json"),
        &load("sharegpt", &not_json),
        &load("sharegpt", &no_rows),
        &load("custom", &no_prompt),
        &["--dataset-name", "sharegpt"],
        &load("random", "x.json"),
        &["--dataset-name", "sharepgt"],
    ];
    snapshot!("refused_dataset", refusals(cases));
}

#[test]
fn an_unwritable_result_folder_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let under_a_file = file.join("results").display().to_string();
    let cases: &[&[&str]] = &[
        &["--save-result", "--result-dir", &under_a_file],
        &["--runs-dir", &under_a_file],
    ];
    snapshot!("refused_folder", refusals(cases));
}

#[test]
fn too_few_descriptors_for_the_load_are_reported_with_the_remedy() {
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
    assert!(server.truth().is_empty());
    snapshot!(
        "refused_descriptors",
        transcript_of(&["run", "…", "--max-concurrency", "500"], &output)
    );
    server.stop().unwrap();
}

#[test]
fn unsupported_flags_are_refused_and_never_ignored() {
    let folder = tempfile::tempdir().unwrap();
    let mut text = String::new();
    for flag in ["--use-beam-search", "--use_beam_search"] {
        text += &transcript(
            INFEROMETER
                .command(folder.path())
                .args(["run", "--model", "m", flag]),
        );
        text.push('\n');
    }
    snapshot!("refused_flag", text);
}

/// None of these may panic or take all memory.
#[test]
fn arguments_and_numbers_that_nothing_can_hold_are_refused() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    let folder = tempfile::tempdir().unwrap();
    let output = INFEROMETER
        .command(folder.path())
        .arg("run")
        .arg(OsStr::from_bytes(b"--model=\xff\xfe"))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", printed(&output));
    assert!(printed(&output).contains("UTF-8"), "{}", printed(&output));

    let list = |count: usize| format!("{:?}", (1..=count).collect::<Vec<_>>());
    let grid = format!(
        "run:\n  base-url: http://127.0.0.1:9\n  num-prompts: {0}\n  random-input-len: {0}\n  \
         random-output-len: {0}\n",
        list(100)
    );
    fs::write(folder.path().join("grid.yaml"), grid).unwrap();
    let repeats = "run:\n  base-url: http://127.0.0.1:9\nrepeats: 1000000000000\n";
    fs::write(folder.path().join("repeats.yaml"), repeats).unwrap();
    for (arguments, words) in [
        ("simulate --num-prompts 1000000000000000", "GB of memory"),
        (
            "simulate --num-prompts 9 --random-input-len 1000000000000000",
            "GB of memory",
        ),
        ("simulate --num-prompts many", "expected a whole number"),
        ("simulate --replicas 1000000000000", "at most 10000"),
        ("simulate --num-blocks 1000000000000", "at most 10000000"),
        ("sim --threads 1000000000000", "expected 1 to"),
        ("sweep grid.yaml --dry-run", "1000000 runs"),
        ("sweep repeats.yaml --dry-run", "expected at most 20000"),
    ] {
        let mut command = INFEROMETER.command(folder.path());
        let output = command.args(arguments.split(' ')).output().unwrap();
        let shown = printed(&output);
        assert_eq!(output.status.code(), Some(2), "{arguments}: {shown}");
        assert!(shown.contains(words), "{arguments}: {shown}");
    }
}
