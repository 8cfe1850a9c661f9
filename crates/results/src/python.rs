//! JSON and numbers exactly as Python prints them.
//!
//! Scripts compare, diff and grep these files, so they must not tell who wrote them: `json.dumps`
//! with its defaults puts a space after `,` and `:`, escapes everything outside printable ASCII,
//! and prints floats as `repr` does.

use std::io::{self, Write};

use serde_json::Value;

/// A float as Python's `repr` prints it: the shortest digits that read back the same, `4.0`,
/// `1e-05`, `1e+16`, `inf`, `nan`.
pub fn float_repr(number: f64) -> String {
    if number.is_nan() {
        return "nan".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    // Rust's exponent form has the same shortest digits; only the layout differs.
    let scientific = format!("{number:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..16).contains(&exponent) {
        // `{:?}` switches to exponents at the same upper limit but at a lower one of 1e-5.
        let plain = format!("{number}");
        return if plain.contains('.') {
            plain
        } else {
            plain + ".0"
        };
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.abs())
}

/// Writes a value as `json.dumps(value)` would.
pub fn write_json(out: &mut (impl Write + ?Sized), value: &Value) -> io::Result<()> {
    match value {
        Value::Null => out.write_all(b"null"),
        Value::Bool(true) => out.write_all(b"true"),
        Value::Bool(false) => out.write_all(b"false"),
        Value::Number(number) => match (number.is_f64(), number.as_f64()) {
            (true, Some(float)) => out.write_all(float_repr(float).as_bytes()),
            _ => write!(out, "{number}"),
        },
        Value::String(text) => write_string(out, text),
        Value::Array(items) => write_list(out, items, write_json),
        Value::Object(map) => write_object(out, map.iter(), write_json),
    }
}

/// Writes a list, each item by `write`.
pub(crate) fn write_list<W: Write + ?Sized, T>(
    out: &mut W,
    items: &[T],
    write: impl Fn(&mut W, &T) -> io::Result<()>,
) -> io::Result<()> {
    out.write_all(b"[")?;
    for (i, item) in items.iter().enumerate() {
        if i > 0 {
            out.write_all(b", ")?;
        }
        write(out, item)?;
    }
    out.write_all(b"]")
}

/// Writes an object, each value by `write`.
pub(crate) fn write_object<'a, W: Write + ?Sized, T: 'a>(
    out: &mut W,
    entries: impl Iterator<Item = (&'a String, &'a T)>,
    write: impl Fn(&mut W, &T) -> io::Result<()>,
) -> io::Result<()> {
    out.write_all(b"{")?;
    for (i, (key, value)) in entries.enumerate() {
        if i > 0 {
            out.write_all(b", ")?;
        }
        write_string(out, key)?;
        out.write_all(b": ")?;
        write(out, value)?;
    }
    out.write_all(b"}")
}

/// Writes a string with everything outside printable ASCII escaped.
pub(crate) fn write_string(out: &mut (impl Write + ?Sized), text: &str) -> io::Result<()> {
    out.write_all(b"\"")?;
    let mut rest = text;
    while let Some(at) = rest.find(|c: char| !matches!(c, ' '..='~') || c == '"' || c == '\\') {
        out.write_all(&rest.as_bytes()[..at])?;
        let special = rest[at..]
            .chars()
            .next()
            .expect("find gave the start of a character");
        write_escape(out, special)?;
        rest = &rest[at + special.len_utf8()..];
    }
    out.write_all(rest.as_bytes())?;
    out.write_all(b"\"")
}

fn write_escape(out: &mut (impl Write + ?Sized), special: char) -> io::Result<()> {
    match special {
        '"' => out.write_all(b"\\\""),
        '\\' => out.write_all(b"\\\\"),
        '\n' => out.write_all(b"\\n"),
        '\r' => out.write_all(b"\\r"),
        '\t' => out.write_all(b"\\t"),
        '\u{8}' => out.write_all(b"\\b"),
        '\u{c}' => out.write_all(b"\\f"),
        other => other
            .encode_utf16(&mut [0; 2])
            .iter()
            .try_for_each(|unit| write!(out, "\\u{unit:04x}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dumps(value: &Value) -> String {
        let mut out = Vec::new();
        write_json(&mut out, value).unwrap();
        String::from_utf8(out).unwrap()
    }

    /// Expected values printed by CPython 3.11.
    #[test]
    fn floats_are_printed_as_python_prints_them() {
        for (number, expected) in [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (4.0, "4.0"),
            (0.1, "0.1"),
            (-1.5, "-1.5"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (0.000_012_345, "1.2345e-05"),
            (9.552_800_020_173_89e-5, "9.55280002017389e-05"),
            (123_456_789_012_345.6, "123456789012345.6"),
            (1e15, "1000000000000000.0"),
            (9_999_999_999_999_998.0, "9999999999999998.0"),
            (1e16, "1e+16"),
            (1.5e300, "1.5e+300"),
            (5e-324, "5e-324"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
            (f64::NAN, "nan"),
        ] {
            assert_eq!(float_repr(number), expected);
        }
    }

    #[test]
    fn values_are_dumped_as_python_dumps_them() {
        let value = serde_json::json!({"a": [1, 2.0, null, true], "é": "\u{1F600}\u{7f}\n\"\\\u{1}", "o": {}, "l": []});
        assert_eq!(
            dumps(&value),
            r#"{"a": [1, 2.0, null, true], "\u00e9": "\ud83d\ude00\u007f\n\"\\\u0001", "o": {}, "l": []}"#
        );
    }

    proptest::proptest! {
        #[test]
        fn any_finite_float_reads_back_the_same(bits in proptest::prelude::any::<u64>()) {
            let number = f64::from_bits(bits);
            proptest::prop_assume!(number.is_finite());
            proptest::prop_assert_eq!(float_repr(number).parse::<f64>().unwrap().to_bits(), bits);
        }

        #[test]
        fn any_text_reads_back_the_same(text in ".*") {
            let value = Value::String(text);
            let dumped = dumps(&value);
            proptest::prop_assert!(dumped.is_ascii());
            proptest::prop_assert_eq!(serde_json::from_str::<Value>(&dumped).unwrap(), value);
        }
    }
}
