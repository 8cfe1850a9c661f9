//! Runs side by side.

use inferometer_core::Level;
use serde_json::{Value, json};

use crate::Lang;
use crate::document::Document;
use crate::format::{cell, significant};
use crate::visualize::{Row, Run, parse_rows};

/// Settings of a result file that decide what was measured, in display order.
const SETTINGS: [&str; 14] = [
    "model_id",
    "backend",
    "endpoint_type",
    "tokenizer_id",
    "label",
    "num_prompts",
    "input_len",
    "output_len",
    "request_rate",
    "burstiness",
    "max_concurrency",
    "ramp_up_strategy",
    "ramp_up_start_rps",
    "ramp_up_end_rps",
];

/// Which direction is an improvement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Better {
    Higher,
    Lower,
    Neither,
}

/// Runs side by side; the first is what the others are compared with.
#[derive(Clone, Debug)]
pub struct Comparison {
    runs: Vec<Run>,
    lang: Lang,
}

/// Fewer than two runs.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("compare needs at least two results, got {given}")]
pub struct TooFewRuns {
    given: usize,
}

impl Comparison {
    /// Compares `rows`, each under the name that the user knows (its `filename`, if it has one).
    ///
    /// # Errors
    ///
    /// Fewer than two rows.
    pub fn new(rows: &[Row], lang: Lang) -> Result<Self, TooFewRuns> {
        if rows.len() < 2 {
            return Err(TooFewRuns { given: rows.len() });
        }
        Ok(Self {
            runs: parse_rows(rows),
            lang,
        })
    }

    /// As plain text.
    pub fn to_text(&self) -> String {
        self.document().to_plain()
    }

    /// As Markdown.
    pub fn to_markdown(&self) -> String {
        self.document().to_markdown()
    }

    /// As JSON; `format_version` 1.
    pub fn to_json(&self) -> Value {
        let metrics: Vec<Value> = self
            .metrics()
            .into_iter()
            .map(|(key, better)| {
                let values: Vec<Option<f64>> = self.runs.iter().map(|run| run.number(&key)).collect();
                let base = values[0];
                let against = |value: &Option<f64>| Some((*value)? - base?);
                let relative = |value: &Option<f64>| {
                    let base = base.filter(|base| *base != 0.0)?;
                    Some(((*value)? - base) / base)
                };
                json!({
                    "key": key,
                    "better": match better { Better::Higher => "higher", Better::Lower => "lower", Better::Neither => "neither" },
                    "values": values,
                    "difference": values.iter().map(against).collect::<Vec<_>>(),
                    "relative": values.iter().map(relative).collect::<Vec<_>>(),
                })
            })
            .collect();
        let settings: Vec<Value> = self
            .settings()
            .into_iter()
            .map(|(key, values)| json!({"key": key, "differs": differs(&values), "values": values}))
            .collect();
        json!({
            "format_version": 1,
            "runs": self.runs.iter().map(|run| json!({"name": run.name, "verdict": run.verdict})).collect::<Vec<_>>(),
            "noise": "unknown",
            "settings": settings,
            "metrics": metrics,
        })
    }

    fn document(&self) -> Document {
        let lang = self.lang;
        let letters: Vec<String> = (0..self.runs.len()).map(letter).collect();
        let mut doc = Document::default();
        doc.heading(1, lang.pick("Comparison", "运行对比"));
        let rows = self.runs.iter().zip(&letters).map(|(run, letter)| {
            let verdict = run.verdict.as_ref();
            let level = verdict.map_or(lang.pick("no verdict", "无判定").to_owned(), |verdict| {
                verdict.level.to_string()
            });
            let codes: Vec<&str> = verdict
                .map(|verdict| {
                    verdict
                        .reasons
                        .iter()
                        .map(|reason| reason.code.as_str())
                        .collect()
                })
                .unwrap_or_default();
            vec![letter.clone(), run.name.clone(), level, codes.join(", ")]
        });
        let head = [
            "",
            lang.pick("Run", "运行"),
            lang.pick("Verdict", "判定"),
            lang.pick("Reasons", "原因"),
        ];
        doc.table(&head, rows.collect());
        if self.runs.iter().any(Run::is_invalid) {
            doc.text(lang.pick(
                "WARNING: do not use runs with the verdict INVALID; their differences below are meaningless.",
                "警告：判定为 INVALID 的运行不可使用，其下列差异没有意义。",
            ));
        } else if self.runs.iter().any(|run| {
            run.verdict
                .as_ref()
                .is_some_and(|v| v.level == Level::Caution)
        }) {
            doc.text(lang.pick(
                "Read the reasons for CAUTION first.",
                "请先阅读 CAUTION 的原因。",
            ));
        }
        doc.text(lang.pick(
            "Each column is a single run, so the noise between runs is unknown: a difference may be chance. Repeat each \
             setting to find out.",
            "每列仅为一次运行，运行之间的波动未知：差异可能只是偶然。请重复每个设置以确认。",
        ));
        self.settings_part(&mut doc, &letters);
        self.metrics_part(&mut doc, &letters);
        doc
    }

    fn settings_part(&self, doc: &mut Document, letters: &[String]) {
        let lang = self.lang;
        doc.heading(2, lang.pick("Settings that differ", "不同的设置"));
        let settings = self.settings();
        let (different, same): (Vec<_>, Vec<_>) = settings
            .into_iter()
            .partition(|(_, values)| differs(values));
        if different.is_empty() {
            doc.text(lang.pick(
                "None: all settings in the files are the same.",
                "无：文件中的所有设置均相同。",
            ));
        } else {
            let mut head = vec![lang.pick("Setting", "设置")];
            head.extend(letters.iter().map(String::as_str));
            let rows = different.into_iter().map(|(key, values)| {
                std::iter::once(key)
                    .chain(values.iter().map(setting_text))
                    .collect()
            });
            doc.table(&head, rows.collect());
        }
        if !same.is_empty() {
            let text: Vec<String> = same
                .iter()
                .map(|(key, values)| format!("{key}={}", setting_text(&values[0])))
                .collect();
            doc.text(format!(
                "{}{}",
                lang.pick("Same: ", "相同："),
                text.join(", ")
            ));
        }
    }

    fn metrics_part(&self, doc: &mut Document, letters: &[String]) {
        let lang = self.lang;
        doc.heading(2, lang.pick("Numbers", "数据"));
        let mut head: Vec<String> =
            vec![lang.pick("Metric", "指标").to_owned(), letters[0].clone()];
        for letter in &letters[1..] {
            head.extend([
                letter.clone(),
                format!("{letter} − {}", letters[0]),
                format!("{letter} %"),
            ]);
        }
        let rows = self.metrics().into_iter().map(|(key, better)| {
            let base = self.runs[0].number(&key);
            let mut row = vec![key.clone(), cell(base)];
            for run in &self.runs[1..] {
                let value = run.number(&key);
                let difference = value.zip(base).map(|(value, base)| value - base);
                let relative = difference
                    .zip(base)
                    .filter(|(_, base)| *base != 0.0)
                    .map(|(d, base)| d / base * 100.0);
                row.extend([
                    cell(value),
                    signed(difference, ""),
                    relative_text(relative, better, lang),
                ]);
            }
            row
        });
        let head: Vec<&str> = head.iter().map(String::as_str).collect();
        doc.table(&head, rows.collect());
    }

    /// Settings that at least one run has, with the value of each run.
    fn settings(&self) -> Vec<(String, Vec<Value>)> {
        let mut keys: Vec<String> = SETTINGS.iter().map(|key| (*key).to_owned()).collect();
        for run in &self.runs {
            for key in run.metadata.keys() {
                if !keys.contains(key) {
                    keys.push(key.clone());
                }
            }
        }
        keys.into_iter()
            .filter_map(|key| {
                let values: Vec<Value> = self
                    .runs
                    .iter()
                    .map(|run| run.row.get(&key).cloned().unwrap_or(Value::Null))
                    .collect();
                values
                    .iter()
                    .any(|value| !value.is_null())
                    .then_some((key, values))
            })
            .collect()
    }

    /// Numeric keys other than settings that at least one run has, in file order.
    fn metrics(&self) -> Vec<(String, Better)> {
        let mut keys: Vec<String> = Vec::new();
        for run in &self.runs {
            for key in run.row.keys() {
                let setting = SETTINGS.contains(&key.as_str())
                    || matches!(key.as_str(), "date" | "filename" | "run_number")
                    || run.metadata.contains_key(key);
                if !setting && !keys.contains(key) && run.number(key).is_some() {
                    keys.push(key.clone());
                }
            }
        }
        keys.into_iter()
            .map(|key| (key.clone(), better(&key)))
            .collect()
    }
}

fn letter(index: usize) -> String {
    let name = char::from(b'A' + (index % 26) as u8);
    if index < 26 {
        name.to_string()
    } else {
        format!("{name}{}", index / 26)
    }
}

fn differs(values: &[Value]) -> bool {
    values
        .iter()
        .any(|value| setting_text(value) != setting_text(&values[0]))
}

/// A setting as text; `8` and `8.0` (as in some CSV files) are the same.
fn setting_text(value: &Value) -> String {
    match value {
        Value::Null => "–".to_owned(),
        Value::String(text) => text
            .parse::<f64>()
            .map_or_else(|_| text.clone(), |number| number.to_string()),
        Value::Number(number) => number
            .as_f64()
            .map_or_else(|| number.to_string(), |number| number.to_string()),
        other => other.to_string(),
    }
}

fn better(key: &str) -> Better {
    if key.contains("throughput") || key.contains("goodput") || key.contains("per_s") {
        Better::Higher
    } else if key.ends_with("_ms") || key == "failed" {
        Better::Lower
    } else {
        Better::Neither
    }
}

fn signed(value: Option<f64>, unit: &str) -> String {
    value.map_or("–".to_owned(), |value| {
        let sign = if value > 0.0 { "+" } else { "" };
        format!("{sign}{}{unit}", significant(value, 3))
    })
}

/// The relative difference, with a word for its direction.
fn relative_text(percent: Option<f64>, better: Better, lang: Lang) -> String {
    let Some(value) = percent else {
        return "–".to_owned();
    };
    let sign = if value > 0.0 { "+" } else { "" };
    let word = match better {
        Better::Neither => "",
        _ if value == 0.0 => "",
        Better::Higher if value > 0.0 => lang.pick(" better", " 更好"),
        Better::Lower if value < 0.0 => lang.pick(" better", " 更好"),
        _ => lang.pick(" worse", " 更差"),
    };
    format!("{sign}{value:.1} %{word}")
}
