//! Arguments as they may be shown.

use serde_json::Value;

use super::{
    MASK, is_secret_name, nested_json, redact_text, redact_url, register, register_json,
    register_url,
};

/// Arguments whose value is `NAME=VALUE` with a value that is never shown.
const PAIRS: [&str; 1] = ["header"];
/// Arguments whose value is a command line.
const COMMANDS: [&str; 3] = ["serve-cmd", "bench-cmd", "after-bench-cmd"];
/// Arguments whose value is a URL or a part of one.
const URLS: [&str; 3] = ["base-url", "endpoint", "url"];

/// Arguments as they may be shown and stored: without values of headers and of flags that are named
/// like secrets, without keys in JSON, and without credentials and query values in URLs. Command
/// lines within arguments are treated alike.
pub fn redact_arguments(arguments: &[String]) -> Vec<String> {
    let shown = typed(arguments).map(|(flag, kind, value)| match (flag, value) {
        (Some(name), Some(value)) => format!("--{name}={}", kind.redact(value)),
        (Some(name), None) => format!("--{name}"),
        (None, value) => kind.redact(value.unwrap_or_default()),
    });
    shown.collect()
}

/// Remembers the secrets that [`redact_arguments`] leaves out, so that [`redact_text`] leaves them out
/// of what the programs print that get them.
pub fn register_arguments(arguments: &[String]) {
    for (_, kind, value) in typed(arguments) {
        if let Some(value) = value {
            kind.register(value);
        }
    }
}

/// Each argument as the flag in it, the kind of its value, and the value: of `--flag=value` both, of a
/// flag alone no value, and of anything else no flag, but the kind of the flag before it.
fn typed(arguments: &[String]) -> impl Iterator<Item = (Option<&str>, Kind, Option<&str>)> {
    let mut kind = Kind::Plain;
    arguments.iter().map(move |argument| {
        let Some(option) = argument.strip_prefix("--") else {
            return (None, kind, Some(argument.as_str()));
        };
        let (name, value) = option
            .split_once('=')
            .map_or((option, None), |(name, value)| (name, Some(value)));
        kind = Kind::of(name);
        (Some(name), kind, value)
    })
}

/// True for the name of a variable or a pair, not for the path of a folder with `=` in its name.
fn is_secret_variable(name: &str) -> bool {
    is_secret_name(name) && !name.contains(|c: char| c.is_whitespace() || c == '/')
}

/// What the value of an argument is.
#[derive(Clone, Copy)]
enum Kind {
    Plain,
    Secret,
    Pair,
    Command,
    Url,
}

impl Kind {
    fn of(flag: &str) -> Self {
        let flag = flag.replace('_', "-");
        let is = |list: &[&str]| list.contains(&flag.as_str());
        if is(&PAIRS) {
            Self::Pair
        } else if is(&COMMANDS) {
            Self::Command
        } else if is(&URLS) {
            Self::Url
        } else if is_secret_name(&flag) {
            Self::Secret
        } else {
            Self::Plain
        }
    }

    fn register(self, value: &str) {
        match self {
            Self::Secret => register(value),
            Self::Pair => register(value.split_once('=').map_or("", |(_, value)| value)),
            Self::Url => register_url(value),
            // Its words are known once it is split.
            Self::Command => {}
            Self::Plain => match value.split_once('=') {
                Some((name, secret)) if is_secret_variable(name) => register(secret),
                _ if value.trim_start().starts_with(['{', '[']) => {
                    if let Ok(json) = serde_json::from_str::<Value>(value) {
                        register_json(&json);
                    }
                }
                _ => register_url(value),
            },
        }
    }

    fn redact(self, value: &str) -> String {
        match self {
            Self::Secret => MASK.to_owned(),
            Self::Pair => format!("{}={MASK}", value.split('=').next().unwrap_or_default()),
            Self::Url => redact_url(value),
            Self::Command => command(value),
            Self::Plain => match value.split_once('=') {
                // `OPENAI_API_KEY=…` before a command, `--metadata token=…`.
                Some((name, _)) if is_secret_variable(name) => {
                    format!("{name}={MASK}")
                }
                _ => nested_json(value).unwrap_or_else(|| redact_text(value).into_owned()),
            },
        }
    }
}

/// A command line, redacted word by word. Its words are found by white space: quotes stay where
/// they are.
fn command(line: &str) -> String {
    let mut words: Vec<String> = Vec::new();
    let mut quote = None;
    // White space within quotes belongs to the word.
    for part in line.split(' ') {
        match (&quote, words.last_mut()) {
            (Some(_), Some(word)) => {
                word.push(' ');
                word.push_str(part);
            }
            _ => words.push(part.to_owned()),
        }
        for symbol in part.chars().filter(|c| matches!(c, '"' | '\'')) {
            match quote {
                None => quote = Some(symbol),
                Some(open) if open == symbol => quote = None,
                Some(_) => {}
            }
        }
    }
    let bare: Vec<String> = words.iter().map(|word| unquoted(word).to_owned()).collect();
    let shown = redact_arguments(&bare);
    let parts = words
        .iter()
        .zip(bare.iter().zip(shown))
        .map(|(word, (bare, shown))| {
            if *bare == shown {
                word.clone()
            } else {
                word.replacen(bare.as_str(), &shown, 1)
            }
        });
    parts.collect::<Vec<_>>().join(" ")
}

/// A word without the quotes around it.
fn unquoted(word: &str) -> &str {
    ['"', '\'']
        .iter()
        .find_map(|&quote| word.strip_prefix(quote)?.strip_suffix(quote))
        .unwrap_or(word)
}
