//! Secrets among the values that a sweep varies: names of folders and files, labels and tables show none.

use inferometer_core::redact::{
    MASK, redact_arguments, redact_json, register_arguments, register_json,
};
use serde_json::{Value, json};

use crate::flag_table::text;

/// The value of a parameter as it may be shown and stored.
pub(crate) fn plain_value(key: &str, value: &Value) -> Value {
    let mut member = json!({ key: value });
    redact_json(&mut member);
    let shown = member[key].take();
    // Values of headers are secrets whatever their names.
    let plain = |value: &Value| match value {
        Value::String(text) => {
            let shown = redact_arguments(&[argument(key, text)]).concat();
            let shown = shown.split_once('=').map_or("", |(_, value)| value);
            Value::from(shown)
        }
        other => other.clone(),
    };
    match &shown {
        Value::Array(items) => items.iter().map(plain).collect(),
        other => plain(other),
    }
}

/// Remembers the secrets that [`plain_value`] leaves out, so that they are left out of logs and messages
/// as well.
pub(crate) fn register_value(key: &str, value: &Value) {
    register_json(&json!({ key: value }));
    let words: Vec<String> = match value {
        Value::Array(items) => items
            .iter()
            .map(|item| argument(key, &text(item)))
            .collect(),
        value => vec![argument(key, &text(value))],
    };
    register_arguments(&words);
}

fn argument(key: &str, text: &str) -> String {
    format!("--{key}={text}")
}

/// A name with `hidden` for what is left out: an asterisk in the name of a file means others to a shell.
pub(crate) fn file_name(name: &str) -> String {
    name.replace(MASK, "hidden")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_shown_without_secrets() {
        for (key, value, shown) in [
            ("api_key", json!("QZa"), json!("***")),
            ("header", json!(["X-Tenant=QZa"]), json!(["X-Tenant=***"])),
            (
                "extra_body",
                json!("{\"api_key\":\"QZa\"}"),
                json!("{\"api_key\":\"***\"}"),
            ),
            (
                "extra_body",
                json!({"api_key": "QZa", "n": 1}),
                json!({"api_key": "***", "n": 1}),
            ),
            ("endpoint", json!("/v1?token=QZa"), json!("/v1?token=***")),
            (
                "metadata",
                json!(["token=QZa", "gpu=1"]),
                json!(["token=***", "gpu=1"]),
            ),
            ("base_url", json!("http://a:QZa@h"), json!("http://***@h")),
            ("seed", json!(5), json!(5)),
            ("max_tokens", json!("7"), json!("7")),
        ] {
            assert_eq!(plain_value(key, &value), shown);
        }
    }
}
