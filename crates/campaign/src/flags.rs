//! Command lines that were given as text: `--bench-cmd`, `--serve-cmd`, and what is typed after
//! `--`. Runs of this program have typed settings instead.

use serde_json::Value;

use crate::flag_table::{dashed, text};

/// True when `argument` is the flag `name` (with dashes), alone or with `=value`.
fn names(argument: &str, name: &str) -> bool {
    let Some(option) = argument.strip_prefix("--") else {
        return false;
    };
    let option = option.split('=').next().unwrap_or(option);
    spelled(option) == name
}

/// A flag's name with dashes for underscores in the part before the first dot; what follows the
/// dot is a key of a JSON object.
fn spelled(key: &str) -> String {
    let head = key.find('.').unwrap_or(key.len());
    format!("{}{}", dashed(&key[..head]), &key[head..])
}

/// The value of a flag; the last one counts.
pub(crate) fn value_of<'a>(arguments: &'a [String], name: &str) -> Option<&'a str> {
    let at = arguments
        .iter()
        .rposition(|argument| names(argument, name))?;
    match arguments[at].split_once('=') {
        Some((_, value)) => Some(value),
        None => arguments.get(at + 1).map(String::as_str),
    }
}

/// True when the flag is there.
pub(crate) fn has(arguments: &[String], name: &str) -> bool {
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

/// Takes the last occurrence of a flag with one value out.
pub(crate) fn remove_last(arguments: &mut Vec<String>, name: &str) {
    if let Some(at) = arguments.iter().rposition(|argument| names(argument, name)) {
        let end = at + if arguments[at].contains('=') { 1 } else { 2 };
        arguments.drain(at..end.min(arguments.len()));
    }
}

/// Takes a flag with all its values out, wherever it occurs, and returns where it was first.
pub(crate) fn remove(arguments: &mut Vec<String>, name: &str) -> Option<usize> {
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

/// The arguments without those of `options` (as `--name`) and the one value of each, in exactly
/// these spellings: what journals store must stay comparable with what earlier versions stored.
pub(crate) fn without(arguments: &[String], options: &[&str]) -> Vec<String> {
    let mut kept = Vec::new();
    let mut skip = false;
    for argument in arguments {
        if std::mem::take(&mut skip) {
            continue;
        }
        skip = options.contains(&argument.as_str());
        if !skip {
            kept.push(argument.clone());
        }
    }
    kept
}

/// Sets a parameter of vLLM's sweep in a command: the flag is replaced where it is, else added at
/// the end. Truth values become `--x` and `--no-x`, or with a dot in the name `--x.y=true`; objects
/// become JSON.
pub(crate) fn override_parameter(command: &mut Vec<String>, key: &str, value: &Value) {
    let name = spelled(key);
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
    fn flags_are_left_out_with_their_values() {
        let line = words("run --a 1 --b=2 --c x y --a=3");
        assert_eq!(
            without(&line, &["--a"]).join(" "),
            "run --b=2 --c x y --a=3"
        );
        let mut last = line.clone();
        remove_last(&mut last, "a");
        assert_eq!(last.join(" "), "run --a 1 --b=2 --c x y");
        let mut all = line;
        assert_eq!(remove(&mut all, "a"), Some(1));
        assert_eq!(all.join(" "), "run --b=2 --c x y");
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
