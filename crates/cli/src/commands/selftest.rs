//! `inferometer selftest`: the limits of the client on this host, measured against the built-in
//! simulator.
//!
//! The simulator runs in a separate process, as a server would. Its truth log uses the same clock
//! as the client, so the error of every timestamp is known, not estimated.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command as Process, Stdio};
use std::sync::Arc;

use clap::Parser;
use inferometer_benchmark::ceiling::{Ceiling, Tail, host, kept_at};
use inferometer_benchmark::{Silent, prepare};
use inferometer_core::{Nanos, Record};
use inferometer_engine::{Finished, Progress, StopHandle, StopLevel, run};
use inferometer_os::limits;
use inferometer_os::process::ProcessGroup;
use inferometer_sim::TruthRecord;
use inferometer_wire::{SideClient, Wire};

use crate::args::{Cli, Command, SelftestArgs};
use crate::exit::{Exit, Failure, OrFail};
use crate::settings::RunSettings;
use inferometer_terminal::{Output, on_interrupt};

/// Version of the file's layout.
const FORMAT: u32 = 1;
/// Fraction of the requests with `--quick`.
const QUICK: f64 = 0.2;
/// File descriptors for everything but the streams.
const OTHER_FILES: u64 = 128;

/// Measures, prints and saves the ceiling.
pub(crate) fn selftest(args: &SelftestArgs, output: &Output) -> Result<Exit, Failure> {
    let session = Session {
        output,
        stop: StopHandle::default(),
    };
    // The simulator is a child process, which must not be left behind.
    let _interrupts = on_interrupt(session.stop.clone(), output);
    let scale = if args.quick { QUICK } else { 1.0 };
    let count = |full: usize| ((full as f64 * scale) as usize).max(1).to_string();
    let mut ceiling = Ceiling {
        format_version: FORMAT,
        host: host(),
        build: inferometer_results::Tool::this().build,
        ..Ceiling::default()
    };

    let pacing = measure(
        &[],
        &["--num-prompts", &count(5_000), "--request-rate", "500"],
        1,
        &session,
    )?;
    ceiling.lateness_ms = Tail::of(spans(&pacing.finished.records, Record::lateness));

    let instant = ["--flood", "1"];
    let rate = measure(
        &instant,
        &["--num-prompts", &count(60_000), "--max-concurrency", "64"],
        1,
        &session,
    )?;
    ceiling.requests_per_s =
        rate.finished.records.len() as f64 / rate.finished.health.wall.as_secs_f64();

    let flood = ["--flood", "16"];
    let events = measure(
        &flood,
        &["--num-prompts", &count(3_000), "--max-concurrency", "64"],
        1_024,
        &session,
    )?;
    let received: usize = events
        .finished
        .records
        .iter()
        .map(|record| record.events.len())
        .sum();
    ceiling.events_per_s = received as f64 / events.finished.health.wall.as_secs_f64();

    let (streams, limited_by) = stream_limit(args.max_streams);
    let cap = streams.to_string();
    let slow = ["--ttft", "5000", "--itl", "1"];
    let open = measure(
        &slow,
        &["--num-prompts", &cap, "--max-concurrency", &cap],
        1,
        &session,
    )?;
    ceiling.open_streams = open
        .finished
        .records
        .iter()
        .filter(|record| record.is_ok())
        .count();
    ceiling.streams_limited_by = if ceiling.open_streams < streams {
        "failures".into()
    } else {
        limited_by
    };

    let paced = ["--ttft", "50", "--itl", "20"];
    let stamps = measure(
        &paced,
        &["--num-prompts", &count(500), "--max-concurrency", "100"],
        100,
        &session,
    )?;
    ceiling.stamp_error_ms = Tail::of(stamp_errors(&stamps.finished, &stamps.truth()?));
    ceiling.kernel_stamps = stamps.finished.health.kernel_stamps;

    output.print(&table(&ceiling));
    save(&ceiling, args, output)?;
    Ok(Exit::Good)
}

/// What the measurements share.
struct Session<'a> {
    output: &'a Output,
    stop: StopHandle,
}

/// A finished run and its server.
struct Measured {
    finished: Finished,
    wire: Arc<Wire>,
    _server: SimProcess,
}

impl Measured {
    /// The server's truth log.
    fn truth(&self) -> Result<Vec<TruthRecord>, Failure> {
        let reply = SideClient::new(&self.wire)
            .or_failure()?
            .get("/truth")
            .or_failure()?;
        let text = String::from_utf8_lossy(&reply.body);
        let records = text.lines().filter(|line| line.contains("\"events\""));
        records
            .map(|line| serde_json::from_str(line).or_failure())
            .collect()
    }
}

/// One run of random requests with `tokens` output tokens against a simulator with `sim` flags.
fn measure(
    sim: &[&str],
    load: &[&str],
    tokens: usize,
    session: &Session<'_>,
) -> Result<Measured, Failure> {
    let Session { output, stop } = session;
    output.print_line(&format!(
        "measuring: sim {} · run {}",
        sim.join(" "),
        load.join(" ")
    ));
    let server = SimProcess::start(sim)?;
    let tokens = tokens.to_string();
    let fixed = [
        "inferometer",
        "run",
        "--backend",
        "vllm",
        "--base-url",
        &server.url,
        "--model",
        "sim",
        "--tokenizer",
        "builtin",
        "--random-input-len",
        "8",
        "--random-output-len",
        &tokens,
        "--disable-tqdm",
    ];
    let parsed = Cli::try_parse_from(fixed.iter().chain(load)).or_failure()?;
    let Command::Run(args) = parsed.command else {
        return Err(Failure::usage(
            "invalid command of the selftest: expected a run",
        ));
    };
    let settings = RunSettings::resolve(*args)?.benchmark;
    let ready = prepare(&settings, &Silent)?;
    let finished = run(&ready.plan, None, stop, &Progress::default()).or_failure()?;
    if finished.stopped > StopLevel::Run {
        return Err(Failure::interrupted(
            "stopped: the self-test is not complete, and nothing is saved",
        ));
    }
    let failed = finished
        .records
        .iter()
        .filter(|record| !record.is_ok())
        .count();
    if failed > 0 {
        output.warn(&format!(
            "{failed} of {} requests failed",
            finished.records.len()
        ));
    }
    Ok(Measured {
        finished,
        wire: ready.plan.wire,
        _server: server,
    })
}

/// The built-in simulator in a separate process.
struct SimProcess {
    /// A group of its own: Ctrl-C stops the load, and the server answers what is in flight.
    _group: ProcessGroup,
    url: String,
}

impl SimProcess {
    fn start(flags: &[&str]) -> Result<Self, Failure> {
        let program = std::env::current_exe().or_failure()?;
        let mut command = Process::new(program);
        command
            .args(["sim", "--port", "0"])
            .args(flags)
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit());
        let mut group = ProcessGroup::spawn(&mut command).or_failure()?;
        let mut line = String::new();
        if let Some(stdout) = group.child().stdout.take() {
            BufReader::new(stdout).read_line(&mut line).or_failure()?;
        }
        let url = line
            .split_whitespace()
            .find(|word| word.starts_with("http://"))
            .map(str::to_owned);
        match url {
            Some(url) => Ok(Self { _group: group, url }),
            None => Err(Failure::failure(format!(
                "the simulator did not start: {line}"
            ))),
        }
    }
}

fn spans(records: &[Record], of: impl Fn(&Record) -> Option<Nanos>) -> Vec<f64> {
    records
        .iter()
        .filter_map(of)
        .map(Nanos::as_millis_f64)
        .collect()
}

/// The number of streams that the limits of this process and host allow, and the lowest limit.
fn stream_limit(wanted: usize) -> (usize, String) {
    let files = limits::raise_file_limit(wanted as u64 + OTHER_FILES)
        .soft
        .saturating_sub(OTHER_FILES) as usize;
    let ports =
        limits::local_port_range().map_or(usize::MAX, |(low, high)| usize::from(high - low));
    let least = wanted.min(files).min(ports);
    let by = match least {
        n if n == wanted => "--max-streams",
        n if n == files => "open files (ulimit -n)",
        _ => "local ports",
    };
    (least, by.to_owned())
}

/// Client timestamp minus the server's time of writing, for every event, in milliseconds.
fn stamp_errors(finished: &Finished, truth: &[TruthRecord]) -> Vec<f64> {
    let start = finished.start.monotonic;
    let truth: BTreeMap<&str, &TruthRecord> = truth
        .iter()
        .filter_map(|record| Some((record.id.as_deref()?, record)))
        .collect();
    let mut errors = Vec::new();
    for record in &finished.records {
        let Some(truth) = record.id.as_deref().and_then(|id| truth.get(id)) else {
            continue;
        };
        for (event, sent) in record.events.iter().zip(&truth.events) {
            errors.push((event.at + start).since(*sent).as_millis_f64());
        }
    }
    errors
}

fn table(ceiling: &Ceiling) -> String {
    let mut text = String::from("\n");
    let mut row = |label: &str, value: String| {
        let _ = writeln!(text, "{label:<44} {value}");
    };
    let tail = |tail: &Tail| {
        format!(
            "p50 {:.3}  p99 {:.3}  max {:.3}",
            tail.p50, tail.p99, tail.max
        )
    };
    row(
        "Send lateness at 500 req/s (ms):",
        tail(&ceiling.lateness_ms),
    );
    row(
        "Highest request rate (req/s):",
        format!("{:.0}", ceiling.requests_per_s),
    );
    row(
        "Highest event rate (events/s):",
        format!("{:.0}", ceiling.events_per_s),
    );
    row(
        "Open streams:",
        format!(
            "{} (limited by {})",
            ceiling.open_streams, ceiling.streams_limited_by
        ),
    );
    row("Stamp error (ms):", tail(&ceiling.stamp_error_ms));
    row(
        "Stamps by:",
        if ceiling.kernel_stamps {
            "the kernel"
        } else {
            "the process"
        }
        .to_owned(),
    );
    text
}

fn save(ceiling: &Ceiling, args: &SelftestArgs, output: &Output) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(ceiling).or_failure()? + "\n";
    let write = |path: &PathBuf| {
        path.parent()
            .map_or(Ok(()), std::fs::create_dir_all)
            .and_then(|()| std::fs::write(path, &text))
    };
    if let Some(path) = &args.json {
        write(path).or_failure()?;
    }
    let Some(path) = kept_at() else { return Ok(()) };
    match write(&path) {
        Ok(()) => output.print_line(&format!(
            "Saved in {}; later runs are compared with it.",
            path.display()
        )),
        Err(error) => output.warn(&format!("{}: not saved: {error}", path.display())),
    }
    Ok(())
}
