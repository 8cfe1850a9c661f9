//! vLLM's first line of output: all arguments, as Python prints them.

use std::fmt::Write as _;

use inferometer_core::python::{float_repr, repr};
use inferometer_core::redact::{redact_arguments, redact_json, redact_url};
use inferometer_workload::MmBucket;
use serde_json::{Map, Value, json};

use crate::args::{DatasetArgs, LoadArgs, LoraAssignment, RampStrategy, ReportingArgs, RunArgs};
use crate::settings::DEFAULT_PERCENTILES;

/// Arguments whose text is printed without quotes: Python literals.
const BARE: [&str; 1] = ["random_mm_bucket_config"];
/// Numbers that may be infinite, which JSON cannot express.
const MAYBE_INFINITE: [&str; 3] = ["request_rate", "burstiness", "asr_max_audio_len_sec"];

/// The arguments under vLLM's names and in its order, without secrets; infinite numbers are the
/// text `inf`.
pub(crate) fn echo(args: &RunArgs, id_prefix: &str) -> Map<String, Value> {
    let (target, content) = (&args.target, &args.content);
    let compat = target.compat;
    let backend = target
        .backend
        .as_deref()
        .unwrap_or(compat.default_backend());
    let endpoint = target.endpoint.clone().or_else(|| {
        inferometer_wire::backend::find(backend)
            .ok()
            .map(|b| b.default_endpoint().to_owned())
    });
    let mut all = Echo::default();
    all.put("subparser", "bench");
    all.put("bench_type", "serve");
    all.put("trust_remote_code", target.trust_remote_code);
    all.put("seed", args.load.seed);
    all.put("num_prompts", args.load.num_prompts);
    dataset(&mut all, &args.dataset, compat.default_dataset());
    all.put("label", args.reporting.label.clone());
    all.put("backend", backend);
    all.put(
        "base_url",
        target.base_url.first().map(|url| redact_url(url)),
    );
    all.put("host", target.host.clone());
    all.put("port", target.port);
    all.put("endpoint", endpoint.map(|endpoint| redact_url(&endpoint)));
    all.put("header", (!target.header.is_empty()).then_some("***"));
    all.put("max_concurrency", args.load.max_concurrency);
    all.put("model", target.model.clone());
    all.put("input_len", args.dataset.input_len);
    all.put("output_len", args.dataset.output_len);
    all.put("tokenizer", target.tokenizer.clone());
    all.put("tokenizer_mode", target.tokenizer_mode.clone());
    all.put("use_beam_search", false);
    all.put("logprobs", content.logprobs);
    load(&mut all, &args.load);
    reporting(&mut all, args);
    all.put("request_id_prefix", id_prefix);
    all.put("top_p", content.top_p);
    all.put("top_k", content.top_k);
    all.put("min_p", content.min_p);
    all.put("temperature", content.temperature);
    all.put("frequency_penalty", content.frequency_penalty);
    all.put("presence_penalty", content.presence_penalty);
    all.put("repetition_penalty", content.repetition_penalty);
    all.put("served_model_name", target.served_model_name.clone());
    all.put("lora_modules", list(&target.lora_modules));
    let assignment = match target.lora_assignment {
        LoraAssignment::Random => "random",
        LoraAssignment::RoundRobin => "round-robin",
    };
    all.put("lora_assignment", assignment);
    ramp(&mut all, &args.load);
    let timeout = args
        .load
        .ready_check_timeout_sec
        .unwrap_or_else(|| compat.ready_check_seconds());
    all.put("ready_check_timeout_sec", timeout);
    all.put(
        "chat_template_kwargs",
        object(content.chat_template_kwargs.as_deref()),
    );
    all.put("extra_body", object(content.extra_body.as_deref()));
    all.put("skip_tokenizer_init", target.skip_tokenizer_init);
    all.put("insecure", args.connection.insecure);
    all.put("plot_timeline", args.reporting.plot_timeline);
    all.put(
        "timeline_itl_thresholds",
        args.reporting.timeline_itl_thresholds.clone(),
    );
    all.put("plot_dataset_stats", args.reporting.plot_dataset_stats);
    all.0.values_mut().for_each(redact_json);
    all.0
}

/// `Namespace(…)`.
pub(crate) fn line(arguments: &Map<String, Value>) -> String {
    let mut text = String::from("Namespace(");
    for (at, (name, value)) in arguments.iter().enumerate() {
        if at > 0 {
            text.push_str(", ");
        }
        let _ = write!(text, "{name}=");
        match value {
            Value::String(bare) if BARE.contains(&name.as_str()) => text.push_str(bare),
            Value::String(number) if MAYBE_INFINITE.contains(&name.as_str()) => {
                text.push_str(number);
            }
            other => text.push_str(&repr(other)),
        }
    }
    text.push(')');
    text
}

#[derive(Default)]
struct Echo(Map<String, Value>);

impl Echo {
    fn put(&mut self, name: &str, value: impl Into<Value>) {
        self.0.insert(name.to_owned(), value.into());
    }

    fn number(&mut self, name: &str, value: f64) {
        self.put(
            name,
            if value.is_finite() {
                Value::from(value)
            } else {
                Value::from(value.to_string())
            },
        );
    }
}

fn dataset(all: &mut Echo, args: &DatasetArgs, default_name: &str) {
    all.put(
        "dataset_name",
        args.dataset_name
            .clone()
            .unwrap_or_else(|| default_name.to_owned()),
    );
    all.put("no_stream", args.no_stream);
    all.put(
        "dataset_path",
        args.dataset_path
            .as_ref()
            .map(|path| path.display().to_string()),
    );
    all.put("no_oversample", args.no_oversample);
    all.put("skip_chat_template", args.skip_chat_template);
    all.put("enable_multimodal_chat", args.enable_multimodal_chat);
    all.put("disable_shuffle", args.disable_shuffle);
    all.put("custom_output_len", args.custom_output_len);
    all.put(
        "custom_ensure_client_side_data",
        args.custom_ensure_client_side_data,
    );
    all.put("spec_bench_output_len", args.spec_bench_output_len);
    all.put("spec_bench_category", args.spec_bench_category.clone());
    all.put("sharegpt_output_len", args.sharegpt_output_len);
    all.put(
        "timed_trace_chunk_hash_size",
        args.timed_trace_chunk_hash_size,
    );
    let multiplier = args.timed_trace_sec_multiplier;
    // The default is a whole number in Python, anything else is not.
    all.put(
        "timed_trace_sec_multiplier",
        if multiplier == 1.0 {
            json!(1)
        } else {
            json!(multiplier)
        },
    );
    all.put(
        "timed_trace_label_timestamp",
        args.timed_trace_label_timestamp.clone(),
    );
    all.put(
        "timed_trace_label_input_length",
        args.timed_trace_label_input_length.clone(),
    );
    all.put(
        "timed_trace_label_output_length",
        args.timed_trace_label_output_length.clone(),
    );
    all.put(
        "timed_trace_label_hash_ids",
        args.timed_trace_label_hash_ids.clone(),
    );
    all.put("blazedit_min_distance", args.blazedit_min_distance);
    all.put("blazedit_max_distance", args.blazedit_max_distance);
    all.number("asr_max_audio_len_sec", args.asr_max_audio_len_sec);
    all.put("asr_min_audio_len_sec", args.asr_min_audio_len_sec);
    generated_and_hub(all, args);
}

/// The flags of datasets that are generated or come from the hub.
fn generated_and_hub(all: &mut Echo, args: &DatasetArgs) {
    all.put("random_input_len", args.random_input());
    all.put("random_output_len", args.random_output());
    all.put("random_range_ratio", args.random_range_ratio.clone());
    all.put("random_prefix_len", args.random_prefix_len);
    all.put("random_batch_size", args.random_batch_size);
    all.put("no_reranker", args.no_reranker);
    all.put(
        "random_mm_base_items_per_request",
        args.random_mm_base_items_per_request,
    );
    all.put(
        "random_mm_num_mm_items_range_ratio",
        args.random_mm_num_mm_items_range_ratio,
    );
    all.put(
        "random_mm_limit_mm_per_prompt",
        object(Some(&args.random_mm_limit_mm_per_prompt)),
    );
    all.put(
        "random_mm_bucket_config",
        buckets(&args.random_mm_bucket_config),
    );
    all.put("hf_subset", args.hf_subset.clone());
    all.put("hf_split", args.hf_split.clone());
    all.put("hf_name", args.hf_name.clone());
    all.put("hf_output_len", args.hf_output_len);
    all.put("bfcl_categories", args.bfcl_categories.clone());
    all.put(
        "prefix_repetition_prefix_len",
        args.prefix_repetition_prefix_len,
    );
    all.put(
        "prefix_repetition_suffix_len",
        args.prefix_repetition_suffix_len,
    );
    all.put(
        "prefix_repetition_num_prefixes",
        args.prefix_repetition_num_prefixes,
    );
    all.put(
        "prefix_repetition_output_len",
        args.prefix_repetition_output_len,
    );
    all.put(
        "speed_bench_dataset_subset",
        args.speed_bench_dataset_subset.clone(),
    );
    all.put("speed_bench_output_len", args.speed_bench_output_len);
    all.put("speed_bench_category", args.speed_bench_category.clone());
}

fn load(all: &mut Echo, args: &LoadArgs) {
    all.number("request_rate", args.request_rate);
    all.number("burstiness", args.burstiness);
    all.number("probe_request_rate", args.probe_request_rate);
    all.put("disable_tqdm", args.disable_tqdm);
    all.put("num_warmups", args.num_warmups);
    all.put("profile", args.profile);
}

fn ramp(all: &mut Echo, args: &LoadArgs) {
    let strategy = args.ramp_up_strategy.map(|strategy| match strategy {
        RampStrategy::Linear => "linear",
        RampStrategy::Exponential => "exponential",
    });
    all.put("ramp_up_strategy", strategy);
    all.put("ramp_up_start_rps", args.ramp_up_start_rps);
    all.put("ramp_up_end_rps", args.ramp_up_end_rps);
}

fn reporting(all: &mut Echo, args: &RunArgs) {
    let ReportingArgs {
        save_result,
        save_detailed,
        append_result,
        metadata,
        result_dir,
        result_filename,
        percentile_metrics,
        metric_percentiles,
        goodput,
        label: _,                   // echo
        plot_timeline: _,           // echo
        timeline_itl_thresholds: _, // echo
        plot_dataset_stats: _,      // echo
        runs_dir: _,                // not vLLM's
        no_run_folder: _,           // not vLLM's
        strict: _,                  // not vLLM's
        lang: _,                    // not vLLM's
        exports: _,                 // not vLLM's
    } = &args.reporting;
    all.put("save_result", *save_result);
    all.put("save_detailed", *save_detailed);
    all.put("append_result", *append_result);
    all.put("metadata", list(&redact_arguments(metadata)));
    all.put(
        "result_dir",
        result_dir.as_ref().map(|path| path.display().to_string()),
    );
    all.put(
        "result_filename",
        result_filename
            .as_ref()
            .map(|path| path.display().to_string()),
    );
    all.put("ignore_eos", args.content.ignore_eos);
    let self_timed = match (args.load.self_timed, args.load.no_self_timed) {
        (false, false) => None,
        (self_timed, _) => Some(self_timed),
    };
    all.put("self_timed", self_timed);
    all.put("percentile_metrics", percentile_metrics.clone());
    all.put(
        "metric_percentiles",
        metric_percentiles.as_deref().unwrap_or(DEFAULT_PERCENTILES),
    );
    all.put("goodput", list(goodput));
}

/// Sizes and probabilities, as Python prints the dict.
fn buckets(text: &str) -> String {
    let Ok(buckets) = MmBucket::parse_all(text) else {
        return text.to_owned();
    };
    let shown: Vec<String> = buckets
        .iter()
        .map(|b| {
            format!(
                "({}, {}, {}): {}",
                b.height,
                b.width,
                b.frames,
                float_repr(b.probability)
            )
        })
        .collect();
    format!("{{{}}}", shown.join(", "))
}

fn list(items: &[String]) -> Option<Vec<String>> {
    (!items.is_empty()).then(|| items.to_vec())
}

fn object(text: Option<&str>) -> Value {
    text.and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or_default()
}
