//! `inferometer sim`: a server that logs the true times.

use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use inferometer_benchmark::check_threads;
use inferometer_core::Secret;
use inferometer_results::check_outputs;
use inferometer_sim::{MetricNames, ReasoningKey, Server, SimSettings, TlsIdentity, start};
use inferometer_workload::{HubSettings, Tokenizer};

use crate::args::SimArgs;
use crate::exit::{Exit, Failure, OrFail};
use crate::settings::MAX_THREADS;
use crate::settings::engine::{self, parse};
use inferometer_terminal::Output;

/// Serves until interrupted.
pub(crate) fn sim(args: SimArgs, output: &Output) -> Result<Exit, Failure> {
    let truth: Vec<_> = args.truth.iter().collect();
    let inputs = [&args.tls_cert, &args.tls_key, &args.tls_client_ca];
    output.note_if(check_outputs(&truth, inputs.into_iter().flatten()).or_usage()?);
    let server = start(settings(args)?).or_usage()?;
    output.print_line(&format!(
        "simulator ready: {} (truth log: {}/truth, Ctrl-C to stop)",
        server.url(),
        server.url()
    ));
    wait_for_interrupt()?;
    stop(server)?;
    Ok(Exit::Good)
}

/// Stops a simulator and completes its truth file.
pub(crate) fn stop(server: Server) -> Result<(), Failure> {
    server.stop().or_failure()
}

fn settings(args: SimArgs) -> Result<SimSettings, Failure> {
    if args.kernel_stamps && !cfg!(target_os = "linux") {
        return Err(Failure::usage(
            "--kernel-stamps: only supported on Linux; the truth log has the program's own timestamps",
        ));
    }
    if args.threads == 0 || args.threads > MAX_THREADS {
        return Err(Failure::usage(format!(
            "--threads {}: expected 1 to {MAX_THREADS}",
            args.threads
        )));
    }
    check_threads(args.threads)?;
    let engine = engine::resolve(&args.engine)?.map(|model| model.cluster);
    let metric_names = metric_names(&args.metrics)?;
    let tokenizer = args
        .tokenizer
        .map(|spec| Tokenizer::load(&spec, &HubSettings::from_env()).or_usage())
        .transpose()?
        .map(|tokenizer| Arc::new(ForSim(tokenizer)) as Arc<dyn inferometer_sim::Tokenizer>);
    let reasoning_key = reasoning_key(&args.reasoning_key)?;
    let ready_after = delay("--ready-after", args.ready_after)?;
    let listen_after = delay("--listen-after", args.listen_after)?;
    Ok(SimSettings {
        address: address(&args.host, args.port)?,
        threads: args.threads,
        model: args.model,
        ttft: parse("--ttft", &args.ttft)?,
        itl: parse("--itl", &args.itl)?,
        tokens_per_event: args.tokens_per_event,
        flood: args.flood,
        answer_tokens: args
            .answer_tokens
            .map(|text| parse("--answer-tokens", &text))
            .transpose()?,
        seed: args.seed,
        max_model_len: args.max_model_len,
        api_key: args.api_key.map(Secret::new),
        faults: args
            .fault
            .iter()
            .map(|fault| parse("--fault", fault))
            .collect::<Result<_, _>>()?,
        truth_file: args.truth,
        kernel_stamps: args.kernel_stamps,
        pin: args.pin,
        tokenizer,
        engine,
        reasoning_tokens: args.reasoning_tokens,
        reasoning_key,
        tool_calls: args.tool_calls,
        lora_modules: args.lora_modules,
        listen_after,
        metric_names,
        ready_after,
        tls: args
            .tls_cert
            .zip(args.tls_key)
            .map(|(certificate, key)| TlsIdentity {
                certificate,
                key,
                client_authority: args.tls_client_ca,
            }),
        ..SimSettings::default()
    })
}

fn metric_names(name: &str) -> Result<MetricNames, Failure> {
    match name {
        "vllm" => Ok(MetricNames::Vllm),
        "sglang" => Ok(MetricNames::Sglang),
        other => Err(Failure::usage(format!(
            "--metrics {other}: must be vllm or sglang"
        ))),
    }
}

fn reasoning_key(name: &str) -> Result<ReasoningKey, Failure> {
    match name {
        "reasoning" => Ok(ReasoningKey::Reasoning),
        "reasoning_content" => Ok(ReasoningKey::ReasoningContent),
        other => Err(Failure::usage(format!(
            "--reasoning-key {other}: must be reasoning or reasoning_content"
        ))),
    }
}

fn delay(flag: &str, seconds: f64) -> Result<Duration, Failure> {
    if (0.0..1e9).contains(&seconds) {
        Ok(Duration::from_secs_f64(seconds))
    } else {
        Err(Failure::usage(format!(
            "{flag} {seconds}: must be a number of seconds, at least 0"
        )))
    }
}

fn address(host: &str, port: u16) -> Result<SocketAddr, Failure> {
    (host, port)
        .to_socket_addrs()
        .ok()
        .and_then(|mut addresses| addresses.next())
        .ok_or_else(|| Failure::usage(format!("--host {host}: cannot resolve this name")))
}

fn wait_for_interrupt() -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .or_failure()?;
    runtime.block_on(async {
        let mut terminate =
            tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
                .or_failure()?;
        tokio::select! {
            received = tokio::signal::ctrl_c() => received.or_failure(),
            _ = terminate.recv() => Ok(()),
        }
    })
}

/// The client's tokenizer for the simulator.
pub(crate) struct ForSim(pub Tokenizer);

impl inferometer_sim::Tokenizer for ForSim {
    fn encode(&self, text: &str) -> Vec<u32> {
        self.0.encode(text)
    }

    fn decode(&self, tokens: &[u32]) -> String {
        self.0.decode(tokens)
    }
}
