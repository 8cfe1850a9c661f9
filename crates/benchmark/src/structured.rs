//! Structured answers: what requests ask for, and how many answers conform.

use std::path::PathBuf;

use inferometer_core::random::indexed_stream;
use inferometer_core::{Prompt, Records, Request};
use inferometer_metrics::traffic::Conformity;
use inferometer_os::files::{self, SMALL_FILE};
use inferometer_workload::Tokenizer;
use serde_json::{Map, Value, json};

use crate::error::{Error, OrError};
use crate::json_integers::check_integers;

/// Structures of answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StructuredKind {
    /// JSON that conforms to a schema.
    Json,
    /// Text that a regular expression matches.
    Regex,
    /// One of several texts.
    Choice,
    /// A sentence of a grammar (EBNF).
    Grammar,
}

impl StructuredKind {
    /// The key in `structured_outputs`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Regex => "regex",
            Self::Choice => "choice",
            Self::Grammar => "grammar",
        }
    }
}

/// The structure that requests ask for.
#[derive(Clone, Debug)]
pub struct Structured {
    kind: StructuredKind,
    /// The schema, pattern, list or grammar as it is sent.
    rule: Value,
    /// Fraction of requests that ask for it, 0 to 1.
    ratio: f64,
    seed: u64,
}

/// True for an answer that conforms.
type Judge<'a> = Box<dyn Fn(&str) -> bool + 'a>;

const PATTERN: &str = r"\w+@\w+\.com\n";
/// The simplest kind of SQL, in the grammar notation that vLLM's engines read (EBNF).
const GRAMMAR: &str = "root ::= select_statement\nselect_statement ::= \"SELECT \" column \" from \" table \" where \" \
    condition\ncolumn ::= \"col_1 \" | \"col_2 \"\ntable ::= \"table_1 \" | \"table_2 \"\ncondition ::= column \"= \" \
    number\nnumber ::= \"1 \" | \"2 \"\n";
/// The sentences of [`GRAMMAR`].
const GRAMMAR_PATTERN: &str =
    "^SELECT (col_1 |col_2 ) from (table_1 |table_2 ) where (col_1 |col_2 )= (1 |2 )$";

fn default_rule(kind: StructuredKind) -> Value {
    match kind {
        StructuredKind::Json => json!({
            "type": "object",
            "properties": {
                "name": {"type": "string"},
                "email": {"type": "string"},
                "age": {"type": "integer"},
                "city": {"type": "string"}
            },
            "required": ["name", "email", "age", "city"],
            "additionalProperties": false
        }),
        StructuredKind::Regex => PATTERN.into(),
        StructuredKind::Choice => json!(["Positive", "Negative"]),
        StructuredKind::Grammar => GRAMMAR.into(),
    }
}

/// A question whose answer has the structure.
fn question(kind: StructuredKind) -> &'static str {
    match kind {
        StructuredKind::Json => {
            "Make up a person and describe them as a JSON object with name, email, age and city."
        }
        StructuredKind::Regex => {
            "Make up an email address for Alan Turing, who works at Enigma; end in .com and a new line."
        }
        StructuredKind::Choice => {
            "Is this sentence positive or negative? I like this engine very much."
        }
        StructuredKind::Grammar => {
            "Write an SQL query that selects a column from a table where it equals a number."
        }
    }
}

impl Structured {
    /// True where every request asks for the structure.
    pub(crate) fn is_asked_of_all(&self) -> bool {
        self.ratio >= 1.0
    }

    /// The kind of structure.
    pub fn kind(&self) -> StructuredKind {
        self.kind
    }

    /// A structure for a fraction `ratio` of the requests; reads its rule from `file` where one is
    /// given.
    ///
    /// # Errors
    ///
    /// A usage error when the fraction or the file cannot be used.
    pub fn resolve(
        kind: StructuredKind,
        ratio: f64,
        file: Option<&PathBuf>,
        seed: u64,
    ) -> Result<Self, Error> {
        if !(0.0..=1.0).contains(&ratio) {
            return Err(Error::usage(format!(
                "invalid --structured-output-ratio {ratio}: expected a fraction of requests from 0 to 1"
            )));
        }
        let Some(path) = file else {
            return Ok(Self {
                kind,
                rule: default_rule(kind),
                ratio,
                seed,
            });
        };
        let text = files::text(path, SMALL_FILE).map_err(|error| {
            Error::usage(format!(
                "--structured-output-file {}: {error}",
                path.display()
            ))
        })?;
        let wrong = |what: &str| {
            Error::usage(format!(
                "--structured-output-file {}: expected {what}",
                path.display()
            ))
        };
        if matches!(kind, StructuredKind::Json) {
            check_integers(
                &format!("--structured-output-file {}", path.display()),
                &text,
            )?;
        }
        let rule = match kind {
            StructuredKind::Json => serde_json::from_str::<Map<String, Value>>(&text)
                .map_err(|error| wrong(&format!("a JSON schema ({error})")))?
                .into(),
            StructuredKind::Choice => {
                let choices: Vec<&str> = text
                    .lines()
                    .filter(|line| !line.trim().is_empty())
                    .collect();
                if choices.is_empty() {
                    return Err(wrong("one choice per line"));
                }
                json!(choices)
            }
            StructuredKind::Regex => {
                let pattern = text.trim_end_matches('\n');
                fancy_regex::Regex::new(pattern)
                    .map_err(|error| wrong(&format!("a regular expression ({error})")))?;
                pattern.into()
            }
            StructuredKind::Grammar => text.into(),
        };
        Ok(Self {
            kind,
            rule,
            ratio,
            seed,
        })
    }

    /// Makes a fraction of the requests ask for the structure. With `ask`, which is for synthetic
    /// prompts, a matching question is put before their own text. With `may_end`, the answers end
    /// where the structure does although the others of the run continue to their length.
    pub(crate) fn apply(&self, requests: &mut [Request], ask: Option<&Tokenizer>, may_end: bool) {
        for request in requests
            .iter_mut()
            .filter(|request| self.is_asked(request.index))
        {
            request.overrides.insert(
                "structured_outputs".into(),
                json!({(self.kind.name()): self.rule.clone()}),
            );
            if may_end {
                request.overrides.insert("ignore_eos".into(), false.into());
            }
            if let (Some(tokenizer), Prompt::Text(text)) = (ask, &mut request.prompt) {
                text.insert_str(0, &format!("{} ", question(self.kind)));
                request.prompt_tokens = tokenizer.count(text, true) as u32;
            }
        }
    }

    fn is_asked(&self, index: usize) -> bool {
        use rand::Rng as _;
        let draw = indexed_stream(self.seed, "structured", index as u64).next_u32();
        f64::from(draw) < self.ratio * 4_294_967_296.0
    }

    /// Counts the answers that conform.
    pub(crate) fn check(&self, records: &dyn Records) -> Result<Conformity, Error> {
        let judge = self.judge()?;
        let (mut asked, mut answered, mut conforming) = (0, 0, 0);
        records.visit(&mut |record| {
            if self.is_asked(record.index) {
                asked += 1;
                answered += usize::from(record.is_ok());
                let conforms =
                    record.is_ok() && judge.as_ref().is_some_and(|judge| judge(&record.text));
                conforming += usize::from(conforms);
            }
        });
        let conforming = judge.is_some().then_some(conforming);
        Ok(Conformity {
            kind: self.kind.name().to_owned(),
            asked,
            answered,
            conforming,
            share: conforming
                .filter(|_| answered > 0)
                .map(|good| good as f64 / answered as f64),
        })
    }

    fn judge(&self) -> Result<Option<Judge<'_>>, Error> {
        let by_pattern = |pattern: String| {
            let pattern = fancy_regex::Regex::new(&pattern).or_failure()?;
            Ok::<_, Error>(Box::new(move |text: &str| {
                pattern.is_match(text).unwrap_or(false)
            }))
        };
        Ok(match (self.kind, &self.rule) {
            (StructuredKind::Json, schema) => Some(Box::new(move |text: &str| {
                serde_json::from_str::<Value>(text).is_ok_and(|value| fits(&value, schema))
            })),
            (StructuredKind::Choice, Value::Array(choices)) => Some(Box::new(move |text: &str| {
                choices.iter().any(|choice| choice.as_str() == Some(text))
            })),
            // Engines match the whole answer.
            (StructuredKind::Regex, Value::String(pattern)) => {
                Some(by_pattern(format!("^(?:{pattern})\\z"))?)
            }
            (StructuredKind::Grammar, Value::String(grammar)) if grammar == GRAMMAR => {
                Some(by_pattern(GRAMMAR_PATTERN.to_owned())?)
            }
            _ => None,
        })
    }
}

/// True when `value` conforms to the common part of JSON Schema: `type`, `enum`, `const`,
/// `properties`, `required`, `additionalProperties: false` and `items`. Other keywords are ignored.
fn fits(value: &Value, schema: &Value) -> bool {
    let of_type = |name: &str| match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => {
            value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|n| n.fract() == 0.0)
        }
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        _ => true,
    };
    let type_fits = match &schema["type"] {
        Value::String(name) => of_type(name),
        Value::Array(names) => names.iter().filter_map(Value::as_str).any(of_type),
        _ => true,
    };
    let listed = schema["enum"]
        .as_array()
        .is_none_or(|all| all.contains(value));
    let constant = schema.get("const").is_none_or(|wanted| wanted == value);
    let items = match (value, schema.get("items")) {
        (Value::Array(items), Some(schema)) => items.iter().all(|item| fits(item, schema)),
        _ => true,
    };
    let object = match value {
        Value::Object(map) => {
            let known = schema["properties"].as_object();
            let required = schema["required"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str);
            required.into_iter().all(|name| map.contains_key(name))
                && map.iter().all(
                    |(name, value)| match known.and_then(|known| known.get(name)) {
                        Some(schema) => fits(value, schema),
                        None => schema["additionalProperties"] != Value::Bool(false),
                    },
                )
        }
        _ => true,
    };
    type_fits && listed && constant && items && object
}

#[cfg(test)]
mod tests {
    use inferometer_core::{Outcome, Record};

    use super::*;

    fn conforming(kind: StructuredKind, answers: &[&str]) -> Option<usize> {
        let records: Vec<Record> = answers
            .iter()
            .enumerate()
            .map(|(index, text)| Record {
                index,
                outcome: Outcome::Ok,
                text: (*text).to_owned(),
                ..Record::default()
            })
            .collect();
        Structured::resolve(kind, 1.0, None, 0)
            .unwrap()
            .check(&records)
            .unwrap()
            .conforming
    }

    #[test]
    fn a_schema_that_would_lose_digits_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("schema.json");
        for (most, good) in [
            ("18446744073709551615", true),
            ("18446744073709551616", false),
        ] {
            std::fs::write(
                &path,
                format!("{{\"type\": \"integer\", \"maximum\": {most}}}"),
            )
            .unwrap();
            let resolved = Structured::resolve(StructuredKind::Json, 1.0, Some(&path), 0);
            assert_eq!(resolved.is_ok(), good, "{most}");
        }
    }

    #[test]
    fn answers_are_checked_against_their_structure() {
        let person = r#"{"name": "a", "email": "b", "age": 3, "city": "c"}"#;
        let wrong = [
            person.replace('3', "\"3\""),
            person.replace("\"age\": 3, ", ""),
            "{".to_owned(),
        ];
        let all = [person, &wrong[0], &wrong[1], &wrong[2]];
        assert_eq!(conforming(StructuredKind::Json, &all), Some(1));
        assert_eq!(
            conforming(
                StructuredKind::Choice,
                &["Positive", "positive", "Positive."]
            ),
            Some(1)
        );
        assert_eq!(
            conforming(
                StructuredKind::Regex,
                &["a@b.com\n", "a@b.org\n", "x a@b.com\n"]
            ),
            Some(1)
        );
        let sql = "SELECT col_1  from table_2  where col_2 = 1 ";
        assert_eq!(
            conforming(StructuredKind::Grammar, &[sql, "SELECT x"]),
            Some(1)
        );
    }

    #[test]
    fn a_fraction_of_the_requests_asks() {
        let structured = Structured::resolve(StructuredKind::Choice, 0.25, None, 1).unwrap();
        let mut requests: Vec<Request> = (0..1000)
            .map(|index| Request {
                index,
                ..Request::default()
            })
            .collect();
        structured.apply(&mut requests, None, true);
        let asking = requests
            .iter()
            .filter(|request| !request.overrides.is_empty())
            .count();
        // Those end with their structure, the others of the run at their length.
        assert!(requests.iter().all(
            |request| request.overrides.is_empty() || request.overrides["ignore_eos"] == false
        ));
        assert!((200..300).contains(&asking), "{asking}");
        assert!(Structured::resolve(StructuredKind::Choice, f64::NAN, None, 1).is_err());
    }
}
