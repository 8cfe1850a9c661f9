//! Chat templates: the Jinja programs in `tokenizer_config.json` that turn messages into text.

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Serde, Value as Jinja};
use minijinja::{Environment, Error, ErrorKind};
use serde_json::{Map, Value};

use super::TokenizerError;

/// A compiled chat template.
#[derive(Debug)]
pub(super) struct ChatTemplate {
    environment: Environment<'static>,
    special: Vec<(String, String)>,
}

const NAME: &str = "chat_template";

impl ChatTemplate {
    /// Compiles a template. `special` are the special tokens by name (`bos_token`, …).
    pub(super) fn compile(
        source: String,
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
        environment.add_function("raise_exception", raise_exception);
        environment.add_filter("tojson", to_json);
        environment
            .add_template_owned(NAME, source)
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
    let _: Option<bool> = kwargs.get("ensure_ascii")?;
    let _: Option<bool> = kwargs.get("sort_keys")?;
    kwargs.assert_all_used()?;
    let mut text = String::new();
    write_json(&value, indent, 0, &mut text);
    Ok(Jinja::from_safe_string(text))
}

/// Writes JSON with the spaces that Python's `json.dumps` sets.
fn write_json(value: &Value, indent: Option<usize>, depth: usize, out: &mut String) {
    let line = |depth: usize, out: &mut String| {
        if let Some(width) = indent {
            out.push('\n');
            out.extend(std::iter::repeat_n(' ', width * depth));
        }
    };
    let comma = if indent.is_some() { "," } else { ", " };
    match value {
        Value::Array(items) if !items.is_empty() => {
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.push_str(comma);
                }
                line(depth + 1, out);
                write_json(item, indent, depth + 1, out);
            }
            line(depth, out);
            out.push(']');
        }
        Value::Object(members) if !members.is_empty() => {
            out.push('{');
            for (at, (key, item)) in members.iter().enumerate() {
                if at > 0 {
                    out.push_str(comma);
                }
                line(depth + 1, out);
                out.push_str(&Value::String(key.clone()).to_string());
                out.push_str(": ");
                write_json(item, indent, depth + 1, out);
            }
            line(depth, out);
            out.push('}');
        }
        other => out.push_str(&other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn render(source: &str, messages: &Value, kwargs: &Value) -> Result<String, TokenizerError> {
        let special = vec![("bos_token".to_owned(), "<s>".to_owned())];
        ChatTemplate::compile(source.into(), special)?.render(
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
