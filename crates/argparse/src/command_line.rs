//! The rules of Python's argparse, on which scripts rely.
//!
//! The arguments of `inferometer run` are normalised for the actual parser: each option occurs
//! once, in full spelling, as `--name=value`. The rules:
//!
//! | rule | example |
//! | --- | --- |
//! | underscores, up to the first dot | `--random_input_len 5` |
//! | any unambiguous prefix of a name | `--max-conc 8` |
//! | the last one wins, with a warning | `--seed 1 --seed 2` |
//! | a file of options, which the command line overrides | `--config run.yaml` |
//! | fields of JSON options | `--extra-body.a.b 1`, `--extra-body.stop+ x,y` |
//! | negative values | `--temperature -1` |
//! | old names | `--endpoint-type`, `--dataset` |

use std::collections::BTreeSet;
use std::path::Path;

use inferometer_benchmark::{Compat, Error, check_integers};
use inferometer_workload::dataset;
use serde_json::{Map, Value};

use crate::options::{Arity, Options};
use crate::{config, dotted, flags, names};

/// Options that may be repeated, with all values kept.
const REPEATABLE: [&str; 4] = ["omit-field", "base-url", "source-ip", "export"];

/// Normalised arguments.
#[derive(Debug)]
pub enum Normalised {
    /// A command line to parse.
    CommandLine {
        /// The arguments, including the program's name.
        arguments: Vec<String>,
        /// Warnings for the user.
        warnings: Vec<String>,
    },
    /// `--help=WORD`.
    Help(String),
}

/// Normalises arguments, including the program's name, for the parser.
///
/// # Errors
///
/// A usage error if an option is ambiguous or refused, or its value is missing.
pub fn normalise(arguments: Vec<String>, options: &Options) -> Result<Normalised, Error> {
    let arguments = names::resolve(arguments)?;
    if !matches!(arguments.get(1).map(String::as_str), Some("run" | "serve")) {
        return Ok(Normalised::CommandLine {
            arguments: arguments.into_iter().map(with_dashes).collect(),
            warnings: Vec::new(),
        });
    }
    let (command, typed) = arguments.split_at(2);
    if let Some(word) = typed
        .iter()
        .find_map(|argument| argument.strip_prefix("--help="))
    {
        return Ok(Normalised::Help(word.to_owned()));
    }
    let mut line = Line::default();
    let (config, typed) = options.take_config(typed)?;
    if let Some(path) = config {
        let known = |name: &str| options.kind(name).is_some();
        line.read(options, &config::expand(Path::new(&path), &known)?)?;
        // The command line may override options of the file without a warning.
        line.warn_from_here();
    }
    line.read(options, &typed)?;
    let (arguments, warnings) = line.finish(options)?;
    Ok(Normalised::CommandLine {
        arguments: [command, arguments.as_slice()].concat(),
        warnings,
    })
}

/// An option as typed, with dashes instead of underscores.
fn with_dashes(argument: String) -> String {
    let Some(option) = argument.strip_prefix("--") else {
        return argument;
    };
    let end = option.find(['=', '.']).unwrap_or(option.len());
    let (name, rest) = option.split_at(end);
    if !name.contains('_') || name.is_empty() {
        return argument;
    }
    format!("--{}{rest}", name.replace('_', "-"))
}

/// Parsed arguments.
#[derive(Debug, Default)]
struct Line {
    occurrences: Vec<Occurrence>,
    /// Entries of JSON options: option, path, value.
    dotted: Vec<(String, String, String)>,
    /// Arguments that are not options.
    loose: Vec<String>,
    /// Index of the first occurrence whose repetition causes a warning.
    warn_from: usize,
}

/// An option with its values, as typed once.
#[derive(Debug)]
struct Occurrence {
    name: String,
    values: Vec<String>,
}

impl Line {
    fn warn_from_here(&mut self) {
        self.warn_from = self.occurrences.len();
    }

    fn read(&mut self, options: &Options, typed: &[String]) -> Result<(), Error> {
        let mut at = 0;
        while let Some(argument) = typed.get(at) {
            at += 1;
            let Some(option) = argument
                .strip_prefix("--")
                .filter(|option| !option.is_empty())
            else {
                self.loose.push(argument.clone());
                continue;
            };
            let (name, inline) = match option.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (option, None),
            };
            let (name, path) = match name.split_once('.') {
                Some((name, path)) => (name, Some(path)),
                None => (name, None),
            };
            let name = name.replace('_', "-");
            let Some(full) = options.resolve(&name)? else {
                // The actual parser reports it, with suggestions.
                self.loose.push(with_dashes(argument.clone()));
                continue;
            };
            if let Some(refused) = flags::REFUSED.iter().find(|refused| refused.flag == full) {
                return Err(Error::usage(format!("--{full}: {}", refused.reason)));
            }
            if let Some(path) = path {
                let value = inline.or_else(|| typed.get(at).cloned().inspect(|_| at += 1));
                let value =
                    value.ok_or_else(|| Error::usage(format!("--{full}.{path}: missing value")))?;
                self.dotted.push((full.to_owned(), path.to_owned(), value));
                continue;
            }
            let mut values: Vec<String> = inline.into_iter().collect();
            let wanted = match options.kind(full) {
                _ if !values.is_empty() => 0,
                None | Some(Arity::None) => 0,
                Some(Arity::One) => 1,
                Some(Arity::Many) => usize::MAX,
            };
            while values.len() < wanted
                && let Some(value) = typed.get(at).filter(|value| is_value(value))
            {
                values.push(value.clone());
                at += 1;
            }
            self.put(full, values);
        }
        Ok(())
    }

    /// Stores an option, old names under their new ones.
    fn put(&mut self, name: &str, values: Vec<String>) {
        let mut store = |name: &str, values: Vec<String>| {
            self.occurrences.push(Occurrence {
                name: name.to_owned(),
                values,
            });
        };
        if name == "dataset" {
            store("dataset-name", vec!["sharegpt".to_owned()]);
            store("dataset-path", values);
        } else if name == "dataset-name" && values == ["custom_mm"] {
            store(name, vec!["custom_image".to_owned()]);
        } else {
            let new = flags::RENAMED
                .iter()
                .find(|(old, _)| *old == name)
                .map_or(name, |&(_, new)| new);
            store(new, values);
        }
    }

    fn finish(mut self, options: &Options) -> Result<(Vec<String>, Vec<String>), Error> {
        self.merge_dotted()?;
        let mut warnings = self.without_effect();
        let vllm = self
            .last("compat")
            .is_some_and(|rules| rules.starts_with("vllm"));
        let mut arguments = Vec::new();
        let mut seen = BTreeSet::new();
        for (at, occurrence) in self.occurrences.iter().enumerate() {
            let name = occurrence.name.as_str();
            let same = || self.occurrences.iter().filter(|other| other.name == name);
            // vLLM takes one URL, the last.
            let adds_up = REPEATABLE.contains(&name) && !(vllm && name == "base-url");
            let is_last = !self.occurrences[at + 1..]
                .iter()
                .any(|other| other.name == name);
            // Options from the file, and the --compat of a command's name, are meant to be
            // overridden.
            let causes_warning = at >= self.warn_from && name != "compat";
            if !is_last {
                if !adds_up && causes_warning && seen.insert(name) {
                    warnings.push(format!(
                        "--{name} is given more than once; the last one counts"
                    ));
                }
                continue;
            }
            let values: Vec<String> = if adds_up {
                same()
                    .flat_map(|occurrence| occurrence.values.iter().cloned())
                    .collect()
            } else {
                occurrence.values.clone()
            };
            match (options.kind(name), values.as_slice()) {
                (Some(Arity::Many), values) if !values.is_empty() => {
                    arguments.push(format!("--{name}"));
                    arguments.extend(values.iter().cloned());
                }
                (_, [value]) => arguments.push(format!("--{name}={value}")),
                _ => arguments.push(format!("--{name}")),
            }
        }
        arguments.extend(self.loose);
        Ok((arguments, warnings))
    }

    /// The effective value: the last one.
    fn last(&self, name: &str) -> Option<&str> {
        let occurrence = self
            .occurrences
            .iter()
            .rev()
            .find(|occurrence| occurrence.name == name)?;
        occurrence.values.first().map(String::as_str)
    }

    /// Warnings about options of a dataset other than this run's, which vLLM ignores silently.
    fn without_effect(&self) -> Vec<String> {
        let legacy = self
            .last("compat")
            .and_then(|rules| rules.parse::<Compat>().ok());
        let default = legacy.unwrap_or_default().default_dataset();
        let dataset = self.last("dataset-name").unwrap_or(default);
        let own = dataset::find(dataset).map_or(&[][..], |info| info.flag_prefixes);
        let mut names: Vec<&str> = Vec::new();
        for occurrence in &self.occurrences {
            let family = dataset::flag_family(&occurrence.name);
            if family.is_some_and(|family| !own.contains(&family))
                && !names.contains(&&*occurrence.name)
            {
                names.push(&occurrence.name);
            }
        }
        names
            .into_iter()
            .map(|name| format!("--{name} has no effect with --dataset-name {dataset}"))
            .collect()
    }

    /// Merges dotted entries into one JSON object per option, on top of the option's JSON value.
    fn merge_dotted(&mut self) -> Result<(), Error> {
        let names: BTreeSet<String> = self.dotted.iter().map(|(name, ..)| name.clone()).collect();
        for name in names {
            let base = self
                .occurrences
                .iter()
                .rev()
                .find(|occurrence| occurrence.name == name);
            let base = base.and_then(|occurrence| occurrence.values.first());
            check_integers(&format!("--{name}"), base.map_or("", String::as_str))?;
            let mut map = match base {
                None => Map::new(),
                Some(text) => match serde_json::from_str(text) {
                    Ok(Value::Object(map)) => map,
                    _ => {
                        return Err(Error::usage(format!(
                            "--{name}: must be a JSON object, because --{name}.… adds to it"
                        )));
                    }
                },
            };
            let entries: Vec<(String, String)> = self
                .dotted
                .iter()
                .filter(|(of, ..)| *of == name)
                .map(|(_, path, value)| (path.clone(), value.clone()))
                .collect();
            // Values that `+` appends to a list are text.
            for (path, value) in entries.iter().filter(|(path, _)| !path.ends_with('+')) {
                check_integers(&format!("--{name}.{path}"), value)?;
            }
            dotted::merge(&mut map, &entries);
            self.occurrences
                .retain(|occurrence| occurrence.name != name);
            self.warn_from = self.warn_from.min(self.occurrences.len());
            self.occurrences.push(Occurrence {
                name,
                values: vec![Value::Object(map).to_string()],
            });
        }
        Ok(())
    }
}

/// True for a value, which may be a negative number, and false for an option.
fn is_value(argument: &str) -> bool {
    match argument.strip_prefix('-') {
        None | Some("") => true,
        Some(rest) => rest.starts_with(|c: char| c.is_ascii_digit() || c == '.') || rest == "inf",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::OptionInfo;

    /// The options of vLLM's parsers, with the values in the lists, and some of ours.
    fn options() -> Options {
        const MANY: [&str; 6] = [
            "goodput",
            "metadata",
            "header",
            "lora-modules",
            "base-url",
            "bfcl-categories",
        ];
        let ours = [
            "--compat r",
            "--omit-field x",
            "--skip-chat-template",
            "--no-streaming",
        ];
        // An option that both lists have is one option.
        let lines: BTreeSet<&str> = flags::lines().chain(ours).collect();
        let mut seen = BTreeSet::new();
        let lines = lines
            .into_iter()
            .filter(move |line| seen.insert(line.split(' ').next().unwrap_or_default().to_owned()));
        Options::of_run(lines.filter_map(|line| {
            let mut words = line.strip_prefix("--")?.split(' ');
            let name = words.next()?.to_owned();
            let arity = match words.next() {
                None => Arity::None,
                Some(_) if MANY.contains(&name.as_str()) || name == "omit-field" => Arity::Many,
                Some(_) => Arity::One,
            };
            let own = flags::RENAMED.iter().any(|(old, _)| *old == name)
                || flags::REFUSED.iter().any(|refused| refused.flag == name)
                || ["config", "dataset"].contains(&name.as_str());
            (!own).then_some(OptionInfo { name, arity })
        }))
    }

    fn parse(typed: &str) -> Result<(String, Vec<String>), String> {
        let arguments = format!("inferometer run {typed}")
            .split_whitespace()
            .map(str::to_owned)
            .collect();
        match normalise(arguments, &options()) {
            Ok(Normalised::CommandLine {
                arguments,
                warnings,
            }) => Ok((arguments[2..].join(" "), warnings)),
            Ok(Normalised::Help(word)) => Ok((word, Vec::new())),
            Err(failure) => Err(failure.to_string()),
        }
    }

    #[test]
    fn spellings_of_argparse_are_normalised() {
        for (typed, meant) in [
            ("--random_input_len 5", "--random-input-len=5"),
            ("--request_rate=in_f", "--request-rate=in_f"),
            ("--max-conc 8", "--max-concurrency=8"),
            ("--max_conc=8", "--max-concurrency=8"),
            ("--temperature -1", "--temperature=-1"),
            (
                "--goodput ttft:200 tpot:50 --seed 3",
                "--goodput ttft:200 tpot:50 --seed=3",
            ),
            (
                "--save-result --model my_model",
                "--save-result --model=my_model",
            ),
            ("--endpoint-type openai-chat", "--backend=openai-chat"),
            (
                "--dataset f.json",
                "--dataset-name=sharegpt --dataset-path=f.json",
            ),
            ("--dataset-name custom_mm", "--dataset-name=custom_image"),
            ("--custom-skip-chat-template", "--skip-chat-template"),
            (
                "--extra-body.a.b 1 --extra_body.c=x_y",
                r#"--extra-body={"a":{"b":1},"c":"x_y"}"#,
            ),
            (
                r#"--extra-body {"z":1} --extra-body.a+ 1,2"#,
                r#"--extra-body={"z":1,"a":["1","2"]}"#,
            ),
            ("--nonsense 1", "--nonsense 1"),
            ("--no-stream", "--no-stream"),
        ] {
            assert_eq!(parse(typed), Ok((meant.to_owned(), vec![])), "{typed}");
        }
    }

    #[test]
    fn the_last_of_several_counts_with_a_warning() {
        let (arguments, warnings) =
            parse("--metadata a=1 b=2 --seed 1 --see=2 --metadata c=3").unwrap();
        assert_eq!(arguments, "--seed=2 --metadata c=3");
        assert_eq!(warnings.len(), 2);
        assert!(
            warnings[1].contains("--seed is given more than once"),
            "{warnings:?}"
        );
        assert_eq!(
            parse("--compat=vllm --compat vllm-0.10").unwrap().1,
            Vec::<String>::new()
        );
    }

    #[test]
    fn options_of_another_dataset_cause_a_warning() {
        let (_, warnings) =
            parse("--sharegpt-output-len 5 --random-mm-ba 2 --random-input-len 3").unwrap();
        assert_eq!(warnings.len(), 2, "{warnings:?}");
        assert!(
            warnings[0].contains("--sharegpt-output-len has no effect with --dataset-name random")
        );
        assert!(
            parse("--compat vllm-0.10 --sharegpt-output-len 5")
                .unwrap()
                .1
                .is_empty()
        );
    }

    #[test]
    fn every_family_of_a_dataset_has_flags() {
        let options = options();
        for prefix in dataset::ALL.iter().flat_map(|info| info.flag_prefixes) {
            let has_flag = options
                .all
                .iter()
                .any(|(name, _)| dataset::flag_family(name) == Some(*prefix));
            assert!(has_flag, "{prefix}");
        }
    }

    #[test]
    fn options_that_add_up_are_kept_together() {
        let (arguments, warnings) =
            parse("--base-url a --omit-field x --seed 1 --base-url b c").unwrap();
        assert_eq!(
            (arguments.as_str(), warnings.len()),
            ("--omit-field x --seed=1 --base-url a b c", 0)
        );
        let (arguments, warnings) = parse("--compat=vllm --base-url a --base-url b").unwrap();
        assert_eq!(
            (arguments.as_str(), warnings.len()),
            ("--compat=vllm --base-url b", 1)
        );
    }

    #[test]
    fn an_ambiguous_prefix_is_refused_with_its_candidates() {
        let error = parse("--random 1").unwrap_err();
        assert!(
            error.contains("--random-input-len") && error.contains("ambiguous"),
            "{error}"
        );
        assert_eq!(
            parse("--time 1,2")
                .unwrap_err()
                .matches("--timed-trace")
                .count(),
            6
        );
    }

    #[test]
    fn a_refused_flag_is_never_ignored() {
        for typed in ["--use_beam_search", "--best-of 3", "--best-of=3"] {
            let error = parse(typed).unwrap_err();
            assert!(error.contains("leave it out"), "{error}");
        }
    }

    #[test]
    fn the_command_line_overrides_the_config_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.yaml");
        std::fs::write(&path, "seed: 1\nnum_prompts: 9\nsave_result: true\n").unwrap();
        let path = path.display();
        let expected = ("--num-prompts=9 --save-result --seed=2".to_owned(), vec![]);
        assert_eq!(
            parse(&format!("--seed 2 --config {path}")),
            Ok(expected.clone())
        );
        assert_eq!(parse(&format!("--config={path} --seed 2")), Ok(expected));
        assert!(parse("--config x.json").unwrap_err().contains(".yaml"));
        assert!(parse("--config").unwrap_err().contains("missing"));
    }
}
