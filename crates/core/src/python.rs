//! Values exactly as Python prints them: JSON, floats, and `repr`.
//!
//! Request bodies must be byte for byte those of vLLM's client, and scripts compare, diff and grep
//! result files, so neither may depend on which program wrote them. `json.dumps` with its defaults puts a
//! space after `,` and `:`, escapes everything outside printable ASCII, and prints floats as `repr`
//! does.

use std::fmt::Write as _;
use std::io::{self, Write};

use serde::Serialize;
use serde_json::Value;
use serde_json::ser::{Formatter, Serializer};

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

/// Writes a value as `json.dumps(value)` would. JSON has no number for infinities and NaN: they are
/// `null`, where Python would write `Infinity` and `NaN`, which few readers accept.
///
/// # Errors
/// Those of `out`; and of a map whose keys are not text.
pub fn write_json<W, T>(out: &mut W, value: &T) -> io::Result<()>
where
    W: Write + ?Sized,
    T: Serialize + ?Sized,
{
    let mut serializer = Serializer::with_formatter(out, JsonDumps);
    value.serialize(&mut serializer).map_err(Into::into)
}

/// The bytes of `json.dumps(value)`.
///
/// # Panics
/// On a map whose keys are not text, which JSON does not have.
pub fn json_bytes<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    let mut out = Vec::with_capacity(512);
    write_json(&mut out, value).expect("writing to memory cannot fail");
    out
}

/// The layout of `json.dumps`.
#[derive(Clone, Copy, Debug)]
struct JsonDumps;

impl Formatter for JsonDumps {
    fn write_f64<W: ?Sized + Write>(&mut self, writer: &mut W, value: f64) -> io::Result<()> {
        writer.write_all(float_repr(value).as_bytes())
    }

    fn begin_array_value<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        separate(writer, first)
    }

    fn begin_object_key<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        separate(writer, first)
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }

    /// Gets text without quotes, backslashes and control characters below the space.
    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut rest = fragment;
        while let Some(at) = rest.find(|character| !matches!(character, ' '..='~')) {
            let (plain, special) = rest.split_at(at);
            writer.write_all(plain.as_bytes())?;
            let mut characters = special.chars();
            if let Some(character) = characters.next() {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    write!(writer, "\\u{unit:04x}")?;
                }
            }
            rest = characters.as_str();
        }
        writer.write_all(rest.as_bytes())
    }
}

fn separate<W: ?Sized + Write>(writer: &mut W, first: bool) -> io::Result<()> {
    if first {
        Ok(())
    } else {
        writer.write_all(b", ")
    }
}

/// A JSON value as Python's `repr` shows it: `None`, `True`, single quotes.
///
/// It is not a [`Formatter`], because the quotes of a string depend on what is in it.
pub fn repr(value: &Value) -> String {
    let mut text = String::new();
    repr_into(&mut text, value);
    text
}

fn repr_into(text: &mut String, value: &Value) {
    match value {
        Value::Null => text.push_str("None"),
        Value::Bool(true) => text.push_str("True"),
        Value::Bool(false) => text.push_str("False"),
        Value::Number(number) => match (number.is_f64(), number.as_f64()) {
            (true, Some(float)) => text.push_str(&float_repr(float)),
            _ => text.push_str(&number.to_string()),
        },
        Value::String(inner) => repr_text(text, inner),
        Value::Array(items) => {
            text.push('[');
            for (at, item) in items.iter().enumerate() {
                text.push_str(if at > 0 { ", " } else { "" });
                repr_into(text, item);
            }
            text.push(']');
        }
        Value::Object(map) => {
            text.push('{');
            for (at, (key, item)) in map.iter().enumerate() {
                text.push_str(if at > 0 { ", " } else { "" });
                repr_text(text, key);
                text.push_str(": ");
                repr_into(text, item);
            }
            text.push('}');
        }
    }
}

fn repr_text(text: &mut String, inner: &str) {
    let quote = if inner.contains('\'') && !inner.contains('"') {
        '"'
    } else {
        '\''
    };
    text.push(quote);
    for character in inner.chars() {
        match character {
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            quoted if quoted == quote => text.extend(['\\', quoted]),
            control if control.is_control() => {
                // Writing to a String cannot fail.
                let _ = write!(text, "\\x{:02x}", u32::from(control));
            }
            plain => text.push(plain),
        }
    }
    text.push(quote);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn dumps(value: &Value) -> String {
        String::from_utf8(json_bytes(value)).unwrap()
    }

    /// Expected values printed by CPython 3.11's `repr`.
    #[test]
    fn floats_are_printed_as_python_prints_them() {
        for (number, expected) in [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (1.0, "1.0"),
            (4.0, "4.0"),
            (100.0, "100.0"),
            (0.1, "0.1"),
            (0.1 + 0.2, "0.30000000000000004"),
            (-1.5, "-1.5"),
            (1.0 / 3.0, "0.3333333333333333"),
            (2.0 / 3.0, "0.6666666666666666"),
            (12_345_678.9, "12345678.9"),
            (1e-4, "0.0001"),
            (0.000_123_45, "0.00012345"),
            (1e-5, "1e-05"),
            (0.000_012_345, "1.2345e-05"),
            (9.552_800_020_173_89e-5, "9.55280002017389e-05"),
            (1e-7, "1e-07"),
            (1.5e-7, "1.5e-07"),
            (123_456_789_012_345.6, "123456789012345.6"),
            (1e15, "1000000000000000.0"),
            (9_999_999_999_999_998.0, "9999999999999998.0"),
            (1e16, "1e+16"),
            (1.5e16, "1.5e+16"),
            (1e17, "1e+17"),
            (123_456_789_012_345_680.0, "1.2345678901234568e+17"),
            (1e21, "1e+21"),
            (1.234e22, "1.234e+22"),
            (1e100, "1e+100"),
            (1.5e300, "1.5e+300"),
            (f64::MAX, "1.7976931348623157e+308"),
            (f64::MIN_POSITIVE, "2.2250738585072014e-308"),
            (5e-324, "5e-324"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
            (f64::NAN, "nan"),
        ] {
            assert_eq!(float_repr(number), expected);
            if number.is_finite() {
                assert_eq!(json_bytes(&number), expected.as_bytes());
            }
        }
    }

    /// Python writes `Infinity` and `NaN`, which is not JSON.
    #[test]
    fn numbers_that_json_does_not_have_are_null() {
        for number in [f64::INFINITY, f64::NEG_INFINITY, f64::NAN] {
            assert_eq!(json_bytes(&[number]), b"[null]");
        }
    }

    /// Expected values printed by CPython 3.11's `json.dumps`.
    #[test]
    fn values_are_dumped_as_python_dumps_them() {
        for (value, expected) in [
            (
                json!({"a": [1, 2.0, null, true], "é": "\u{1F600}\u{7f}\n\"\\\u{1}", "o": {}, "l": []}),
                r#"{"a": [1, 2.0, null, true], "\u00e9": "\ud83d\ude00\u007f\n\"\\\u0001", "o": {}, "l": []}"#,
            ),
            (
                json!({"k": "a\"b\\c\n\r\t\u{8}\u{c}/"}),
                r#"{"k": "a\"b\\c\n\r\t\b\f/"}"#,
            ),
            (
                json!({"k": "é☃😀\u{7f}\u{1}"}),
                r#"{"k": "\u00e9\u2603\ud83d\ude00\u007f\u0001"}"#,
            ),
            (
                json!({"k": [1, null, true, {"a": []}]}),
                r#"{"k": [1, null, true, {"a": []}]}"#,
            ),
            (
                json!([u64::MAX, i64::MIN]),
                "[18446744073709551615, -9223372036854775808]",
            ),
        ] {
            assert_eq!(dumps(&value), expected);
        }
    }

    /// Expected values printed by CPython 3.11's `repr`.
    #[test]
    fn values_are_shown_as_python_shows_them() {
        let value = json!({"a": [1, 2.0, null, true], "it's": "\"\t\\", "b": {"c": "'", "d": "é\u{7f}'\""}});
        assert_eq!(
            repr(&value),
            r#"{'a': [1, 2.0, None, True], "it's": '"\t\\', 'b': {'c': "'", 'd': 'é\x7f\'"'}}"#
        );
    }

    proptest! {
        #[test]
        fn any_finite_float_reads_back_the_same(bits in any::<u64>()) {
            let number = f64::from_bits(bits);
            prop_assume!(number.is_finite());
            prop_assert_eq!(float_repr(number).parse::<f64>().unwrap().to_bits(), bits);
        }

        #[test]
        fn any_text_reads_back_the_same(text in ".*") {
            let value = Value::String(text);
            let dumped = dumps(&value);
            prop_assert!(dumped.is_ascii());
            prop_assert_eq!(serde_json::from_str::<Value>(&dumped).unwrap(), value);
        }
    }
}
