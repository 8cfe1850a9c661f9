//! Secrets planted in every place that takes one: none of them is found in anything that a run
//! prints or leaves.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::Duration;

use inferometer_results::RunFolder;
use inferometer_testkit::{printed, run_folder};

use crate::INFEROMETER;

/// What must not be seen, and where it is planted.
const PLANTED: [(&str, &str); 11] = [
    ("key-in-environment-71", "OPENAI_API_KEY"),
    ("key-in-header-72", "--header"),
    ("key-in-password-73", "the password of --base-url"),
    ("key-in-body-74", "--extra-body"),
    ("key-deep-in-body-75", "an object in --extra-body"),
    ("key-in-query-76", "the query of --endpoint"),
    ("key-in-server-command-77", "--serve-cmd"),
    ("key-of-the-hub-78", "HF_TOKEN"),
    ("key-in-metadata-79", "--metadata"),
    ("key-in-a-sweep-80", "a value of an experiment"),
    ("key-in-bad-value-81", "a value that cannot be read"),
];
const BODY: &str = r#"{"api_key": "key-in-body-74", "store": {"password": "key-deep-in-body-75"}}"#;
const ENDPOINT: &str = "/v1/completions?api_key=key-in-query-76";

/// A server that repeats everything it receives in its refusals, as some gateways do; it answers
/// every second request.
fn repeating_server() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for (number, stream) in listener.incoming().flatten().enumerate() {
            thread::spawn(move || answer(stream, number % 2 == 0));
        }
    });
    address.to_string()
}

fn answer(mut stream: TcpStream, good: bool) {
    let mut request = String::new();
    let mut buffer = vec![0_u8; 1 << 16];
    let whole = |request: &str| {
        request.split_once("\r\n\r\n").is_some_and(|(head, body)| {
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "));
            body.len() >= length.map_or(0, |length| length.parse().unwrap())
        })
    };
    while !whole(&request) {
        let read = stream.read(&mut buffer).unwrap_or(0);
        if read == 0 {
            return;
        }
        request.push_str(&String::from_utf8_lossy(&buffer[..read]));
    }
    let (status, kind, body) = if request.starts_with("GET /version") {
        (
            "200 OK",
            "application/json",
            r#"{"version": "1 for key-in-environment-71"}"#.to_owned(),
        )
    } else if request.starts_with("GET /v1/models") {
        (
            "200 OK",
            "application/json",
            r#"{"data": [{"id": "m", "root": "m of key-in-header-72"}]}"#.to_owned(),
        )
    } else if request.starts_with("POST") && good {
        // The answer repeats a key, in two events.
        let events = [
            r#""text": "key-in-envi""#,
            r#""text": "ronment-71 x", "finish_reason": "end of key-in-header-72""#,
        ];
        let events =
            events.map(|event| format!("data: {{\"choices\": [{{\"index\": 0, {event}}}]}}\n\n"));
        (
            "200 OK",
            "text/event-stream",
            events.concat() + "data: [DONE]\n\n",
        )
    } else {
        // Some servers show parts of the key that they refuse.
        let parts = format!("refused: {request} key-in-env******t-71 key-in-hea... ...ronment-71");
        let error = serde_json::json!({"error": {"message": parts}});
        ("401 Unauthorized", "application/json", error.to_string())
    };
    let head = format!("HTTP/1.1 {status}\r\ncontent-type: {kind}\r\nconnection: close\r\n");
    let answer = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
    drop(stream.write_all(answer.as_bytes()));
}

fn with_secrets(folder: &Path) -> Command {
    let mut command = INFEROMETER.command(folder);
    command
        .env("OPENAI_API_KEY", "key-in-environment-71")
        .env("HF_TOKEN", "key-of-the-hub-78");
    command
}

fn arguments(address: &str) -> Vec<String> {
    let url = format!("http://me:key-in-password-73@{address}");
    [
        "--base-url",
        &url,
        "--endpoint",
        ENDPOINT,
        "--extra-body",
        BODY,
        "--model",
        "m",
        "--tokenizer",
        "builtin",
    ]
    .into_iter()
    .chain([
        "--header",
        "X-Api-Key=Bearer key-in-header-72",
        "--num-prompts",
        "20",
        "--disable-tqdm",
    ])
    .chain([
        "--random-input-len",
        "8",
        "--random-output-len",
        "4",
        "--ready-check-timeout-sec",
        "0",
    ])
    .map(str::to_owned)
    .collect()
}

fn check_arguments(address: &str) -> Vec<String> {
    let url = format!("http://me:key-in-password-73@{address}");
    [
        "check",
        "--backend",
        "vllm",
        "--base-url",
        &url,
        "--endpoint",
        ENDPOINT,
        "--model",
        "m",
    ]
    .into_iter()
    .chain([
        "--tokenizer",
        "builtin",
        "--header",
        "X-Api-Key=Bearer key-in-header-72",
    ])
    .map(str::to_owned)
    .collect()
}

fn assert_clean(text: &[u8], place: &str) {
    for (secret, planted) in PLANTED {
        let found = text
            .windows(secret.len())
            .any(|window| window == secret.as_bytes());
        assert!(
            !found,
            "{planted} is shown in {place}:\n{}",
            String::from_utf8_lossy(text)
        );
    }
    let text = String::from_utf8_lossy(text);
    for part in ["key-in-env***", "key-in-hea...", "...ronment-71"] {
        assert!(!text.contains(part), "{part} is shown in {place}:\n{text}");
    }
}

/// Searches every file below `folder`, and the records of its run folders, which are compressed.
fn assert_clean_folder(folder: &Path) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            assert_clean_folder(&path);
        } else if path
            .file_name()
            .is_some_and(|name| name == "requests.parquet")
        {
            let run = RunFolder::open(folder).unwrap();
            let records = run.read_records().unwrap();
            let is_simulated = run.read_manifest().unwrap().run.simulated;
            assert!(
                is_simulated || records.iter().any(|record| record.error.is_some()),
                "{}",
                path.display()
            );
            assert_clean(
                format!("{records:?}").as_bytes(),
                &path.display().to_string(),
            );
        } else if path.file_name().is_some_and(|name| name != "sweep.yaml") {
            assert_clean(&fs::read(&path).unwrap(), &path.display().to_string());
        }
    }
}

fn assert_clean_output(output: &Output, what: &str) {
    assert_clean(printed(output).as_bytes(), what);
}

#[test]
fn a_run_shows_no_secret_anywhere() {
    let folder = tempfile::tempdir().unwrap();
    let address = repeating_server();
    let output = with_secrets(folder.path())
        .args([
            "run",
            "--backend",
            "vllm",
            "--compat",
            "vllm",
            "--save-result",
            "--save-detailed",
        ])
        .args([
            "--metadata",
            "api_key=key-in-metadata-79",
            "url=https://me:key-in-metadata-79@host",
            "note=Bearer key-in-metadata-79",
            "other=key-in-environment-71",
        ])
        .env("SAVE_TO_PYTORCH_BENCHMARK_FORMAT", "1")
        .args([
            "--result-filename",
            "r.json",
            "--export",
            "aiperf",
            "--max-concurrency",
            "2",
        ])
        .args(arguments(&address))
        .output()
        .unwrap();
    assert!(
        printed(&output).contains("Failed requests:"),
        "{}",
        printed(&output)
    );
    assert!(
        printed(&output).contains("refused: "),
        "{}",
        printed(&output)
    );
    assert_clean_output(&output, "the run's output");
    assert_clean_folder(folder.path());
    let run = run_folder(folder.path());
    for command in ["report", "recover"] {
        let output = with_secrets(folder.path())
            .arg(command)
            .arg(&run)
            .output()
            .unwrap();
        assert_clean_output(&output, command);
    }
    let output = with_secrets(folder.path())
        .args(check_arguments(&address))
        .output()
        .unwrap();
    assert_clean_output(&output, "check");
}

#[test]
fn a_refused_connection_shows_no_password() {
    let folder = tempfile::tempdir().unwrap();
    let run = [
        vec!["run".to_owned(), "--backend".to_owned(), "vllm".to_owned()],
        arguments("127.0.0.1:9"),
    ];
    for arguments in [run.concat(), check_arguments("127.0.0.1:9")] {
        let output = with_secrets(folder.path())
            .args(&arguments)
            .output()
            .unwrap();
        assert!(
            printed(&output).contains("127.0.0.1:9"),
            "{}",
            printed(&output)
        );
        assert_clean_output(&output, &arguments[0]);
    }
}

/// The lines of `ps -eo pid,ppid,args` about what `process` started, and what that started: a
/// supervisor is between a sweep and its runs.
fn descendants(listed: &str, process: u32) -> Vec<&str> {
    let mut found: Vec<&str> = Vec::new();
    let mut ours = vec![process.to_string()];
    loop {
        let before = ours.len();
        for line in listed.lines() {
            let mut words = line.split_whitespace();
            if let (Some(process), Some(parent)) = (words.next(), words.next())
                && ours.iter().any(|one| one == parent)
                && !ours.iter().any(|one| one == process)
            {
                ours.push(process.to_owned());
                found.push(line);
            }
        }
        if ours.len() == before {
            return found;
        }
    }
}

#[test]
fn a_sweep_shows_no_secret_not_even_among_the_arguments_of_its_runs() {
    let folder = tempfile::tempdir().unwrap();
    let address = repeating_server();
    let words: Vec<String> = arguments(&address)
        .into_iter()
        .filter(|word| word != "--disable-tqdm")
        .collect();
    let flags: Vec<String> = words
        .chunks(2)
        .filter(|pair| pair[0] != "--num-prompts")
        .filter_map(|pair| {
            let [name, value] = pair else { return None };
            Some(format!(
                "  {}: {}\n",
                name.trim_start_matches("--"),
                serde_json::json!(value)
            ))
        })
        .collect();
    let experiment = format!(
        "run:\n  backend: vllm\n{}  request-rate: 10\n  num-prompts: [20]\n",
        flags.concat()
    );
    fs::write(folder.path().join("sweep.yaml"), experiment).unwrap();
    let child = with_secrets(folder.path())
        .args(["sweep", "sweep.yaml"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut seen = Vec::new();
    let mut runs = 0;
    // Two seconds of requests, so that the run is seen while it lasts.
    for _ in 0..150 {
        let listed = Command::new("ps")
            .args(["-eo", "pid,ppid,args"])
            .output()
            .unwrap()
            .stdout;
        let listed = String::from_utf8_lossy(&listed).into_owned();
        for line in descendants(&listed, child.id()) {
            runs += usize::from(line.contains("--header"));
            seen.extend_from_slice(line.as_bytes());
        }
        if runs > 3 {
            break;
        }
        thread::sleep(Duration::from_millis(20));
    }
    let output = child.wait_with_output().unwrap();
    assert!(
        runs > 0,
        "no run of the sweep was seen: {}",
        printed(&output)
    );
    assert_clean(&seen, "the list of processes");
    assert_clean_output(&output, "the sweep's output");
    assert!(
        printed(&output).contains("1 of 1 runs done"),
        "{}",
        printed(&output)
    );
    assert_clean_folder(folder.path());
}

#[test]
fn commands_of_servers_are_shown_without_their_keys() {
    let folder = tempfile::tempdir().unwrap();
    let output = with_secrets(folder.path())
        .args([
            "sweep",
            "serve",
            "--serve-cmd",
            "sh -c 'export HF_TOKEN=key-of-the-hub-78; false --api-key key-in-server-command-77 --port 9'",
        ])
        .args([
            "--bench-cmd",
            "vllm bench serve --header Authorization=key-in-header-72 --port 9",
        ])
        .args(["--experiment-name", "e"])
        .output()
        .unwrap();
    assert!(
        printed(&output).contains("--resume"),
        "{}",
        printed(&output)
    );
    assert_clean_output(&output, "sweep serve");
    assert_clean_folder(folder.path());
}

/// Names of files, labels, tables and figures are made of the values that vary.
#[test]
fn an_experiment_over_secrets_names_nothing_after_them() {
    let folder = tempfile::tempdir().unwrap();
    let experiment = r#"
run:
  backend: sim
  model: m
  tokenizer: builtin
  num_prompts: 4
  random_input_len: 8
  random_output_len: 4
  extra_body: ['{"api_key": "key-in-a-sweep-80"}', '{"api_key": "key-in-a-sweep-80b"}']
  header: [[X-Tenant-Key=key-in-a-sweep-80], [X-Tenant-Key=key-in-a-sweep-80c]]
rows:
  - {endpoint: "/v1/completions?token=key-in-a-sweep-80"}
  - {metadata: [token=key-in-a-sweep-80]}
"#;
    fs::write(folder.path().join("sweep.yaml"), experiment).unwrap();
    for arguments in [&["sweep", "sweep.yaml"][..], &["aggregate"], &["visualize"]] {
        let output = with_secrets(folder.path())
            .args(arguments)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", printed(&output));
        assert_clean_output(&output, arguments[0]);
    }
    let names: Vec<String> = fs::read_dir(folder.path().join("results"))
        .unwrap()
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    let results = names.iter().filter(|name| name.contains("hidden"));
    assert_eq!(results.count(), 8, "{names:?}");
    for name in &names {
        assert_clean(name.as_bytes(), "the name of a file");
    }
    assert_clean_folder(folder.path());
}

#[test]
fn errors_about_values_do_not_repeat_them() {
    let folder = tempfile::tempdir().unwrap();
    let run = ["run", "--model", "m", "--tokenizer", "builtin"];
    for (arguments, words) in [
        (
            &["--extra-body", r#"{"api_key":"key-in-bad-value-81""#][..],
            "invalid JSON",
        ),
        (
            &["--extra-body", r#"["key-in-bad-value-81"]"#],
            "JSON object",
        ),
        (&["--metadata", "key-in-bad-value-81"], "KEY=VALUE"),
        (
            &["--base-url", "http://u:key-in-bad-value-81/x@127.0.0.1:1"],
            "port",
        ),
        (&["--base-url", "https//u:key-in-bad-value-81@h"], "scheme"),
        (&["--base-url", "http:/u:key-in-bad-value-81@h"], "scheme"),
        (&["--proxy", "u:key-in-bad-value-81/x@h:x"], "proxy"),
    ] {
        let output = with_secrets(folder.path())
            .args(run)
            .args(arguments)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2), "{}", printed(&output));
        assert!(printed(&output).contains(words), "{}", printed(&output));
        assert_clean_output(&output, arguments[1]);
    }
    let output = with_secrets(folder.path())
        .env("HF_ENDPOINT", "u:key-in-bad-value-81@127.0.0.1:1")
        .args(["run", "--base-url", "http://127.0.0.1:9", "--model", "a/b"])
        .output()
        .unwrap();
    assert_clean_output(&output, "HF_ENDPOINT");
    let command = "vllm serve m --api-key 'key-in-bad-value-81";
    let output = with_secrets(folder.path())
        .args(["sweep", "serve", "--serve-cmd", command, "--bench-cmd", "x"])
        .output()
        .unwrap();
    assert!(
        printed(&output).contains("character 24"),
        "{}",
        printed(&output)
    );
    assert_clean_output(&output, "--serve-cmd");
}
