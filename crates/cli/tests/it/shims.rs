//! Scripts under the old names, and results of other tools.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use inferometer_testkit::{Recorder, printed, stderr, stdout};
use serde_json::Value;

use crate::INFEROMETER;

fn python(folder: &Path, script: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new("python3");
    command
        .current_dir(folder)
        .arg(folder.join("shims").join(script))
        .args(arguments);
    command
        .env_remove("OPENAI_API_KEY")
        .env("HF_HUB_OFFLINE", "1")
        .output()
        .unwrap()
}

#[test]
fn scripts_with_the_old_names_run_the_binary() {
    let (server, folder) = (Recorder::start(), tempfile::tempdir().unwrap());
    let output = INFEROMETER
        .command(folder.path())
        .args(["install-shims", "shims", "--with-vllm"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", printed(&output));
    let names = [
        "benchmark_serving.py",
        "run_sweep.py",
        "aggregate_result.py",
        "visualize.py",
        "vllm",
    ];
    let written = stdout(&output);
    assert_eq!(written.lines().count(), 5, "{written}");
    for name in names {
        assert!(folder.path().join("shims").join(name).is_file(), "{name}");
    }
    let arguments = [
        "--base-url",
        &server.url,
        "--model=m",
        "--tokenizer=builtin",
        "--num-prompts=3",
        "--dataset-name=random",
    ];
    let output = python(folder.path(), "benchmark_serving.py", &arguments);
    assert_eq!(output.status.code(), Some(0), "{}", printed(&output));
    assert!(
        stdout(&output).starts_with("Namespace("),
        "{}",
        printed(&output)
    );
    // The script's rules are those of its last version; its ready check is the fourth request.
    assert!(
        stdout(&output).contains("Total Token throughput (tok/s):"),
        "{}",
        printed(&output)
    );
    let sent = server.to("/v1/completions");
    assert_eq!(sent.len(), 4);
    assert!(
        sent.iter()
            .all(|request| request.body["temperature"] == 0.0)
    );
    let newest = [&arguments[..], &["--compat=vllm"]].concat();
    let output = python(folder.path(), "benchmark_serving.py", &newest);
    assert!(
        stdout(&output).contains("Total token throughput (tok/s):"),
        "{}",
        printed(&output)
    );
    // Exit codes are passed on.
    let output = python(
        folder.path(),
        "benchmark_serving.py",
        &["--use-beam-search"],
    );
    assert_eq!(output.status.code(), Some(2), "{}", printed(&output));
}

#[test]
fn the_vllm_wrapper_forwards_everything_else_to_the_real_one() {
    let folder = tempfile::tempdir().unwrap();
    INFEROMETER
        .command(folder.path())
        .args(["install-shims", "shims", "--with-vllm"])
        .output()
        .unwrap();
    let real = folder.path().join("real");
    fs::create_dir(&real).unwrap();
    fs::write(real.join("vllm"), "#!/bin/sh\necho real \"$@\"\n").unwrap();
    Command::new("chmod")
        .args(["+x", "real/vllm"])
        .current_dir(folder.path())
        .status()
        .unwrap();
    let vllm = |arguments: &[&str], with_real: bool| {
        let path = std::env::var("PATH").unwrap();
        let real = if with_real {
            real.display().to_string()
        } else {
            String::new()
        };
        Command::new(folder.path().join("shims/vllm"))
            .args(arguments)
            .env(
                "PATH",
                format!("{}:{real}:{path}", folder.path().join("shims").display()),
            )
            .output()
            .unwrap()
    };
    assert_eq!(
        stdout(&vllm(&["serve", "m", "--port", "1"], true)),
        "real serve m --port 1\n"
    );
    // `bench sweep plot` and its like are not ours.
    for command in [
        "latency",
        "throughput",
        "startup",
        "mm-processor",
        "forward",
        "sweep plot x",
        "sweep plot_pareto x",
        "sweep startup --dry-run",
        "sweep serve_workload --dry-run",
        "sweep --help",
    ] {
        let words: Vec<&str> = std::iter::once("bench").chain(command.split(' ')).collect();
        assert_eq!(
            stdout(&vllm(&words, true)),
            format!("real bench {command}\n")
        );
    }
    let ours = vllm(&["bench", "sweep", "serve", "--resume"], true);
    assert_eq!((stdout(&ours).as_str(), ours.status.code()), ("", Some(2)));
    // Without it, ours says what to use instead.
    let ours = vllm(&["bench", "sweep", "plot", "x"], false);
    assert!(
        stderr(&ours).contains("inferometer visualize"),
        "{}",
        printed(&ours)
    );
    let ours = vllm(&["bench", "serve", "--best-of", "2"], true);
    assert!(stderr(&ours).contains("--best-of"), "{}", printed(&ours));
}

#[test]
fn a_script_whose_binary_was_moved_says_so_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let output = INFEROMETER.call(folder.path(), &["install-shims", "shims", "--with-vllm"]);
    assert!(output.status.success(), "{}", printed(&output));
    for (script, arguments) in [
        ("run_sweep.py", &[][..]),
        ("vllm", &["bench", "serve"]),
        ("vllm", &["bench", "sweep", "plot"]),
    ] {
        let output = Command::new("python3")
            .arg(folder.path().join("shims").join(script))
            .args(arguments)
            .env("INFEROMETER", "/nowhere/inferometer")
            .env("PATH", "")
            .output();
        let Ok(output) = output else {
            return;
        };
        assert_eq!(output.status.code(), Some(1), "{}", printed(&output));
        assert_eq!(
            stderr(&output),
            "error: cannot run /nowhere/inferometer: No such file or directory; set the variable INFEROMETER to the \
             path of inferometer\n"
        );
    }
}

#[test]
fn a_foreign_script_is_not_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("shims")).unwrap();
    fs::write(folder.path().join("shims/visualize.py"), "print('mine')\n").unwrap();
    let output = INFEROMETER
        .command(folder.path())
        .args(["install-shims", "shims"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr(&output).contains("visualize.py"),
        "{}",
        printed(&output)
    );
    assert_eq!(
        fs::read_dir(folder.path().join("shims")).unwrap().count(),
        1
    );
}

#[test]
fn results_of_other_tools_are_imported() {
    let folder = tempfile::tempdir().unwrap();
    // A legacy result, whose key had a colon, and two of SGLang's lines.
    fs::write(
        folder.path().join("old.json"),
        r#"{"date": "20240101-000000", "backend": "vllm", "model_id": "m", "num_prompts": 2, "gpu": "H100",
            "request_rate": "inf", "duration": 1.5, "completed": 2, "total_input_tokens": 4,
            "total_output_tokens": 6, "request_throughput": 1.33, "request_goodput:": 1.0,
            "total_token_throughput": 6.67, "mean_ttft_ms": 10.0, "ttfts": [0.01, 0.01]}"#,
    )
    .unwrap();
    let line = r#"{"backend": "sglang", "completed": 5, "duration": 2.0, "request_throughput": 2.5, "mean_e2e_latency_ms": 7.5, "odd": 1}"#;
    fs::write(folder.path().join("sg.jsonl"), format!("{line}\n{line}\n")).unwrap();
    let output = INFEROMETER
        .command(folder.path())
        .args(["import", "old.json", "sg.jsonl", "-o", "ours"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", printed(&output));
    let read = |name: &str| -> Value {
        serde_json::from_slice(&fs::read(folder.path().join("ours").join(name)).unwrap()).unwrap()
    };
    let old = read("old.json");
    assert_eq!(
        (&old["request_goodput"], &old["gpu"]),
        (&Value::from(1.0), &Value::from("H100"))
    );
    assert!(
        old["inferometer"]["imported_from"]["tool"]
            .as_str()
            .unwrap()
            .contains("July 2025"),
        "{old}"
    );
    assert!(old.get("ttfts").is_none());
    let sglang = read("sg-1.json");
    assert_eq!(
        (&sglang["mean_e2el_ms"], &sglang["odd"]),
        (&Value::from(7.5), &Value::from(1))
    );
    let output = INFEROMETER
        .command(folder.path())
        .args(["import", "nothing.json"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", printed(&output));
    assert!(stderr(&output).contains("nothing.json"));
}
