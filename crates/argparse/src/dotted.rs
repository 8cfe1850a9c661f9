//! Dotted JSON options: `--extra-body.a.b 1`, `--extra-body.stop+ x,y`.

use serde_json::{Map, Value};

/// Merges the dotted entries `(path, value)` into the JSON object `base`, in order. A path that
/// ends in `+` appends the comma-separated values to a list. Other values are read as JSON, then as
/// whole numbers as Python reads them or with a suffix such as `4k`, then as text.
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
        .or_else(|| {
            suffixed(text.trim())
                .or_else(|| python_int(text.trim()))
                .map(Value::from)
        })
        .unwrap_or_else(|| Value::from(text))
}

/// A whole number by the rules of Python's `int()`, which are wider than JSON's: a sign, zeros in
/// front, and single underscores between digits.
fn python_int(text: &str) -> Option<i64> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let is_number = digits
        .split('_')
        .all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()));
    is_number.then(|| text.replace('_', "").parse().ok())?
}

/// `4k` is 4,000 and `4K` is 4,096, likewise m, g and t.
fn suffixed(text: &str) -> Option<i64> {
    let unit = text.chars().last()?;
    let number = &text[..text.len() - unit.len_utf8()];
    // Python's expression for it has neither signs nor exponents.
    let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_digits(whole) || !is_digits(part) {
        return None;
    }
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
        // Sent by vLLM 0.33 for the same texts.
        for (text, value) in [
            ("007", "7"),
            ("1_000", "1000"),
            ("+5", "5"),
            ("-08", "-8"),
            (" 05 ", "5"),
            ("1__0", r#""1__0""#),
            ("_1", r#""_1""#),
            ("+ 5", r#""+ 5""#),
            ("0x10", r#""0x10""#),
            ("-4k", r#""-4k""#),
            ("1e3k", r#""1e3k""#),
            ("4.5K", r#""4.5K""#),
            ("2.5k", "2500"),
        ] {
            assert_eq!(merged("{}", &[("a", text)]), format!("{{\"a\":{value}}}"));
        }
        assert_eq!(
            merged("{}", &[("a", "-k"), ("b", "k"), ("c", "nan")]),
            r#"{"a":"-k","b":"k","c":"nan"}"#
        );
    }
}
