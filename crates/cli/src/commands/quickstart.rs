//! `inferometer quickstart`: a complete benchmark without any setup.

use std::sync::Arc;

use clap::Parser;
use inferometer_sim::{SimSettings, start};
use inferometer_workload::{BUILTIN, Tokenizer};

use super::{run, sim};
use crate::args::{Cli, Command, QuickstartArgs};
use crate::exit::{Exit, Failure, OrFail};
use inferometer_terminal::Output;

/// Model name of the simulator.
const MODEL: &str = "sim";

/// Starts the simulator, benchmarks it, and prints the command for a real server.
pub(crate) fn quickstart(args: &QuickstartArgs, output: &Output) -> Result<Exit, Failure> {
    let tokenizer = Tokenizer::builtin().or_failure()?;
    let server = start(SimSettings {
        model: MODEL.into(),
        ttft: "lognormal:60,0.3".parse().or_failure()?,
        itl: "lognormal:8,0.2".parse().or_failure()?,
        tokenizer: Some(Arc::new(sim::ForSim(tokenizer))),
        ..SimSettings::default()
    })
    .or_failure()?;
    let url = server.url();
    output.print_line(&format!(
        "A simulated inference server is listening on {url}. Benchmarking it with:\n"
    ));
    let arguments = arguments(args, &url);
    output.print_line(&format!("  inferometer {}\n", arguments.join(" ")));
    let command = std::iter::once("inferometer").chain(arguments.iter().map(String::as_str));
    let Command::Run(parsed) = Cli::try_parse_from(command).or_failure()?.command else {
        return Err(Failure::usage(
            "invalid command of the quickstart: expected a run",
        ));
    };
    let exit = run::run(*parsed, output)?;
    sim::stop(server)?;
    output.print_line(
        "\nFor a real server:  inferometer run --base-url http://HOST:PORT --model MODEL",
    );
    Ok(exit)
}

fn arguments(args: &QuickstartArgs, url: &str) -> Vec<String> {
    let (prompts, rate) = (args.num_prompts.to_string(), args.request_rate.to_string());
    let runs_dir = args.runs_dir.display().to_string();
    let mut arguments: Vec<String> = [
        "run",
        "--backend",
        "vllm",
        "--base-url",
        url,
        "--model",
        MODEL,
        "--tokenizer",
        BUILTIN,
        "--random-input-len",
        "128",
        "--random-output-len",
        "64",
        "--num-prompts",
        &prompts,
        "--request-rate",
        &rate,
        "--percentile-metrics",
        "ttft,tpot,itl,e2el",
        "--runs-dir",
        &runs_dir,
    ]
    .map(str::to_owned)
    .into();
    if args.disable_tqdm {
        arguments.push("--disable-tqdm".into());
    }
    arguments
}
