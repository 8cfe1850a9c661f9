//! One run as a library: measured, watched, stopped, and read again.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic")]

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use inferometer_arrival::Rate;
use inferometer_benchmark::{
    Compat, Exports, FolderRun, Look, Measuring, Numbers, Observer, RunSpec, Settings, Shown,
    Silent, report, run,
};
use inferometer_core::Level;
use inferometer_sim::{Server, SimSettings, start};
use inferometer_workload::{DatasetSettings, RandomSettings};

fn server() -> Server {
    start(SimSettings {
        ttft: "5".parse().unwrap(),
        itl: "1".parse().unwrap(),
        ..SimSettings::default()
    })
    .unwrap()
}

fn settings(url: &str) -> Settings {
    let mut settings = Settings::new(url).unwrap();
    settings.target.tokenizer = Some("builtin".to_owned());
    settings.workload.num_prompts = 20;
    settings.workload.dataset = DatasetSettings::Random(RandomSettings {
        input_len: 16,
        output_len: 8,
        ..RandomSettings::default()
    });
    settings.load.arrivals.rate = Rate::PerSecond(100.0);
    settings
}

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data")
        .join(name)
}

/// Everything that a run says.
#[derive(Default)]
struct Story(Mutex<Vec<String>>);

impl Story {
    fn add(&self, text: impl Into<String>) {
        self.0.lock().unwrap().push(text.into());
    }
}

impl Observer for Story {
    fn line(&self, line: &str) {
        self.add(line);
    }

    fn measuring(&self, run: &Measuring) {
        self.add(format!("measuring {}", run.requests));
    }

    fn measured(&self) {
        self.add("measured");
    }

    fn numbers(&self, shown: &Shown<'_>) {
        let look = Look::default();
        self.add(
            shown
                .numbers
                .render(shown.spec, shown.facts, shown.health, &look),
        );
    }
}

#[test]
fn a_server_is_benchmarked_from_a_program() {
    let server = server();
    let run = run(&settings(&server.url()), &Silent).unwrap();
    assert_eq!((run.numbers.summary.completed, run.records.len()), (20, 20));
    assert_eq!(run.numbers.summary.total_output_tokens, 160);
    assert!(run.folder.is_none() && run.result_file.is_none() && !run.interrupted);
    server.stop().unwrap();
}

#[test]
fn an_observer_sees_the_numbers_before_anything_is_written_and_a_report_gives_them_again() {
    let server = server();
    let folder = tempfile::tempdir().unwrap();
    let mut settings = settings(&server.url());
    settings.saving.runs_dir = Some(folder.path().to_owned());
    settings.saving.metadata = vec![("gpu".to_owned(), "none".to_owned())];
    let story = Story::default();
    let run = run(&settings, &story).unwrap();
    server.stop().unwrap();
    let told = story.0.into_inner().unwrap();
    let at = |text: &str| told.iter().position(|line| line.contains(text)).unwrap();
    assert!(
        at("Starting main benchmark run") < at("measuring 20"),
        "{told:?}"
    );
    assert!(at("measuring 20") < at("measured"), "{told:?}");
    let table = &told[told.len() - 1];
    assert!(
        table.contains("Successful requests:                     20"),
        "{table}"
    );

    let again = Story::default();
    let folder = run.folder.unwrap();
    let read = report(&folder, |_| Ok(Exports::default()), &again).unwrap();
    assert_eq!(
        again.0.into_inner().unwrap(),
        *std::slice::from_ref(table),
        "byte for byte"
    );
    assert_eq!(
        read.spec,
        RunSpec::of(&settings),
        "the manifest keeps what was asked"
    );
    assert_eq!(read.manifest.format_version, 2);
}

#[test]
fn a_wrong_setting_is_refused_before_anything_is_sent() {
    let server = server();
    let mut settings = settings(&server.url());
    settings.target.model = Some("another".to_owned());
    let error = run(&settings, &Silent).unwrap_err();
    assert!(error.is_usage(), "{error}");
    assert!(
        error.report().contains("--model another"),
        "{}",
        error.report()
    );
    assert!(server.truth().is_empty());
    server.stop().unwrap();
}

/// The folder was left by the program before its rename, with manifest version 1; the text is what
/// that program's `report` printed.
#[test]
fn a_run_folder_of_the_first_manifest_version_gives_the_same_report() {
    let run = FolderRun::open(&data("format-1")).unwrap();
    let look = Look::default();
    // At that time vLLM's rules held without `--compat vllm`, too.
    let (spec, health) = (&run.spec, &run.manifest.health);
    let as_vllm = RunSpec {
        compat: Compat::NEWEST,
        ..spec.clone()
    };
    let numbers = Numbers::of(run.records(), &as_vllm, &run.facts, health);
    let shown = numbers.render(&as_vllm, &run.facts, health, &look);
    let expected = std::fs::read_to_string(data("format-1/report.txt")).unwrap();
    assert_eq!(
        shown.split("Verdict").next(),
        expected.split("Verdict").next(),
        "vLLM's table, byte for byte"
    );
    assert_eq!(
        run.spec.load.arrivals.as_ref().unwrap().rate,
        Rate::PerSecond(20.0)
    );
    assert_eq!(run.spec.load.max_concurrency, Some(4));
    assert_eq!(
        run.spec.report.metadata,
        [("gpu".to_owned(), "h100".to_owned())]
    );
    assert!(run.spec.report.detailed && run.spec.report.percentiles_named);
    let dataset = run.spec.workload.dataset.as_ref().unwrap();
    assert_eq!(
        (dataset.name.as_str(), dataset.lengths.output),
        ("random", Some(10))
    );
    let row: std::collections::BTreeMap<_, _> = run.row().unwrap().collect();
    assert_eq!(row["burstiness"], 0.5);
    assert_eq!(row["request_goodput"].as_f64().map(|n| n > 0.0), Some(true));
    assert_ne!(run.numbers.verdict.level, Level::Invalid);
}
