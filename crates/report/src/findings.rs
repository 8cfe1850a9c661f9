//! The verdict's findings in both languages. The English message holds the numbers, so the Chinese
//! text quotes it.

use inferometer_core::Reason;
use inferometer_metrics::{RULES, Rule};
use serde_json::{Map, Value, json};

use crate::Lang;

/// Message and remedy of a finding in `lang`. An unknown code keeps its English text.
pub(crate) fn texts(reason: &Reason, lang: Lang) -> (String, String) {
    let rule = Rule::find(&reason.code).filter(|_| lang == Lang::Zh);
    let Some(rule) = rule else {
        return (reason.message.clone(), reason.remedy.clone());
    };
    let meaning = rule.zh.meaning.to_owned();
    let message = if reason.message.is_empty() {
        meaning
    } else {
        format!("{meaning}（{}）", reason.message)
    };
    (message, rule.zh.remedy.to_owned())
}

/// The Chinese texts by code, for pages that can switch their language.
pub(crate) fn table() -> Value {
    let texts = RULES.iter().map(|rule| {
        (
            rule.code.to_owned(),
            json!([rule.zh.meaning, rule.zh.remedy]),
        )
    });
    Value::Object(texts.collect::<Map<_, _>>())
}
