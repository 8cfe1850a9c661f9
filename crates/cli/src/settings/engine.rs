//! Settings of the engine model.

use std::fmt::Display;
use std::path::Path;
use std::str::FromStr;

use inferometer_benchmark::EngineModel;
use inferometer_core::Nanos;
use inferometer_os::files::{self, SMALL_FILE};
use inferometer_sim::engine::{
    ClusterConfig, EngineConfig, Preset, PresetFile, Speculation, Swap, Transfer,
};

use crate::args::EngineArgs;
use crate::exit::{Failure, OrFail};

/// The engines that the flags describe; `None` without a preset.
pub(crate) fn resolve(args: &EngineArgs) -> Result<Option<EngineModel>, Failure> {
    let Some(preset) = &args.preset else {
        let none = EngineArgs {
            replicas: 1,
            router: args.router.clone(),
            ..EngineArgs::default()
        };
        if *args != none {
            return Err(Failure::usage(
                "the flags of the engine model (--replicas, --max-num-seqs and so on) need --preset, which selects \
                 the engine",
            ));
        }
        return Ok(None);
    };
    let (name, mut engine) = load(preset)?;
    engine.max_num_seqs = args.max_num_seqs.unwrap_or(engine.max_num_seqs);
    engine.max_num_batched_tokens = args
        .max_num_batched_tokens
        .unwrap_or(engine.max_num_batched_tokens);
    engine.num_blocks = args.num_blocks.unwrap_or(engine.num_blocks);
    engine.max_loras = args.max_loras.unwrap_or(engine.max_loras);
    engine.cost.jitter = args.step_jitter.unwrap_or(engine.cost.jitter);
    engine.prefix_caching &= !args.no_prefix_caching;
    engine.chunked_prefill &= !args.no_chunked_prefill;
    if let Some(text) = &args.swap {
        engine.swap = Some(swap(text)?);
    }
    if let Some(time) = args.lora_load_time {
        engine.lora_load = milliseconds("--lora-load-time", time)?;
    }
    match &args.speculation {
        Some(probabilities) => {
            engine.speculation = Some(speculation(probabilities, args.draft_time.unwrap_or(0.0))?);
        }
        None if args.draft_time.is_some() => {
            return Err(Failure::usage(
                "--draft-time needs --speculation, the acceptance probabilities of the drafts",
            ));
        }
        None => {}
    }
    let transfer = args
        .transfer
        .as_ref()
        .map(|text| transfer(text, &engine))
        .transpose()?;
    let router = parse("--router", &args.router)?;
    let cluster = ClusterConfig {
        engine,
        replicas: args.replicas,
        router,
        transfer,
    };
    // Building it checks that the settings are compatible.
    inferometer_sim::engine::Cluster::new(cluster.clone(), 0).or_usage()?;
    Ok(Some(EngineModel { name, cluster }))
}

/// A preset by name or from a file.
fn load(preset: &str) -> Result<(String, EngineConfig), Failure> {
    let path = Path::new(preset);
    if !path.is_file() {
        let is_json = path.extension().is_some_and(|ending| ending == "json");
        if is_json || preset.contains('/') {
            return Err(Failure::usage(format!(
                "--preset {preset}: no such file; inferometer calibrate -o writes one"
            )));
        }
        let known: Preset = parse("--preset", preset)?;
        return Ok((known.to_string(), known.engine().or_usage()?));
    }
    let invalid = |error: &dyn Display| Failure::usage(format!("--preset {preset}: {error}"));
    let text = files::text(path, SMALL_FILE).map_err(|error| invalid(&error))?;
    let file = PresetFile::from_json(&text).map_err(|error| invalid(&error))?;
    Ok((file.name, file.engine))
}

fn speculation(probabilities: &str, draft_time: f64) -> Result<Speculation, Failure> {
    let acceptance: Vec<f64> = numbers(
        "--speculation",
        probabilities,
        "probabilities from 0 to 1, such as 0.8,0.7,0.6",
    )?;
    Ok(Speculation {
        acceptance,
        draft_time: milliseconds("--draft-time", draft_time)?,
    })
}

fn swap(text: &str) -> Result<Swap, Failure> {
    let form = "blocks and microseconds per token, such as 20000,5";
    let &[blocks, per_token] = numbers("--swap", text, form)?.as_slice() else {
        return Err(Failure::usage(format!(
            "--swap {text}: must be two numbers, {form}"
        )));
    };
    if !(0.0..1e12).contains(&blocks) || blocks.fract() != 0.0 || !(0.0..1e9).contains(&per_token) {
        return Err(Failure::usage(format!("--swap {text}: must be {form}")));
    }
    Ok(Swap {
        blocks: blocks as usize,
        per_token: per_token * 1e3,
    })
}

fn transfer(text: &str, engine: &EngineConfig) -> Result<Transfer, Failure> {
    let form = "milliseconds per prompt and microseconds per token, such as 2,1.5";
    let &[base, per_token] = numbers("--transfer", text, form)?.as_slice() else {
        return Err(Failure::usage(format!(
            "--transfer {text}: must be two numbers, {form}"
        )));
    };
    Ok(Transfer {
        prefill: engine.clone(),
        base: milliseconds("--transfer", base)?,
        per_token: milliseconds("--transfer", per_token / 1e3)?,
    })
}

fn numbers(flag: &str, text: &str, form: &str) -> Result<Vec<f64>, Failure> {
    let parsed: Result<Vec<f64>, _> = text.split(',').map(|part| part.trim().parse()).collect();
    parsed.map_err(|error| Failure::usage(format!("{flag} {text}: {error}; expected {form}")))
}

fn milliseconds(flag: &str, value: f64) -> Result<Nanos, Failure> {
    if (0.0..1e9).contains(&value) {
        Ok(Nanos::from_secs_f64(value / 1e3))
    } else {
        Err(Failure::usage(format!(
            "{flag} {value}: must be a time of at least 0"
        )))
    }
}

/// The value of a flag, with the flag in the error.
pub(crate) fn parse<T: FromStr<Err: Display>>(flag: &str, text: &str) -> Result<T, Failure> {
    text.parse()
        .map_err(|error| Failure::usage(format!("{flag} {text}: {error}")))
}
