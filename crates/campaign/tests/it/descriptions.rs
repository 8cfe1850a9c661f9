//! Descriptions become campaigns; mistakes in them are named.

use inferometer_campaign::{Campaign, OurCommand, SweepOptions, Work};

use crate::world::{campaign_of, results, value_of};

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
            "concurrency_prompts:\n  - [1, 10]\n  - [8, 80]\n",
            "",
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
    // A misspelt key is missing too, and unknown is what helps.
    for (right, wrong) in [
        ("input_output", "input_outputs"),
        ("concurrency_prompts", "concurency_prompts"),
    ] {
        let error = campaign("combos.yaml", &COMBOS.replace(right, wrong)).unwrap_err();
        assert!(
            error.contains(&format!("unknown key {wrong:?}")) && error.contains(right),
            "{error}"
        );
    }
    assert!(campaign("combos.yaml", "").unwrap_err().contains("empty"));
    let twice = format!("{COMBOS}\nmodel: other\n");
    let error = campaign("combos.yaml", &twice).unwrap_err();
    assert!(error.contains("the key \"model\" is set twice"), "{error}");
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
    // The second row fixes what the grid varies, so that two of its four cells are the other two.
    let merged = campaign("e.yaml", text).unwrap();
    assert_eq!(merged.cells.len(), 12);
    // A row that is there twice is a mistake.
    let twice = text.replace("rows:\n", "rows:\n  - {num_prompts: 10}\n");
    let error = campaign("e.yaml", &twice).unwrap_err();
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
