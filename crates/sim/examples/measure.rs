//! Measures the simulator itself: how late its events are, and how many it can write.
//!
//! `cargo run --release -p inferometer-sim --example measure -- paced 5000 20 10` runs 5,000
//! streams of 20 tokens per second for 10 seconds; `… -- flood 64 16 4000000` floods 64 streams with
//! 4 million events, 16 per write; `… -- engine 100 60` runs the engine model alone with 100 streams
//! for 60 virtual seconds. The word `stamps` at the end asks for the kernel's send stamps as well.
//! The client only reads and throws away, on a thread of its own. The word `tied` ties server and
//! client to a processor each, for a host that does nothing else: where there is other work, a
//! thread that is tied cannot get out of its way.

#![expect(clippy::print_stdout, reason = "its output is its purpose")]

use std::error::Error;

use inferometer_core::Nanos;
use inferometer_os::clock;
use inferometer_sim::{Delay, Server, SimSettings, start};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Seconds over which paced streams are opened; lateness counts only after them.
const RAMP: u64 = 3;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| word != "stamps" && word != "tied")
        .collect();
    let number = |position: usize, default: u64| -> Result<u64, std::num::ParseIntError> {
        arguments
            .get(position)
            .map_or(Ok(default), |text| text.parse())
    };
    inferometer_os::limits::raise_file_limit(65_536);
    let streams = number(1, 5000)?;
    if arguments.first().is_some_and(|mode| mode == "engine") {
        return run_engine(streams, number(2, 60)?);
    }
    if arguments.first().is_some_and(|mode| mode == "flood") {
        let joined = number(2, 16)?;
        let events = number(3, 4_000_000)?;
        let settings = SimSettings {
            flood: Some(joined as u32),
            max_model_len: u32::MAX,
            ..SimSettings::default()
        };
        run(settings, streams, events / streams)
    } else {
        let rate = number(2, 20)?;
        let seconds = number(3, 10)?;
        let settings = SimSettings {
            itl: Delay::fixed(1000.0 / rate as f64),
            ..SimSettings::default()
        };
        run(settings, streams, rate * (seconds + RAMP))
    }
}

/// Keeps `streams` requests of 512 + 256 tokens in an engine on the virtual clock.
fn run_engine(streams: u64, seconds: u64) -> Result<(), Box<dyn Error>> {
    use inferometer_sim::engine::{Content, Engine, EngineRequest, Preset};
    let preset: Preset = "llama-3.1-8b@h100".parse()?;
    let mut engine = Engine::new(preset.engine()?, 0)?;
    let began = clock::now();
    let request = |id| EngineRequest::new(id, Content::Unshared(512), 256);
    let mut next = streams;
    for id in 0..streams {
        engine.submit(request(id), Nanos::ZERO)?;
    }
    let mut events = Vec::new();
    while let Some(at) = engine
        .next_step_at()
        .filter(|&at| at < Nanos::from_millis(seconds * 1000))
    {
        engine.step(at, &mut events);
        for event in events.drain(..).filter(|event| event.finished) {
            engine.submit(request(next), event.at)?;
            next += 1;
        }
    }
    let took = clock::now().since(began).as_secs_f64();
    let stats = engine.stats();
    println!(
        "{} tokens and {} requests in {seconds} virtual seconds took {took:.3} s: {:.0} times real time",
        stats.generated_tokens,
        stats.finished,
        seconds as f64 / took
    );
    Ok(())
}

fn run(mut settings: SimSettings, streams: u64, tokens: u64) -> Result<(), Box<dyn Error>> {
    let ramp = if settings.flood.is_some() { 0 } else { RAMP };
    settings.kernel_stamps = std::env::args().any(|word| word == "stamps");
    let tied = std::env::args().any(|word| word == "tied");
    if tied && std::thread::available_parallelism().is_ok_and(|processors| processors.get() > 1) {
        settings.pin = Some(0);
        inferometer_os::thread::pin_to_cpu(1);
    }
    let server = start(settings)?;
    let began = (clock::now(), clock::process_cpu(), clock::thread_cpu());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let bytes = runtime.block_on(read_all(&server, streams, tokens, ramp))?;
    let wall = clock::now().since(began.0).as_secs_f64();
    let client = clock::thread_cpu().since(began.2).as_secs_f64();
    let cpu = clock::process_cpu().since(began.1).as_secs_f64() - client;
    let events = streams * tokens;
    println!(
        "{events} events, {:.1} MB in {wall:.2} s",
        bytes as f64 / 1e6
    );
    println!(
        "server: {cpu:.2} s of processor, {:.0} events per second of it",
        events as f64 / cpu
    );
    println!("client: {client:.2} s of processor");
    let late = server.lateness();
    println!(
        "late by p50 {:.3} ms, p99 {:.3} ms, p99.9 {:.3} ms, at most {:.3} ms ({} events)",
        late.p50.as_millis_f64(),
        late.p99.as_millis_f64(),
        late.p999.as_millis_f64(),
        late.max.as_millis_f64(),
        late.events
    );
    let blocked: u64 = server
        .truth()
        .iter()
        .map(|record| u64::from(record.blocked_writes))
        .sum();
    println!(
        "{} requests, {blocked} writes blocked",
        server.truth().len()
    );
    let left: Vec<f64> = server.truth().iter().flat_map(departures).collect();
    if !left.is_empty() {
        let mut sorted = left;
        sorted.sort_by(f64::total_cmp);
        let at = |fraction: f64| sorted[((sorted.len() - 1) as f64 * fraction) as usize];
        println!(
            "kernel's stamps after the write began by p1 {:.1} us, p50 {:.1} us, p99 {:.1} us, at most {:.1} us ({})",
            at(0.01),
            at(0.5),
            at(0.99),
            at(1.0),
            sorted.len()
        );
    }
    server.stop()?;
    Ok(())
}

/// Microseconds from the write of each event to its departure.
fn departures(record: &inferometer_sim::TruthRecord) -> Vec<f64> {
    let stamps = record.kernel_sent.iter().flatten();
    let pairs = record
        .events
        .iter()
        .zip(stamps)
        .filter_map(|(&wrote, &left)| Some((wrote, left?)));
    pairs
        .map(|(wrote, left)| (left.0 as f64 - wrote.0 as f64) / 1e3)
        .collect()
}

async fn read_all(
    server: &Server,
    streams: u64,
    tokens: u64,
    ramp: u64,
) -> Result<u64, Box<dyn Error>> {
    let body =
        format!("{{\"prompt\":\"x\",\"max_tokens\":{tokens},\"stream\":true,\"ignore_eos\":true}}");
    let request = format!(
        "POST /v1/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let local = tokio::task::LocalSet::new();
    local
        .run_until(async move {
            let mut tasks = Vec::new();
            let timer = inferometer_os::PreciseTimer::new()?;
            let began = clock::now();
            let paced = ramp > 0;
            for number in 0..streams {
                if paced {
                    let at =
                        began.as_secs_f64() + ramp as f64 * 0.8 * number as f64 / streams as f64;
                    timer.sleep_until(Nanos::from_secs_f64(at)).await?;
                }
                let mut stream = tokio::net::TcpStream::connect(server.addr()).await?;
                let request = request.clone();
                tasks.push(tokio::task::spawn_local(async move {
                    stream.write_all(request.as_bytes()).await?;
                    let mut buffer = vec![0; 65_536];
                    let mut total = 0_u64;
                    loop {
                        match stream.read(&mut buffer).await? {
                            0 => return Ok::<u64, std::io::Error>(total),
                            length => total += length as u64,
                        }
                    }
                }));
            }
            if paced {
                let at = began + Nanos::from_millis(ramp * 1000);
                timer.sleep_until(at).await?;
                server.reset_truth();
            }
            let mut total = 0;
            for task in tasks {
                total += task.await??;
            }
            Ok(total)
        })
        .await
}
