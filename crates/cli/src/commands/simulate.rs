//! `inferometer simulate`: a run against the engine model, on a virtual clock.
//!
//! Workload, schedule, slots, metrics and files are those of `run`; only the server is not there.
//! Everything random has its seed and no clock of the host has a part in it, so that the same
//! command gives the same result file and the same records, byte for byte.

use inferometer_core::random::indexed_stream;
use inferometer_core::{Nanos, Prompt, Request};
use inferometer_engine::{Finished, VirtualJob, VirtualRequest, simulate as run_virtually};
use inferometer_metrics::Kind;
use inferometer_os::clock;
use inferometer_report::Lang;
use inferometer_results::{Manifest, ResultFile, RunFolder, VllmHeader, rfc3339, run_folder_name};
use inferometer_sim::engine::{EngineRequest, EngineStats};
use inferometer_sim::{Distribution, PromptBuilder};
use inferometer_workload::BUILTIN;
use rayon::prelude::*;
use serde_json::{Value, json};

use super::engine_model::{self, EngineModel};
use super::sim::{ForSim, parse};
use super::{find_rate, run};
use crate::args::{EngineArgs, RunArgs, SimulateArgs};
use crate::exit::{Exit, Failure, OrFail};
use crate::kept::count_tokens;
use crate::numbers::{Look, Numbers};
use crate::output::Output;
use crate::prepare::{Ready, prepare_simulated};
use crate::settings::RunSettings;
use crate::{beside, page, vllm};

/// The engine that is simulated unless another is named.
const PRESET: &str = "llama-3.1-8b@h100";
/// Start of request ids unless one is given: a random one would be another in every file.
const ID_PREFIX: &str = "bench-simulated-";
/// Date in result files: the virtual clock begins at zero.
const DATE: &str = "19700101-000000";
/// Length of an answer for which neither request nor flags name one, as the simulator's server has
/// it.
const ANSWER_TOKENS: u32 = 128;

/// Runs the simulation that `args` ask for.
pub(crate) fn simulate(args: SimulateArgs, output: &Output) -> Result<Exit, Failure> {
    let began = clock::wall();
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
    let (model, settings) = resolve(engine, run)?;
    for note in settings.notes.iter().chain(&without_effect) {
        output.note(note);
    }
    let answer_tokens = answer_tokens
        .map(|text| parse("--answer-tokens", &text))
        .transpose()?;
    let search = find_rate
        .map(|limits| {
            let effort = find_rate::Effort {
                seeds: find_seeds,
                seconds: find_duration,
                precision: find_precision,
            };
            find_rate::Search::new(&limits, effort, &settings)
        })
        .transpose()?;

    let mut ready = prepare_simulated(&settings, &model.name)?;
    let tokenizer = ready.tokenizer.take().map(ForSim);
    let plan = virtual_plan(
        &settings,
        &ready,
        &model,
        tokenizer.as_ref(),
        answer_tokens.as_ref(),
    )?;
    run::tell(&settings, &ready, output);
    match search {
        Some(search) => search.run(
            &plan,
            &ready.workload.requests,
            &settings.load.arrivals,
            &model,
            output,
        ),
        None => conclude(&settings, &ready, &model, plan, began, output),
    }
}

/// Refuses arguments that cannot be simulated.
pub(crate) fn check(args: SimulateArgs) -> Result<(), Failure> {
    if args.find_rate.is_some() {
        return Err(Failure::usage(
            "--find-rate searches by itself; a sweep goes through given rates",
        ));
    }
    if let Some(text) = &args.answer_tokens {
        parse::<Distribution>("--answer-tokens", text)?;
    }
    resolve(args.engine, args.run).map(|_| ())
}

/// What the flags mean, with the defaults of a simulation.
fn resolve(
    mut engine: EngineArgs,
    mut run: RunArgs,
) -> Result<(EngineModel, RunSettings), Failure> {
    engine.preset.get_or_insert_with(|| PRESET.to_owned());
    let model =
        engine_model::resolve(&engine)?.ok_or_else(|| Failure::usage("--preset is missing"))?;
    run.target
        .tokenizer
        .get_or_insert_with(|| BUILTIN.to_owned());
    run.load
        .request_id_prefix
        .get_or_insert_with(|| ID_PREFIX.to_owned());
    let settings = RunSettings::resolve(run)?;
    if settings.metrics.kind == Kind::Pooling {
        return Err(Failure::usage(format!(
            "--backend {}: the engine model generates tokens; choose a backend for completions or chats",
            settings.target.backend.name()
        )));
    }
    Ok((model, settings))
}

/// Flags that ask for something which only a server can do.
fn without_effect(load: &crate::args::LoadArgs) -> Vec<String> {
    let asked = [
        ("--num-warmups", load.num_warmups > 0),
        ("--profile", load.profile),
        ("--reset-prefix-cache", load.reset_prefix_cache),
    ];
    let named = asked.iter().filter(|(_, asked)| *asked);
    named
        .map(|(flag, _)| format!("{flag} has no effect: no server takes part in a simulation"))
        .collect()
}

/// One run from the plan to its files.
fn conclude(
    settings: &RunSettings,
    ready: &Ready,
    model: &EngineModel,
    plan: VirtualJob,
    began: Nanos,
    output: &Output,
) -> Result<Exit, Failure> {
    let mut header = vllm::header(settings, &ready.model, ready.tokenizer_id.as_deref(), began);
    // The name tells runs apart by the time of day; the content must not.
    let result_file = run::result_file(settings, &header)?;
    settings.saving.exports.prepare()?;
    DATE.clone_into(&mut header.date);
    let name = run_folder_name(began, settings.saving.label.as_deref());
    let folder = settings
        .saving
        .runs_dir
        .as_ref()
        .map(|parent| RunFolder::create(parent, &name));
    let folder = folder.transpose().or_usage()?;
    let mut numbers_settings = run::number_settings(settings, ready);
    numbers_settings.verdict.interrupted = false;
    run::announce(settings, output);

    let start = clock::now();
    let (mut finished, stats) = run_virtually(plan).or_run()?;
    let took = clock::now().since(start);
    count_tokens(&mut finished, None, None)?;
    let numbers = Numbers::of(&finished.records, &numbers_settings, &finished.health);
    let mut manifest = run::manifest(settings, ready, &numbers_settings)?;
    run::complete(&mut manifest, &finished, &numbers, &numbers_settings, false)?;
    manifest.run.simulated = true;
    manifest.run.started = rfc3339(began);
    manifest.run.started_wall_ns = began.0;
    manifest.target.urls = Vec::new();
    let described = describe(model, &stats);
    manifest.settings["engine_model"] = described.clone();

    let look = Look {
        color: output.color(),
        run_folder: folder
            .as_ref()
            .map(|folder| folder.path().display().to_string()),
        ..Look::default()
    };
    output.print(&run::failures(&finished.records));
    output.print(&numbers.render(&numbers_settings, &finished.health, &look));
    let span = finished.health.wall.as_secs_f64();
    output.say(&format!(
        "Simulated: {} on a virtual clock, {span:.1} s in {:.3} s ({:.0} times real time). No server was measured.",
        model.title(),
        took.as_secs_f64(),
        span / took.as_secs_f64().max(1e-9),
    ));
    let files = Files {
        folder: folder.as_ref(),
        result: result_file.as_ref(),
        manifest: &manifest,
    };
    files.save(settings, header, ready, &finished, &numbers, described)?;
    let place = folder.as_ref().map(RunFolder::path);
    for path in
        settings
            .saving
            .exports
            .write(place, &manifest, &finished.records, &numbers_settings)?
    {
        output.say(&format!("Exported: {}", path.display()));
    }
    Ok(run::exit(settings, &numbers))
}

/// What was simulated, and what the engines counted.
fn describe(model: &EngineModel, stats: &EngineStats) -> Value {
    let mut described = model.describe();
    described["counters"] = json!(stats);
    described
}

/// Where a simulation leaves its results.
struct Files<'a> {
    folder: Option<&'a RunFolder>,
    result: Option<&'a ResultFile>,
    manifest: &'a Manifest,
}

impl Files<'_> {
    fn save(
        &self,
        settings: &RunSettings,
        header: VllmHeader,
        ready: &Ready,
        finished: &Finished,
        numbers: &Numbers,
        described: Value,
    ) -> Result<(), Failure> {
        let (records, health) = (&finished.records, &finished.health);
        let mut result = vllm::result(header, records, numbers, health, finished.start);
        result.rps_change_events = vllm::rate_changes(
            &settings.load.arrivals,
            &ready.plan.schedule,
            finished.start,
        );
        result.inferometer["simulated"] = described;
        if let Some(file) = self.result {
            if settings.saving.save {
                file.write(&result, vllm::details(settings, records))
                    .or_run()?;
            }
            beside::write(settings, file, &finished.records, &result)?;
        }
        if let Some(folder) = self.folder {
            folder.store_records(&finished.records).or_run()?;
            folder.write_manifest(self.manifest).or_run()?;
            page::write(
                folder,
                self.manifest,
                &finished.records,
                numbers,
                Lang::default(),
            )?;
        }
        Ok(())
    }
}

/// The requests as the engine sees them.
fn virtual_plan(
    settings: &RunSettings,
    ready: &Ready,
    model: &EngineModel,
    tokenizer: Option<&ForSim>,
    answer_tokens: Option<&Distribution>,
) -> Result<VirtualJob, Failure> {
    let tokenizer = tokenizer.map(|one| one as &dyn inferometer_sim::Tokenizer);
    let adapters: &[String] = settings
        .target
        .lora
        .as_ref()
        .map_or(&[], |(names, _)| names);
    let natural = answer_tokens.filter(|_| !ready.plan.wire.settings().body.ignore_eos);
    let all: Vec<_> = ready
        .workload
        .requests
        .iter()
        .zip(ready.plan.requests.iter())
        .collect();
    // A conversation's turns depend on one another; conversations do not.
    let conversations: Vec<_> = all.chunk_by(|_, (next, _)| is_later_turn(next)).collect();
    let requests = conversations
        .into_par_iter()
        .map(|turns| {
            let mut prompt = PromptBuilder::for_engine(tokenizer);
            turns
                .iter()
                .map(|&(request, prepared)| {
                    let mut facts = prepared.record();
                    let asked = request.output_tokens.unwrap_or(ANSWER_TOKENS);
                    let mut output = asked;
                    if let Some(natural) = natural {
                        let seed = settings.workload.seed;
                        let mut random = indexed_stream(seed, "sim answer", request.index as u64);
                        output = (natural.sample(&mut random).round().max(1.0) as u32).min(asked);
                        if output < asked {
                            facts.finish_reason = Some("stop".to_owned());
                        }
                    }
                    add_content(&mut prompt, request)?;
                    let content = prompt.clone().build();
                    facts.prompt_tokens = if is_later_turn(request) {
                        content.len()
                    } else {
                        facts.prompt_tokens
                    };
                    let mut engine = EngineRequest::new(request.index as u64, content, output);
                    if request.session.as_ref().is_some_and(|turn| turn.has_next) {
                        engine.answer = answer(settings.workload.seed, request.index, output);
                        prompt.answer(&engine.answer);
                    }
                    engine.conversation = request.session.as_ref().map(|turn| turn.session as u64);
                    engine.lora = request
                        .model
                        .as_ref()
                        .and_then(|name| adapters.iter().position(|adapter| adapter == name))
                        .map(|number| number as u32);
                    let priority = request
                        .overrides
                        .get("priority")
                        .and_then(Value::as_i64)
                        .unwrap_or(0);
                    engine.priority = i32::try_from(priority).unwrap_or(0);
                    let think = is_later_turn(request)
                        .then(|| request.session.as_ref().map(|turn| turn.think));
                    let think = think.flatten();
                    Ok(VirtualRequest {
                        engine,
                        facts,
                        cancel_after: prepared.cancel_after,
                        think,
                    })
                })
                .collect::<Result<Vec<_>, Failure>>()
        })
        .collect::<Result<Vec<_>, Failure>>()?
        .concat();
    Ok(VirtualJob {
        requests,
        schedule: ready.plan.schedule.as_ref().clone(),
        max_concurrency: settings.load.max_concurrency,
        most_conversations: settings.shapes.most_conversations,
        cluster: model.cluster.clone(),
        seed: settings.workload.seed,
    })
}

/// True for a turn that follows an answer.
fn is_later_turn(request: &Request) -> bool {
    request.session.as_ref().is_some_and(|turn| turn.turn > 0)
}

/// Made-up tokens, which the next turn of the conversation repeats.
fn answer(seed: u64, index: usize, tokens: u32) -> Vec<u32> {
    use rand::Rng as _;
    let mut random = indexed_stream(seed, "sim answer text", index as u64);
    (0..tokens).map(|_| random.next_u32()).collect()
}

/// Appends the tokens of a request, so that the prefix cache finds what it would find on a server.
fn add_content(prompt: &mut PromptBuilder<'_>, request: &Request) -> Result<(), Failure> {
    let understood = match &request.prompt {
        Prompt::Text(text) => {
            prompt.text(text);
            true
        }
        Prompt::Tokens(ids) => {
            prompt.ids(ids);
            true
        }
        Prompt::Texts(_) => {
            return Err(Failure::usage(
                "batches of texts in one request are for embeddings and the like, which the engine model does \
                 not know",
            ));
        }
        Prompt::Messages(messages) => prompt.messages(messages),
        Prompt::Parts(parts) => prompt.content(&Value::Array(parts.clone())),
    };
    let media = request.media.is_empty() || prompt.content(&Value::Array(request.media.clone()));
    if understood && media {
        return Ok(());
    }
    Err(Failure::usage(format!(
        "request {}: its messages cannot be understood",
        request.index
    )))
}
