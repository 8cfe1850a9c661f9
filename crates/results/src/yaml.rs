//! YAML as PyYAML reads it, since vLLM's users write their files for that reader.
//!
//! PyYAML follows YAML 1.1, and the YAML crate used here follows 1.2: what a plain `yes`, `010` or
//! `1_000` means differs.

use std::collections::HashSet;
use std::fmt;

use serde::de::{Deserialize, Deserializer, EnumAccess, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Lists and maps inside one another. The parser's time grows with the square of this number, and
/// the crate refuses more than 128 levels after it.
const MAX_DEPTH: usize = 128;

/// Reads a YAML document. Infinity and NaN, which JSON does not have, become the texts `inf`,
/// `-inf` and `nan`.
///
/// # Errors
///
/// Says what is wrong and where.
pub fn parse_yaml(text: &str) -> Result<Value, String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    Ok(read(text)?.into_value(text))
}

fn read(text: &str) -> Result<Node, String> {
    check_depth(text)?;
    yaml_serde::from_str(text).map_err(|error| error.to_string())
}

/// As [`parse_yaml`], but a key that is set twice is refused, as the YAML specification asks. (PyYAML keeps
/// the last value without a word.)
///
/// # Errors
///
/// As [`parse_yaml`], and for a key that a map sets twice, with its lines.
pub fn parse_yaml_strict(text: &str) -> Result<Value, String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let node = read(text)?;
    match node.duplicate() {
        Some(key) => Err(set_twice(text, &key)),
        None => Ok(node.into_value(text)),
    }
}

/// A sentence about a key that an object of a JSON document sets twice, if there is one. Readers of JSON
/// keep the last value without a word.
pub fn json_duplicate(text: &str) -> Option<String> {
    let key = serde_json::from_str::<Node>(text).ok()?.duplicate()?;
    Some(set_twice(text, &key))
}

fn set_twice(text: &str, key: &str) -> String {
    let quotes = ['"', '\''];
    let sets = |line: &str| {
        line.match_indices(key).any(|(at, _)| {
            let before = line[..at].trim_end_matches(quotes).trim_end();
            let after = line[at + key.len()..].trim_start_matches(quotes);
            (before.is_empty() || before.ends_with(['-', '{', ',']))
                && after.trim_start().starts_with(':')
        })
    };
    let lines = text.lines().zip(1..).filter(|(line, _)| sets(line));
    let lines: Vec<String> = lines.map(|(_, number)| number.to_string()).collect();
    let at = match lines.as_slice() {
        [] => String::new(),
        [one] => format!("line {one}: "),
        many => format!("lines {}: ", many.join(" and ")),
    };
    format!("{at}the key {key:?} is set twice: remove one of them")
}

/// Refuses deep nesting before the parser sees it.
///
/// Brackets in texts and comments count too, so that no valid file of fewer is refused: a line of
/// text with more than [`MAX_DEPTH`] brackets that are never closed is hardly a setting.
fn check_depth(text: &str) -> Result<(), String> {
    let mut open = 0_usize;
    for (number, line) in text.lines().enumerate() {
        let mut rest = line.trim_start();
        let mut dashes = 0;
        while let Some(next) = rest
            .strip_prefix("- ")
            .or_else(|| rest.strip_prefix("? "))
            .map(str::trim_start)
        {
            dashes += 1;
            rest = next;
        }
        for symbol in line.bytes() {
            match symbol {
                b'[' | b'{' => open += 1,
                b']' | b'}' => open = open.saturating_sub(1),
                _ => {}
            }
            if open.max(dashes) > MAX_DEPTH {
                return Err(format!(
                    "line {}: nested more than {MAX_DEPTH} levels deep",
                    number + 1
                ));
            }
        }
    }
    Ok(())
}

/// A value as the crate reads it.
#[derive(Clone)]
enum Node {
    Null,
    Bool(bool),
    Int(Number),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Map(Vec<(Node, Node)>),
}

impl Node {
    fn into_value(self, text: &str) -> Value {
        match self {
            Self::Null => Value::Null,
            Self::Bool(truth) => Value::Bool(truth),
            Self::Int(number) => Value::Number(number),
            Self::Float(number) => float(number),
            Self::Text(scalar) => plain(&scalar)
                .filter(|_| !is_quoted(text, &scalar))
                .unwrap_or(Value::String(scalar)),
            Self::List(items) => items
                .into_iter()
                .map(|item| item.into_value(text))
                .collect(),
            Self::Map(entries) => {
                let mut map = Map::new();
                let mut merged = Vec::new();
                for (key, value) in entries {
                    let key = key.into_key();
                    let value = value.into_value(text);
                    if key == "<<" {
                        merged.push(value);
                    } else {
                        map.insert(key, value);
                    }
                }
                for value in merged {
                    merge(value, &mut map);
                }
                Value::Object(map)
            }
        }
    }

    /// A key that a map in this value sets twice.
    fn duplicate(&self) -> Option<String> {
        match self {
            Self::List(items) => items.iter().find_map(Self::duplicate),
            Self::Map(entries) => {
                let mut known = HashSet::new();
                entries.iter().find_map(|(key, value)| {
                    let key = key.clone().into_key();
                    let twice = !known.insert(key.clone()) && key != "<<";
                    twice.then_some(key).or_else(|| value.duplicate())
                })
            }
            _ => None,
        }
    }

    /// Keys are names of settings, so that they stay as they are written.
    fn into_key(self) -> String {
        match self {
            Self::Text(text) => text,
            other => match other.into_value("") {
                Value::String(text) => text,
                value => value.to_string(),
            },
        }
    }
}

/// Adds what a `<<` names: a map, or a list of maps of which the first one counts. Keys that are
/// there stay.
fn merge(value: Value, map: &mut Map<String, Value>) {
    match value {
        Value::Object(other) => {
            for (key, value) in other {
                map.entry(key).or_insert(value);
            }
        }
        Value::Array(items) => items.into_iter().for_each(|item| merge(item, map)),
        other => drop(map.insert("<<".to_owned(), other)),
    }
}

fn float(number: f64) -> Value {
    Number::from_f64(number).map_or_else(
        || {
            let text = match number {
                f64::INFINITY => "inf",
                f64::NEG_INFINITY => "-inf",
                _ => "nan",
            };
            Value::from(text)
        },
        Value::Number,
    )
}

/// The truth value or number that PyYAML takes a text without quotes for.
fn plain(text: &str) -> Option<Value> {
    match text {
        "yes" | "Yes" | "YES" | "on" | "On" | "ON" => return Some(Value::Bool(true)),
        "no" | "No" | "NO" | "off" | "Off" | "OFF" => return Some(Value::Bool(false)),
        _ => {}
    }
    let (sign, digits) = match text.as_bytes().first()? {
        b'-' => (-1, &text[1..]),
        b'+' => (1, &text[1..]),
        _ => (1, text),
    };
    if !digits.starts_with(|first: char| first.is_ascii_digit() || first == '.') {
        return None;
    }
    let number = digits.replace('_', "");
    let whole = |digits: &str, base: u32| {
        i64::from_str_radix(digits, base)
            .ok()
            .map(|n| Value::from(sign * n))
    };
    if let Some(binary) = number.strip_prefix("0b") {
        return whole(binary, 2);
    }
    if let Some(hexadecimal) = number.strip_prefix("0x") {
        return whole(hexadecimal, 16);
    }
    if number.contains(':') {
        return sexagesimal(&number).map(|value| {
            if value.fract() == 0.0 && !number.contains('.') {
                Value::from(sign * value as i64)
            } else {
                float(value * sign as f64)
            }
        });
    }
    if number.bytes().all(|byte| byte.is_ascii_digit()) {
        let octal = number.len() > 1 && number.starts_with('0');
        // Other whole numbers the crate reads itself, unless a tag makes them text.
        return (octal || text.contains('_'))
            .then(|| whole(&number, if octal { 8 } else { 10 }))
            .flatten();
    }
    let is_float = number
        .bytes()
        .all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-'));
    // PyYAML takes no number with an exponent that has no point or no sign.
    if !is_float || !number.contains('.') || !text.contains('_') {
        return None;
    }
    number
        .parse::<f64>()
        .ok()
        .map(|value| float(value * sign as f64))
}

/// `1:30` is 90, as in minutes and seconds.
fn sexagesimal(text: &str) -> Option<f64> {
    let mut parts = text.split(':');
    let first = parts.next()?;
    if !first.bytes().all(|byte| byte.is_ascii_digit())
        || (first.len() > 1 && first.starts_with('0'))
    {
        return None;
    }
    parts.try_fold(first.parse::<f64>().ok()?, |sum, part| {
        let value = part.parse::<f64>().ok().filter(|value| *value < 60.0)?;
        let is_short = part
            .split('.')
            .next()
            .is_some_and(|whole| matches!(whole.len(), 1 | 2));
        is_short.then_some(sum * 60.0 + value)
    })
}

/// True where the file has this text in quotes, which the crate does not tell apart.
fn is_quoted(text: &str, scalar: &str) -> bool {
    ['"', '\''].iter().any(|quote| {
        text.match_indices(scalar).any(|(at, _)| {
            text[..at].ends_with(*quote) && text[at + scalar.len()..].starts_with(*quote)
        })
    })
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        Node::deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Int(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Int(value.into()))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Node, E> {
        Ok(Node::Text(value.to_string()))
    }

    fn visit_u128<E>(self, value: u128) -> Result<Node, E> {
        Ok(Node::Text(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        Ok(Node::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Node::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Node, A::Error> {
        let mut map = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            map.push(entry);
        }
        Ok(Node::Map(map))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, _: A) -> Result<Node, A::Error> {
        Err(serde::de::Error::custom(
            "invalid tag: expected a value without \"!\" in front",
        ))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// What `yaml.safe_load` of PyYAML 6 returns, with texts for what JSON does not have.
    #[test]
    fn scalars_are_those_of_pyyaml() {
        for (written, expected) in [
            ("yes", json!(true)),
            ("No", json!(false)),
            ("ON", json!(true)),
            ("off", json!(false)),
            ("y", json!("y")),
            (".inf", json!("inf")),
            ("-.Inf", json!("-inf")),
            ("+.INF", json!("inf")),
            (".nan", json!("nan")),
            ("~", json!(null)),
            ("Null", json!(null)),
            ("", json!(null)),
            ("010", json!(8)),
            ("08", json!("08")),
            ("0x1F", json!(31)),
            ("0b101", json!(5)),
            ("1_000", json!(1000)),
            ("-1_0.5_0", json!(-10.5)),
            ("1:30", json!(90)),
            ("1:30.5", json!(90.5)),
            (".5", json!(0.5)),
            ("5.", json!(5.0)),
            ("+3", json!(3)),
            ("00", json!(0)),
            ("_1", json!("_1")),
            ("'yes'", json!("yes")),
            ("\"010\"", json!("010")),
            ("2026-01-01", json!("2026-01-01")),
            ("12:61", json!("12:61")),
            ("!!str 1", json!("1")),
        ] {
            let read = parse_yaml(&format!("a: {written}")).unwrap();
            assert_eq!(read["a"], expected, "{written}");
            let read = parse_yaml(&format!("a: [{written}, 1]"));
            if !written.is_empty() {
                assert_eq!(read.unwrap()["a"][0], expected, "[{written}]");
            }
        }
    }

    #[test]
    fn documents_are_those_of_pyyaml() {
        for (written, expected) in [
            ("\u{feff}a: 1\r\n", json!({"a": 1})),
            ("a: 1\na: 2\n", json!({"a": 2})),
            (
                "x: &b {p: 1, q: 1}\ny: {<<: *b, q: 2}\n",
                json!({"x": {"p": 1, "q": 1}, "y": {"q": 2, "p": 1}}),
            ),
            ("1: x\n", json!({"1": "x"})),
            ("", json!(null)),
        ] {
            assert_eq!(parse_yaml(written).unwrap(), expected, "{written}");
        }
    }

    #[test]
    fn a_key_that_is_set_twice_is_refused_with_its_lines() {
        for (written, expected) in [
            (
                "a: 1\nb: 2\na: 3\n",
                "lines 1 and 3: the key \"a\" is set twice",
            ),
            (
                "x:\n  - b: 1\n    c: 2\n    b: 3\n",
                "lines 2 and 4: the key \"b\"",
            ),
            ("x: {a: 1, a: 2}", "line 1: the key \"a\""),
        ] {
            let error = parse_yaml_strict(written).unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        }
        for fine in [
            "a: {b: 1}\nc: {b: 1}",
            "x: &b {p: 1}\ny: {<<: *b, <<: *b, p: 2}",
        ] {
            parse_yaml_strict(fine).unwrap();
        }
        let text = "[{\"a\": 1},\n {\"b\": {\"a\": 1,\n \"a\": 2}}]";
        assert!(
            json_duplicate(text)
                .unwrap()
                .contains("the key \"a\" is set twice")
        );
        assert_eq!(json_duplicate("[{\"a\": 1}, {\"a\": 1}]"), None);
    }

    #[test]
    fn deep_nesting_is_refused_at_once() {
        for deep in [
            "[".repeat(100_000),
            "{a: ".repeat(100_000),
            "- ".repeat(100_000),
            "[\n".repeat(100_000),
            (0..100_000).fold(String::new(), |text, _| text + "- ? "),
        ] {
            let error = parse_yaml(&deep).unwrap_err();
            assert!(error.contains("levels deep"), "{error}");
        }
        assert!(parse_yaml(&format!("a: {}{}", "[".repeat(100), "]".repeat(100))).is_ok());
    }
}
