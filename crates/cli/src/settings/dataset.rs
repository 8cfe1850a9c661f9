//! Settings of datasets.

use std::path::PathBuf;

use inferometer_benchmark::Compat;
use inferometer_core::suggest::meant;
use inferometer_workload::{
    BurstGptSettings, CustomMediaSettings, CustomSettings, DatasetSettings, HfSettings,
    HubSettings, MmBucket, PrefixRepetitionSettings, RandomMmSettings, RandomSettings,
    RerankSettings, ShareGptSettings, SonnetSettings, SpecBenchSettings, SpeedBenchSettings,
    TimedTraceSettings, TraceSettings, dataset,
};
use serde_json::{Map, Value};

use crate::args::DatasetArgs;
use crate::exit::{Failure, OrFail};

/// Old names of hub datasets that tutorials still use, and their new names.
const RENAMED: [(&str, &str); 1] = [("lmms-lab/VisionArena", "lmarena-ai/VisionArena-Chat")];

/// The dataset that the flags describe.
pub(super) fn settings(args: &DatasetArgs, compat: Compat) -> Result<DatasetSettings, Failure> {
    assert_every_flag_has_a_reader(args);
    let name = match (&args.dataset_name, &args.dataset_path) {
        (Some(name), _) => name.as_str(),
        (None, Some(_)) => compat.default_dataset(),
        // The old script's default reads a file, and without one it ended with an error. Tutorials of
        // that time call it with the flags of random prompts.
        (None, None) => Compat::Native.default_dataset(),
    };
    check_flags(args, name)?;
    let path = || {
        args.dataset_path.clone().ok_or_else(|| {
            Failure::usage(format!(
                "--dataset-name {name} reads a file: set its --dataset-path"
            ))
        })
    };
    Ok(match name {
        "random" => DatasetSettings::Random(random(args)?),
        "random-mm" => DatasetSettings::RandomMm(random_mm(args)?),
        "random-rerank" => DatasetSettings::RandomRerank(rerank(args)?),
        "sharegpt" => DatasetSettings::ShareGpt(share_gpt(args, path()?)),
        "sonnet" => DatasetSettings::Sonnet(sonnet(args)),
        "burstgpt" => DatasetSettings::BurstGpt(BurstGptSettings { path: path()? }),
        "custom" => DatasetSettings::Custom(custom(args, path()?)),
        "custom_image" => DatasetSettings::CustomImage(custom_media(args, path()?)),
        "custom_audio" => DatasetSettings::CustomAudio(custom_media(args, path()?)),
        "hf" => DatasetSettings::Hf(hub(args)?),
        "prefix_repetition" => DatasetSettings::PrefixRepetition(prefix_repetition(args)),
        "spec_bench" => DatasetSettings::SpecBench(spec_bench(args, path()?)),
        "speed_bench" => DatasetSettings::SpeedBench(speed_bench(args, path()?, compat)),
        "timed_trace" => DatasetSettings::TimedTrace(timed_trace(args, path()?)),
        "trace" => DatasetSettings::Trace(trace(args, path()?)),
        // `mix` and `multi-turn` come from `shapes::dataset`.
        _ => return Err(unknown(name)),
    })
}

/// Lists every flag with its reader, so that a new flag does not compile until it is listed here.
fn assert_every_flag_has_a_reader(args: &DatasetArgs) {
    let DatasetArgs {
        dataset_name: _,                       // settings
        dataset_path: _,                       // settings
        no_stream: _,                          // hub
        no_oversample: _,                      // workload_settings
        skip_chat_template: _,                 // workload_settings
        enable_multimodal_chat: _,             // custom_media, hf, random_mm, sharegpt
        disable_shuffle: _,                    // workload_settings
        input_len: _,                          // random, rerank
        output_len: _,                         // most datasets
        random_input_len: _,                   // random, rerank
        random_output_len: _,                  // random
        random_range_ratio: _,                 // random, rerank
        random_prefix_len: _,                  // random
        random_batch_size: _,                  // random, rerank
        no_reranker: _,                        // rerank
        random_mm_base_items_per_request: _,   // random_mm
        random_mm_num_mm_items_range_ratio: _, // random_mm
        random_mm_limit_mm_per_prompt: _,      // random_mm
        random_mm_bucket_config: _,            // random_mm
        sharegpt_output_len: _,                // share_gpt
        custom_output_len: _,                  // custom
        custom_ensure_client_side_data: _,     // custom_media
        hf_subset: _,                          // hub
        hf_split: _,                           // hub
        hf_name: _,                            // hub
        hf_output_len: _,                      // hub
        bfcl_categories: _,                    // hub
        blazedit_min_distance: _,              // hub
        blazedit_max_distance: _,              // hub
        asr_max_audio_len_sec: _,              // hub
        asr_min_audio_len_sec: _,              // hub
        prefix_repetition_prefix_len: _,       // prefix_repetition
        prefix_repetition_suffix_len: _,       // prefix_repetition
        prefix_repetition_num_prefixes: _,     // prefix_repetition
        prefix_repetition_output_len: _,       // prefix_repetition
        spec_bench_output_len: _,              // spec_bench
        spec_bench_category: _,                // spec_bench
        speed_bench_dataset_subset: _,         // speed_bench
        speed_bench_output_len: _,             // speed_bench
        speed_bench_category: _,               // speed_bench
        timed_trace_chunk_hash_size: _,        // timed_trace
        timed_trace_sec_multiplier: _,         // timed_trace
        timed_trace_label_timestamp: _,        // timed_trace
        timed_trace_label_input_length: _,     // timed_trace
        timed_trace_label_output_length: _,    // timed_trace
        timed_trace_label_hash_ids: _,         // timed_trace
        sonnet_input_len: _,                   // sonnet
        sonnet_output_len: _,                  // sonnet
        sonnet_prefix_len: _,                  // sonnet
        trace_speed: _,                        // trace, timed_trace
        trace_start: _,                        // trace, timed_trace
        trace_duration: _,                     // trace, timed_trace
    } = args;
}

/// Refuses an unknown dataset, and flags without effect on this one.
fn check_flags(args: &DatasetArgs, name: &str) -> Result<(), Failure> {
    let info = dataset::find(name).ok_or_else(|| unknown(name))?;
    if let (Some(path), false) = (&args.dataset_path, info.reads_file) {
        return Err(Failure::usage(format!(
            "--dataset-path {}: --dataset-name {name} generates its text and reads no file; omit the path, \
             or set the dataset it belongs to",
            path.display()
        )));
    }
    let has_trace_flags =
        args.trace_speed != 1.0 || args.trace_start != 0.0 || args.trace_duration.is_some();
    if has_trace_flags && !info.has_clock {
        return Err(Failure::usage(format!(
            "--trace-speed, --trace-start and --trace-duration need --dataset-name trace or timed_trace, not \
             {name}; --dataset-name trace reads BurstGPT, Azure and Mooncake files with their times"
        )));
    }
    Ok(())
}

fn unknown(name: &str) -> Failure {
    let known: Vec<_> = dataset::ALL.iter().map(|info| info.name).collect();
    Failure::usage(format!(
        "--dataset-name {name}: unknown dataset; choose one of {}{}",
        known.join(", "),
        meant(name, known.iter().copied())
    ))
}

fn random(args: &DatasetArgs) -> Result<RandomSettings, Failure> {
    Ok(RandomSettings {
        input_len: args.input_len.unwrap_or(args.random_input()),
        output_len: args.output_len.unwrap_or(args.random_output()),
        range_ratio: args.random_range_ratio.parse().or_usage()?,
        prefix_len: args.random_prefix_len,
        batch_size: args.random_batch_size,
    })
}

fn rerank(args: &DatasetArgs) -> Result<RerankSettings, Failure> {
    Ok(RerankSettings {
        input_len: args.input_len.unwrap_or(args.random_input()),
        range_ratio: args.random_range_ratio.parse().or_usage()?,
        batch_size: args.random_batch_size,
        is_reranker: !args.no_reranker,
    })
}

fn random_mm(args: &DatasetArgs) -> Result<RandomMmSettings, Failure> {
    let limits: Map<String, Value> =
        serde_json::from_str(&args.random_mm_limit_mm_per_prompt).map_err(|error| {
            Failure::usage(format!(
                "--random-mm-limit-mm-per-prompt {}: must be a JSON object such as {{\"image\": 3, \"video\": 0}}: \
                 {error}",
                args.random_mm_limit_mm_per_prompt
            ))
        })?;
    let limit = |kind: &str| {
        let limit = limits.get(kind);
        match limit.map(Value::as_u64) {
            Some(None) => Err(Failure::usage(format!(
                "--random-mm-limit-mm-per-prompt {}: limits must be whole numbers, at least 0",
                args.random_mm_limit_mm_per_prompt
            ))),
            limit => Ok(limit.flatten()),
        }
    };
    let (image_limit, video_limit) = (limit("image")?, limit("video")?);
    let base_items = u64::try_from(args.random_mm_base_items_per_request).map_err(|_| {
        Failure::usage(format!(
            "--random-mm-base-items-per-request {}: must not be negative",
            args.random_mm_base_items_per_request
        ))
    })?;
    Ok(RandomMmSettings {
        text: random(args)?,
        base_items,
        items_range_ratio: args.random_mm_num_mm_items_range_ratio,
        image_limit,
        video_limit,
        buckets: MmBucket::parse_all(&args.random_mm_bucket_config).or_usage()?,
        multimodal_chat: args.enable_multimodal_chat,
    })
}

fn custom_media(args: &DatasetArgs, path: PathBuf) -> CustomMediaSettings {
    CustomMediaSettings {
        path,
        output_len: args.output_len.unwrap_or(args.custom_output_len),
        client_side_data: args.custom_ensure_client_side_data,
        multimodal_chat: args.enable_multimodal_chat,
    }
}

fn hub(args: &DatasetArgs) -> Result<HfSettings, Failure> {
    let path = args.dataset_path.as_ref().ok_or_else(|| {
        Failure::usage(
            "--dataset-name hf: set --dataset-path to the id of the dataset, such as lmarena-ai/VisionArena-Chat",
        )
    })?;
    let path = path.display().to_string();
    let newer = |name: &str| {
        RENAMED
            .iter()
            .find(|(old, _)| *old == name)
            .map(|(_, new)| (*new).to_owned())
    };
    let defaults = HfSettings::new(newer(&path).unwrap_or(path), HubSettings::from_env());
    Ok(HfSettings {
        name: args
            .hf_name
            .as_ref()
            .map(|name| newer(name).unwrap_or_else(|| name.clone())),
        subset: args.hf_subset.clone(),
        split: args.hf_split.clone(),
        output_len: args.output_len.or(args.hf_output_len),
        no_stream: args.no_stream,
        multimodal_chat: args.enable_multimodal_chat,
        bfcl_categories: match &args.bfcl_categories {
            Some(list) => list.split(',').map(|name| name.trim().to_owned()).collect(),
            None => defaults.bfcl_categories.clone(),
        },
        blazedit_distance: (args.blazedit_min_distance, args.blazedit_max_distance),
        audio_seconds: (args.asr_min_audio_len_sec, args.asr_max_audio_len_sec),
        ..defaults
    })
}

fn share_gpt(args: &DatasetArgs, path: PathBuf) -> ShareGptSettings {
    ShareGptSettings {
        path,
        output_len: args.output_len.or(args.sharegpt_output_len),
        multimodal_chat: args.enable_multimodal_chat,
    }
}

fn sonnet(args: &DatasetArgs) -> SonnetSettings {
    SonnetSettings {
        path: args.dataset_path.clone(),
        input_len: args.sonnet_input_len,
        output_len: args.sonnet_output_len,
        prefix_len: args.sonnet_prefix_len,
    }
}

fn custom(args: &DatasetArgs, path: PathBuf) -> CustomSettings {
    CustomSettings {
        path,
        output_len: args.output_len.unwrap_or(args.custom_output_len),
    }
}

fn prefix_repetition(args: &DatasetArgs) -> PrefixRepetitionSettings {
    PrefixRepetitionSettings {
        prefix_len: args.prefix_repetition_prefix_len,
        suffix_len: args.prefix_repetition_suffix_len,
        num_prefixes: args.prefix_repetition_num_prefixes,
        output_len: args.output_len.unwrap_or(args.prefix_repetition_output_len),
    }
}

fn spec_bench(args: &DatasetArgs, path: PathBuf) -> SpecBenchSettings {
    SpecBenchSettings {
        path,
        output_len: args.output_len.unwrap_or(args.spec_bench_output_len),
        category: args.spec_bench_category.clone(),
    }
}

fn speed_bench(args: &DatasetArgs, path: PathBuf, compat: Compat) -> SpeedBenchSettings {
    SpeedBenchSettings {
        path,
        subset: args.speed_bench_dataset_subset.clone(),
        // vLLM ignores --output-len for this dataset; its users set the dataset's own flag.
        output_len: match args.output_len {
            Some(length) if !compat.is_vllm() => length,
            _ => args.speed_bench_output_len,
        },
        category: args.speed_bench_category.clone(),
    }
}

fn trace(args: &DatasetArgs, path: PathBuf) -> TraceSettings {
    TraceSettings {
        path,
        speed: args.trace_speed,
        start: args.trace_start,
        duration: args.trace_duration,
    }
}

fn timed_trace(args: &DatasetArgs, path: PathBuf) -> TimedTraceSettings {
    TimedTraceSettings {
        path,
        chunk_hash_size: args.timed_trace_chunk_hash_size,
        sec_multiplier: args.timed_trace_sec_multiplier,
        label_timestamp: args.timed_trace_label_timestamp.clone(),
        label_input_length: args.timed_trace_label_input_length.clone(),
        label_output_length: args.timed_trace_label_output_length.clone(),
        label_hash_ids: args.timed_trace_label_hash_ids.clone(),
        speed: args.trace_speed,
        start: args.trace_start,
        duration: args.trace_duration,
        // vLLM's prompts depend on it; unset or `random`, each of its processes sends others.
        hash_seed: std::env::var("PYTHONHASHSEED")
            .ok()
            .and_then(|seed| seed.parse().ok())
            .unwrap_or_default(),
    }
}

#[cfg(test)]
#[path = "../../tests/unit/dataset.rs"]
mod tests;
