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
        let message = with_aside(DATA_CHANGED_ZH[0], detail_zh(reason).into_iter());
        return (message, DATA_CHANGED_ZH[1].to_owned());
    }
    let rule = Rule::find(&reason.code).filter(|_| lang == Lang::Zh);
    let Some(rule) = rule else {
        return (reason.message.clone(), reason.remedy.clone());
    };
    let meaning = rule.zh.meaning;
    let numbers = rule.numbers(&reason.message);
    let numbers = numbers.map(|(value, limit)| format!("实测 {value}，界限 {limit}"));
    let aside = numbers.into_iter().chain(detail_zh(reason));
    (with_aside(meaning, aside), rule.zh.remedy.to_owned())
}

/// The numbers and names of a finding; files of earlier versions have them in English only, inside of
/// the message.
fn detail_zh(reason: &Reason) -> Option<String> {
    let detail = reason.detail.as_ref()?;
    (!detail.zh.is_empty()).then(|| detail.zh.clone())
}

/// `text`, and what belongs to it in parentheses.
fn with_aside(text: &str, parts: impl Iterator<Item = String>) -> String {
    let parts: Vec<String> = parts.collect();
    if parts.is_empty() {
        return text.to_owned();
    }
    format!("{text}（{}）", parts.join("；"))
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
    use inferometer_core::{Bilingual, Level};

    use super::*;

    /// The remedies say "to the number named" and "this word": the numbers and words are those of the
    /// detail.
    #[test]
    fn chinese_findings_name_what_the_english_ones_name() {
        let rule = Rule::find("unknown_ending").unwrap();
        let full = format!(
            "{} is 10 % (\"halted\": 1), limit 0 %: {}",
            rule.quantity, rule.en.meaning
        );
        let mut reason = Reason {
            code: rule.code.into(),
            level: Level::Caution,
            message: full,
            remedy: rule.en.remedy.into(),
            detail: Some(Bilingual {
                en: "\"halted\": 1".into(),
                zh: "\"halted\"：1 个".into(),
            }),
        };
        let (message, _) = texts(&reason, Lang::Zh);
        assert_eq!(
            message,
            format!(
                "{}（实测 10 %，界限 0 %；\"halted\"：1 个）",
                rule.zh.meaning
            )
        );
        let both = in_both(&Verdict::from_reasons(vec![reason.clone()]));
        assert_eq!(both["reasons"][0]["zh"][0], message);
        // A file of an earlier version has no detail, and the finding has its numbers all the same.
        let old = serde_json::json!({
            "code": reason.code, "level": "CAUTION", "message": reason.message, "remedy": "",
        });
        reason = serde_json::from_value(old).unwrap();
        let (message, _) = texts(&reason, Lang::Zh);
        assert_eq!(
            message,
            format!("{}（实测 10 %，界限 0 %）", rule.zh.meaning)
        );
    }

    #[test]
    fn chinese_findings_have_the_numbers_and_no_english() {
        let rule = Rule::find("late_sends").unwrap();
        let reason = |message: &str| Reason {
            code: rule.code.into(),
            level: Level::Caution,
            message: message.into(),
            remedy: rule.en.remedy.into(),
            detail: None,
        };
        let full = format!(
            "{} is 12.5 ms (send time minus the later of due time and slot release), limit 3 ms: {}",
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
