//! Arguments as they may be shown.

use std::ops::Range;

use serde_json::Value;

use super::command_line::{Word, words};
use super::{
    MASK, header_line, is_secret_name, nested_json, redact_text, redact_url, register,
    register_credentials, register_json, register_url,
};

/// Arguments whose value is `NAME=VALUE` with a value that is never shown.
const PAIRS: [&str; 1] = ["header"];
/// Arguments whose value is a command line.
const COMMANDS: [&str; 3] = ["serve-cmd", "bench-cmd", "after-bench-cmd"];
/// Arguments whose value is a URL or a part of one.
const URLS: [&str; 3] = ["base-url", "endpoint", "url"];
/// Options of other programs that do not say by their names that a secret follows.
const OTHERS: [(&str, &str, Kind); 8] = [
    ("sshpass", "-p", Kind::Secret),
    ("curl", "-u", Kind::Credentials),
    ("curl", "--user", Kind::Credentials),
    ("curl", "-U", Kind::Credentials),
    ("curl", "--proxy-user", Kind::Credentials),
    ("curl", "--oauth2-bearer", Kind::Secret),
    ("curl", "-H", Kind::Pair),
    ("curl", "--proxy-header", Kind::Pair),
];
/// Words before a key in the value of a header.
const SCHEMES: [&str; 3] = ["Bearer", "Basic", "Token"];
/// Shorter words after `Basic` and `Token`, which are words of English too, are not keys.
const SHORTEST_KEY: usize = 8;
/// Command lines within command lines that are looked into; what is deeper is left out as a whole.
const DEEPEST: usize = 8;

/// Arguments as they may be shown and stored: without values of headers and of flags that are named
/// like secrets, without keys in JSON, and without credentials and query values in URLs. Command
/// lines within arguments, such as that of `sh -c`, are treated alike.
pub fn redact_arguments(arguments: &[String]) -> Vec<String> {
    redacted(&flat(arguments), DEEPEST)
}

/// Remembers the secrets that [`redact_arguments`] leaves out, so that [`redact_text`] leaves them out
/// of what the programs print that get them.
pub fn register_arguments(arguments: &[String]) {
    remember(&flat(arguments), DEEPEST);
}

/// A value for `name=value` that a user attaches to a run, as it may be stored; and remembers the secret
/// in it. By the name, by the form of the value (a URL, JSON, `Bearer …`), and by the secrets of this
/// process.
pub fn plain_value(name: &str, value: &str) -> String {
    let kind = if is_secret_name(name) {
        Kind::Secret
    } else {
        Kind::Plain
    };
    kind.register(value, DEEPEST);
    kind.redact(value, DEEPEST)
}

fn flat(arguments: &[String]) -> Vec<Word> {
    let words = arguments.iter().map(|argument| Word::bare(argument));
    words.collect()
}

fn redacted(words: &[Word], depth: usize) -> Vec<String> {
    let shown = typed(words).map(|argument| {
        let value = argument
            .value
            .map(|value| argument.kind.redact(value, depth));
        format!("{}{}", argument.shown, value.unwrap_or_default())
    });
    shown.collect()
}

fn remember(words: &[Word], depth: usize) {
    for argument in typed(words) {
        if let Some(value) = argument.value {
            argument.kind.register(value, depth);
        }
    }
}

/// An argument in parts.
struct Argument<'a> {
    /// What is always shown: a flag, with its `=`.
    shown: &'a str,
    /// What its value is.
    kind: Kind,
    /// The value; none for a flag alone.
    value: Option<&'a str>,
}

/// The parts of each argument. A value without a flag has the kind of the flag before it.
fn typed(words: &[Word]) -> impl Iterator<Item = Argument<'_>> {
    let mut kind = Kind::Plain;
    // What the next argument is, and no other one.
    let mut next = None;
    let mut programs: Vec<&str> = Vec::new();
    words.iter().map(move |word| {
        let text = word.text.as_str();
        if word.begins_command {
            (kind, next) = (Kind::Plain, None);
        }
        if let Some(kind) = next.take() {
            return Argument {
                shown: "",
                kind,
                value: Some(text),
            };
        }
        if let Some((option, kind)) = option_of_others(&programs, text) {
            let value = Some(&text[option.len()..]).filter(|value| !value.is_empty());
            if value.is_none() {
                next = Some(kind);
            }
            let shown = option;
            return Argument { shown, kind, value };
        }
        if let Some(option) = text.strip_prefix("--") {
            let name = option.split('=').next().unwrap_or(option);
            kind = Kind::of(name);
            let at = 2 + name.len();
            let (shown, value) = match text.len() {
                length if length == at => (text, None),
                _ => (&text[..=at], Some(&text[at + 1..])),
            };
            return Argument { shown, kind, value };
        }
        if runs_command(text) {
            next = Some(Kind::Command);
        }
        programs.push(text.rsplit('/').next().unwrap_or(text));
        Argument {
            shown: "",
            kind: kind.of_next(text),
            value: Some(text),
        }
    })
}

/// The option of another program that `text` is or begins with, and what follows it.
fn option_of_others<'a>(programs: &[&str], text: &'a str) -> Option<(&'a str, Kind)> {
    let found = OTHERS.iter().find_map(|&(program, option, kind)| {
        let is_long = option.starts_with("--");
        let rest = text.strip_prefix(option)?;
        let length = match rest.chars().next() {
            Some('=') if is_long => option.len() + 1,
            Some(_) if is_long => return None,
            _ => option.len(),
        };
        programs.contains(&program).then_some((length, kind))
    });
    found.map(|(length, kind)| (&text[..length], kind))
}

/// True for `-c`, `-lc` and the like, after which a shell takes a command line.
fn runs_command(text: &str) -> bool {
    text.strip_prefix('-').is_some_and(|letters| {
        letters.ends_with('c') && letters.bytes().all(|letter| letter.is_ascii_lowercase())
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
    /// `NAME=VALUE` or `NAME: VALUE` with a secret value.
    Pair,
    /// `USER:PASSWORD`.
    Credentials,
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

    /// What `text` is after a flag of this kind: headers end with an option or a URL.
    fn of_next(self, text: &str) -> Self {
        let is_url = || pair(text).is_some_and(|(_, value)| value.starts_with("//"));
        match self {
            Self::Pair if text.starts_with('-') || is_url() => Self::Plain,
            kind => kind,
        }
    }

    fn register(self, value: &str, depth: usize) {
        match self {
            Self::Secret => register(value),
            Self::Credentials => register_credentials(value),
            Self::Pair => register(pair(value).map_or(value, |(_, value)| value).trim()),
            Self::Url => register_url(value),
            Self::Command => register_command(value, depth),
            Self::Plain => register_plain(value, depth),
        }
    }

    fn redact(self, value: &str, depth: usize) -> String {
        match self {
            Self::Secret | Self::Credentials => MASK.to_owned(),
            Self::Pair => format!("{}{MASK}", pair(value).map_or("", |(name, _)| name)),
            Self::Url => redact_url(value),
            Self::Command => command(value, depth),
            Self::Plain => plain(value, depth),
        }
    }
}

/// The name of a header with the sign after it, and its value. Programs write `NAME=VALUE` and
/// `NAME: VALUE`.
fn pair(text: &str) -> Option<(&str, &str)> {
    let sign = text.find(['=', ':'])?;
    let after = &text[sign + 1..];
    let value = after.trim_start();
    Some(text.split_at(text.len() - value.len()))
}

fn plain(value: &str, depth: usize) -> String {
    // `OPENAI_API_KEY=…` before a command, `--metadata token=…`.
    if let Some((name, _)) = secret_variable(value) {
        return format!("{name}={MASK}");
    }
    if is_json(value) {
        return nested_json(value).unwrap_or_else(|| redact_text(value).into_owned());
    }
    if let Some((name, _)) = header_line(value) {
        return format!("{name}: {MASK}");
    }
    let mut shown = value.to_owned();
    // From the end, so that the places of the earlier ones stay.
    for key in keys_after_schemes(value).into_iter().rev() {
        shown.replace_range(key, MASK);
    }
    if has_words(&shown) {
        shown = command(&shown, depth);
    }
    redact_text(&shown).into_owned()
}

fn register_plain(value: &str, depth: usize) {
    if let Some((_, secret)) = secret_variable(value) {
        register(secret);
    } else if is_json(value) {
        if let Ok(json) = serde_json::from_str::<Value>(value) {
            register_json(&json);
        }
    } else if let Some((_, secret)) = header_line(value) {
        register(secret);
    } else {
        for key in keys_after_schemes(value) {
            register(&value[key]);
        }
        if has_words(value) {
            register_command(value, depth);
        } else {
            register_url(value);
        }
    }
}

/// The places of the keys in `note=Bearer KEY` and the like.
fn keys_after_schemes(text: &str) -> Vec<Range<usize>> {
    let mut keys = Vec::new();
    let mut scheme: Option<&str> = None;
    let mut at = 0;
    for word in text.split_inclusive(char::is_whitespace) {
        let bare = word.trim_end();
        let key = bare.trim_matches(['"', '\'', ',', ';', ')']);
        let start = at + bare.find(key).unwrap_or(0);
        let is_key = scheme.take().is_some_and(|scheme| {
            let like_key = key
                .bytes()
                .any(|byte| byte.is_ascii_digit() || byte == b'=');
            scheme == SCHEMES[0] || (key.len() >= SHORTEST_KEY && like_key)
        });
        if is_key && !key.is_empty() && key != MASK {
            keys.push(start..start + key.len());
        }
        let last = bare.rsplit(['=', ':', '"', '\'', '(']).next();
        scheme = last.and_then(|last| {
            let same = |scheme: &&&str| last.eq_ignore_ascii_case(scheme);
            SCHEMES.iter().find(same).copied()
        });
        at += word.len();
    }
    keys
}

fn secret_variable(text: &str) -> Option<(&str, &str)> {
    text.split_once('=')
        .filter(|(name, _)| is_secret_variable(name))
}

fn is_json(text: &str) -> bool {
    text.trim_start().starts_with(['{', '['])
}

/// True for text with white space inside, which may be a command line.
fn has_words(text: &str) -> bool {
    text.trim().contains(char::is_whitespace)
}

/// A command line with its secrets left out; everything else stays as it is.
fn command(line: &str, depth: usize) -> String {
    let Some(depth) = depth.checked_sub(1) else {
        return MASK.to_owned();
    };
    let words = words(line);
    let mut shown = String::with_capacity(line.len());
    let mut copied = 0;
    for (word, plain) in words.iter().zip(redacted(&words, depth)) {
        if word.text == plain {
            continue;
        }
        shown.push_str(&line[copied..word.place.start]);
        shown.extend(word.quote);
        shown.push_str(&plain);
        shown.extend(word.quote);
        copied = word.place.end;
    }
    shown + &line[copied..]
}

fn register_command(line: &str, depth: usize) {
    if let Some(depth) = depth.checked_sub(1) {
        remember(&words(line), depth);
    }
}
