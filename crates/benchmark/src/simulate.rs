//! A run against an engine model, on a virtual clock.
//!
//! Workload, schedule, slots, metrics and files are those of a measured run; only the server is
//! missing. Everything random has its seed and no clock of the host takes part, so that the same
//! settings give the same result file and the same records, byte for byte.

use inferometer_core::random::indexed_stream;
use inferometer_core::{Bilingual, Nanos, Prompt, Request};
use inferometer_engine::{VirtualRequest, VirtualRun, simulate as run_virtually};
use inferometer_os::clock;
use inferometer_results::rfc3339;
use inferometer_sim::engine::{ClusterConfig, EngineRequest};
use inferometer_sim::{Distribution, PromptBuilder};
use inferometer_wire::Prepared;
use inferometer_workload::Tokenizer;
use rayon::prelude::*;
use serde_json::{Value, json};

use crate::command::command;
use crate::error::{Error, OrError};
use crate::header::{Identity, header};
use crate::numbers::Numbers;
use crate::observer::{Observer, Shown};
use crate::prepare::{Ready, prepare_without_server};
use crate::run::{self, Run, announce, body_digests, complete, failures, introduce, known_facts};
use crate::run_records::count_tokens;
use crate::save::{self, Places};
use crate::settings::Settings;
use crate::spec::RunSpec;

/// Date in result files: the virtual clock starts at zero.
const DATE: &str = "19700101-000000";
/// Tokens of an answer for which neither request nor settings give a length: that of the simulated
/// server.
const ANSWER_TOKENS: u32 = 128;

/// Engines to simulate.
#[derive(Clone, Debug)]
pub struct EngineModel {
    /// Name of the preset.
    pub name: String,
    /// The engines.
    pub cluster: ClusterConfig,
}

impl EngineModel {
    /// The model as JSON, for manifests and results.
    pub fn describe(&self) -> Value {
        let transfer = self.cluster.transfer.as_ref();
        json!({
            "preset": self.name,
            "replicas": self.cluster.replicas,
            "router": self.cluster.router.name(),
            "engine": self.cluster.engine,
            "transfer": transfer.map(|transfer| json!({
                "base_ns": transfer.base,
                "per_token_ns": transfer.per_token,
            })),
        })
    }

    /// The model in a few words, for messages.
    pub fn title(&self) -> String {
        let split = if self.cluster.transfer.is_some() {
            ", disaggregated prefill"
        } else {
            ""
        };
        match self.cluster.replicas {
            1 => format!("{}{split}", self.name),
            n => format!("{n} × {} ({}{split})", self.name, self.cluster.router),
        }
    }
}

/// A simulation that is ready to run.
#[derive(Debug)]
pub struct Simulation {
    /// What is sent and when, as for a measured run.
    pub ready: Ready,
    /// The requests as the engine sees them.
    pub plan: VirtualRun,
    began: Nanos,
}

impl Simulation {
    /// Builds workload and schedule for `model`. With `answer_tokens`, answers end after a number of
    /// tokens drawn from it, unless the settings ignore the end of text.
    ///
    /// # Errors
    ///
    /// Usage errors name the setting, what was expected, and the remedy.
    pub fn prepare(
        settings: &Settings,
        model: &EngineModel,
        answer_tokens: Option<&Distribution>,
        observer: &dyn Observer,
    ) -> Result<Self, Error> {
        let began = clock::wall();
        let mut ready = prepare_without_server(settings, &model.name, observer)?;
        let tokenizer = ready.tokenizer.take().map(SimTokenizer);
        let plan = virtual_plan(settings, &ready, model, tokenizer.as_ref(), answer_tokens)?;
        introduce(settings, &ready, observer);
        Ok(Self { ready, plan, began })
    }
}

/// Makes the simulator count tokens as the client does.
struct SimTokenizer(Tokenizer);

impl inferometer_sim::Tokenizer for SimTokenizer {
    fn encode(&self, text: &str) -> Vec<u32> {
        self.0.encode(text)
    }

    fn decode(&self, tokens: &[u32]) -> String {
        self.0.decode(tokens)
    }
}

/// Runs a simulation on the virtual clock and writes its files.
///
/// # Errors
///
/// A usage error when a file cannot be written later, before the simulation; a failure when the
/// simulation fails or a file cannot be written.
pub fn simulate(
    settings: &Settings,
    model: &EngineModel,
    simulation: Simulation,
    observer: &dyn Observer,
) -> Result<Run, Error> {
    let Simulation { ready, plan, began } = simulation;
    let spec = RunSpec::of(settings);
    let mut header = header(&spec, Identity::of_run(settings, &ready), began);
    settings.saving.exports.prepare()?;
    // File names have the time of day; the content must not depend on it.
    let places = Places::prepare(&settings.saving, &spec, &header, began, observer)?;
    DATE.clone_into(&mut header.date);
    let facts = known_facts(settings, &ready, &body_digests(&ready));
    announce(settings, observer);

    let start = clock::now();
    let (mut finished, stats) = run_virtually(plan).or_failure()?;
    let took = clock::now().since(start).as_secs_f64();
    count_tokens(&mut finished, None, None)?;
    let numbers = Numbers::of(&finished.records, &spec, &facts, &finished.health);
    let mut manifest = run::manifest(settings, &ready, &spec, &facts)?;
    complete(&mut manifest, &finished, &numbers, &spec, &facts)?;
    manifest.run.simulated = true;
    manifest.run.started = rfc3339(began);
    manifest.run.started_wall_ns = began.0;
    manifest.command = command(settings, &ready, false);
    manifest.target.urls = Vec::new();
    manifest.engine_model = model.describe();
    manifest.engine_model["counters"] = json!(stats);
    let span = finished.health.wall.as_secs_f64();
    let (title, speed) = (model.title(), span / took.max(1e-9));
    let simulated = Bilingual {
        en: format!(
            "Simulated: {title} on a virtual clock, {span:.1} s in {took:.3} s ({speed:.0} times real time). No \
             server was measured."
        ),
        zh: format!(
            "模拟：{title}，虚拟时钟 {span:.1} s，实际用时 {took:.3} s（{speed:.0} 倍实时速度）。未测量任何服务器。"
        ),
    };
    observer.numbers(&Shown {
        numbers: &numbers,
        spec: &spec,
        facts: &facts,
        health: &finished.health,
        failures: &failures(&finished.records, settings.compat),
        run_folder: places.folder_path(),
        simulated: Some(&simulated),
    });
    let outcome = save::Finished {
        saving: &settings.saving,
        spec: &spec,
        facts: &facts,
        records: &finished.records,
        numbers: &numbers,
        manifest: &manifest,
    };
    let mut result = outcome.result(header, settings, &ready.plan.schedule, &finished);
    result.inferometer["simulated"] = manifest.engine_model.clone();
    let result_file = outcome.write(&places, &result, observer)?;
    Ok(Run {
        numbers,
        manifest,
        folder: places.folder_path().map(std::path::Path::to_owned),
        result_file,
        interrupted: false,
        records: finished.records,
    })
}

/// The requests as the engine sees them.
fn virtual_plan(
    settings: &Settings,
    ready: &Ready,
    model: &EngineModel,
    tokenizer: Option<&SimTokenizer>,
    answer_tokens: Option<&Distribution>,
) -> Result<VirtualRun, Error> {
    let tokenizer = tokenizer.map(|one| one as &dyn inferometer_sim::Tokenizer);
    let lora = settings.target.lora.as_ref();
    let conversion = Conversion {
        seed: settings.workload.seed,
        adapters: lora.map_or(&[], |lora| &lora.modules),
        answer_tokens: answer_tokens
            .filter(|_| !ready.plan.requests.iter().any(Prepared::ignores_eos)),
    };
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
                .map(|&(request, prepared)| conversion.turn(&mut prompt, request, prepared))
                .collect::<Result<Vec<_>, Error>>()
        })
        .collect::<Result<Vec<_>, Error>>()?
        .concat();
    Ok(VirtualRun {
        requests,
        schedule: ready.plan.schedule.as_ref().clone(),
        max_concurrency: settings.load.max_concurrency,
        max_conversations: settings.shapes.max_conversations,
        cluster: model.cluster.clone(),
        seed: settings.workload.seed,
    })
}

/// How requests become those of the engine.
struct Conversion<'a> {
    seed: u64,
    /// Names of the LoRA adapters; the engine has their numbers.
    adapters: &'a [String],
    /// Natural length of answers; `None` where every answer has the requested length.
    answer_tokens: Option<&'a Distribution>,
}

impl Conversion<'_> {
    /// One request, whose `prompt` so far is that of the conversation's earlier turns.
    fn turn(
        &self,
        prompt: &mut PromptBuilder<'_>,
        request: &Request,
        prepared: &Prepared,
    ) -> Result<VirtualRequest, Error> {
        let mut facts = prepared.record();
        let requested = request.output_tokens.unwrap_or(ANSWER_TOKENS);
        let mut output = requested;
        if let Some(natural) = self.answer_tokens {
            let mut random = indexed_stream(self.seed, "sim answer", request.index as u64);
            output = (natural.sample(&mut random).round().max(1.0) as u32).min(requested);
            if output < requested {
                facts.finish_reason = Some("stop".to_owned());
            }
        }
        add_content(prompt, request)?;
        let content = prompt.clone().build();
        if is_later_turn(request) {
            facts.prompt_tokens = content.len();
        }
        let mut engine = EngineRequest::new(request.index as u64, content, output);
        let session = request.session.as_ref();
        if session.is_some_and(|turn| turn.has_next) {
            engine.answer = answer(self.seed, request.index, output);
            prompt.answer(&engine.answer);
        }
        engine.conversation = session.map(|turn| turn.session as u64);
        let adapter = |name| self.adapters.iter().position(|adapter| adapter == name);
        engine.lora = request
            .model
            .as_ref()
            .and_then(adapter)
            .map(|number| number as u32);
        let priority = request.overrides.get("priority").and_then(Value::as_i64);
        engine.priority = i32::try_from(priority.unwrap_or(0)).unwrap_or(0);
        Ok(VirtualRequest {
            engine,
            facts,
            cancel_after: prepared.cancel_after,
            think: session
                .filter(|_| is_later_turn(request))
                .map(|turn| turn.think),
        })
    }
}

/// True for a turn that follows an answer.
fn is_later_turn(request: &Request) -> bool {
    request.session.as_ref().is_some_and(|turn| turn.turn > 0)
}

/// Synthetic tokens, which the next turn of the conversation repeats.
fn answer(seed: u64, index: usize, tokens: u32) -> Vec<u32> {
    use rand::Rng as _;
    let mut random = indexed_stream(seed, "sim answer text", index as u64);
    (0..tokens).map(|_| random.next_u32()).collect()
}

/// Appends the tokens of a request, so that the prefix cache hits as it would on a server.
fn add_content(prompt: &mut PromptBuilder<'_>, request: &Request) -> Result<(), Error> {
    let is_supported = match &request.prompt {
        Prompt::Text(text) => {
            prompt.text(text);
            true
        }
        Prompt::Tokens(ids) => {
            prompt.ids(ids);
            true
        }
        Prompt::Texts(_) => {
            return Err(Error::usage(
                "several texts in one request are for embeddings and the like, which the engine model does not \
                 support",
            ));
        }
        Prompt::Messages(messages) => prompt.messages(messages),
        Prompt::Parts(parts) => prompt.content(&Value::Array(parts.clone())),
    };
    let media = request.media.is_empty() || prompt.content(&Value::Array(request.media.clone()));
    if is_supported && media {
        return Ok(());
    }
    Err(Error::usage(format!(
        "request {}: unsupported messages",
        request.index
    )))
}
