//! The source of the prompts, as the manifest keeps it.

use std::path::{Path, PathBuf};

use inferometer_workload::{
    CustomMediaSettings, DatasetSettings, HfSettings, MixSettings, MultiTurnSettings,
    MultiTurnSource, RandomMmSettings, RandomSettings, RangeRatio, SyntheticTurns,
    TimedTraceSettings, TraceSettings,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// Source of the prompts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DatasetSpec {
    /// Name of the dataset, as in `--dataset-name`.
    pub name: String,
    /// The file, folder or repository that it was read from.
    pub path: Option<PathBuf>,
    /// Lengths in tokens, where they were requested.
    pub lengths: LengthsSpec,
    /// Settings of this dataset only.
    pub options: Map<String, Value>,
}

/// Requested lengths in tokens.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LengthsSpec {
    /// Prompts.
    pub input: Option<i64>,
    /// Answers.
    pub output: Option<i64>,
    /// Half-width of the uniform spread of input lengths, as a fraction of the length.
    pub input_spread: Option<f64>,
    /// The same of output lengths.
    pub output_spread: Option<f64>,
    /// Prefix that prompts share.
    pub prefix: Option<i64>,
}

impl LengthsSpec {
    fn random(settings: &RandomSettings) -> Self {
        let RandomSettings {
            input_len,
            output_len,
            range_ratio,
            prefix_len,
            batch_size: _,
        } = settings;
        let RangeRatio { input, output } = *range_ratio;
        Self {
            input: Some(*input_len),
            output: Some(*output_len),
            input_spread: Some(input),
            output_spread: Some(output),
            prefix: Some(*prefix_len),
        }
    }

    fn output(output: Option<i64>) -> Self {
        Self {
            output,
            ..Self::default()
        }
    }
}

impl DatasetSpec {
    /// `settings` in the form that the manifest keeps.
    #[expect(clippy::too_many_lines, reason = "a table")]
    pub fn of(settings: &DatasetSettings) -> Self {
        let none = json!({});
        let file = |path: &Path| Some(path.to_owned());
        let (name, path, lengths, options) = match settings {
            DatasetSettings::Random(random) => {
                let options = json!({"batch_size": random.batch_size});
                ("random", None, LengthsSpec::random(random), options)
            }
            DatasetSettings::RandomMm(random) => (
                "random-mm",
                None,
                LengthsSpec::random(&random.text),
                media(random),
            ),
            DatasetSettings::RandomRerank(rerank) => {
                let lengths = LengthsSpec {
                    input: Some(rerank.input_len),
                    input_spread: Some(rerank.range_ratio.input),
                    ..LengthsSpec::default()
                };
                let options =
                    json!({"batch_size": rerank.batch_size, "is_reranker": rerank.is_reranker});
                ("random-rerank", None, lengths, options)
            }
            DatasetSettings::ShareGpt(one) => (
                "sharegpt",
                file(&one.path),
                LengthsSpec::output(one.output_len),
                none,
            ),
            DatasetSettings::Custom(one) => (
                "custom",
                file(&one.path),
                LengthsSpec::output(Some(one.output_len)),
                none,
            ),
            DatasetSettings::PrefixRepetition(one) => {
                let lengths = LengthsSpec {
                    input: Some(one.prefix_len + one.suffix_len),
                    output: Some(one.output_len),
                    prefix: Some(one.prefix_len),
                    ..LengthsSpec::default()
                };
                (
                    "prefix_repetition",
                    None,
                    lengths,
                    json!({"num_prefixes": one.num_prefixes}),
                )
            }
            DatasetSettings::Sonnet(one) => {
                let lengths = LengthsSpec {
                    input: Some(one.input_len),
                    output: Some(one.output_len),
                    prefix: Some(one.prefix_len),
                    ..LengthsSpec::default()
                };
                ("sonnet", one.path.clone(), lengths, none)
            }
            DatasetSettings::BurstGpt(one) => {
                ("burstgpt", file(&one.path), LengthsSpec::default(), none)
            }
            DatasetSettings::SpecBench(one) => {
                let lengths = LengthsSpec::output(Some(one.output_len));
                (
                    "spec_bench",
                    file(&one.path),
                    lengths,
                    json!({"category": one.category}),
                )
            }
            DatasetSettings::SpeedBench(one) => {
                let options = json!({"subset": one.subset, "category": one.category});
                let lengths = LengthsSpec::output(Some(one.output_len));
                ("speed_bench", file(&one.path), lengths, options)
            }
            DatasetSettings::TimedTrace(one) => (
                "timed_trace",
                file(&one.path),
                LengthsSpec::default(),
                timed_trace(one),
            ),
            DatasetSettings::Trace(one) => {
                ("trace", file(&one.path), LengthsSpec::default(), trace(one))
            }
            DatasetSettings::CustomImage(one) => {
                let lengths = LengthsSpec::output(Some(one.output_len));
                ("custom_image", file(&one.path), lengths, custom_media(one))
            }
            DatasetSettings::CustomAudio(one) => {
                let lengths = LengthsSpec::output(Some(one.output_len));
                ("custom_audio", file(&one.path), lengths, custom_media(one))
            }
            DatasetSettings::Hf(one) => {
                let path = Some(PathBuf::from(&one.path));
                (
                    "hf",
                    path,
                    LengthsSpec::output(one.output_len),
                    hugging_face(one),
                )
            }
            DatasetSettings::Mix(one) => ("mix", None, LengthsSpec::default(), mix(one)),
            DatasetSettings::MultiTurn(one) => multi_turn(one),
        };
        let Value::Object(options) = options else {
            unreachable!("options are objects")
        };
        Self {
            name: name.to_owned(),
            path,
            lengths,
            options,
        }
    }

    /// True for prompts of random tokens.
    pub fn is_random(&self) -> bool {
        self.name.starts_with("random")
    }
}

fn media(settings: &RandomMmSettings) -> Value {
    let RandomMmSettings {
        text: _,
        base_items,
        items_range_ratio,
        image_limit,
        video_limit,
        buckets,
    } = settings;
    let buckets: Vec<Value> = buckets
        .iter()
        .map(|one| json!({"height": one.height, "width": one.width, "frames": one.frames, "probability": one.probability}))
        .collect();
    json!({
        "base_items": base_items, "items_spread": items_range_ratio, "image_limit": image_limit,
        "video_limit": video_limit, "buckets": buckets,
    })
}

fn timed_trace(settings: &TimedTraceSettings) -> Value {
    let TimedTraceSettings {
        path: _,
        chunk_hash_size,
        sec_multiplier,
        label_timestamp,
        label_input_length,
        label_output_length,
        label_hash_ids,
        speed,
        start,
        duration,
    } = settings;
    json!({
        "chunk_hash_size": chunk_hash_size, "seconds_per_unit": sec_multiplier,
        "timestamp_column": label_timestamp, "input_length_column": label_input_length,
        "output_length_column": label_output_length, "hash_ids_column": label_hash_ids,
        "speed": speed, "start_s": start, "duration_s": duration,
    })
}

fn trace(settings: &TraceSettings) -> Value {
    let TraceSettings {
        path: _,
        speed,
        start,
        duration,
    } = settings;
    json!({"speed": speed, "start_s": start, "duration_s": duration})
}

fn custom_media(settings: &CustomMediaSettings) -> Value {
    let CustomMediaSettings {
        path: _,
        output_len: _,
        client_side_data,
        multimodal_chat,
    } = settings;
    json!({"client_side_data": client_side_data, "multimodal_chat": multimodal_chat})
}

fn hugging_face(settings: &HfSettings) -> Value {
    let HfSettings {
        path: _,
        name,
        subset,
        split,
        output_len: _,
        no_stream,
        bfcl_categories,
        blazedit_distance,
        audio_seconds,
        hub: _,
    } = settings;
    // JSON has no infinity, which is the default of the longest audio.
    let finite = |(low, high): (f64, f64)| json!([low, high.is_finite().then_some(high)]);
    json!({
        "name": name, "subset": subset, "split": split, "no_stream": no_stream,
        "bfcl_categories": bfcl_categories, "blazedit_distance": finite(*blazedit_distance),
        "audio_seconds": finite(*audio_seconds),
    })
}

fn mix(settings: &MixSettings) -> Value {
    let MixSettings { classes, shared } = settings;
    let classes: Vec<Value> = classes
        .iter()
        .map(|class| {
            json!({
                "weight": class.weight, "input": class.input.to_string(),
                "output": class.output.to_string(),
            })
        })
        .collect();
    json!({
        "classes": classes,
        "shared_prefixes": {
            "groups": shared.groups, "len": shared.len, "zipf": shared.zipf,
            "fraction": shared.fraction,
        },
    })
}

fn multi_turn(settings: &MultiTurnSettings) -> (&'static str, Option<PathBuf>, LengthsSpec, Value) {
    let MultiTurnSettings {
        source,
        min_turns,
        max_turns,
        output_len,
        think_seconds,
    } = settings;
    let mut options = json!({
        "min_turns": min_turns,
        "max_turns": (*max_turns < usize::MAX).then_some(max_turns),
        "think_s": think_seconds,
    });
    let path = match source {
        MultiTurnSource::File(path) => Some(path.clone()),
        MultiTurnSource::Synthetic(turns) => {
            let SyntheticTurns {
                turns,
                own_prefix,
                conversations,
                shared_prefix,
                first_input,
                input,
                output,
            } = turns;
            options["synthetic"] = json!({
                "turns": turns.as_ref().map(ToString::to_string),
                "own_prefix": own_prefix.as_ref().map(ToString::to_string),
                "conversations": conversations,
                "shared_prefix": shared_prefix,
                "first_input": first_input.to_string(),
                "input": input.to_string(),
                "output": output.to_string(),
            });
            None
        }
    };
    (
        "multi-turn",
        path,
        LengthsSpec::output(*output_len),
        options,
    )
}
