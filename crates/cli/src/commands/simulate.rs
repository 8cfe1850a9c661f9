//! `inferometer simulate`: a run against the engine model, on a virtual clock.

use inferometer_benchmark::{
    EngineModel, RateSearch, SearchBudget, Simulation, simulate as run_virtually,
};
use inferometer_metrics::Kind;
use inferometer_sim::Distribution;
use inferometer_workload::BUILTIN;

use super::run;
use crate::args::{EngineArgs, RunArgs, SimulateArgs};
use crate::exit::{Exit, Failure};
use crate::settings::RunSettings;
use crate::settings::engine::{self, parse};
use crate::watch::Watch;
use inferometer_terminal::Output;

/// The default engine.
const DEFAULT_PRESET: &str = "llama-3.1-8b@h100";
/// Default prefix of request ids, fixed because a random one would differ in every file.
const ID_PREFIX: &str = "bench-simulated-";

/// Runs the simulation that `args` describe.
pub(crate) fn simulate(args: SimulateArgs, output: &Output) -> Result<Exit, Failure> {
    let SimulateArgs {
        engine,
        answer_tokens,
        find_rate,
        find_seeds,
        find_duration,
        find_precision,
        run,
    } = args;
    let without_effect = without_effect(&run.load);
    let (
        model,
        RunSettings {
            benchmark: settings,
            view,
            strict,
            notes,
        },
    ) = resolve(engine, run)?;
    for note in notes.iter().chain(&without_effect) {
        output.note(note);
    }
    let answer_tokens = answer_tokens
        .map(|text| parse("--answer-tokens", &text))
        .transpose()?;
    let budget = SearchBudget {
        seeds: find_seeds,
        seconds: find_duration,
        precision: find_precision,
    };
    let search = find_rate
        .map(|limits| RateSearch::new(&limits, budget, &settings))
        .transpose()?;
    let watch = Watch::new(output, view);
    let simulation = Simulation::prepare(&settings, &model, answer_tokens.as_ref(), &watch)?;
    if let Some(search) = search {
        let requests = &simulation.ready.workload.requests;
        let arrivals = &settings.load.arrivals;
        let found = search.run(&simulation.plan, requests, arrivals, &model, &watch)?;
        Ok(if found.is_some() {
            Exit::Good
        } else {
            Exit::RunFailed
        })
    } else {
        let done = run_virtually(&settings, &model, simulation, &watch)?;
        Ok(run::exit(&done.numbers, strict))
    }
}

/// Refuses arguments that cannot be simulated.
pub(crate) fn check(args: SimulateArgs) -> Result<(), Failure> {
    if args.find_rate.is_some() {
        return Err(Failure::usage(
            "--find-rate cannot be used in a sweep, which runs the rates of its file",
        ));
    }
    if let Some(text) = &args.answer_tokens {
        parse::<Distribution>("--answer-tokens", text)?;
    }
    resolve(args.engine, args.run).map(|_| ())
}

/// Resolves the flags, with the defaults of a simulation.
fn resolve(
    mut engine: EngineArgs,
    mut run: RunArgs,
) -> Result<(EngineModel, RunSettings), Failure> {
    engine
        .preset
        .get_or_insert_with(|| DEFAULT_PRESET.to_owned());
    let model = engine::resolve(&engine)?.ok_or_else(|| Failure::usage("--preset is missing"))?;
    run.target
        .tokenizer
        .get_or_insert_with(|| BUILTIN.to_owned());
    run.load
        .request_id_prefix
        .get_or_insert_with(|| ID_PREFIX.to_owned());
    let settings = RunSettings::resolve(run)?;
    if settings.benchmark.kind() == Kind::Pooling {
        return Err(Failure::usage(format!(
            "--backend {}: the engine model generates tokens; choose a backend for completions or chat",
            settings.benchmark.target.backend.name()
        )));
    }
    Ok((model, settings))
}

/// Notes about flags that need a server.
fn without_effect(load: &crate::args::LoadArgs) -> Vec<String> {
    let flags = [
        ("--num-warmups", load.num_warmups > 0),
        ("--profile", load.profile),
        ("--reset-prefix-cache", load.reset_prefix_cache),
    ];
    let set = flags.iter().filter(|(_, is_set)| *is_set);
    set.map(|(flag, _)| format!("{flag} has no effect: a simulation has no server"))
        .collect()
}
