//! Chat templates: the Jinja programs in `tokenizer_config.json` that turn messages into text.

mod clock;
mod filters;
mod json;
mod methods;
mod percent;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Serde, Value as Jinja};
use minijinja::{Environment, Error, ErrorKind};
use serde_json::{Map, Value};

pub(super) use self::clock::FIXED_TIME;
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
    /// Compiles a template. `special` are the special tokens by name (`bos_token`, …); `time` is the
    /// one that templates see, in seconds of local time since 1970.
    pub(super) fn compile(
        source: &str,
        special: Vec<(String, String)>,
        time: i64,
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
        environment.set_unknown_method_callback(methods::call);
        environment.set_fuel(Some(FUEL));
        environment.add_function("raise_exception", raise_exception);
        environment.add_function("strftime_now", move |format: String| {
            clock::format(time, &format)
        });
        filters::add(&mut environment);
        let source = percent::without_percent(&without_generation_tags(&python_lines(source)));
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
        // The Python library passes both, as None, so that they are defined.
        context.insert("tools".into(), Value::Null);
        context.insert("documents".into(), Value::Null);
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

/// A text with the line ends of Jinja, which reads every kind of them as `\n`.
fn python_lines(source: &str) -> String {
    source.replace("\r\n", "\n").replace('\r', "\n")
}

fn raise_exception(message: String) -> Result<String, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, message))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn render(source: &str, messages: &Value, kwargs: &Value) -> Result<String, TokenizerError> {
        let special = vec![("bos_token".to_owned(), "<s>".to_owned())];
        ChatTemplate::compile(source, special, FIXED_TIME)?.render(
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

    fn plain(source: &str) -> String {
        let messages = json!([{"role": "user", "content": "Hello world"}]);
        render(source, &messages, &json!({})).unwrap_or_else(|error| panic!("{source}: {error}"))
    }

    /// transformers always defines the function; the Llama 3.2 template falls back to this date.
    #[test]
    fn templates_that_ask_for_the_date_get_a_fixed_one() {
        for (format, expected) in [
            ("%Y-%m-%d", "2024-07-26"),
            ("%d %b %Y", "26 Jul 2024"),
            ("%A, %d %B %Y %H:%M:%S", "Friday, 26 July 2024 00:00:00"),
            ("%-d.%-m.%y %j %p%Z%z %% x", "26.7.24 208 AM % x"),
        ] {
            assert_eq!(
                plain(&format!("{{{{ strftime_now('{format}') }}}}")),
                expected
            );
        }
        assert_eq!(plain("{{ strftime_now is defined }}"), "True");
        // 2026-11-27 15:30:00.
        let template =
            ChatTemplate::compile("{{ strftime_now('%F %T') }}", Vec::new(), 1_795_793_400);
        let text = template.unwrap().render(&[], true, &Map::new()).unwrap();
        assert_eq!(text, "2026-11-27 15:30:00");
    }

    /// Rendered by Jinja 3.1.6 as transformers 5.19 calls it (`apply_chat_template`).
    #[test]
    fn templates_render_as_in_python() {
        for (source, expected) in PYTHON {
            assert_eq!(plain(source), *expected, "{source}");
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

    const PYTHON: &[(&str, &str)] = &[
        (
            "{% if tools is not none %}T{% endif %}{% if tools is defined and documents is defined %}D{% endif %}{{ tools }}{{ documents|tojson }}",
            "DNonenull",
        ),
        (
            "{% if tools %}T{% endif %}{% if tools is iterable and tools|length > 0 %}Q{% endif %}{% if nothing is defined %}N{% endif %}",
            "",
        ),
        (
            "{% for m in messages %}\r\n[{{ m.content }}]\r\n{% endfor %}a\rb\r\n\r\n",
            "[Hello world]\na\nb\n",
        ),
        (
            "{{ '%s' % messages[0].content }}|{{ \"%s-%d\" % (messages[0].content|upper, 3) }}|{{ '%05.1f%%' % 3.14159 }}|{{ '%s' % [1, 'a'] }}",
            "Hello world|HELLO WORLD-3|003.1%|[1, 'a']",
        ),
        (
            "{{ 7 % 4 }}{% set x = 'a' %}{{ x ~ '%s!' % messages[0]['role'].upper() ~ 'b' }}{% if 'x' %}y{% endif %}",
            "3aUSER!by",
        ),
        (
            "{{ 'a\\u007fé'|tojson(ensure_ascii=true) }}{{ 'a\\u007fé'|tojson|length }}",
            "\"a\\u007f\\u00e9\"5",
        ),
        (
            "{{ 'a b  c d'.rsplit(' ', 1) }}{{ 'a b  c d '.rsplit(None, 2) }}{{ '<think>x</think>y'.rsplit('</think>', 1)[-1] }}{{ 'abc'.rsplit() }}",
            "['a b  c', 'd']['a b', 'c', 'd']y['abc']",
        ),
        (
            "{{ 'k=v=w'.partition('=') }}{{ 'k=v=w'.rpartition('=')[0] }}{{ 'k'.partition('=')[0] }}{{ 'k'.rpartition('=')[2] }}",
            "('k', '=', 'v=w')k=vkk",
        ),
        (
            "{{ 'Hello'.removeprefix('He') }}{{ 'Hello'.removesuffix('lo') }}{{ 'Hello'.removesuffix('x') }}",
            "lloHelHello",
        ),
        (
            "{{ '5'.zfill(3) }}{{ '-5'.zfill(4) }}[{{ 'ab'.center(7) }}][{{ 'abc'.center(6, '*') }}][{{ 'ab'.ljust(4) }}][{{ 'ab'.rjust(4, '.') }}]",
            "005-005[   ab  ][*abc**][ab  ][..ab]",
        ),
        (
            "{{ 'hello'.index('l') }}{{ 'hello'.rindex('l') }}{{ 'hello'.find('l', 3) }}{{ 'hello'.find('z') }}{{ 'héllo'.rfind('l', 0, 3) }}{{ [4, 5].index(5) }}",
            "233-121",
        ),
        (
            "{{ 'Straße ΣΑΣ ı'.casefold() }}{{ 'aBc ß'.swapcase() }}{{ \"it's a <x>y\".title() }}{{ 'ab cd'.istitle() }}{{ 'Ab Cd 3'.istitle() }}",
            "strasse σασ ıAbC SSIt'S A <X>YFalseTrue",
        ),
        (
            "{{ '12'.isdecimal() }}{{ 'a_1'.isidentifier() }}{{ '1a'.isidentifier() }}{{ 'a\\tb\\n\\tc'.expandtabs(4) }}",
            "TrueTrueFalsea   b\n    c",
        ),
        (
            "{{ 'a\\r\\nb\\x0bc\\n\\nd'.splitlines() }}{{ 'a\\nb'.splitlines(true) }}",
            "['a', 'b', 'c', '', 'd']['a\\n', 'b']",
        ),
        (
            "{{ 'one two three four'|truncate(9) }}|{{ 'one two three four'|truncate(9, true) }}|{{ 'one two'|truncate(5) }}|{{ 'one two three'|truncate(length=7, end='', leeway=0) }}",
            "one...|one tw...|one two|one",
        ),
        (
            "{{ \"it's <b> & 1/2\"|wordcount }}{{ \"it's <b> & \\\"1/2\"|e }}{{ 1000000|filesizeformat }}",
            "5it&#39;s &lt;b&gt; &amp; &#34;1/21.0 MB",
        ),
        (
            "{% set sep = joiner(', ') %}{% for m in [1, 2, 3] %}{{ sep() }}{{ m }}{% endfor %}",
            "1, 2, 3",
        ),
        (
            "{% for v in [none, 'a', [1], {'a': 1}, 3, (1, 2), range(2)] %}{{ v is iterable }}{{ v is sequence }}{{ v is mapping }} {% endfor %}{{ nothing is iterable }}{{ nothing is sequence }}",
            "FalseFalseFalse TrueTrueFalse TrueTrueFalse TrueTrueTrue FalseFalseFalse TrueTrueFalse TrueTrueFalse TrueTrue",
        ),
        (
            "{% set c = cycler('a', 'b') %}{{ c.next() }}{{ c.next() }}{{ c.next() }}{{ 'x' is callable }}{{ raise_exception is callable }}{{ messages is callable }}",
            "abaFalseTrueFalse",
        ),
    ];
}
