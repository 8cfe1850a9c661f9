//! `--config FILE.yaml`: a mapping that becomes arguments, which the command line overrides.

use std::path::Path;

use serde_json::Value;

use inferometer_benchmark::{Error, OrError};
use inferometer_os::files::{self, SMALL_FILE};
use inferometer_results::parse_yaml;

/// The arguments in a file. `is_flag` is true if a name, without dashes, is an option: a false
/// value becomes `--no-NAME` if that exists, otherwise nothing.
pub(crate) fn expand(path: &Path, is_flag: &dyn Fn(&str) -> bool) -> Result<Vec<String>, Error> {
    let shown = path.display();
    let extension = path.extension().and_then(|extension| extension.to_str());
    if !matches!(extension, Some("yaml" | "yml")) {
        return Err(Error::usage(format!(
            "--config {shown}: must be a .yaml or .yml file"
        )));
    }
    let text = files::text(path, SMALL_FILE)
        .map_err(|error| Error::usage(format!("--config {shown}: cannot read: {error}")))?;
    let value = parse_yaml(&text)
        .map_err(|error| Error::usage(format!("--config {shown}: invalid YAML: {error}")))?;
    match value {
        Value::Null => Ok(Vec::new()),
        Value::Object(map) => {
            let mut arguments = Vec::new();
            for (key, value) in &map {
                option(key, value, is_flag, &mut arguments)?;
            }
            Ok(arguments)
        }
        _ => Err(Error::usage(format!(
            "--config {shown}: must contain a mapping of option names to values, such as `request-rate: 10`"
        ))),
    }
}

fn option(
    key: &str,
    value: &Value,
    is_flag: &dyn Fn(&str) -> bool,
    arguments: &mut Vec<String>,
) -> Result<(), Error> {
    let name = key.replace('_', "-");
    match value {
        Value::Null => {}
        Value::Bool(true) => arguments.push(format!("--{key}")),
        Value::Bool(false) => {
            let negated = format!("no-{name}");
            if is_flag(&negated) {
                arguments.push(format!("--{negated}"));
            }
        }
        Value::Array(items) if items.is_empty() => {}
        Value::Array(items) => {
            arguments.push(format!("--{key}"));
            for item in items {
                arguments.push(scalar(item)?);
            }
        }
        Value::Object(_) => arguments.push(format!(
            "--{key}={}",
            serde_json::to_string(value).or_usage()?
        )),
        plain => arguments.push(format!("--{key}={}", scalar(plain)?)),
    }
    Ok(())
}

fn scalar(value: &Value) -> Result<String, Error> {
    match value {
        Value::String(text) => Ok(text.clone()),
        other => serde_json::to_string(other).or_usage(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(name: &str, text: &str) -> Result<Vec<String>, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        expand(&path, &|name| name == "no-stream").map_err(|failure| failure.to_string())
    }

    #[test]
    fn every_kind_of_value_becomes_an_argument() {
        let text = "num_prompts: 7\nrequest-rate: inf\nsave-result: true\nstream: false\nignore-eos: false\n\
                    goodput: [ttft:200, 'tpot:50']\nextra-body: {top_k: 3, a: {b: [1]}}\nlabel: null\n\
                    metadata: []\nburstiness: 0.5\n";
        let arguments = expanded("c.yaml", text).unwrap();
        assert_eq!(
            arguments,
            [
                "--num_prompts=7",
                "--request-rate=inf",
                "--save-result",
                "--no-stream",
                "--goodput",
                "ttft:200",
                "tpot:50",
                r#"--extra-body={"top_k":3,"a":{"b":[1]}}"#,
                "--burstiness=0.5",
            ]
        );
        assert!(expanded("c.yml", "").unwrap().is_empty());
    }

    #[test]
    fn other_files_than_a_yaml_mapping_are_refused() {
        assert!(expanded("c.json", "{}").unwrap_err().contains(".yaml"));
        assert!(expanded("c.yaml", "- 1\n").unwrap_err().contains("mapping"));
        assert!(
            expanded("c.yaml", "a: [1\n")
                .unwrap_err()
                .contains("invalid YAML")
        );
    }
}
