//! Campaigns are executed, cut off, resumed; failures affect their own cell only.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use inferometer_campaign::{
    Campaign, CampaignError, Claim, Identity, Journal, ServeOptions, Start, Status, SweepOptions,
    Tally, check_servers, execute, fold, result_files, serve_campaign, write_summaries,
};
use inferometer_results::{Aggregate, aggregate};
use serde_json::Value;

use crate::world::{Fake, Fate, campaign_of};

const COMBOS: &str = "
model: m
input_output: [[16, 8], [32, 8]]
concurrency_prompts: [[1, 10], [2, 20], [4, 40]]
";

fn combos(folder: &Path) -> Campaign {
    campaign_of(folder, "combos.yaml", COMBOS, SweepOptions::default()).unwrap()
}

fn begin(campaign: &Campaign, start: Start) -> Result<Journal, CampaignError> {
    Journal::begin(campaign, Claim::take(campaign, start)?, start, "now")
}

fn run_all(
    campaign: &Campaign,
    start: Start,
    world: &mut Fake,
) -> Result<(Tally, Journal), CampaignError> {
    let mut journal = begin(campaign, start)?;
    check_servers(campaign, &mut journal, world)?;
    let tally = execute(campaign, &mut journal, world, &mut |_| {})?;
    Ok((tally, journal))
}

#[test]
fn a_folder_belongs_to_one_sweep_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let campaign = combos(folder.path());
    let running = begin(&campaign, Start::Fresh).unwrap();
    for start in [Start::Fresh, Start::Overwrite, Start::Resume] {
        let error = begin(&campaign, start).unwrap_err();
        assert!(matches!(error, CampaignError::InUse { .. }), "{error}");
        let (error, id) = (error.to_string(), std::process::id().to_string());
        assert!(error.contains("results: another sweep"), "{error}");
        assert!(
            error.contains(&id) || !Path::new("/proc/locks").exists(),
            "{error}"
        );
    }
    drop(running);
    begin(&campaign, Start::Fresh).unwrap();
}

/// The table of a folder of results, without the date.
fn table(folder: &Path) -> Vec<Vec<Option<Value>>> {
    let table = aggregate(&result_files(&folder.join("results")).unwrap());
    assert!(table.broken.is_empty(), "{:?}", table.broken);
    let Aggregate { columns, rows, .. } = &table;
    rows.iter()
        .map(|row| {
            columns
                .iter()
                .map(|column| row.values.get(column).cloned())
                .collect()
        })
        .collect()
}

#[test]
fn a_sweep_that_is_killed_at_any_cell_and_resumed_gives_the_table_of_an_unbroken_one() {
    let whole = tempfile::tempdir().unwrap();
    let (tally, _) = run_all(&combos(whole.path()), Start::Fresh, &mut Fake::default()).unwrap();
    assert_eq!(
        tally,
        Tally {
            done: 6,
            ..Tally::default()
        }
    );
    for killed_at in 1..=6 {
        for fate in [Fate::Panics, Fate::Stopped] {
            let broken = tempfile::tempdir().unwrap();
            let campaign = combos(broken.path());
            let mut world = Fake {
                fate: [(killed_at, fate)].into(),
                ..Fake::default()
            };
            let first = catch_unwind(AssertUnwindSafe(|| {
                run_all(&campaign, Start::Fresh, &mut world)
            }));
            if let Ok(first) = first {
                assert!(first.unwrap().0.interrupted);
            }
            let mut world = Fake::default();
            let (tally, _) = run_all(&campaign, Start::Resume, &mut world).unwrap();
            assert_eq!(
                (tally.done, tally.earlier),
                (7 - killed_at, killed_at - 1),
                "{fate:?} {killed_at}"
            );
            assert_eq!(world.runs, 7 - killed_at, "{fate:?} {killed_at}");
            assert_eq!(table(broken.path()), table(whole.path()));
        }
    }
}

#[test]
fn a_failed_cell_is_reported_and_the_others_continue() {
    let folder = tempfile::tempdir().unwrap();
    let campaign = combos(folder.path());
    let fate = [(2, Fate::Fails), (3, Fate::LeavesNothing)].into();
    let (tally, journal) = run_all(
        &campaign,
        Start::Fresh,
        &mut Fake {
            fate,
            ..Fake::default()
        },
    )
    .unwrap();
    assert_eq!(
        tally,
        Tally {
            done: 4,
            failed: 2,
            ..Tally::default()
        }
    );
    assert_eq!(journal.cells()[1].reason.as_deref(), Some("it broke"));
    let failure = folder
        .path()
        .join("results/bench_io16x8_mc2_np20.failure.json");
    assert!(fs::read_to_string(&failure).unwrap().contains("it broke"));
    drop(journal);
    // Resuming tries the failed ones again, and their failure is forgotten.
    let (tally, journal) = run_all(&campaign, Start::Resume, &mut Fake::default()).unwrap();
    assert_eq!(
        tally,
        Tally {
            done: 2,
            earlier: 4,
            ..Tally::default()
        }
    );
    assert_eq!(
        (journal.cells()[1].attempts, &journal.cells()[1].reason),
        (2, &None)
    );
    assert!(!failure.exists());
}

#[test]
fn fail_fast_stops_at_the_first_failure() {
    let folder = tempfile::tempdir().unwrap();
    let mut campaign = combos(folder.path());
    campaign.fail_fast = true;
    let mut world = Fake {
        fate: [(2, Fate::Fails)].into(),
        ..Fake::default()
    };
    let (tally, _) = run_all(&campaign, Start::Fresh, &mut world).unwrap();
    assert_eq!(
        (tally.done, tally.failed, tally.pending, world.runs),
        (1, 1, 4, 2)
    );
}

#[test]
fn results_are_not_overwritten_by_accident() {
    let folder = tempfile::tempdir().unwrap();
    let campaign = combos(folder.path());
    run_all(&campaign, Start::Fresh, &mut Fake::default()).unwrap();
    let error = run_all(&campaign, Start::Fresh, &mut Fake::default())
        .unwrap_err()
        .to_string();
    for word in ["bench_io16x8_mc1_np10.json", "--resume", "--overwrite"] {
        assert!(error.contains(word), "{error}");
    }
    let (tally, _) = run_all(&campaign, Start::Overwrite, &mut Fake::default()).unwrap();
    assert_eq!((tally.done, tally.earlier), (6, 0));
    // A campaign that never started a run, because there was no server, does not block another.
    let unstarted = tempfile::tempdir().unwrap();
    begin(&combos(unstarted.path()), Start::Fresh).unwrap();
    run_all(
        &combos(unstarted.path()),
        Start::Fresh,
        &mut Fake::default(),
    )
    .unwrap();
    let empty = tempfile::tempdir().unwrap();
    let error = run_all(&combos(empty.path()), Start::Resume, &mut Fake::default())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("--resume") && error.contains("campaign.json"),
        "{error}"
    );
}

#[test]
fn resuming_needs_the_same_settings_and_the_same_server() {
    let folder = tempfile::tempdir().unwrap();
    let mut world = Fake {
        fate: [(4, Fate::Stopped)].into(),
        ..Fake::default()
    };
    run_all(&combos(folder.path()), Start::Fresh, &mut world).unwrap();
    let changed = campaign_of(
        folder.path(),
        "c.yaml",
        &COMBOS.replace("model: m", "model: n"),
        SweepOptions::default(),
    );
    let error = run_all(&changed.unwrap(), Start::Resume, &mut Fake::default())
        .unwrap_err()
        .to_string();
    assert!(error.contains("--model m then, --model n now"), "{error}");
    let other = Identity {
        models: Some(vec!["x".to_owned()]),
        version: Some("2".to_owned()),
    };
    let mut world = Fake {
        identity: other,
        ..Fake::default()
    };
    let error = run_all(&combos(folder.path()), Start::Resume, &mut world)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("not the one") && error.contains("models x"),
        "{error}"
    );
    assert_eq!(world.runs, 0);
    // Cells that were added since do not change the others.
    let more = COMBOS.replace("[[16, 8]", "[[8, 8], [16, 8]");
    let more = campaign_of(folder.path(), "c.yaml", &more, SweepOptions::default()).unwrap();
    let (tally, _) = run_all(&more, Start::Resume, &mut Fake::default()).unwrap();
    assert_eq!((tally.done, tally.earlier), (6, 3));
}

#[test]
fn stop_rules_skip_higher_loads_of_the_same_settings_only() {
    let folder = tempfile::tempdir().unwrap();
    let text = "
run: {model: m, random_output_len: [8, 16], max_concurrency: [1, 2, 4, 8]}
stop: {when: \"p99_ttft_ms > 150\"}
cooldown_seconds: 3
";
    let campaign = campaign_of(folder.path(), "e.yaml", text, SweepOptions::default()).unwrap();
    let mut world = Fake::default();
    let (tally, journal) = run_all(&campaign, Start::Fresh, &mut world).unwrap();
    // Caps 1 and 2 of each length are measured; 2 breaks the limit.
    assert_eq!((tally.done, tally.skipped), (4, 4));
    let skipped = journal
        .cells()
        .iter()
        .find(|cell| cell.status == Status::Skipped)
        .unwrap();
    assert!(
        skipped
            .reason
            .as_ref()
            .unwrap()
            .contains("p99_ttft_ms > 150"),
        "{skipped:?}"
    );
    assert_eq!(
        world.log.iter().filter(|entry| *entry == "pause 3").count(),
        3
    );
}

#[test]
fn a_limit_of_time_or_failures_ends_the_campaign() {
    for (rule, runs) in [("max_minutes: 0.4", 3), ("max_failed: 1", 2)] {
        let folder = tempfile::tempdir().unwrap();
        let text =
            format!("run: {{model: m, max_concurrency: [1, 2, 3, 4, 5]}}\nstop: {{{rule}}}\n");
        let campaign =
            campaign_of(folder.path(), "e.yaml", &text, SweepOptions::default()).unwrap();
        let fate = if runs == 2 {
            [(2, Fate::Fails)].into()
        } else {
            [].into()
        };
        let mut world = Fake {
            fate,
            ..Fake::default()
        };
        run_all(&campaign, Start::Fresh, &mut world).unwrap();
        assert_eq!(world.runs, runs, "{rule}");
    }
}

#[test]
fn repeats_are_folded_into_one_line_per_setting() {
    let folder = tempfile::tempdir().unwrap();
    // The temperature is in no result file; only the name tells.
    let text = "run: {model: m, num_prompts: 10, burstiness: [1, 2]}\nrepeats: 3\n";
    let campaign = campaign_of(folder.path(), "e.yaml", text, SweepOptions::default()).unwrap();
    run_all(&campaign, Start::Fresh, &mut Fake::default()).unwrap();
    let table = aggregate(&result_files(&folder.path().join("results")).unwrap());
    let folded = fold(&table);
    assert_eq!(folded.len(), 2);
    let throughput = folded[0].numbers["request_throughput"];
    assert_eq!((folded[0].runs, throughput.n), (3, 3));
    let (low, high) = throughput.interval.unwrap();
    assert!(low < throughput.mean && throughput.mean < high);
}

fn serve(folder: &Path) -> Campaign {
    let serve = folder.join("serve.json");
    fs::write(&serve, r#"{"a": {"x": 1}, "b": {"x": 2}}"#).unwrap();
    serve_campaign(&ServeOptions {
        serve_cmd: "server --port 9001".to_owned(),
        bench_cmd: "inferometer run --model m --num-prompts 10 --max-concurrency 2".to_owned(),
        serve_params: Some(serve),
        num_runs: 2,
        output: folder.join("results"),
        warmup_num_prompts: 3,
        ..ServeOptions::default()
    })
    .unwrap()
}

#[test]
fn servers_are_started_once_each_and_never_left_behind() {
    let folder = tempfile::tempdir().unwrap();
    let campaign = serve(folder.path());
    let mut world = Fake::default();
    let (tally, journal) = run_all(&campaign, Start::Fresh, &mut world).unwrap();
    write_summaries(&campaign, &journal).unwrap();
    assert_eq!(tally.done, 4);
    let round = |name: &str| {
        let start = format!("start {name}");
        [
            "stop",
            &start,
            "run warmup.json",
            "reset",
            "run run=0.json",
            "reset",
            "run run=1.json",
        ]
        .map(str::to_owned)
    };
    let expected: Vec<String> = round("a")
        .into_iter()
        .chain(round("b"))
        .chain(["stop".to_owned()])
        .collect();
    assert_eq!(world.log, expected);

    let results = folder.path().join("results");
    // The runs of both servers differ in the parameter only: they are not repeats.
    assert_eq!(fold(&aggregate(&result_files(&results).unwrap())).len(), 2);
    let run: Value =
        serde_json::from_str(&fs::read_to_string(results.join("SERVE--a/run=1.json")).unwrap())
            .unwrap();
    assert_eq!(
        (&run["run_number"], &run["x"]),
        (&Value::from(1), &Value::from(1))
    );
    let summary: Value =
        serde_json::from_str(&fs::read_to_string(results.join("SERVE--b/summary.json")).unwrap())
            .unwrap();
    assert_eq!(summary.as_array().unwrap().len(), 2);
    let csv = fs::read_to_string(results.join("summary.csv")).unwrap();
    assert!(
        csv.starts_with(",date,") && csv.lines().count() == 5,
        "{csv}"
    );
    assert!(csv.lines().nth(4).unwrap().starts_with("3,"), "{csv}");
}

#[test]
fn a_server_that_does_not_start_costs_its_own_cells_only() {
    let folder = tempfile::tempdir().unwrap();
    let campaign = serve(folder.path());
    let mut world = Fake {
        bad_server: Some("a".to_owned()),
        ..Fake::default()
    };
    let (tally, journal) = run_all(&campaign, Start::Fresh, &mut world).unwrap();
    assert_eq!((tally.done, tally.failed), (2, 2));
    assert_eq!(journal.cells()[0].reason.as_deref(), Some("out of memory"));
    drop(journal);
    // Everything of b is done: its server is not started again.
    let mut world = Fake::default();
    run_all(&campaign, Start::Resume, &mut world).unwrap();
    assert!(
        !world.log.contains(&"start b".to_owned()),
        "{:?}",
        world.log
    );
}

#[test]
fn a_run_with_a_cache_that_could_not_be_emptied_is_not_measured() {
    let folder = tempfile::tempdir().unwrap();
    let mut world = Fake {
        cache_trouble: Some("success: false".to_owned()),
        ..Fake::default()
    };
    let (tally, journal) = run_all(&serve(folder.path()), Start::Fresh, &mut world).unwrap();
    assert_eq!((tally.done, tally.failed), (0, 4));
    assert_eq!(journal.cells()[0].reason.as_deref(), Some("success: false"));
}

#[test]
fn simulated_runs_ask_no_server() {
    let folder = tempfile::tempdir().unwrap();
    let extra = ["--backend", "sim"].map(str::to_owned).to_vec();
    let campaign = campaign_of(
        folder.path(),
        "combos.yaml",
        COMBOS,
        SweepOptions {
            extra,
            ..SweepOptions::default()
        },
    )
    .unwrap();
    let mut world = Fake::default();
    let (tally, _) = run_all(&campaign, Start::Fresh, &mut world).unwrap();
    assert_eq!(tally.done, 6);
    assert_eq!(world.identified, 0);
}
