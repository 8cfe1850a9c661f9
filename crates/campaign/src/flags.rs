//! Command lines: flags from keys and values, and values from flags.

use serde_json::Value;

use crate::suggest::nearest;

/// How many values a flag takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlagKind {
    /// None: it is there or not.
    Switch,
    /// One.
    One,
    /// One or more.
    Many,
}

/// A flag of `inferometer run` or `inferometer simulate`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flag {
    /// Name with dashes inside and none before.
    pub name: String,
    /// How many values it takes.
    pub kind: FlagKind,
    /// True when only `simulate` has it.
    pub simulated: bool,
}

/// The flags of `inferometer run`, and those of `inferometer simulate` beside.
#[derive(Clone, Debug, Default)]
pub struct FlagTable(pub Vec<Flag>);

impl FlagTable {
    /// The flag that `key` names, in dashes or underscores.
    pub fn find(&self, key: &str) -> Option<&Flag> {
        let name = dashed(key);
        self.0.iter().find(|flag| flag.name == name)
    }

    /// The flag that was probably meant by `key`, with underscores.
    pub(crate) fn suggest(&self, key: &str) -> Option<String> {
        nearest(key, self.0.iter().map(|flag| flag.name.as_str()))
            .map(|name| name.replace('-', "_"))
    }

    /// `value` of `flag` as arguments, or what is wrong with it.
    pub(crate) fn arguments(flag: &Flag, value: &Value) -> Result<Vec<String>, String> {
        let key = flag.name.replace('-', "_");
        let option = format!("--{}", flag.name);
        match (flag.kind, value) {
            (_, Value::Null) => Err(format!(
                "{key} has no value; leave it out, or write inf as \"inf\""
            )),
            (FlagKind::Switch, Value::Bool(true)) => Ok(vec![option]),
            (FlagKind::Switch, Value::Bool(false)) => Ok(Vec::new()),
            (FlagKind::Switch, _) => Err(format!("{key} is a switch: write true or false")),
            (FlagKind::One, Value::Array(_)) => Err(format!("{key} takes one value, not a list")),
            (FlagKind::Many, Value::Array(items)) if items.is_empty() => Ok(Vec::new()),
            (FlagKind::Many, Value::Array(items)) => Ok(std::iter::once(option)
                .chain(items.iter().map(text))
                .collect()),
            (FlagKind::One | FlagKind::Many, value) => {
                let value = text(value);
                // A value that looks like a flag would be taken for one.
                Ok(if value.starts_with('-') {
                    vec![format!("{option}={value}")]
                } else {
                    vec![option, value]
                })
            }
        }
    }
}

/// A scalar as it is typed; anything else as JSON.
pub(crate) fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// `key` as a flag's name.
pub(crate) fn dashed(key: &str) -> String {
    key.replace('_', "-")
}

/// True when `argument` is the flag `name` (with dashes), alone or with `=value`.
fn names(argument: &str, name: &str) -> bool {
    let Some(option) = argument.strip_prefix("--") else {
        return false;
    };
    let option = option.split('=').next().unwrap_or(option);
    let head = option.find('.').unwrap_or(option.len());
    // Underscores are dashes in the part before the first dot.
    format!("{}{}", dashed(&option[..head]), &option[head..]) == name
}

/// The value that counts of a flag: the last one.
pub fn value_of<'a>(arguments: &'a [String], name: &str) -> Option<&'a str> {
    let at = arguments
        .iter()
        .rposition(|argument| names(argument, name))?;
    match arguments[at].split_once('=') {
        Some((_, value)) => Some(value),
        None => arguments.get(at + 1).map(String::as_str),
    }
}

/// True when the flag is there.
pub fn has(arguments: &[String], name: &str) -> bool {
    arguments.iter().any(|argument| names(argument, name))
}

/// The values of a flag that takes several.
pub(crate) fn values_of<'a>(arguments: &'a [String], name: &str) -> Vec<&'a str> {
    let Some(at) = arguments.iter().rposition(|argument| names(argument, name)) else {
        return Vec::new();
    };
    match arguments[at].split_once('=') {
        Some((_, value)) => vec![value],
        None => arguments[at + 1..]
            .iter()
            .map(String::as_str)
            .take_while(|a| !a.starts_with("--"))
            .collect(),
    }
}

/// The backend that stands for the engine model on a virtual clock; `sim:NAME` also says what kind
/// of requests they are.
pub(crate) const SIMULATED: &str = "sim";

/// True for the name of the simulated backend.
pub(crate) fn is_simulated(backend: &str) -> bool {
    backend == SIMULATED
        || backend
            .strip_prefix(SIMULATED)
            .is_some_and(|rest| rest.starts_with(':'))
}

/// Makes a command of `run` with `--backend sim` one of `simulate`; an earlier backend, which says
/// what kind of requests they are, stays. True when it was such a command.
pub(crate) fn simulate(command: &mut Vec<String>) -> bool {
    let backend = value_of(command, "backend")
        .filter(|backend| is_simulated(backend))
        .map(str::to_owned);
    let Some(backend) = backend else { return false };
    while value_of(command, "backend").is_some_and(is_simulated) {
        let Some(at) = command
            .iter()
            .rposition(|argument| names(argument, "backend"))
        else {
            break;
        };
        let end = at + if command[at].contains('=') { 1 } else { 2 };
        command.drain(at..end.min(command.len()));
    }
    if let Some((_, kind)) = backend.split_once(':') {
        command.extend(["--backend", kind].map(str::to_owned));
    }
    "simulate".clone_into(&mut command[1]);
    true
}

/// Takes a flag with all its values out.
fn remove(arguments: &mut Vec<String>, name: &str) -> Option<usize> {
    let mut first = None;
    while let Some(at) = arguments.iter().position(|argument| names(argument, name)) {
        let mut end = at + 1;
        if !arguments[at].contains('=') {
            while arguments
                .get(end)
                .is_some_and(|next| !next.starts_with("--"))
            {
                end += 1;
            }
        }
        arguments.drain(at..end);
        first.get_or_insert(at);
    }
    first
}

/// Sets a parameter of vLLM's sweep in a command: the flag is replaced where it stands, else added
/// at the end. Truth values become `--x` and `--no-x`, or with a dot in the name `--x.y=true`;
/// objects become JSON.
pub(crate) fn override_parameter(command: &mut Vec<String>, key: &str, value: &Value) {
    let head = key.find('.').unwrap_or(key.len());
    let name = format!("{}{}", dashed(&key[..head]), &key[head..]);
    let negative = format!("no-{name}");
    let new = match value {
        Value::Bool(truth) if name.contains('.') => vec![format!("--{name}={truth}")],
        Value::Bool(true) => vec![format!("--{name}")],
        Value::Bool(false) => vec![format!("--{negative}")],
        Value::Array(items)
            if items
                .iter()
                .all(|item| !item.is_object() && !item.is_array()) =>
        {
            std::iter::once(format!("--{name}"))
                .chain(items.iter().map(text))
                .collect()
        }
        value => vec![format!("--{name}"), text(value)],
    };
    let mut at = remove(command, &name);
    if value.is_boolean() {
        let other = remove(command, &negative);
        at = at.or(other);
    }
    let at = at.unwrap_or(command.len());
    command.splice(at..at, new);
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn values_are_found_in_every_spelling_and_the_last_one_counts() {
        let line = words(
            "run --num_prompts 5 --num-prompts=7 --base-url http://x --goodput ttft:1 tpot:2 --seed 1",
        );
        assert_eq!(value_of(&line, "num-prompts"), Some("7"));
        assert_eq!(value_of(&line, "base-url"), Some("http://x"));
        assert_eq!(value_of(&line, "host"), None);
        assert_eq!(values_of(&line, "goodput"), ["ttft:1", "tpot:2"]);
    }

    #[test]
    fn the_backend_sim_makes_a_simulation_of_a_run() {
        for (run, expected) in [
            (
                "inferometer run --backend vllm --seed 1 --backend sim",
                "inferometer simulate --backend vllm --seed 1",
            ),
            (
                "inferometer run --backend=sim --backend sim --seed 1",
                "inferometer simulate --seed 1",
            ),
            (
                "inferometer run --backend sim:openai-chat --seed 1",
                "inferometer simulate --seed 1 --backend openai-chat",
            ),
        ] {
            let mut command = words(run);
            assert!(simulate(&mut command));
            assert_eq!(command.join(" "), expected);
        }
        let mut real = words("inferometer run --backend sim --backend vllm");
        assert!(!simulate(&mut real));
        assert_eq!(real[1], "run");
    }

    #[test]
    fn parameters_replace_flags_in_place() {
        for (base, key, value, expected) in [
            ("b --a 1 --c 2", "a", json!(5), "b --a 5 --c 2"),
            ("b --a=1 --c 2", "a", json!(5), "b --a 5 --c 2"),
            (
                "b --max_num_seqs 1 --c 2",
                "max_num_seqs",
                json!(64),
                "b --max-num-seqs 64 --c 2",
            ),
            ("b --c 2", "a_b", json!("x"), "b --c 2 --a-b x"),
            (
                "b --eager --c 2",
                "eager",
                json!(false),
                "b --no-eager --c 2",
            ),
            ("b --no-eager", "eager", json!(true), "b --eager"),
            ("b", "cfg.use_x", json!(true), "b --cfg.use_x=true"),
            ("b", "cfg", json!({"a":1}), "b --cfg {\"a\":1}"),
            (
                "b --goodput a:1 b:2 --c",
                "goodput",
                json!(["c:3", "d:4"]),
                "b --goodput c:3 d:4 --c",
            ),
        ] {
            let mut command = words(base);
            override_parameter(&mut command, key, &value);
            assert_eq!(command.join(" "), expected);
        }
    }
}
