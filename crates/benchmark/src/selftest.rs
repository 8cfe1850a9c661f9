//! Measuring the limits of the client on this host, against the simulator.
//!
//! The simulator runs in a separate process, as a server would. Its truth log uses the same clock
//! as the client, so the error of every timestamp is known, not estimated.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use inferometer_arrival::Rate;
use inferometer_core::{Nanos, Record};
use inferometer_engine::{Finished, Progress, StopHandle, StopLevel, run};
use inferometer_os::limits;
use inferometer_os::process::ProcessGroup;
use inferometer_sim::TruthRecord;
use inferometer_wire::{SideClient, Wire};
use inferometer_workload::{DatasetSettings, RandomSettings};

use crate::ceiling::{Ceiling, Tail, host};
use crate::error::{Error, OrError};
use crate::observer::{Observer, Silent};
use crate::prepare::prepare;
use crate::settings::Settings;

/// Version of the layout of [`Ceiling`].
const FORMAT: u32 = 1;
/// Fraction of the requests of a quick self-test.
const QUICK: f64 = 0.2;
/// File descriptors for everything but the streams.
const OTHER_FILES: u64 = 128;

/// What a self-test needs.
#[derive(Clone, Copy, Debug)]
pub struct SelfTest<'a> {
    /// This program, whose command `sim` is the simulator.
    pub program: &'a Path,
    /// Sends a fifth of the requests.
    pub quick: bool,
    /// Maximum number of streams to open.
    pub max_streams: usize,
    /// Stops the self-test.
    pub stop: &'a StopHandle,
}

/// A load, and how the simulator answers it.
struct Load<'a> {
    /// Flags of the simulator.
    sim: &'a [&'a str],
    /// Number of requests.
    requests: usize,
    pace: Pace,
    /// Output tokens per request.
    tokens: i64,
}

/// When requests are sent.
enum Pace {
    /// At this many per second.
    PerSecond(f64),
    /// This many in flight.
    Slots(usize),
}

impl SelfTest<'_> {
    /// Measures the limits, one after another. `observer` gets a line for each, and warnings of
    /// requests that failed.
    ///
    /// # Errors
    ///
    /// A simulator that does not start, a run that fails as a whole, and a stop by the user.
    pub fn measure(&self, observer: &dyn Observer) -> Result<Ceiling, Error> {
        let mut ceiling = Ceiling {
            format_version: FORMAT,
            host: host(),
            build: inferometer_results::Tool::this().build,
            ..Ceiling::default()
        };
        let pacing = self.run(
            observer,
            &Load {
                sim: &[],
                requests: self.count(5_000),
                pace: Pace::PerSecond(500.0),
                tokens: 1,
            },
        )?;
        ceiling.lateness_ms = Tail::of(spans(&pacing.finished.records, Record::lateness));

        let rate = self.run(
            observer,
            &Load {
                sim: &["--flood", "1"],
                requests: self.count(60_000),
                pace: Pace::Slots(64),
                tokens: 1,
            },
        )?;
        ceiling.requests_per_s =
            rate.finished.records.len() as f64 / rate.finished.health.wall.as_secs_f64();

        let events = self.run(
            observer,
            &Load {
                sim: &["--flood", "16"],
                requests: self.count(3_000),
                pace: Pace::Slots(64),
                tokens: 1_024,
            },
        )?;
        let records = &events.finished.records;
        let received: usize = records.iter().map(|record| record.events.len()).sum();
        ceiling.events_per_s = received as f64 / events.finished.health.wall.as_secs_f64();

        self.open_streams(observer, &mut ceiling)?;

        let stamps = self.run(
            observer,
            &Load {
                sim: &["--ttft", "50", "--itl", "20"],
                requests: self.count(500),
                pace: Pace::Slots(100),
                tokens: 100,
            },
        )?;
        ceiling.stamp_error_ms = Tail::of(stamp_errors(&stamps.finished, &stamps.truth()?));
        ceiling.kernel_stamps = stamps.finished.health.kernel_stamps;
        Ok(ceiling)
    }

    fn count(&self, full: usize) -> usize {
        let scale = if self.quick { QUICK } else { 1.0 };
        ((full as f64 * scale) as usize).max(1)
    }

    fn open_streams(&self, observer: &dyn Observer, ceiling: &mut Ceiling) -> Result<(), Error> {
        let (streams, limited_by) = stream_limit(self.max_streams);
        let open = self.run(
            observer,
            &Load {
                sim: &["--ttft", "5000", "--itl", "1"],
                requests: streams,
                pace: Pace::Slots(streams),
                tokens: 1,
            },
        )?;
        let answered = open.finished.records.iter().filter(|record| record.is_ok());
        ceiling.open_streams = answered.count();
        ceiling.streams_limited_by = if ceiling.open_streams < streams {
            "failures".into()
        } else {
            limited_by
        };
        Ok(())
    }

    /// One run of random requests.
    fn run(&self, observer: &dyn Observer, load: &Load<'_>) -> Result<Measured, Error> {
        let (words, requests) = (load.sim.join(" "), load.requests);
        let pace = match load.pace {
            Pace::PerSecond(rate) => format!("--request-rate {rate}"),
            Pace::Slots(slots) => format!("--max-concurrency {slots}"),
        };
        observer.line(&format!(
            "measuring: sim {words} · run --num-prompts {requests} {pace}"
        ));
        let server = SimProcess::start(self.program, load.sim)?;
        let ready = prepare(&settings(&server.url, load)?, &Silent)?;
        let finished = run(&ready.plan, None, self.stop, &Progress::default()).or_failure()?;
        if finished.stopped > StopLevel::Run {
            return Err(Error::interrupted(
                "stopped: the self-test is not complete, and nothing is saved",
            ));
        }
        let failed = finished
            .records
            .iter()
            .filter(|record| !record.is_ok())
            .count();
        if failed > 0 {
            observer.warning(&format!(
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
}

fn settings(url: &str, load: &Load<'_>) -> Result<Settings, Error> {
    let mut settings = Settings::new(url)?;
    settings.target.backend = inferometer_wire::backend::find("vllm").or_usage()?;
    settings.target.model = Some("sim".to_owned());
    settings.target.tokenizer = Some("builtin".to_owned());
    settings.workload.dataset = DatasetSettings::Random(RandomSettings {
        input_len: 8,
        output_len: load.tokens,
        ..RandomSettings::default()
    });
    settings.workload.num_prompts = i64::try_from(load.requests).unwrap_or(i64::MAX);
    match load.pace {
        Pace::PerSecond(rate) => settings.load.arrivals.rate = Rate::PerSecond(rate),
        Pace::Slots(slots) => settings.load.max_concurrency = Some(slots),
    }
    Ok(settings)
}

/// A finished run and its server.
struct Measured {
    finished: Finished,
    wire: Arc<Wire>,
    _server: SimProcess,
}

impl Measured {
    /// The server's truth log.
    fn truth(&self) -> Result<Vec<TruthRecord>, Error> {
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

/// The built-in simulator in a separate process.
struct SimProcess {
    /// A group of its own: Ctrl-C stops the load, and the server answers what is in flight.
    _group: ProcessGroup,
    url: String,
}

impl SimProcess {
    fn start(program: &Path, flags: &[&str]) -> Result<Self, Error> {
        let mut command = Command::new(program);
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
            None => Err(Error::failure(format!(
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
