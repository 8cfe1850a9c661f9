//! Chat templates: the Jinja programs in `tokenizer_config.json` that turn messages into text.

use std::fmt::Write as _;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Serde, Value as Jinja};
use minijinja::{Environment, Error, ErrorKind};
use serde_json::{Map, Value};

use super::TokenizerError;
use super::tags::without_generation_tags;

/// A compiled chat template.
#[derive(Debug)]
pub(super) struct ChatTemplate {
    environment: Environment<'static>,
    special: Vec<(String, String)>,
}

const NAME: &str = "chat_template";

/// Steps of one rendering, each an instruction or 64 bytes of text: room for 640 MB, or a thousand
/// instructions for each of 10,000 messages. Chosen, not measured.
const FUEL: u64 = 10_000_000;

impl ChatTemplate {
    /// Compiles a template. `special` are the special tokens by name (`bos_token`, …).
    pub(super) fn compile(
        source: &str,
        special: Vec<(String, String)>,
    ) -> Result<Self, TokenizerError> {
        let mut environment = Environment::new();
        let failed = |error: &Error| TokenizerError::Template {
            message: describe(error),
        };
        let syntax = SyntaxConfig::builder()
            .trim_blocks(true)
            .lstrip_blocks(true)
            .build();
        environment.set_syntax(syntax.map_err(|error| failed(&error))?);
        environment
            .set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.set_fuel(Some(FUEL));
        environment.add_function("raise_exception", raise_exception);
        environment.add_filter("tojson", to_json);
        environment
            .add_template_owned(NAME, without_generation_tags(source))
            .map_err(|error| failed(&error))?;
        Ok(Self {
            environment,
            special,
        })
    }

    /// The text for a list of messages.
    pub(super) fn render(
        &self,
        messages: &[Value],
        add_generation_prompt: bool,
        kwargs: &Map<String, Value>,
    ) -> Result<String, TokenizerError> {
        let mut context = Map::new();
        for (name, token) in &self.special {
            context.insert(name.clone(), Value::String(token.clone()));
        }
        context.insert("messages".into(), Value::Array(messages.to_vec()));
        context.insert(
            "add_generation_prompt".into(),
            Value::Bool(add_generation_prompt),
        );
        context.extend(
            kwargs
                .iter()
                .map(|(name, value)| (name.clone(), value.clone())),
        );
        self.environment
            .get_template(NAME)
            .and_then(|template| template.render(Jinja::from(Serde(&context))))
            .map_err(|error| TokenizerError::Template {
                message: describe(&error),
            })
    }
}

fn describe(error: &Error) -> String {
    if error.kind() == ErrorKind::OutOfFuel {
        return format!(
            "it has not ended after {FUEL} steps: expected a template that ends; give \
             --skip-chat-template to send the prompts as they are"
        );
    }
    match (error.detail(), error.line()) {
        (Some(detail), Some(line)) => format!("{detail} (line {line} of the template)"),
        (Some(detail), None) => detail.to_owned(),
        (None, _) => error.to_string(),
    }
}

fn raise_exception(message: String) -> Result<String, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, message))
}

/// `tojson` as templates expect it: Python's separators, and no escapes for HTML.
#[expect(
    clippy::needless_pass_by_value,
    reason = "the signature that minijinja calls"
)]
fn to_json(Serde(value): Serde<Value>, kwargs: Kwargs) -> Result<Jinja, Error> {
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
            if symbol.is_ascii() {
                out.push(symbol);
                continue;
            }
            for unit in symbol.encode_utf16(&mut [0; 2]) {
                let _ = write!(out, "\\u{unit:04x}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn render(source: &str, messages: &Value, kwargs: &Value) -> Result<String, TokenizerError> {
        let special = vec![("bos_token".to_owned(), "<s>".to_owned())];
        ChatTemplate::compile(source, special)?.render(
            messages.as_array().unwrap(),
            true,
            kwargs.as_object().unwrap(),
        )
    }

    #[test]
    fn a_template_sees_messages_tokens_and_keyword_arguments() {
        let source = "{{ bos_token }}{% for m in messages %}\n  [{{ m['role'].upper() }}] {{ m.content.strip() }}\n\
                      {% endfor %}\n{% if add_generation_prompt and think %}<think>{% endif %}";
        let messages = json!([{"role": "user", "content": " hi "}]);
        assert_eq!(
            render(source, &messages, &json!({"think": true})).unwrap(),
            "<s>  [USER] hi\n<think>"
        );
    }

    #[test]
    fn json_in_templates_has_pythons_separators() {
        let messages = json!([{"a": 1, "b": ["<é>", null]}]);
        let text = render("{{ messages[0] | tojson }}", &messages, &json!({})).unwrap();
        assert_eq!(text, r#"{"a": 1, "b": ["<é>", null]}"#);
        let text = render(
            "{{ messages[0] | tojson(indent=2) }}",
            &messages,
            &json!({}),
        )
        .unwrap();
        assert_eq!(
            text,
            "{\n  \"a\": 1,\n  \"b\": [\n    \"<é>\",\n    null\n  ]\n}"
        );
    }

    /// What Python's `json.dumps` writes for the same arguments.
    #[test]
    fn json_in_templates_takes_pythons_arguments() {
        let messages = json!([{"b": [1, 2], "a": "é😀"}]);
        for (arguments, expected) in [
            ("sort_keys=true", r#"{"a": "é😀", "b": [1, 2]}"#),
            (
                "ensure_ascii=true",
                "{\"b\": [1, 2], \"a\": \"\\u00e9\\ud83d\\ude00\"}",
            ),
            ("separators=[',', ':']", r#"{"b":[1,2],"a":"é😀"}"#),
        ] {
            let source = format!("{{{{ messages[0] | tojson({arguments}) }}}}");
            assert_eq!(
                render(&source, &messages, &json!({})).unwrap(),
                expected,
                "{arguments}"
            );
        }
    }

    /// Rendered by `apply_chat_template` of transformers 5.19 to the same text.
    #[test]
    fn generation_tags_leave_nothing_in_the_text() {
        let source = "{% for m in messages %}\n{% generation %}\n{% set x = m.content %}\n[{{ x }}]\n\
                      {%- endgeneration %}\n{{ x }}\n{% endfor %}";
        let messages =
            json!([{"role": "assistant", "content": "A"}, {"role": "user", "content": "B"}]);
        assert_eq!(render(source, &messages, &json!({})).unwrap(), "[A]\n[B]\n");
    }

    #[test]
    fn a_template_that_does_not_end_is_refused() {
        let endless = "{% macro f(n) %}{% for i in range(99999) %}{{ f(n) }}{% endfor %}{% endmacro %}\
                       {% for a in range(99999) %}{% for b in range(99999) %}{% for c in range(99999) %}\
                       {% endfor %}{% endfor %}{% endfor %}";
        let growing = "{% set n = namespace(t='xxxxxxxx') %}\
                       {% for i in range(60) %}{% set n.t = n.t ~ n.t %}{% endfor %}";
        for source in [endless, growing, "{{ 'x' * 99999999 * 99 }}"] {
            let error = render(source, &json!([]), &json!({})).unwrap_err();
            assert!(error.to_string().contains("failed"), "{error}");
        }
    }

    #[test]
    fn a_template_can_refuse() {
        let error = render(
            "{{ raise_exception('roles must alternate') }}",
            &json!([]),
            &json!({}),
        );
        assert!(
            error
                .unwrap_err()
                .to_string()
                .contains("roles must alternate")
        );
    }
}
