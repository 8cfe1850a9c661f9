//! The reasons of the verdict that the client's own host causes: a stepped wall clock, a control
//! group's quota, a kernel without stamps, a stopped client, a saturated worker. Each is provoked
//! on the binary.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use inferometer_testkit::{
    SimProcess, alone, finish, or_skip, program, request_index, signal, verdict_codes,
    verdict_codes_without_host,
};
use serde_json::Value;

use crate::INFEROMETER;

/// A library for `LD_PRELOAD`, compiled from one of the C files in `tests/data`.
fn compiled(folder: &Path, name: &str) -> Option<PathBuf> {
    let compiler = or_skip(program(&["cc", "gcc", "clang"]), "a C compiler")?;
    let library = folder.join(name).with_extension("so");
    let source = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data")
        .join(name)
        .with_extension("c");
    let mut command = Command::new(compiler);
    command
        .args(["-O1", "-shared", "-fPIC", "-o"])
        .arg(&library)
        .arg(source)
        .arg("-ldl");
    assert!(command.status().unwrap().success());
    Some(library)
}

/// Starts a run that leaves `r.json` through `program`.
fn run_by(program: &mut Command, folder: &Path, url: &str, more: &[&str]) -> Child {
    program
        .current_dir(folder)
        .env("HF_HUB_OFFLINE", "1")
        .args([
            "run",
            "--base-url",
            url,
            "--model",
            "sim",
            "--tokenizer",
            "builtin",
            "--disable-tqdm",
        ])
        .args([
            "--random-input-len",
            "8",
            "--save-result",
            "--save-detailed",
            "--result-filename",
            "r.json",
        ])
        .args(more)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Differences of each TTFT and each gap from the server's own instants, in milliseconds, in
/// ascending order.
fn errors(sim: &SimProcess, result: &Value) -> Vec<f64> {
    let itls: Vec<Vec<f64>> = serde_json::from_value(result["itls"].clone()).unwrap();
    let ttfts: Vec<f64> = serde_json::from_value(result["ttfts"].clone()).unwrap();
    let mut errors = Vec::new();
    for truth in sim.truth() {
        let index = request_index(truth["id"].as_str().unwrap());
        let sent: Vec<f64> = serde_json::from_value(truth["events"].clone()).unwrap();
        let first = sent[0] - truth["request_arrived"].as_f64().unwrap();
        errors.push((ttfts[index] * 1e3 - first / 1e6).abs());
        assert_eq!(sent.len(), itls[index].len() + 1);
        let gaps = sent.windows(2).map(|pair| (pair[1] - pair[0]) / 1e6);
        errors.extend(
            gaps.zip(&itls[index])
                .map(|(truth, gap)| (gap * 1e3 - truth).abs()),
        );
    }
    errors.sort_by(f64::total_cmp);
    errors
}

#[test]
fn a_step_of_the_wall_clock_is_named_and_changes_no_latency() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let Some(library) = compiled(folder.path(), "stepped_clock") else {
        return;
    };
    let load = [
        "--num-prompts",
        "150",
        "--request-rate",
        "60",
        "--burstiness",
        "inf",
        "--ignore-eos",
    ];
    for (step_ms, expected) in [
        (0, &[][..]),
        (3_000, &["clock_step"][..]),
        (-3_000, &["clock_step"]),
    ] {
        let sim = INFEROMETER.sim(folder.path(), &["--ttft", "20", "--itl", "10"]);
        let path = folder.path().join("step");
        fs::write(&path, [0; 16]).unwrap();
        let mut program = Command::new(INFEROMETER.path());
        program
            .env("LD_PRELOAD", &library)
            .env("STEPPED_CLOCK", &path);
        let run = run_by(
            &mut program,
            folder.path(),
            &sim.url,
            &[&load[..], &["--random-output-len", "20"]].concat(),
        );
        sim.wait_for_answers(10);
        // The instant is written last and is in the future, so that clock and stamps step together.
        let file = File::options().write(true).open(&path).unwrap();
        file.write_all_at(&i64::to_ne_bytes(step_ms * 1_000_000), 8)
            .unwrap();
        let at = i64::try_from(inferometer_os::clock::wall().0 + 100_000_000).unwrap();
        file.write_all_at(&at.to_ne_bytes(), 0).unwrap();
        let result = finish(run, folder.path());
        assert_eq!(
            verdict_codes_without_host(&result),
            expected,
            "{:#}",
            result["inferometer"]["verdict"]
        );
        let client = &result["inferometer"]["client"];
        let seen = client["largest_clock_step"].as_f64().unwrap() / 1e6;
        assert!(
            (seen - step_ms.abs() as f64).abs() < 5.0 || step_ms == 0,
            "a step of {seen} ms"
        );
        let errors = errors(&sim, &result);
        assert_eq!(errors.len(), 150 * 20);
        // Until the step is noticed the process's own stamps are used, which are late on a busy
        // machine.
        let (most, worst) = (errors[errors.len() * 95 / 100], errors[errors.len() - 1]);
        assert!(
            most < 5.0 && worst < 500.0,
            "{most} ms at p95, {worst} ms at worst after {step_ms} ms"
        );
    }
}

/// A control group below the root of the hierarchy, removed when dropped.
struct Group {
    folder: PathBuf,
    /// File of the quota, the value that limits to a hundredth of a processor, and the one that
    /// lifts the limit.
    quota: (&'static str, &'static str, &'static str),
}

impl Group {
    /// `None` where no group with the CPU controller can be made.
    fn make() -> Option<Self> {
        let name = format!("inferometer-test-{}", std::process::id());
        let first = ("cpu.cfs_quota_us", "1000", "-1");
        let second = ("cpu.max", "1000 100000", "max 100000");
        let roots = [
            ("/sys/fs/cgroup/cpu", first),
            ("/sys/fs/cgroup/cpu,cpuacct", first),
            ("/sys/fs/cgroup", second),
            ("/sys/fs/cgroup/unified", second),
        ];
        roots.into_iter().find_map(|(root, quota)| {
            let folder = Path::new(root).join(&name);
            fs::create_dir(&folder).ok()?;
            let group = Self { folder, quota };
            group.set(quota.2).then_some(group)
        })
    }

    fn set(&self, quota: &str) -> bool {
        // The file must not be created where the folder is not the kernel's.
        let file = File::options()
            .write(true)
            .open(self.folder.join(self.quota.0));
        file.is_ok_and(|file| file.write_at(quota.as_bytes(), 0).is_ok())
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        drop(fs::remove_dir(&self.folder));
    }
}

#[test]
fn a_quota_that_stops_the_client_is_named() {
    let _alone = alone();
    // Containers may forbid it, so this test may be skipped even where others must run.
    let Some(group) = Group::make() else {
        eprintln!("skipped: no control group with a CPU quota can be made here");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let load = [
        "--num-prompts",
        "300",
        "--request-rate",
        "100",
        "--burstiness",
        "inf",
        "--ignore-eos",
    ];
    for (limited, expected) in [(false, &[][..]), (true, &["throttled"][..])] {
        let sim = INFEROMETER.sim(folder.path(), &["--ttft", "20", "--itl", "5"]);
        let mut shell = Command::new("sh");
        shell.args(["-c", "echo $$ > \"$0\" && exec \"$@\""]);
        shell
            .arg(group.folder.join("cgroup.procs"))
            .arg(INFEROMETER.path());
        let load = [&load[..], &["--random-output-len", "20"]].concat();
        let run = run_by(&mut shell, folder.path(), &sim.url, &load);
        sim.wait_for_answers(30);
        if limited {
            assert!(group.set(group.quota.1));
            // Long enough to lose more than 0.5 % of the run, short enough that fewer than one
            // event in ten arrives together with the next.
            std::thread::sleep(Duration::from_millis(200));
            assert!(group.set(group.quota.2));
        }
        let result = finish(run, folder.path());
        let mut codes = verdict_codes_without_host(&result);
        // Events that arrived while the client was stopped are read together; on a busy machine
        // the group gets little of the processor.
        codes.retain(|code| code != "coalesced");
        assert_eq!(codes, expected, "{:#}", result["inferometer"]["verdict"]);
    }
}

#[test]
fn a_stall_where_the_kernel_gives_no_stamps_is_in_the_numbers_and_is_named() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let Some(library) = compiled(folder.path(), "no_stamps") else {
        return;
    };
    let load = [
        "--num-prompts",
        "100",
        "--request-rate",
        "50",
        "--random-output-len",
        "20",
        "--ignore-eos",
    ];
    for stopped in [false, true] {
        let sim = INFEROMETER.sim(folder.path(), &["--ttft", "20", "--itl", "10"]);
        let mut program = Command::new(INFEROMETER.path());
        program.env("LD_PRELOAD", &library);
        let run = run_by(&mut program, folder.path(), &sim.url, &load);
        sim.wait_for_answers(10);
        if stopped {
            signal(run.id(), "-STOP");
            std::thread::sleep(Duration::from_millis(100));
            signal(run.id(), "-CONT");
        }
        let result = finish(run, folder.path());
        assert_eq!(result["inferometer"]["client"]["kernel_stamps"], false);
        if stopped {
            assert_eq!(
                verdict_codes_without_host(&result),
                ["stall_in_stamps"],
                "{:#}",
                result["inferometer"]["verdict"]
            );
            let worst = errors(&sim, &result).pop().unwrap();
            assert!(worst > 50.0, "at worst {worst} ms");
        } else {
            let mut codes = verdict_codes_without_host(&result);
            // A busy machine stalls the client too.
            codes.retain(|code| code != "stall_in_stamps");
            assert_eq!(codes, [""; 0], "{:#}", result["inferometer"]["verdict"]);
        }
    }
}

#[test]
fn a_rate_that_was_not_offered_is_named() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let sim = INFEROMETER.sim(folder.path(), &["--ttft", "20", "--itl", "1"]);
    let load = [
        "--num-prompts",
        "200",
        "--request-rate",
        "100",
        "--burstiness",
        "inf",
        "--ignore-eos",
    ];
    let run = INFEROMETER.start_run(
        folder.path(),
        &sim.url,
        &[&load[..], &["--random-output-len", "2"]].concat(),
    );
    sim.wait_for_answers(100);
    // Longer than the rest of the schedule.
    signal(run.id(), "-STOP");
    std::thread::sleep(Duration::from_secs(2));
    signal(run.id(), "-CONT");
    let result = finish(run, folder.path());
    assert!(
        verdict_codes(&result).contains(&"offered_rate".to_owned()),
        "{:#}",
        result["inferometer"]["verdict"]
    );
}

#[test]
fn a_saturated_worker_is_named() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    // One worker, and a server that writes many events at once and never pauses.
    let sim = INFEROMETER.sim(folder.path(), &["--flood", "64"]);
    let load = [
        "--num-prompts",
        "50",
        "--max-concurrency",
        "8",
        "--random-output-len",
        "20000",
    ];
    let load = [&load[..], &["--ignore-eos", "--workers", "1"]].concat();
    // Other processes may take the worker's processor, which does not count as its own work: one
    // of several tries must do.
    let mut found = Vec::new();
    for _ in 0..5 {
        let result = finish(
            INFEROMETER.start_run(folder.path(), &sim.url, &load),
            folder.path(),
        );
        // Events that are written together arrive together.
        assert_eq!(
            verdict_codes_without_host(&result),
            ["coalesced"],
            "{:#}",
            result["inferometer"]["verdict"]
        );
        if verdict_codes(&result).contains(&"client_cpu".to_owned()) {
            return;
        }
        let client = &result["inferometer"]["client"];
        let share = |part: &Value| part.as_f64().unwrap() / client["wall"].as_f64().unwrap();
        let worker = &client["workers"][0];
        found.push((share(&worker["cpu"]), share(&worker["run_queue_delay"])));
    }
    // On a machine so busy that the worker always waits for a processor it cannot be provoked.
    let shared = found.iter().all(|&(_, waited)| waited > 0.1);
    assert!(
        shared,
        "five runs, and no worker was busy (share of a processor, share of waiting): {found:?}"
    );
    eprintln!("skipped: other processes left the worker no processor of its own: {found:?}");
}
