//! `docs/schema`: the files of runs follow the published JSON Schemas, and a key that these do not name is an error
//! here, so that they stay complete.

use std::fs;
use std::path::Path;

use inferometer_sim::{SimSettings, start};
use inferometer_testkit::{printed, project_root, read_json, run_folder, server};
use jsonschema::{Registry, Validator};
use serde_json::{Value, json};

use crate::INFEROMETER;

/// Name of the schema, as references in other schemas give it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Schema {
    Manifest,
    Result,
}

impl Schema {
    const ALL: [Self; 2] = [Self::Manifest, Self::Result];

    fn file_name(self) -> &'static str {
        match self {
            Self::Manifest => "manifest.schema.json",
            Self::Result => "result.schema.json",
        }
    }

    /// The published schema, but strict: it has no keys besides those that it names.
    fn read(self) -> Value {
        let path = project_root().join("docs/schema").join(self.file_name());
        let mut schema = read_json(&path);
        close(&mut schema);
        schema["$id"] = format!("test:///{}", self.file_name()).into();
        schema
    }

    fn validator(self) -> Validator {
        let mut all = Registry::new();
        for schema in Self::ALL {
            all = all
                .add(format!("test:///{}", schema.file_name()), schema.read())
                .unwrap();
        }
        let all = all.prepare().unwrap();
        jsonschema::options()
            .with_registry(&all)
            .build(&self.read())
            .unwrap()
    }

    fn errors(self, value: &Value) -> Vec<String> {
        let errors = self.validator();
        let errors = errors.iter_errors(value);
        errors
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect()
    }

    /// Panics if `value` does not follow the schema.
    pub(crate) fn assert(self, value: &Value) {
        let errors = self.errors(value);
        assert!(errors.is_empty(), "{self:?}: {errors:#?}");
    }
}

/// Forbids the keys that an object's schema does not name.
fn close(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            map.values_mut().for_each(close);
            // `properties` may itself be the name of a property.
            if map.get("properties").is_some_and(Value::is_object) && map.contains_key("type") {
                map.entry("additionalProperties").or_insert(false.into());
            }
        }
        Value::Array(items) => items.iter_mut().for_each(close),
        _ => {}
    }
}

/// Runs with `arguments` and checks the manifest and the result.
fn follows(url: &str, arguments: &str) {
    let folder = tempfile::tempdir().unwrap();
    let common = "--num-prompts 12 --tokenizer builtin --disable-tqdm --save-result --result-filename r.json";
    let target: &[&str] = match url {
        "" => &["simulate"],
        url => &["run", "--base-url", url],
    };
    let output = INFEROMETER
        .command(folder.path())
        .args(target)
        .args(common.split_whitespace())
        .args(arguments.split_whitespace())
        .output()
        .unwrap();
    assert!(
        matches!(output.status.code(), Some(0 | 1)),
        "{arguments}: {}",
        printed(&output)
    );
    let run = run_folder(folder.path());
    Schema::Manifest.assert(&read_json(&run.join("manifest.json")));
    Schema::Result.assert(&read_json(&folder.path().join("r.json")));
}

#[test]
fn the_files_of_runs_follow_the_published_schemas() {
    let server = server(5.0, 1.0);
    let detailed = "--save-detailed --goodput ttft:100 tpot:50 --percentile-metrics \
                    ttft,tpot,itl,e2el,client_queue_time --metric-percentiles 25,99.9 --metadata version=1";
    for arguments in [
        "",
        "--compat vllm --burstiness inf --request-rate 100",
        detailed,
        "--ramp-up-strategy linear --ramp-up-start-rps 20 --ramp-up-end-rps 90 --save-detailed",
        "--backend openai-embeddings --endpoint /v1/embeddings --save-detailed",
        "--backend openai-chat --multi-turn --multi-turn-max-turns 3",
        "--mix 70:26/12,30:lognormal(48,0.5)/12 --probe-request-rate 50",
        "--dataset-name prefix_repetition --extra-body {\"top_k\":3} --temperature 0.5 --max-concurrency 3",
        "--backend openai-chat --structured-output json --request-cancellation-rate 0.3 --request-cancellation-delay 0.01",
        "--no-streaming",
        "--header x-run=1 --connect per-request --workers 2 --seed 7 --label schema",
    ] {
        follows(&server.url(), arguments);
    }
}

#[test]
fn other_servers_and_the_simulation_follow_the_published_schemas() {
    let settings = SimSettings {
        reasoning_tokens: 3,
        lora_modules: vec!["a".to_owned(), "b".to_owned()],
        ..SimSettings::default()
    };
    let server = start(settings).unwrap();
    let adapters = "--backend openai-chat --lora-modules a b --save-detailed";
    follows(&server.url(), adapters);
    // Every request fails.
    let failing = start(SimSettings {
        faults: vec!["http_500=1".parse().unwrap()],
        ..SimSettings::default()
    })
    .unwrap();
    follows(
        &failing.url(),
        "--save-detailed --request-rate 200 --ready-check-timeout-sec 0",
    );
    follows("", "--request-rate 5 --replicas 2 --save-detailed");
}

#[test]
fn a_result_of_vllm_follows_the_schema_and_other_files_do_not() {
    let folder = project_root().join("crates/results/tests/data/vllm");
    let files = fs::read_dir(&folder)
        .unwrap()
        .map(|file| file.unwrap().path());
    let results: Vec<_> = files
        .filter(|path| path.extension().is_some_and(|end| end == "json"))
        .collect();
    assert!(results.len() >= 2, "{results:?}");
    for path in &results {
        let mut result = read_json(path);
        Schema::Result.assert(&result);
        result["completed"] = "8".into();
        assert_eq!(
            Schema::Result.errors(&result).len(),
            1,
            "{}",
            path.display()
        );
        result["completed"] = 8.into();
        result["inferometer"] = json!({"unknown": 1});
        // The unknown key, and one error for each that is missing.
        assert!(
            Schema::Result.errors(&result).len() > 1,
            "{}",
            path.display()
        );
        result.as_object_mut().unwrap().remove("date");
        result["inferometer"] = Value::Null;
        assert_eq!(
            Schema::Result.errors(&result).len(),
            2,
            "{}",
            path.display()
        );
    }
}

/// Checks the manifest in `run`, whatever became of the run.
pub(crate) fn assert_manifest(run: &Path) {
    Schema::Manifest.assert(&read_json(&run.join("manifest.json")));
}
