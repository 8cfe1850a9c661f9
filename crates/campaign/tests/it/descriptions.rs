//! Descriptions become campaigns; mistakes in them are named.

use std::fs;

use inferometer_campaign::{
    Campaign, OurCommand, ServeOptions, SweepOptions, Work, serve_campaign,
};

use crate::world::{campaign_of, value_of};

const COMBOS: &str = "\
model: m/one
base_url: http://127.0.0.1:8000
tokenizer: m/tok
input_output:
  - [256, 128]
  - [512, 128]
concurrency_prompts:
  - [1, 10]
  - [8, 80]
";

fn campaign(name: &str, text: &str) -> Result<Campaign, String> {
    let folder = tempfile::tempdir().unwrap();
    campaign_of(folder.path(), name, text, SweepOptions::default())
}

fn results(campaign: &Campaign) -> Vec<String> {
    campaign
        .cells
        .iter()
        .map(|cell| cell.result.display().to_string())
        .collect()
}

#[test]
fn the_tutorials_file_gives_the_tutorials_names_and_flags() {
    let campaign = campaign("combos.yaml", COMBOS).unwrap();
    assert_eq!(
        results(&campaign),
        [
            "bench_io256x128_mc1_np10.json",
            "bench_io256x128_mc8_np80.json",
            "bench_io512x128_mc1_np10.json",
            "bench_io512x128_mc8_np80.json",
        ]
    );
    let work = &campaign.cells[3].work;
    assert_eq!(work.words()[..2], ["inferometer", "run"]);
    for (flag, value) in [
        ("model", "m/one"),
        ("base-url", "http://127.0.0.1:8000"),
        ("tokenizer", "m/tok"),
        ("dataset-name", "random"),
        ("random-input-len", "512"),
        ("random-output-len", "128"),
        ("max-concurrency", "8"),
        ("num-prompts", "80"),
    ] {
        assert_eq!(value_of(work, flag).as_deref(), Some(value), "{flag}");
    }
}

#[test]
fn cells_have_seeds_of_their_own_that_do_not_depend_on_the_other_cells() {
    let all = campaign("combos.yaml", COMBOS).unwrap();
    let fewer = campaign("combos.yaml", &COMBOS.replace("  - [256, 128]\n", "")).unwrap();
    let seeds: Vec<_> = all
        .cells
        .iter()
        .map(|cell| value_of(&cell.work, "seed").unwrap())
        .collect();
    let mut distinct = seeds.clone();
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!(distinct.len(), 4);
    assert_eq!(
        value_of(&fewer.cells[0].work, "seed"),
        Some(seeds[2].clone())
    );
    assert!(
        seeds
            .iter()
            .all(|seed| seed.parse::<u64>().unwrap() < 1 << 31)
    );
}

#[test]
fn mistakes_in_the_file_are_named_with_what_was_meant() {
    for (find, replace, words) in [
        (
            "concurrency_prompts",
            "concurency_prompts",
            &["concurrency_prompts is missing"][..],
        ),
        (
            "tokenizer: m/tok",
            "tokeniser: m/tok",
            &["tokeniser", "did you mean \"tokenizer\"?"],
        ),
        (
            "[256, 128]",
            "[256]",
            &["input_output", "list of pairs [input, output]"],
        ),
        ("[256, 128]", "[256, -1]", &["input_output"]),
        ("[1, 10]", "[0, 10]", &["concurrency_prompts"]),
        ("model: m/one", "model: [a", &["combos.yaml"]),
        (
            "[512, 128]",
            "[256, 128]",
            &["would both write bench_io256x128"],
        ),
    ] {
        let error = campaign("combos.yaml", &COMBOS.replace(find, replace)).unwrap_err();
        for word in words {
            assert!(error.contains(word), "no {word:?} in {error}");
        }
    }
    // An own mistake in a file that has everything needed.
    let error = campaign(
        "combos.yaml",
        &format!("{COMBOS}ouput_dir: x\nmetadata: y\n"),
    )
    .unwrap_err();
    assert!(error.contains("unknown key \"ouput_dir\""), "{error}");
    assert!(campaign("combos.yaml", "").unwrap_err().contains("empty"));
}

#[test]
fn an_experiment_expands_grids_rows_and_repeats() {
    let text = "
run:
  model: m
  ignore_eos: true
  goodput: [ttft:200, tpot:50]
  max-concurrency: [1, 8]
  random_output_len: [64, 128]
rows:
  - {num_prompts: 10}
  - {num_prompts: 20, max_concurrency: 4}
repeats: 2
cooldown_seconds: 5
";
    // The second row fixes what the grid varies, so that two of its cells coincide.
    let error = campaign("e.yaml", text).unwrap_err();
    assert!(error.contains("would both write"), "{error}");
    let campaign = campaign("e.yaml", &text.replace(", max_concurrency: 4", "")).unwrap();
    assert_eq!(campaign.cells.len(), 16);
    assert_eq!(
        results(&campaign)[0],
        "run1/max_concurrency=1-random_output_len=64-num_prompts=10.json"
    );
    assert_eq!(
        results(&campaign)[15],
        "run2/max_concurrency=8-random_output_len=128-num_prompts=20.json"
    );
    assert_eq!(campaign.cooldown.as_secs(), 5);
    let command = campaign.cells[0].work.words().join(" ");
    assert!(
        command.contains("--ignore-eos --goodput ttft:200 tpot:50 "),
        "{command}"
    );
    assert!(!command.contains("--label"), "{command}");
    assert_ne!(
        value_of(&campaign.cells[0].work, "seed"),
        value_of(&campaign.cells[8].work, "seed")
    );
    assert_eq!(campaign.cells[0].setting, campaign.cells[8].setting);
}

#[test]
fn settings_that_are_in_no_result_file_become_its_label() {
    for (text, label) in [
        (
            "run: {model: m, burstiness: [1, 2], max_concurrency: [1, 2]}",
            Some("burstiness=1"),
        ),
        (
            "run: {model: m, burstiness: [1, 2]}\nrows: [{ignore_eos: true}]",
            Some("burstiness=1 ignore_eos=true"),
        ),
        (
            "run: {model: m, burstiness: [1, 2], label: mine}",
            Some("mine"),
        ),
        ("run: {model: m, random_output_len: [4, 5]}", None),
    ] {
        let campaign = campaign("e.yaml", text).unwrap();
        assert_eq!(
            value_of(&campaign.cells[0].work, "label").as_deref(),
            label,
            "{text}"
        );
    }
}

#[test]
fn zip_order_seeds_and_toml() {
    let text = "
repeats = 3
order = \"shuffled\"
combine = \"zip\"
warmup_num_prompts = 4
[run]
model = \"m\"
seed = 7
burstiness = -0.5
max_concurrency = [1, 2]
num_prompts = [10, 20]
[stop]
when = [\"p99_ttft_ms > 500\", \"verdict == INVALID\"]
max_failed = 2
";
    let campaign_one = campaign("e.toml", text).unwrap();
    assert_eq!(campaign_one.cells.len(), 6);
    let names = |campaign: &Campaign| {
        campaign
            .cells
            .iter()
            .map(|cell| cell.name.clone())
            .collect::<Vec<_>>()
    };
    let given = campaign("e.toml", &text.replace("shuffled", "given")).unwrap();
    assert_ne!(names(&campaign_one), names(&given));
    assert_eq!(
        names(&campaign_one),
        names(&campaign("e.toml", text).unwrap())
    );
    let seeds: Vec<_> = given
        .cells
        .iter()
        .map(|cell| value_of(&cell.work, "seed").unwrap())
        .collect();
    assert_eq!(seeds, ["7", "7", "8", "8", "9", "9"]);
    assert_eq!(campaign_one.stop.when.len(), 2);
    let warmup = given.cells[1].warmup.as_ref().unwrap();
    assert_eq!(value_of(&warmup.work, "num-prompts").as_deref(), Some("4"));
    assert!(
        given.cells[0]
            .work
            .words()
            .contains(&"--burstiness=-0.5".to_owned())
    );
    let uneven = campaign("e.toml", &text.replace("[10, 20]", "[10]")).unwrap_err();
    assert!(
        uneven.contains("max_concurrency has 2") && uneven.contains("num_prompts has 1"),
        "{uneven}"
    );
}

#[test]
fn mistakes_in_an_experiment_are_named() {
    for (text, words) in [
        (
            "run: {max_concurency: [1]}",
            &[
                "line 1: run: unknown flag \"max_concurency\"",
                "did you mean \"max_concurrency\"?",
            ][..],
        ),
        ("run: {result_dir: x}", &["result_dir", "set by the sweep"]),
        (
            "run: {model: m}\nrepeat: 3",
            &[
                "line 2: unknown key \"repeat\"",
                "did you mean \"repeats\"?",
            ],
        ),
        (
            "run: {model: m}\norder: random",
            &["line 2: order", "shuffled"],
        ),
        ("run: {model: m}\nrepeats: 0", &["line 2: repeats: 0"]),
        (
            "run: {model: m}\nrepeats: -1",
            &["line 2: repeats: invalid value -1: expected a whole number"],
        ),
        (
            "run:\n  model: m\n  ignore_eos: 3",
            &["line 3: ignore_eos is a switch"],
        ),
        (
            "run: {model: m, num_prompts: }",
            &["num_prompts has no value"],
        ),
        (
            "run: {model: m}\nstop: {when: [\"ttft\"]}",
            &["line 2: stop.when", "invalid stop condition"],
        ),
        (
            "run: {model: m}\nstop: {whem: []}",
            &["stop.whem", "did you mean \"when\"?"],
        ),
        (
            "# a comment\nrows:\n- {model: m, sede: 1}",
            &["line 3: rows: unknown flag \"sede\"", "did you mean"],
        ),
        // Where a key occurs more than once, no line is better than a wrong one.
        (
            "rows:\n- {num_prompts: }\n- {num_prompts: }",
            &["e.yaml: num_prompts has no value"],
        ),
        ("run: {max_concurrency: []}", &["no runs"]),
    ] {
        let error = campaign("e.yaml", text).unwrap_err();
        for word in words {
            assert!(error.contains(word), "{text}: no {word:?} in {error}");
        }
    }
}

#[test]
fn arguments_that_contradict_file_names_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let with = |name: &str, text: &str, extra: &str| {
        let extra = extra.split(' ').map(str::to_owned).collect();
        campaign_of(
            folder.path(),
            name,
            text,
            SweepOptions {
                extra,
                ..SweepOptions::default()
            },
        )
    };
    let experiment = "run: {model: m, burstiness: [1, 2], num_prompts: 9}";
    for (name, text, extra) in [
        ("combos.yaml", COMBOS, "--num_prompts 5"),
        ("combos.yaml", COMBOS, "--result-dir=x"),
        ("e.yaml", experiment, "--burstiness 3"),
        ("e.yaml", experiment, "--seed 3"),
    ] {
        let error = with(name, text, extra).unwrap_err();
        assert!(error.contains("contradicts"), "{error}");
    }
    let campaign = with("e.yaml", experiment, "--num-prompts 5").unwrap();
    assert_eq!(
        value_of(&campaign.cells[0].work, "num-prompts").as_deref(),
        Some("5")
    );
    let campaign = with("combos.yaml", COMBOS, "--seed 5").unwrap();
    assert!(
        campaign
            .cells
            .iter()
            .all(|cell| value_of(&cell.work, "seed").as_deref() == Some("5"))
    );
}

fn serve_options(folder: &std::path::Path) -> ServeOptions {
    let serve = folder.join("serve.json");
    let bench = folder.join("bench.json");
    fs::write(
        &serve,
        r#"[{"max_num_seqs": 32, "port": 9001}, {"max_num_seqs": 64}]"#,
    )
    .unwrap();
    fs::write(
        &bench,
        r#"{"small": {"random_input_len": 16, "max_num_seqs": 32}, "a/b": {"random_input_len": 512, "max_num_seqs": 64}}"#,
    )
    .unwrap();
    ServeOptions {
        serve_cmd: "vllm serve 'my model' --max-num-seqs 8 --port 8001".to_owned(),
        bench_cmd: "vllm bench serve --model m --num-prompts 100".to_owned(),
        serve_params: Some(serve),
        bench_params: Some(bench),
        num_runs: 2,
        output: folder.join("results/exp"),
        warmup_num_prompts: 5,
        fail_fast: true,
        ..ServeOptions::default()
    }
}

/// A benchmark that names no address benchmarks the server that is started for it.
#[test]
fn a_benchmark_without_an_address_uses_the_server_of_the_sweep() {
    let folder = tempfile::tempdir().unwrap();
    for (bench, url) in [
        ("bash bench.sh", "http://127.0.0.1:9001"),
        ("bash bench.sh --port 7000", "http://127.0.0.1:7000"),
        // These have a default of their own, so the address becomes an argument.
        ("vllm bench serve --model m", "http://127.0.0.1:9001"),
        ("/opt/bin/vllm bench serve", "http://127.0.0.1:9001"),
        ("python3 benchmark_serving.py", "http://127.0.0.1:9001"),
        ("inferometer run --model m", "http://127.0.0.1:9001"),
        ("vllm bench serve --host h", "http://h:8000"),
    ] {
        let options = ServeOptions {
            bench_cmd: bench.to_owned(),
            ..serve_options(folder.path())
        };
        assert_eq!(
            serve_campaign(&options).unwrap().cells[0].target().url,
            url,
            "{bench}"
        );
    }
}

#[test]
fn vllms_sweep_has_vllms_folders_and_commands() {
    let folder = tempfile::tempdir().unwrap();
    let campaign = serve_campaign(&serve_options(folder.path())).unwrap();
    assert_eq!(campaign.servers.len(), 2);
    assert_eq!(
        campaign.servers[0].command,
        [
            "vllm",
            "serve",
            "my model",
            "--max-num-seqs",
            "32",
            "--port",
            "9001"
        ]
    );
    assert_eq!(campaign.servers[0].url, "http://127.0.0.1:9001");
    assert_eq!(campaign.servers[1].url, "http://127.0.0.1:8001");
    assert_eq!(
        results(&campaign)[..4],
        [
            "SERVE--max_num_seqs=32-port=9001-BENCH--small/run=0.json",
            "SERVE--max_num_seqs=32-port=9001-BENCH--small/run=1.json",
            "SERVE--max_num_seqs=32-port=9001-BENCH--a_b/run=0.json",
            "SERVE--max_num_seqs=32-port=9001-BENCH--a_b/run=1.json",
        ]
    );
    let cell = &campaign.cells[0];
    let command = cell.work.words().join(" ");
    assert!(
        command.starts_with(
            "vllm bench serve --model m --num-prompts 100 --random-input-len 16 --max-num-seqs 32 \
             --base-url http://127.0.0.1:9001 --percentile-metrics ttft,tpot,itl,e2el --save-result --result-dir "
        ),
        "{command}"
    );
    assert_eq!(cell.annotations["run_number"], 0);
    assert_eq!(cell.annotations["random_input_len"], 16);
    let warmup = &cell.warmup.as_ref().unwrap().work;
    assert_eq!(value_of(warmup, "num-prompts").as_deref(), Some("5"));
    assert_eq!(
        value_of(warmup, "result-filename").as_deref(),
        Some("warmup.json")
    );
    assert!(campaign.reset_caches);
}

/// An address that was given stays: something may forward from it. It is named before the start.
#[test]
fn another_address_than_the_servers_is_named() {
    let folder = tempfile::tempdir().unwrap();
    for (address, notes) in [
        ("", 0),
        ("--base-url http://127.0.0.1:8000", 2),
        ("--base-url http://localhost:8001", 1),
    ] {
        let options = ServeOptions {
            bench_cmd: format!("vllm bench serve {address}"),
            ..serve_options(folder.path())
        };
        let found = serve_campaign(&options).unwrap().address_notes();
        assert_eq!(found.len(), notes, "{address}: {found:?}");
    }
}

#[test]
fn linked_parameters_keep_matching_combinations() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = serve_options(folder.path());
    options.link_vars = "max_num_seqs=max-num-seqs".to_owned();
    let campaign = serve_campaign(&options).unwrap();
    assert_eq!(
        results(&campaign),
        [
            "SERVE--max_num_seqs=32-port=9001-BENCH--small/run=0.json",
            "SERVE--max_num_seqs=32-port=9001-BENCH--small/run=1.json",
            "SERVE--max_num_seqs=64-BENCH--a_b/run=0.json",
            "SERVE--max_num_seqs=64-BENCH--a_b/run=1.json",
        ]
    );
    for (links, word) in [
        ("port=random_input_len", "parameters match"),
        ("port", "SERVE_KEY=BENCH_KEY"),
    ] {
        options.link_vars = links.to_owned();
        let error = serve_campaign(&options).unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    }
}

#[test]
fn a_command_after_each_run_replaces_emptying_caches() {
    let folder = tempfile::tempdir().unwrap();
    for (command, words) in [
        ("flush --all 'now'", Some(vec!["flush", "--all", "now"])),
        ("", None),
    ] {
        let options = ServeOptions {
            after_bench_cmd: Some(command.to_owned()),
            ..serve_options(folder.path())
        };
        let campaign = serve_campaign(&options).unwrap();
        assert!(!campaign.reset_caches);
        assert_eq!(
            campaign.after_command,
            words.map(|words| Work::Theirs(words.into_iter().map(str::to_owned).collect()))
        );
    }
}

#[test]
fn mistakes_in_vllms_form_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let twice = folder.path().join("twice.json");
    fs::write(&twice, r#"[{"a": 1}, {"a": 1}]"#).unwrap();
    let text = folder.path().join("text.json");
    fs::write(&text, "[1]").unwrap();
    type Change = fn(&mut ServeOptions, &std::path::Path);
    let cases: [(Change, &str); 5] = [
        (
            |options, _| options.serve_cmd = "vllm 'serve".to_owned(),
            "--serve-cmd",
        ),
        (
            |options, _| options.bench_cmd = " ".to_owned(),
            "--bench-cmd is empty",
        ),
        (|options, _| options.num_runs = 0, "--num-runs 0"),
        (
            |options, folder| options.serve_params = Some(folder.join("twice.json")),
            "two combinations have the name \"a=1\"",
        ),
        (
            |options, folder| options.bench_params = Some(folder.join("text.json")),
            "a list of objects",
        ),
    ];
    for (change, word) in cases {
        let mut options = serve_options(folder.path());
        change(&mut options, folder.path());
        let error = serve_campaign(&options).unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    }
}

#[test]
fn runs_with_the_backend_sim_are_simulations_without_a_server() {
    let folder = tempfile::tempdir().unwrap();
    let extra = ["--backend", "sim", "--preset", "llama-3.1-8b@l4"]
        .map(str::to_owned)
        .to_vec();
    let combos = campaign_of(
        folder.path(),
        "combos.yaml",
        COMBOS,
        SweepOptions {
            extra,
            ..SweepOptions::default()
        },
    );
    let combos = combos.unwrap();
    assert!(
        combos
            .cells
            .iter()
            .all(inferometer_campaign::Cell::is_simulated)
    );
    let work = &combos.cells[0].work;
    let Work::Ours(run) = work else { panic!() };
    assert_eq!(run.command(), OurCommand::Simulate);
    assert_eq!(work.words()[..2], ["inferometer", "simulate"]);
    assert_eq!(
        (value_of(work, "backend"), value_of(work, "preset")),
        (Some("vllm".to_owned()), Some("llama-3.1-8b@l4".to_owned()))
    );

    // Measured and simulated side by side: labels keep them apart in tables.
    let text = "run: {num_prompts: 10}\nwarmup_num_prompts: 5\n\
                rows: [{backend: vllm}, {backend: sim, preset: a}, {backend: sim, preset: b}]\n";
    let both = campaign("both.yaml", text).unwrap();
    let kinds: Vec<bool> = both
        .cells
        .iter()
        .map(inferometer_campaign::Cell::is_simulated)
        .collect();
    assert_eq!(kinds, [false, true, true]);
    assert!(both.cells[0].warmup.is_some() && both.cells[1].warmup.is_none());
    assert_eq!(
        value_of(&both.cells[1].work, "label").as_deref(),
        Some("backend=sim preset=a")
    );
    assert_eq!(value_of(&both.cells[0].work, "label"), None);
    assert!(both.cells[1].load().simulated);

    let problem = campaign("wrong.yaml", "run: {num_prompts: 10, preset: a}\n").unwrap_err();
    assert!(
        problem.contains("preset") && problem.contains("backend: sim"),
        "{problem}"
    );
}
