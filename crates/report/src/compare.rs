//! Runs side by side.

mod words;

use std::collections::BTreeSet;

use inferometer_core::FIRST_MEANING;
use inferometer_decide::{Decision, Direction};
use inferometer_metrics::Estimate;
use serde_json::{Value, json};

use crate::Lang;
use crate::document::Document;
use crate::format::cell;
use crate::visualize::{Row, Run, fold, parse_rows};
use words::{
    RESPONSE, SERVICE, better, differs, label, letter, number, relative_text, setting_text, signed,
};

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

/// A run, or the repeats of one setting, under the name that the user knows.
#[derive(Clone, Debug)]
pub struct Side {
    /// Its name.
    pub name: String,
    /// The run, or each of the repeats.
    pub rows: Vec<Row>,
}

impl From<Row> for Side {
    /// A single run, under its `filename`.
    fn from(row: Row) -> Self {
        let name = row.get("filename").and_then(Value::as_str);
        Self {
            name: name.unwrap_or_default().to_owned(),
            rows: vec![row],
        }
    }
}

/// Sides next to one another; the first is what the others are compared with.
#[derive(Clone, Debug)]
pub struct Comparison {
    sides: Vec<Runs>,
    lang: Lang,
}

/// The runs of one side.
#[derive(Clone, Debug)]
struct Runs {
    name: String,
    runs: Vec<Run>,
}

impl Runs {
    /// The runs that are data: with answers, and not INVALID.
    fn sound(&self) -> impl Iterator<Item = &Run> {
        self.runs.iter().filter(|run| run.is_sound())
    }

    /// The first of the runs that stand for the side, for its settings and its verdict: a sound one
    /// where there is one.
    fn first(&self) -> &Run {
        self.sound().next().unwrap_or(&self.runs[0])
    }

    /// Mean and interval of a number over the runs that are data, or of a side without any over
    /// all that have answers.
    fn value(&self, key: &str) -> Option<Estimate> {
        fold(self.runs.iter(), |run| number(run, key))
    }
}

/// Fewer than two runs.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("compare needs at least two results, got {given}")]
pub struct TooFewRuns {
    given: usize,
}

impl Comparison {
    /// Compares `sides`, each with at least one run. Names that are paths are shortened to what no
    /// other side shares.
    ///
    /// # Errors
    ///
    /// When there are fewer than two.
    pub fn new(sides: &[Side], lang: Lang) -> Result<Self, TooFewRuns> {
        let mut sides: Vec<Runs> = sides
            .iter()
            .filter(|side| !side.rows.is_empty())
            .map(|side| Runs {
                name: side.name.clone(),
                runs: parse_rows(&side.rows),
            })
            .collect();
        if sides.len() < 2 {
            return Err(TooFewRuns { given: sides.len() });
        }
        shorten_names(&mut sides);
        Ok(Self { sides, lang })
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
                let found: Vec<Option<Estimate>> = self.sides.iter().map(|side| side.value(&key)).collect();
                let values: Vec<Option<f64>> = found.iter().map(|value| Some(value.as_ref()?.mean)).collect();
                let base = values[0];
                let against = |value: &Option<f64>| Some((*value)? - base?);
                let relative = |value: &Option<f64>| {
                    let base = base.filter(|base| *base != 0.0)?;
                    Some(((*value)? - base) / base)
                };
                let others = self.sides[1..].iter().map(|side| self.decision(side, &key, better));
                let decisions: Vec<Option<Decision>> = std::iter::once(None).chain(others).collect();
                json!({
                    "key": key,
                    "better": match better { Some(Direction::Higher) => "higher", Some(Direction::Lower) => "lower", None => "neither" },
                    "values": values,
                    "difference": values.iter().map(against).collect::<Vec<_>>(),
                    "relative": values.iter().map(relative).collect::<Vec<_>>(),
                    "decision": decisions,
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
            "runs": self.sides.iter().map(|side| json!({
                "name": side.name,
                "verdict": side.first().verdict,
                "runs": side.runs.len(),
                "used": side.sound().count(),
            })).collect::<Vec<_>>(),
            "meanings": self.meanings(),
            "noise": if self.has_repeats() { "repeats" } else { "unknown" },
            "settings": settings,
            "metrics": metrics,
        })
    }

    /// The meanings of the runs' numbers; files of other tools have none.
    fn meanings(&self) -> BTreeSet<u64> {
        let runs = self.sides.iter().flat_map(|side| &side.runs);
        let meaning = |run: &Run| {
            let ours = run.row.get("inferometer").filter(|ours| ours.is_object())?;
            let named = ours.get("meaning").and_then(Value::as_u64);
            Some(named.unwrap_or(u64::from(FIRST_MEANING)))
        };
        runs.filter_map(meaning).collect()
    }

    /// True when at least two sides have two runs that are data, so that there is an interval.
    fn has_repeats(&self) -> bool {
        self.sides
            .iter()
            .filter(|side| side.sound().nth(1).is_some())
            .count()
            > 1
    }

    fn document(&self) -> Document {
        let lang = self.lang;
        let letters: Vec<String> = (0..self.sides.len()).map(letter).collect();
        let mut doc = Document::default();
        doc.heading(1, lang.pick("Comparison", "运行对比"));
        self.sides_part(&mut doc, &letters);
        let runs = || self.sides.iter().flat_map(|side| &side.runs);
        if runs().any(|run| !run.is_sound()) {
            doc.text(lang.pick(
                "WARNING: runs that are INVALID or have no answer are left out of all means; where a side has no \
                 others, its differences below are meaningless.",
                "警告：判定为 INVALID 或没有任何回答的运行不是数据：不计入均值；若一方没有其他运行，其下列差异没有意义。",
            ));
        } else if runs().any(Run::is_caution) {
            doc.text(lang.pick(
                "Read the reasons for CAUTION first.",
                "请先阅读 CAUTION 的原因。",
            ));
        }
        let meanings = self.meanings();
        if meanings.len() > 1 {
            let named: Vec<String> = meanings.iter().map(ToString::to_string).collect();
            let named = named.join(lang.pick(" and ", "、"));
            doc.text(match lang {
                Lang::En => format!(
                    "WARNING: these runs have numbers of different definitions (meaning {named}): TPOT, ITL, E2EL and token \
                     counts may differ for that alone. CHANGELOG.md says what changed; run both sides with one version."
                ),
                Lang::Zh => format!(
                    "警告：这些运行的指标定义不同（meaning {named}）：TPOT、ITL、E2EL 与 token 数可能仅因此而不同。变化见 \
                     CHANGELOG.md；请用同一版本运行双方。"
                ),
            });
        }
        doc.text(if self.has_repeats() {
            lang.pick(
                "A number is the mean of a side's runs. \"Better\" and \"worse\" are said where the 95 % interval of the \
                 difference (Welch's t) does not contain 0; elsewhere these runs cannot tell.",
                "数值为一方各次运行的均值。仅当差值的 95 % 置信区间（Welch t）不含 0 时才称“更好”或“更差”；否则这些运行无法判断。",
            )
        } else {
            lang.pick(
                "Each side is a single run, so the noise between runs is unknown: a difference may be chance, and these runs \
                 cannot tell. Repeat each setting, and compare the folders of the repeats.",
                "每方仅为一次运行，运行之间的波动未知：差异可能只是偶然，这些运行无法判断。请重复每个设置，再对比存放重复运行的目录。",
            )
        });
        self.settings_part(&mut doc, &letters);
        self.metrics_part(&mut doc, &letters);
        doc
    }

    /// Names, numbers of runs, and verdicts.
    fn sides_part(&self, doc: &mut Document, letters: &[String]) {
        let lang = self.lang;
        let rows = self.sides.iter().zip(letters).map(|(side, letter)| {
            let (used, all) = (side.sound().count(), side.runs.len());
            let levels = side
                .runs
                .iter()
                .filter_map(|run| Some(run.verdict.as_ref()?.level));
            let level = levels.max().map_or_else(
                || lang.pick("no verdict", "无判定").to_owned(),
                |level| level.to_string(),
            );
            let mut codes: Vec<&str> = Vec::new();
            for reason in side
                .runs
                .iter()
                .flat_map(|run| run.verdict.iter().flat_map(|verdict| &verdict.reasons))
            {
                if !codes.contains(&reason.code.as_str()) {
                    codes.push(&reason.code);
                }
            }
            let runs = if used == all {
                all.to_string()
            } else {
                format!("{used}/{all}")
            };
            vec![
                letter.clone(),
                side.name.clone(),
                runs,
                level,
                codes.join(", "),
            ]
        });
        let head = [
            "",
            lang.pick("Run", "运行"),
            lang.pick("runs", "次数"),
            lang.pick("Verdict", "判定"),
            lang.pick("Reasons", "原因"),
        ];
        doc.table(&head, rows.collect());
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
        let metrics = self.metrics();
        if metrics.iter().any(|(key, _)| key.starts_with(RESPONSE)) {
            doc.text(lang.pick(
                "Response latency counts from the instant at which a request was due, so it includes the wait for a free \
                 slot, as users experience it. The rows below the response rows count from the send: with \
                 --max-concurrency or --multi-turn-max-active, they do not include that wait.",
                "响应延迟自请求应发时刻起算，含等待空闲名额的时间，即用户实际等待的时间。有并发上限时，其下自发送起的延迟不含这段等待。",
            ));
        }
        let rows = metrics.into_iter().map(|(key, better)| {
            let base = self.sides[0].value(&key).map(|value| value.mean);
            let mut row = vec![label(&key), cell(base)];
            for side in &self.sides[1..] {
                let value = side.value(&key).map(|value| value.mean);
                let difference = value.zip(base).map(|(value, base)| value - base);
                let relative = difference
                    .zip(base)
                    .filter(|(_, base)| *base != 0.0)
                    .map(|(d, base)| d / base * 100.0);
                let decision = self.decision(side, &key, better);
                row.extend([
                    cell(value),
                    signed(difference, ""),
                    relative_text(relative, decision, lang),
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
        for run in self.sides.iter().map(Runs::first) {
            for key in run.metadata.keys() {
                if !keys.contains(key) {
                    keys.push(key.clone());
                }
            }
        }
        keys.into_iter()
            .filter_map(|key| {
                let values: Vec<Value> = self
                    .sides
                    .iter()
                    .map(|side| side.first().row.get(&key).cloned().unwrap_or(Value::Null))
                    .collect();
                values
                    .iter()
                    .any(|value| !value.is_null())
                    .then_some((key, values))
            })
            .collect()
    }

    /// Whether a side is better than the first by a number: only an interval tells.
    fn decision(&self, side: &Runs, key: &str, better: Option<Direction>) -> Option<Decision> {
        let (base, value) = (self.sides[0].value(key)?, side.value(key)?);
        let better = better?;
        let data = self.sides[0].sound().next().is_some() && side.sound().next().is_some();
        let larger = match value.difference(&base).filter(|_| data) {
            Some((low, _)) if low > 0.0 => true,
            Some((_, high)) if high < 0.0 => false,
            _ => return Some(Decision::CannotTell),
        };
        Some(if larger == (better == Direction::Higher) {
            Decision::Better
        } else {
            Decision::Worse
        })
    }

    /// Numbers other than settings that at least one run has: response latency, then E2EL, which
    /// together are what users wait, then the others in file order.
    fn metrics(&self) -> Vec<(String, Option<Direction>)> {
        let mut keys: Vec<String> = Vec::new();
        let runs = || self.sides.iter().flat_map(|side| &side.runs);
        let mut own: Vec<String> = Vec::new();
        for metric in ["e2el_ms", "ttft_ms"] {
            for stat in ["mean", "p50", "p99"] {
                own.push(format!("{RESPONSE}.{metric}.{stat}"));
            }
        }
        let has = |run: &Run, key: &str| run.row.contains_key(key);
        if !runs().all(|run| has(run, "mean_e2el_ms")) {
            own.extend(["mean", "p50", "p99"].map(|stat| format!("{SERVICE}.e2el_ms.{stat}")));
        }
        own.retain(|key| runs().any(|run| number(run, key).is_some()));
        for run in runs() {
            for key in run.row.keys() {
                let setting = SETTINGS.contains(&key.as_str())
                    || matches!(key.as_str(), "date" | "filename" | "run_number")
                    || run.metadata.contains_key(key);
                if !setting && !keys.contains(key) && run.number(key).is_some() {
                    keys.push(key.clone());
                }
            }
        }
        let (e2el, others): (Vec<String>, Vec<String>) =
            keys.into_iter().partition(|key| key.ends_with("_e2el_ms"));
        own.into_iter()
            .chain(e2el)
            .chain(others)
            .map(|key| (key.clone(), better(&key)))
            .collect()
    }
}

/// Shortens each path to its shortest suffix that no other side shares.
fn shorten_names(sides: &mut [Runs]) {
    let names: Vec<Vec<String>> = sides
        .iter()
        .map(|side| {
            side.name
                .split('/')
                .filter(|part| !part.is_empty())
                .map(str::to_owned)
                .collect()
        })
        .collect();
    for (index, side) in sides.iter_mut().enumerate() {
        let own = &names[index];
        let suffix = |count: usize| &own[own.len().saturating_sub(count)..];
        let is_unique = |count: &usize| {
            names
                .iter()
                .enumerate()
                .all(|(other, name)| other == index || !name.ends_with(suffix(*count)))
        };
        let count = (1..=own.len()).find(is_unique).unwrap_or(own.len());
        side.name = suffix(count).join("/");
    }
}
