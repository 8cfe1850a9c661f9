//! `servebench sim`: a server whose truth is known.

use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;

use servebench_sim::{Server, SimSettings, start};
use servebench_workload::{HubSettings, Tokenizer};

use crate::args::SimArgs;
use crate::exit::{Exit, Failure, OrFail};
use crate::output::Output;

/// Serves until interrupted.
pub(crate) fn sim(args: SimArgs, output: &Output) -> Result<Exit, Failure> {
    let server = start(settings(args)?).or_usage()?;
    output.say(&format!(
        "simulator ready: {} (truth log: {}/truth, Ctrl-C ends it)",
        server.url(),
        server.url()
    ));
    wait_for_interrupt()?;
    stop(server)?;
    Ok(Exit::Good)
}

/// Ends a simulator; its truth file must be complete.
pub(crate) fn stop(server: Server) -> Result<(), Failure> {
    server.stop().or_run()
}

fn settings(args: SimArgs) -> Result<SimSettings, Failure> {
    let SimArgs { host, port, model, ttft, itl, tokens_per_event, tokenizer, seed, threads, fault, truth } =
        args;
    let tokenizer = tokenizer
        .map(|spec| Tokenizer::load(&spec, &HubSettings::from_env()).or_usage())
        .transpose()?
        .map(|tokenizer| Arc::new(ForSim(tokenizer)) as Arc<dyn servebench_sim::Tokenizer>);
    Ok(SimSettings {
        address: address(&host, port)?,
        threads,
        model,
        ttft: ttft.parse().map_err(|error| Failure::usage(format!("--ttft {ttft}: {error}")))?,
        itl: itl.parse().map_err(|error| Failure::usage(format!("--itl {itl}: {error}")))?,
        tokens_per_event,
        seed,
        faults: fault
            .iter()
            .map(|share| share.parse().map_err(|error| Failure::usage(format!("--fault {share}: {error}"))))
            .collect::<Result<_, _>>()?,
        truth_file: truth,
        tokenizer,
        ..SimSettings::default()
    })
}

fn address(host: &str, port: u16) -> Result<SocketAddr, Failure> {
    (host, port)
        .to_socket_addrs()
        .ok()
        .and_then(|mut addresses| addresses.next())
        .ok_or_else(|| Failure::usage(format!("--host {host}: this name has no address")))
}

fn wait_for_interrupt() -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().or_run()?;
    runtime.block_on(async {
        let mut terminate =
            tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).or_run()?;
        tokio::select! {
            heard = tokio::signal::ctrl_c() => heard.or_run(),
            _ = terminate.recv() => Ok(()),
        }
    })
}

/// Lets the simulator count tokens as the client does.
pub(crate) struct ForSim(pub Tokenizer);

impl servebench_sim::Tokenizer for ForSim {
    fn encode(&self, text: &str) -> Vec<u32> {
        self.0.encode(text)
    }

    fn decode(&self, tokens: &[u32]) -> String {
        self.0.decode(tokens)
    }
}
