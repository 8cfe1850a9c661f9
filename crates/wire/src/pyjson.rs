//! JSON text exactly as Python's `json.dumps` writes it by default: `", "` and `": "` as
//! separators, ASCII only, floats as `repr` gives them. A body is then byte for byte what vLLM's
//! client sends.

use std::io::Write as _;

use serde_json::{Map, Value};

/// The text of `map`.
pub(crate) fn dump(map: &Map<String, Value>) -> Vec<u8> {
    let mut out = Vec::with_capacity(512);
    write_map(&mut out, map);
    out
}

/// The text of `value`.
pub(crate) fn dump_value(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    write_value(&mut out, value);
    out
}

fn write_map(out: &mut Vec<u8>, map: &Map<String, Value>) {
    out.push(b'{');
    for (position, (key, value)) in map.iter().enumerate() {
        if position > 0 {
            out.extend_from_slice(b", ");
        }
        write_text(out, key);
        out.extend_from_slice(b": ");
        write_value(out, value);
    }
    out.push(b'}');
}

fn write_value(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Number(number) => match number.as_f64() {
            Some(float) if number.is_f64() => out.extend_from_slice(float_repr(float).as_bytes()),
            // Writing to a Vec cannot fail.
            _ => drop(write!(out, "{number}")),
        },
        Value::String(text) => write_text(out, text),
        Value::Array(items) => {
            out.push(b'[');
            for (position, item) in items.iter().enumerate() {
                if position > 0 {
                    out.extend_from_slice(b", ");
                }
                write_value(out, item);
            }
            out.push(b']');
        }
        Value::Object(map) => write_map(out, map),
    }
}

fn write_text(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    for character in text.chars() {
        match character {
            '"' => out.extend_from_slice(b"\\\""),
            '\\' => out.extend_from_slice(b"\\\\"),
            '\n' => out.extend_from_slice(b"\\n"),
            '\r' => out.extend_from_slice(b"\\r"),
            '\t' => out.extend_from_slice(b"\\t"),
            '\u{8}' => out.extend_from_slice(b"\\b"),
            '\u{c}' => out.extend_from_slice(b"\\f"),
            ' '..='~' => out.push(character as u8),
            _ => {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    // Writing to a Vec cannot fail.
                    drop(write!(out, "\\u{unit:04x}"));
                }
            }
        }
    }
    out.push(b'"');
}

/// Python's `repr` of a float: shortest digits, exponent form below 1e-4 and from 1e16 on.
fn float_repr(float: f64) -> String {
    // Rust's exponent form has the same shortest digits.
    let text = format!("{float:e}");
    let Some((digits, exponent)) = text.split_once('e') else {
        return text;
    };
    let exponent: i32 = exponent.parse().unwrap_or_default();
    if (-4..16).contains(&exponent) {
        let plain = format!("{float}");
        return if plain.contains('.') {
            plain
        } else {
            plain + ".0"
        };
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn text(value: Value) -> String {
        let mut map = Map::new();
        map.insert("k".into(), value);
        String::from_utf8(dump(&map)).unwrap()
    }

    #[test]
    fn text_is_escaped_as_python_escapes_it() {
        // What json.dumps gives for the same values in CPython 3.11.
        assert_eq!(
            text(json!("a\"b\\c\n\r\t\u{8}\u{c}/")),
            r#"{"k": "a\"b\\c\n\r\t\b\f/"}"#
        );
        assert_eq!(
            text(json!("é☃😀\u{7f}\u{1}")),
            r#"{"k": "\u00e9\u2603\ud83d\ude00\u007f\u0001"}"#
        );
        assert_eq!(
            text(json!([1, null, true, {"a": []}])),
            r#"{"k": [1, null, true, {"a": []}]}"#
        );
    }

    #[test]
    fn floats_are_printed_as_python_prints_them() {
        let pairs = [
            (1.0, "1.0"),
            (0.1, "0.1"),
            (-0.0, "-0.0"),
            (1e-4, "0.0001"),
            (1e-5, "1e-05"),
            (1.5e-7, "1.5e-07"),
            (1e15, "1000000000000000.0"),
            (1e16, "1e+16"),
            (1.234e22, "1.234e+22"),
            (1e100, "1e+100"),
            (5e-324, "5e-324"),
        ];
        for (value, expected) in pairs {
            assert_eq!(float_repr(value), expected);
        }
    }
}
