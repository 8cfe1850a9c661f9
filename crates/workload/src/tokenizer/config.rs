//! The files beside a `tokenizer.json`: special tokens, clean-up, chat template.

use serde_json::{Map, Value};

/// The settings of a tokenizer that are not in `tokenizer.json`.
#[derive(Clone, Debug, Default)]
pub(super) struct Config {
    /// Special tokens by name, as chat templates see them.
    pub(super) named_special: Vec<(String, String)>,
    /// All special tokens with the name of their kind.
    pub(super) special: Vec<(String, String)>,
    /// Spaces before punctuation are taken out of decoded text.
    pub(super) clean_up_spaces: bool,
    /// Source of the chat template.
    pub(super) chat_template: Option<String>,
    /// Why a file that names a chat template gives none.
    pub(super) template_problem: Option<String>,
}

/// The special tokens that every tokenizer may have.
pub(super) const NAMED: [&str; 7] = [
    "bos_token",
    "eos_token",
    "unk_token",
    "sep_token",
    "pad_token",
    "cls_token",
    "mask_token",
];
const LISTS: [&str; 2] = ["additional_special_tokens", "extra_special_tokens"];

/// A small template in the style of most models, so that chat data can be tried without a download.
const BUILTIN_TEMPLATE: &str = "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + \
    message['content'] + '<|im_end|>' + '\n' }}{% endfor %}{% if add_generation_prompt %}\
    {{ '<|im_start|>assistant\n' }}{% endif %}";

impl Config {
    /// The settings of the built-in tokenizer.
    pub(super) fn builtin() -> Self {
        let named_special = vec![
            ("bos_token".to_owned(), "<|im_start|>".to_owned()),
            ("eos_token".to_owned(), "<|im_end|>".to_owned()),
            ("pad_token".to_owned(), "<|endoftext|>".to_owned()),
        ];
        Self {
            special: named_special.clone(),
            named_special,
            clean_up_spaces: false,
            chat_template: Some(BUILTIN_TEMPLATE.to_owned()),
            template_problem: None,
        }
    }

    /// Adds `tokenizer_config.json` or `special_tokens_map.json`, called `name`; settings that are known
    /// stay.
    pub(super) fn merge(&mut self, name: &str, file: &Value) {
        self.set_template(name, file);
        for name in NAMED {
            if self.named(name).is_none()
                && let Some(token) = token_text(&file[name])
            {
                self.named_special.push((name.to_owned(), token.clone()));
                self.special.push((name.to_owned(), token));
            }
        }
        for name in LISTS {
            let listed: Vec<String> = match &file[name] {
                Value::Array(tokens) => tokens.iter().filter_map(token_text).collect(),
                Value::Object(tokens) => tokens.values().filter_map(token_text).collect(),
                _ => Vec::new(),
            };
            self.special
                .extend(listed.into_iter().map(|token| (name.to_owned(), token)));
        }
        self.clean_up_spaces |= file["clean_up_tokenization_spaces"] == true;
    }

    /// Takes the chat template of the file `name`, unless one is known.
    pub(super) fn set_template(&mut self, name: &str, file: &Value) {
        if self.chat_template.is_some() {
            return;
        }
        match template_source(&file["chat_template"]) {
            Ok(template) => self.chat_template = template,
            Err(problem) => {
                let problem = format!("the chat_template of {name} is {problem}");
                self.template_problem.get_or_insert(problem);
            }
        }
    }

    /// Sets a special token that no file names.
    pub(super) fn set_default(&mut self, name: &str, token: &str) {
        if self.named(name).is_none() {
            self.named_special.push((name.to_owned(), token.to_owned()));
            self.special.push((name.to_owned(), token.to_owned()));
        }
    }

    /// The same if the vocabulary has the token.
    pub(super) fn set_default_in(&mut self, name: &str, token: &str, vocab: &Map<String, Value>) {
        if vocab.contains_key(token) {
            self.set_default(name, token);
        }
    }

    /// Adds a special token that has no name of its own.
    pub(super) fn push_special(&mut self, list: &str, token: &str) {
        self.special.push((list.to_owned(), token.to_owned()));
    }

    /// The special token of one kind.
    pub(super) fn named(&self, name: &str) -> Option<&str> {
        self.named_special
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, token)| token.as_str())
    }
}

/// A token is written as a string or as an object with its content.
fn token_text(value: &Value) -> Option<String> {
    value
        .as_str()
        .or_else(|| value["content"].as_str())
        .map(str::to_owned)
}

/// A template is a string, or a list of named ones of which `default` counts: without that one, the
/// Python library has no template for plain messages either.
fn template_source(value: &Value) -> Result<Option<String>, &'static str> {
    match value {
        Value::Null => Ok(None),
        Value::String(source) => Ok(Some(source.clone())),
        Value::Array(named) => {
            let default = named.iter().find(|item| item["name"] == "default");
            let source = default.and_then(|default| default["template"].as_str());
            let source = source.ok_or("a list without a template of the name \"default\"")?;
            Ok(Some(source.to_owned()))
        }
        _ => Err("neither a text nor a list"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn tokens_are_read_in_both_spellings_and_the_first_file_wins() {
        let mut config = Config::default();
        config.merge("x", &json!({
            "bos_token": {"content": "<s>", "lstrip": false},
            "eos_token": "</s>",
            "unk_token": null,
            "additional_special_tokens": ["<a>", {"content": "<b>"}],
            "chat_template": [{"name": "tool_use", "template": "T"}, {"name": "default", "template": "D"}],
        }));
        config.merge(
            "x",
            &json!({"bos_token": "<other>", "pad_token": "<pad>", "chat_template": "X"}),
        );
        assert_eq!(config.named("bos_token"), Some("<s>"));
        assert_eq!(config.named("pad_token"), Some("<pad>"));
        assert_eq!(config.special.len(), 5);
        assert_eq!(config.chat_template.as_deref(), Some("D"));
        assert_eq!(config.template_problem, None);
    }

    #[test]
    fn templates_in_another_form_are_a_problem_of_their_file() {
        for (template, problem) in [
            (
                json!([{"name": "tool_use", "template": "T"}]),
                Some("a list without"),
            ),
            (
                json!([{"name": "default", "template": 5}]),
                Some("a list without"),
            ),
            (json!(5), Some("neither")),
            (json!(null), None),
        ] {
            let mut config = Config::default();
            config.merge("tokenizer_config.json", &json!({"chat_template": template}));
            assert_eq!(config.chat_template, None);
            let found = config.template_problem;
            let named = problem.map(|words| {
                let problem = found.as_deref().unwrap_or_default();
                problem.starts_with("the chat_template of tokenizer_config.json is")
                    && problem.contains(words)
            });
            assert!(named.unwrap_or(found.is_none()), "{found:?}");
        }
    }
}
