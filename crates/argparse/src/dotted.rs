//! Dotted JSON options: `--extra-body.a.b 1`, `--extra-body.stop+ x,y`.

use serde_json::{Map, Value};

/// Merges the dotted entries `(path, value)` into the JSON object `base`, in order. A path that
/// ends in `+` appends the comma-separated values to a list. Other values are read as JSON, then as
/// whole numbers with a suffix such as `4k`, then as text.
pub(crate) fn merge(base: &mut Map<String, Value>, entries: &[(String, String)]) {
    for (path, text) in entries {
        let (path, value) = match path.strip_suffix('+') {
            Some(path) => (path, text.split(',').map(Value::from).collect()),
            None => (path.as_str(), value_of(text)),
        };
        let mut keys: Vec<&str> = path.split('.').collect();
        let Some(last) = keys.pop() else { continue };
        let mut place = &mut *base;
        for key in keys {
            let inner = place
                .entry(key)
                .or_insert_with(|| Value::Object(Map::new()));
            if !inner.is_object() {
                *inner = Value::Object(Map::new());
            }
            let Value::Object(map) = inner else { return };
            place = map;
        }
        put(place, last, value);
    }
}

fn put(place: &mut Map<String, Value>, key: &str, value: Value) {
    match (place.get_mut(key), value) {
        (Some(Value::Object(old)), Value::Object(new)) => {
            for (key, value) in new {
                put(old, &key, value);
            }
        }
        (Some(Value::Array(old)), Value::Array(new)) => old.extend(new),
        (_, value) => {
            place.insert(key.to_owned(), value);
        }
    }
}

fn value_of(text: &str) -> Value {
    serde_json::from_str(text)
        .ok()
        .or_else(|| suffixed(text).map(Value::from))
        .unwrap_or_else(|| Value::from(text))
}

/// `4k` is 4,000 and `4K` is 4,096, likewise m, g and t.
fn suffixed(text: &str) -> Option<i64> {
    let unit = text.chars().last()?;
    let number = &text[..text.len() - unit.len_utf8()];
    let power = "kmgt".find(unit.to_ascii_lowercase())? as u32 + 1;
    if unit.is_ascii_lowercase() {
        let number: f64 = number.parse().ok()?;
        Some((number * 1000_f64.powi(power as i32)) as i64)
    } else {
        number.parse::<i64>().ok()?.checked_mul(1024_i64.pow(power))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merged(base: &str, entries: &[(&str, &str)]) -> String {
        let mut map: Map<String, Value> = serde_json::from_str(base).unwrap();
        let entries: Vec<_> = entries
            .iter()
            .map(|(path, text)| ((*path).into(), (*text).into()))
            .collect();
        merge(&mut map, &entries);
        serde_json::to_string(&map).unwrap()
    }

    #[test]
    fn paths_create_objects_and_extend_lists() {
        assert_eq!(
            merged(
                "{}",
                &[
                    ("temperature", "0.2"),
                    ("a.b", "1"),
                    ("a.c", "text"),
                    ("n", "4k")
                ]
            ),
            r#"{"temperature":0.2,"a":{"b":1,"c":"text"},"n":4000}"#
        );
        assert_eq!(
            merged(r#"{"stop":["x"]}"#, &[("stop+", "y,z")]),
            r#"{"stop":["x","y","z"]}"#
        );
        assert_eq!(
            merged(r#"{"a":{"b":1}}"#, &[("a", r#"{"c":2}"#), ("a.b", "2")]),
            r#"{"a":{"b":2,"c":2}}"#
        );
        assert_eq!(
            merged(r#"{"a":1}"#, &[("a.b", "2K")]),
            r#"{"a":{"b":2048}}"#
        );
        assert_eq!(
            merged("{}", &[("a", "-k"), ("b", "k"), ("c", "nan")]),
            r#"{"a":"-k","b":"k","c":"nan"}"#
        );
    }
}
