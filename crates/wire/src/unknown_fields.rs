//! Advice on which fields to leave out when a server refuses unknown ones.

use bytes::Bytes;
use serde_json::{Map, Value};

/// A request cannot do without these: a server that quotes them means their values.
const ESSENTIAL: [&str; 6] = ["model", "prompt", "messages", "input", "inputs", "stream"];
/// Words before a list of field names, in small letters: transformers serve, OpenAI's API, serde,
/// and others.
const BEFORE_LISTS: [&str; 8] = [
    "unexpected field",
    "unexpected keyword",
    "unknown field",
    "unknown parameter",
    "unrecognized field",
    "unrecognized request argument",
    "unsupported field",
    "unsupported parameter",
];
/// Bytes after those words in which names are looked for: enough for every field of a request, and
/// a bound for hostile errors.
const LIST: usize = 500;

/// The advice for a refused request by its `status` and `error`; empty where there is none. `body`
/// gives the request's body, which is read only if the server complains about fields.
///
/// The answer only chooses among the fields that the body has: nothing of its own text gets into a
/// command.
pub(crate) fn remedy(status: u16, error: &str, body: impl FnOnce() -> Option<Bytes>) -> String {
    let named = if matches!(status, 400 | 422) {
        named(error, body)
    } else {
        Vec::new()
    };
    match (status, named.is_empty()) {
        (422, true) => {
            " (a field that this server does not know can be left out with --omit-field NAME)"
                .to_owned()
        }
        (422, false) => format!(
            " (a field that this server does not know can be left out with --omit-field {})",
            named.join(",")
        ),
        (_, false) => {
            format!(
                " (leave out what this server does not know: --omit-field {})",
                named.join(",")
            )
        }
        (_, true) => String::new(),
    }
}

fn named(error: &str, body: impl FnOnce() -> Option<Bytes>) -> Vec<String> {
    let mut words = listed(error);
    words.extend(located(error));
    if words.is_empty() {
        return Vec::new();
    }
    let body = body().and_then(|body| serde_json::from_slice::<Map<String, Value>>(&body).ok());
    let fields = body.into_iter().flatten().map(|(field, _)| field);
    fields
        .filter(|field| !ESSENTIAL.contains(&field.as_str()) && is_plain(field))
        .filter(|field| words.contains(&field.as_str()))
        .collect()
}

/// Only such names stand in a command line as they are.
fn is_plain(name: &str) -> bool {
    !name.is_empty() && name.chars().all(is_of_name)
}

fn is_of_name(character: char) -> bool {
    character.is_ascii_alphanumeric() || character == '_'
}

/// The words behind "unexpected fields" and the like, up to the end of the list.
fn listed(error: &str) -> Vec<&str> {
    let small = error.to_ascii_lowercase();
    let mut words = Vec::new();
    for (at, phrase) in BEFORE_LISTS
        .iter()
        .flat_map(|phrase| small.match_indices(phrase))
    {
        // Lowering ASCII keeps every place; the end of the phrase is one of ASCII, too.
        let list = &error[at + phrase.len()..];
        let mut cut = list.len().min(LIST);
        while !list.is_char_boundary(cut) {
            cut -= 1;
        }
        let list = &list[..cut];
        // serde continues with the names that it knows.
        let list = list.split("expected ").next().unwrap_or(list);
        let list = list.split(['}', ']']).next().unwrap_or(list);
        words.extend(
            list.split(|character| !is_of_name(character))
                .filter(|word| !word.is_empty()),
        );
    }
    words
}

/// The last steps of the places that pydantic names:
/// `"type":"extra_forbidden","loc":["body","NAME"]`.
fn located(error: &str) -> Vec<&str> {
    let mut words = Vec::new();
    for part in error.split("extra_forbidden").skip(1) {
        let Some((_, place)) = part.split_once("loc") else {
            continue;
        };
        let Some((place, _)) = place.split_once(']') else {
            continue;
        };
        words.extend(place.split('"').rfind(|word| is_plain(word)));
    }
    words
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn found(error: &str) -> Vec<String> {
        let body = json!({
            "model": "m", "prompt": "p", "repetition_penalty": 1.0, "ignore_eos": true, "seed": 1, "input": 0, "a;b": 1
        });
        named(error, || Some(body.to_string().into()))
    }

    #[test]
    fn the_fields_that_a_server_refuses_are_found() {
        for (error, fields) in [
            // transformers serve; the order is the body's.
            (
                r#"HTTP 422: {"detail":"Unexpected fields in the request: {'ignore_eos', 'repetition_penalty'}"}"#,
                &["repetition_penalty", "ignore_eos"][..],
            ),
            // pydantic
            (
                r#"{"detail":[{"type":"extra_forbidden","loc":["body","seed"],"msg":"Extra inputs are not permitted","input":1}]}"#,
                &["seed"],
            ),
            // OpenAI
            (
                "Unrecognized request argument supplied: ignore_eos",
                &["ignore_eos"],
            ),
            // serde
            (
                "unknown field `seed`, expected one of `model`, `ignore_eos`",
                &["seed"],
            ),
        ] {
            assert_eq!(found(error), fields, "{error}");
        }
    }

    #[test]
    fn only_refused_fields_are_advised_to_be_left_out() {
        for error in [
            "",
            "seed must be positive, ignore_eos a boolean",
            "Unexpected fields in the request: {'no_such', 'ignore_eos2', 'a;b', '$(reboot)'}",
            "Unexpected fields in the request: {'model', 'prompt'}",
            "Unexpected fields: {} while ignore_eos was fine",
            r#"[{"type":"extra_forbidden","loc":["body","x"],"input":{"seed":1}}]"#,
            r#"[{"type":"missing","loc":["body","seed"]}]"#,
            "\u{130} unknown field \u{1f600}\u{130}",
        ] {
            assert_eq!(found(error), [""; 0], "{error}");
        }
        let long = format!("unknown field {}\u{e9} seed", "x".repeat(LIST - 2));
        assert_eq!(found(&long), [""; 0], "what comes later is not read");
    }
}
