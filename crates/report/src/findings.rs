//! The verdict's findings in both languages.

use inferometer_core::{Reason, Verdict};
use inferometer_metrics::Rule;
use serde_json::{Value, json};

use crate::Lang;

/// The finding on a run folder whose files were changed, which no rule measures.
const DATA_CHANGED_ZH: [&str; 2] = [
    "运行目录中的数据在运行之后被改动，这些数据不属于该次运行",
    "请使用未改动的运行目录副本",
];

/// Message and remedy of a finding in `lang`. An unknown code keeps its English text.
pub(crate) fn texts(reason: &Reason, lang: Lang) -> (String, String) {
    if lang == Lang::Zh && reason.code == "data_changed" {
        return (DATA_CHANGED_ZH[0].to_owned(), DATA_CHANGED_ZH[1].to_owned());
    }
    let rule = Rule::find(&reason.code).filter(|_| lang == Lang::Zh);
    let Some(rule) = rule else {
        return (reason.message.clone(), reason.remedy.clone());
    };
    let meaning = rule.zh.meaning;
    let message = match rule.numbers(&reason.message) {
        Some((value, limit)) => format!("{meaning}（实测 {value}，界限 {limit}）"),
        None => meaning.to_owned(),
    };
    (message, rule.zh.remedy.to_owned())
}

/// A verdict for pages that can switch their language: each reason has its Chinese texts under
/// `zh`.
pub(crate) fn in_both(verdict: &Verdict) -> Value {
    let reasons: Vec<Value> = verdict
        .reasons
        .iter()
        .map(|reason| {
            let (message, remedy) = texts(reason, Lang::Zh);
            json!({
                "code": reason.code, "level": reason.level, "message": reason.message,
                "remedy": reason.remedy, "zh": [message, remedy],
            })
        })
        .collect();
    json!({"level": verdict.level, "reasons": reasons})
}

#[cfg(test)]
mod tests {
    use inferometer_core::Level;

    use super::*;

    #[test]
    fn chinese_findings_have_the_numbers_and_no_english() {
        let rule = Rule::find("late_sends").unwrap();
        let reason = |message: &str| Reason {
            code: rule.code.into(),
            level: Level::Caution,
            message: message.into(),
            remedy: rule.en.remedy.into(),
        };
        let full = format!(
            "{} is 12.5 ms (send time minus due time or slot release), limit 3 ms: {}",
            rule.quantity, rule.en.meaning
        );
        let (message, remedy) = texts(&reason(&full), Lang::Zh);
        assert_eq!(
            message,
            "负载没有按计划的时刻发出（实测 12.5 ms，界限 3 ms）"
        );
        assert_eq!(remedy, rule.zh.remedy);
        // The words of another version.
        let (message, _) = texts(&reason("sends were late"), Lang::Zh);
        assert_eq!(message, rule.zh.meaning);
        assert_eq!(
            texts(&reason("sends were late"), Lang::En).0,
            "sends were late"
        );
    }
}
