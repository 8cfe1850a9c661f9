//! What a comparison or a gate of two groups of runs found, as text, Markdown, JSON, JUnit and annotations.

use std::fmt::Write as _;

use inferometer_core::visible;
use inferometer_decide::{
    Decision, Design, Foresight, Gate, Groups, Judgement, LeftOut, Member, Outcome,
};
use inferometer_metrics::CONFIDENCE;
use serde_json::{Value, json};

use crate::Lang;
use crate::chart::escape;
use crate::document::Document;
use crate::format::significant;

/// Pairs that are listed by name.
const PAIRS: usize = 12;

/// What was asked about the groups, with what all metrics together say.
#[derive(Clone, Copy, Debug)]
pub enum Question<'a> {
    /// How does each metric differ?
    Compare(&'a [Judgement]),
    /// Is any metric worse by more than its margin?
    Gate(&'a Gate),
    /// Does the candidate differ, in pairs of runs?
    Ab(&'a Gate),
}

impl<'a> Question<'a> {
    const fn answer(self) -> Option<&'a Gate> {
        match self {
            Self::Compare(_) => None,
            Self::Gate(gate) | Self::Ab(gate) => Some(gate),
        }
    }

    /// Each metric.
    pub(crate) fn metrics(self) -> &'a [Judgement] {
        match self {
            Self::Compare(metrics) => metrics,
            Self::Gate(gate) | Self::Ab(gate) => &gate.metrics,
        }
    }

    const fn is_gate(self) -> bool {
        matches!(self, Self::Gate(_))
    }

    /// A decision in words.
    pub(crate) const fn word(self, decision: Decision, lang: Lang) -> &'static str {
        match decision {
            Decision::Equivalent if self.is_gate() => lang.pick("within the margin", "在容差内"),
            other => word(other, lang),
        }
    }
}

/// A decision about a metric in words.
pub(crate) const fn word(decision: Decision, lang: Lang) -> &'static str {
    match decision {
        Decision::Better => lang.pick("better", "更好"),
        Decision::Worse => lang.pick("worse", "更差"),
        Decision::Equivalent => lang.pick("equivalent", "等效"),
        Decision::CannotTell => lang.pick("cannot tell", "无法判断"),
    }
}

/// What was found, with what is needed to show it.
#[derive(Debug)]
pub struct DecisionReport<'a> {
    /// The runs.
    pub groups: &'a Groups,
    /// What was asked, with the answer.
    pub question: Question<'a>,
    /// What more pairs will be able to see, where it was asked.
    pub foresight: Option<&'a Foresight>,
    /// Language of text and Markdown.
    pub lang: Lang,
}

impl DecisionReport<'_> {
    /// As plain text.
    pub fn to_text(&self) -> String {
        self.document().to_plain()
    }

    /// As Markdown, such as for a comment on a pull request.
    pub fn to_markdown(&self) -> String {
        self.document().to_markdown()
    }

    /// As JSON; `format_version` 1.
    pub fn to_json(&self) -> Value {
        let names = |members: &[Member]| {
            members
                .iter()
                .map(|one| one.name.clone())
                .collect::<Vec<_>>()
        };
        let mut found = json!({
            "format_version": 1,
            "design": self.groups.design,
            "confidence": CONFIDENCE,
            "baseline": {"runs": names(self.groups.baseline())},
            "candidate": {"runs": names(self.groups.candidate())},
            "left_out": self.groups.left_out,
            "failed_fraction": self.groups.failures,
            "settings_known": !self.groups.settings_unknown,
            "allowed_differences": self.groups.allowed,
            "metrics": self.question.metrics(),
        });
        if let Some(gate) = self.question.answer() {
            found["decision"] = json!(gate.decision);
            found["pairs_needed"] = json!(gate.pairs_needed);
        }
        if let Some(foresight) = self.foresight {
            found["foresight"] = json!(foresight);
        }
        found
    }

    /// As JUnit XML, a test case for each metric: worse is a failure, cannot tell is skipped.
    pub fn to_junit(&self) -> String {
        let count = |decision: Decision| {
            self.question
                .metrics()
                .iter()
                .filter(|one| one.decision == decision)
                .count()
        };
        let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
        let _ = writeln!(
            out,
            "<testsuite name=\"inferometer gate\" tests=\"{}\" failures=\"{}\" skipped=\"{}\">",
            self.question.metrics().len(),
            count(Decision::Worse),
            count(Decision::CannotTell)
        );
        for metric in self.question.metrics() {
            let sentence = escape(&visible(&sentence(metric, self.question, Lang::En)));
            let inner = match metric.decision {
                Decision::Worse => format!("<failure message=\"{sentence}\"/>"),
                Decision::CannotTell => format!("<skipped message=\"{sentence}\"/>"),
                Decision::Better | Decision::Equivalent => {
                    format!("<system-out>{sentence}</system-out>")
                }
            };
            let name = escape(&visible(&metric.metric));
            let _ = writeln!(
                out,
                "  <testcase classname=\"inferometer.gate\" name=\"{name}\">{inner}</testcase>"
            );
        }
        out.push_str("</testsuite>\n");
        out
    }

    /// As workflow commands of GitHub Actions, a line for each metric that is worse or undecided.
    pub fn to_annotations(&self) -> String {
        let warning = |text: &str| {
            format!(
                "::warning title=inferometer gate::{}\n",
                visible(text).replace('%', "%25")
            )
        };
        let failures = self.failures_sentence().map(|text| warning(&text));
        let of_metrics = self.question.metrics().iter().filter_map(|metric| {
            let kind = match metric.decision {
                Decision::Worse => "error",
                Decision::CannotTell => "warning",
                Decision::Better | Decision::Equivalent => return None,
            };
            let text = sentence(metric, self.question, Lang::En);
            // GitHub reads % as the start of an escape.
            let text = visible(&text).replace('%', "%25");
            Some(format!("::{kind} title=inferometer gate::{text}\n"))
        });
        failures.into_iter().chain(of_metrics).collect()
    }

    fn document(&self) -> Document {
        let lang = self.lang;
        let mut doc = Document::default();
        match self.question {
            Question::Compare(_) => doc.heading(
                1,
                lang.pick("Comparison of two groups of runs", "两组运行的对比"),
            ),
            Question::Gate(_) => doc.heading(1, lang.pick("Gate", "回归门禁")),
            Question::Ab(_) => doc.heading(1, lang.pick("A/B", "A/B 对比")),
        }
        if let Some(answer) = self.question.answer() {
            doc.text(verdict_sentence(answer, self.question, lang));
        }
        self.groups_part(&mut doc);
        let head = [
            lang.pick("Metric", "指标"),
            lang.pick("baseline", "基准"),
            lang.pick("candidate", "候选"),
            lang.pick("change", "变化"),
            lang.pick("95 % interval", "95 % 置信区间"),
            lang.pick("margin", "容差"),
            lang.pick("detectable", "可检出"),
            lang.pick("decision", "结论"),
            lang.pick("runs needed", "还需次数"),
        ];
        let rows = self
            .question
            .metrics()
            .iter()
            .map(|metric| self.row(metric))
            .collect();
        doc.table(&head, rows);
        doc.text(self.explanation());
        self.foresight_part(&mut doc);
        doc
    }

    fn foresight_part(&self, doc: &mut Document) {
        let Some(Foresight { pairs, metrics }) = self.foresight else {
            return;
        };
        let lang = self.lang;
        doc.heading(
            2,
            lang.pick(
                "What pairs of runs will be able to see",
                "成对运行能检出的变化",
            ),
        );
        let mut head = vec![
            lang.pick("Metric", "指标").to_owned(),
            lang.pick("spread of runs", "运行间波动").to_owned(),
        ];
        head.extend(pairs.iter().map(|pairs| match lang {
            Lang::En => format!("{pairs} pairs"),
            Lang::Zh => format!("{pairs} 对"),
        }));
        let rows = metrics.iter().map(|one| {
            let detectable = one
                .detectable_percent
                .iter()
                .map(|percent| format!("{percent:.1} %"));
            [one.metric.clone(), format!("{:.1} %", one.run_cv_percent)]
                .into_iter()
                .chain(detectable)
                .collect()
        });
        let head: Vec<&str> = head.iter().map(String::as_str).collect();
        doc.table(&head, rows.collect());
        doc.text(lang.pick(
            "The smallest change for the worse that this many pairs find in 4 of 5 cases, if all these metrics are judged \
             together and the noise is as it was here.",
            "若同时判断以上全部指标且波动与此处相同，相应对数的运行在五次中有四次能发现的最小劣化。",
        ));
    }

    fn groups_part(&self, doc: &mut Document) {
        let lang = self.lang;
        let (baseline, candidate) = (self.groups.baseline().len(), self.groups.candidate().len());
        doc.text(match (lang, self.groups.design) {
            (Lang::En, Design::Groups) => {
                format!("Runs of the baseline: {baseline}; of the candidate: {candidate}. Each run counts once.")
            }
            (Lang::En, Design::Paired) => {
                format!("Pairs of runs: {baseline}, each of a run of the baseline and one of the candidate.")
            }
            (Lang::Zh, Design::Groups) => {
                format!("基准 {baseline} 次运行，候选 {candidate} 次运行；每次运行计一次。")
            }
            (Lang::Zh, Design::Paired) => format!("{baseline} 对运行，每对为基准与候选各一次。"),
        });
        let left_out = |one: &LeftOut| match lang {
            Lang::En => format!("Left out: {} ({})", one.name, one.reason),
            Lang::Zh => format!("未计入：{}（{}）", one.name, one.reason),
        };
        if let Design::Paired = self.groups.design {
            let pairs = self.groups.baseline().iter().zip(self.groups.candidate());
            doc.list(
                pairs
                    .take(PAIRS)
                    .map(|(a, b)| format!("{} + {}", a.name, b.name))
                    .collect(),
            );
        }
        doc.list(self.groups.left_out.iter().map(left_out).collect());
        if let Some(sentence) = self.failures_sentence() {
            doc.text(sentence);
        }
        if self.groups.settings_unknown {
            doc.text(lang.pick(
                "Some of these files do not hold all settings (sampling, dataset, ignore_eos, endpoint and others): \
                 whether the runs share those is unknown. The model, lengths, counts, rate and cap that the files hold \
                 agree.",
                "部分文件不含全部设置（采样、数据集、ignore_eos、端点等），双方在这些设置上是否一致未知。文件中已有的模型、\
                 长度、请求数、速率与并发上限一致。",
            ));
        }
        if !self.groups.allowed.is_empty() {
            let allowed = self.groups.allowed.join(", ");
            doc.text(match lang {
                Lang::En => format!("These settings differ, as --may-differ allows: {allowed}"),
                Lang::Zh => format!("以下设置不同（--may-differ 允许）：{allowed}"),
            });
        }
    }

    /// That the candidate fails more requests, where it does.
    fn failures_sentence(&self) -> Option<String> {
        let failures = self.groups.failures;
        let [baseline, candidate] =
            [failures.baseline, failures.candidate].map(|part| part * 100.0);
        failures.candidate_fails_more().then(|| match self.lang {
            Lang::En => format!(
                "WARNING: {candidate:.1} % of the candidate's requests failed, and {baseline:.1} % of the baseline's: its \
                 latencies are those of the requests that survived, so that it is not passed."
            ),
            Lang::Zh => format!(
                "警告：候选有 {candidate:.1} % 的请求失败，基准为 {baseline:.1} %：其延迟只代表成功的请求，因此不予通过。"
            ),
        })
    }

    fn row(&self, metric: &Judgement) -> Vec<String> {
        let interval = match (metric.low_percent, metric.high_percent) {
            (Some(low), Some(high)) => format!("{} … {} %", signed(low), signed(high)),
            _ => "–".to_owned(),
        };
        let percent =
            |value: Option<f64>| value.map_or("–".to_owned(), |value| format!("{value:.1} %"));
        let needed = match (metric.decision, metric.pairs_needed) {
            (Decision::CannotTell, Some(needed)) => format!("+{needed}"),
            (Decision::CannotTell, None) => self.lang.pick("not foreseen", "无法预计").to_owned(),
            _ => "–".to_owned(),
        };
        vec![
            metric.metric.clone(),
            significant(metric.baseline, 4),
            significant(metric.candidate, 4),
            format!("{} %", signed(metric.change_percent)),
            interval,
            percent(Some(metric.margin_percent)),
            percent(metric.detectable_percent),
            self.question.word(metric.decision, self.lang).to_owned(),
            needed,
        ]
    }

    fn explanation(&self) -> String {
        let single = self
            .question
            .metrics()
            .iter()
            .any(|one| one.low_percent.is_none());
        let rule = match self.question {
            Question::Compare(_) => self.lang.pick(
                "Equivalent: the interval of the change is within the margin, whether or not it contains 0. Otherwise better \
                 or worse: it does not contain 0. Intervals are of one metric each: of 20 metrics that did not change, about one is called better or worse.",
                "等效：变化的区间在容差之内，无论是否含 0。否则更好或更差：区间不含 0。每个区间只针对一个指标：20 个未变化的指标中，约有一个会被判为\
                 更好或更差。",
            ),
            Question::Gate(_) => self.lang.pick(
                "Worse: the whole interval, corrected for the number of metrics, is beyond the margin. Within the margin: \
                 the 95 % bound of the change for the worse is; with planned looks, a stricter bound at all but the last.",
                "更差：按指标数校正后的整个区间都超出容差。在容差内：劣化的 95 % 界在容差之内；计划多次检查时，最后一次之前用更严的界。",
            ),
            Question::Ab(_) => self.lang.pick(
                "Equivalent: the 90 % interval of the change is within the margin (with planned looks, a wider one before the \
                 last). Otherwise better or worse: it differs from 0, corrected for the number of metrics and of looks.",
                "等效：变化的 90 % 置信区间在容差之内（计划多次检查时，最后一次之前用更宽的区间）。否则更好或更差：按指标数与检查\
                 次数校正后，变化不为 0。",
            ),
        };
        let mut text = rule.to_owned();
        text.push_str(self.lang.pick(
            " Detectable: the smallest change for the worse that this many runs with this noise find in 4 of 5 cases.",
            "可检出：以这样的次数与波动，五次中有四次能发现的最小劣化。",
        ));
        if single {
            text.push_str(self.lang.pick(
                " A side with a single run, or a value of 0, has no interval: the noise between runs is unknown there.",
                " 只有一次运行的一方，或数值为 0 时，没有区间：运行之间的波动未知。",
            ));
        }
        text
    }
}

fn signed(value: f64) -> String {
    format!("{value:+.1}")
}

/// One metric as a sentence.
fn sentence(metric: &Judgement, question: Question<'_>, lang: Lang) -> String {
    let change = signed(metric.change_percent);
    let interval = match (metric.low_percent, metric.high_percent) {
        (Some(low), Some(high)) => format!("{} … {} %", signed(low), signed(high)),
        _ => lang.pick("unknown", "未知").to_owned(),
    };
    let (name, margin) = (&metric.metric, metric.margin_percent);
    let word = question.word(metric.decision, lang);
    match lang {
        Lang::En => {
            format!("{name}: {word}: {change} % (95 % interval {interval}; margin {margin} %)")
        }
        Lang::Zh => {
            format!("{name}：{word}：{change} %（95 % 置信区间 {interval}；容差 {margin} %）")
        }
    }
}

/// What the gate says, in a line.
fn verdict_sentence(gate: &Gate, question: Question<'_>, lang: Lang) -> String {
    let of = |decision: Decision| {
        let named: Vec<String> = gate
            .metrics
            .iter()
            .filter(|one| one.decision == decision)
            .map(|one| sentence(one, question, lang))
            .collect();
        named.join(lang.pick("; ", "；"))
    };
    let all = |one: Decision, two: Decision| {
        let named = [of(one), of(two)];
        let named: Vec<&str> = named
            .iter()
            .map(String::as_str)
            .filter(|text| !text.is_empty())
            .collect();
        named.join(lang.pick("; ", "；"))
    };
    match (gate.decision, lang) {
        (Outcome::Pass, Lang::En) if question.is_gate() => {
            "PASS: no metric is worse by more than its margin.".to_owned()
        }
        (Outcome::Pass, Lang::Zh) if question.is_gate() => {
            "通过：没有指标的劣化超过容差。".to_owned()
        }
        (Outcome::Pass, Lang::En) => {
            format!("NOT WORSE: {}", all(Decision::Better, Decision::Equivalent))
        }
        (Outcome::Pass, Lang::Zh) => {
            format!("没有更差：{}", all(Decision::Better, Decision::Equivalent))
        }
        (Outcome::Worse, Lang::En) => format!("WORSE: {}", all(Decision::Worse, Decision::Better)),
        (Outcome::Worse, Lang::Zh) => format!("更差：{}", all(Decision::Worse, Decision::Better)),
        (Outcome::CannotTell, Lang::En) => {
            let more = match (gate.pairs_needed, question) {
                (None, _) => "how many more runs would decide is not foreseen".to_owned(),
                (Some(1), Question::Ab(_)) => "about 1 more pair is needed".to_owned(),
                (Some(needed), Question::Ab(_)) => format!("about {needed} more pairs are needed"),
                (Some(1), _) => "about 1 more run on each side is needed".to_owned(),
                (Some(needed), _) => format!("about {needed} more runs on each side are needed"),
            };
            format!("CANNOT TELL: {more}. {}", of(Decision::CannotTell))
        }
        (Outcome::CannotTell, Lang::Zh) => {
            let more = match (gate.pairs_needed, question) {
                (None, _) => "还需多少次运行无法预计".to_owned(),
                (Some(needed), Question::Ab(_)) => format!("大约还需 {needed} 对运行"),
                (Some(needed), _) => format!("每方大约还需 {needed} 次运行"),
            };
            format!("无法判断：{more}。{}", of(Decision::CannotTell))
        }
    }
}
