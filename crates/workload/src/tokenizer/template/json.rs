//! The filter `tojson`.

use std::fmt::Write as _;

use minijinja::value::{Kwargs, Serde, Value as Jinja};
use minijinja::{Error, ErrorKind};
use serde_json::Value;

/// `tojson` as templates expect it: Python's separators, and no escapes for HTML.
#[expect(
    clippy::needless_pass_by_value,
    reason = "the signature that minijinja calls"
)]
pub(super) fn to_json(Serde(value): Serde<Value>, kwargs: Kwargs) -> Result<Jinja, Error> {
    let indent: Option<usize> = kwargs.get("indent")?;
    let separators: Option<Vec<String>> = kwargs.get("separators")?;
    let (comma, colon) = match separators.as_deref() {
        Some([comma, colon]) => (comma.clone(), colon.clone()),
        Some(_) => {
            let message = "tojson: expected two separators, between members and after keys";
            return Err(Error::new(ErrorKind::InvalidOperation, message));
        }
        None if indent.is_some() => (",".into(), ": ".into()),
        None => (", ".into(), ": ".into()),
    };
    let style = Style {
        indent,
        comma,
        colon,
        ascii: kwargs.get::<Option<bool>>("ensure_ascii")?.unwrap_or(false),
        sorted: kwargs.get::<Option<bool>>("sort_keys")?.unwrap_or(false),
    };
    kwargs.assert_all_used()?;
    let mut text = String::new();
    style.write(&value, 0, &mut text);
    Ok(Jinja::from_safe_string(text))
}

/// How Python's `json.dumps` is asked to write.
struct Style {
    /// Spaces per level; `None` writes one line.
    indent: Option<usize>,
    comma: String,
    colon: String,
    /// Escapes for all that is not ASCII.
    ascii: bool,
    /// Keys in their order as text.
    sorted: bool,
}

impl Style {
    fn write(&self, value: &Value, depth: usize, out: &mut String) {
        match value {
            Value::Array(items) if !items.is_empty() => {
                out.push('[');
                for (at, item) in items.iter().enumerate() {
                    self.next(at, depth + 1, out);
                    self.write(item, depth + 1, out);
                }
                self.line(depth, out);
                out.push(']');
            }
            Value::Object(members) if !members.is_empty() => {
                let mut members: Vec<_> = members.iter().collect();
                if self.sorted {
                    members.sort_by_key(|(key, _)| *key);
                }
                out.push('{');
                for (at, (key, item)) in members.into_iter().enumerate() {
                    self.next(at, depth + 1, out);
                    self.string(key, out);
                    out.push_str(&self.colon);
                    self.write(item, depth + 1, out);
                }
                self.line(depth, out);
                out.push('}');
            }
            Value::String(text) => self.string(text, out),
            other => out.push_str(&other.to_string()),
        }
    }

    fn next(&self, at: usize, depth: usize, out: &mut String) {
        if at > 0 {
            out.push_str(&self.comma);
        }
        self.line(depth, out);
    }

    fn line(&self, depth: usize, out: &mut String) {
        if let Some(width) = self.indent {
            out.push('\n');
            out.extend(std::iter::repeat_n(' ', width * depth));
        }
    }

    fn string(&self, text: &str, out: &mut String) {
        let quoted = Value::from(text).to_string();
        if !self.ascii {
            return out.push_str(&quoted);
        }
        for symbol in quoted.chars() {
            // Python's expression for what it escapes is all but space to tilde.
            if symbol.is_ascii() && symbol != '\x7f' {
                out.push(symbol);
                continue;
            }
            for unit in symbol.encode_utf16(&mut [0; 2]) {
                let _ = write!(out, "\\u{unit:04x}");
            }
        }
    }
}
