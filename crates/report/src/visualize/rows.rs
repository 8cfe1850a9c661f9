//! One run as a row of keys and values, and what the figures use of it.

use indexmap::IndexMap;
use inferometer_core::{Level, Reason, Verdict};
use inferometer_metrics::{Metric, has_answers, measured, samples_needed};
use serde_json::Value;

/// One run in vLLM's keys, plus `input_len`, `output_len`, `filename`.
pub use inferometer_decide::Row;

/// Keys of vLLM's result file that hold text; any other text is metadata.
const NOT_METADATA: [&str; 18] = [
    "date",
    "endpoint_type",
    "backend",
    "label",
    "model_id",
    "tokenizer_id",
    "request_rate",
    "ramp_up_strategy",
    "filename",
    "tool",
    "source",
    "era",
    "format",
    "verdict",
    "run_number",
    "request_id_prefix",
    "path",
    "inferometer",
];

/// A centre or a tail of a latency metric.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Stat {
    /// Arithmetic mean.
    Mean,
    /// Median.
    Median,
    /// The highest percentile up to 99 that the run has.
    Tail,
}

/// What the figures and reports use of a row.
#[derive(Clone, Debug, Default)]
pub struct Run {
    /// Name of the result file, else a number.
    pub name: String,
    /// Model.
    pub model: String,
    /// Backend.
    pub backend: String,
    /// Label.
    pub label: Option<String>,
    /// Date as written.
    pub date: Option<String>,
    /// Input tokens of a request, where they are the same for all.
    pub input_len: Option<f64>,
    /// Output tokens of a request, where they are the same for all.
    pub output_len: Option<f64>,
    /// Concurrency cap.
    pub concurrency: Option<f64>,
    /// Request rate, where finite.
    pub rate: Option<f64>,
    /// Requests.
    pub num_prompts: Option<f64>,
    /// Metadata: text under keys that vLLM does not define.
    pub metadata: IndexMap<String, String>,
    /// Whether the numbers can be trusted; `None` for results of tools without a verdict.
    pub verdict: Option<Verdict>,
    /// The whole row.
    pub row: Row,
}

/// Parses rows. Rows without any throughput are kept: their requests may all have failed.
pub fn parse_rows(rows: &[Row]) -> Vec<Run> {
    let mut runs: Vec<Run> = rows
        .iter()
        .enumerate()
        .map(|(index, row)| Run::from_row(index, row))
        .collect();
    let lengths: Vec<_> = runs.iter().map(|run| run.lengths_of_alike(&runs)).collect();
    for (run, lengths) in runs.iter_mut().zip(lengths) {
        (run.input_len, run.output_len) = lengths;
    }
    runs
}

impl Run {
    fn from_row(index: usize, row: &Row) -> Self {
        let text = |key: &str| {
            row.get(key)
                .and_then(Value::as_str)
                .filter(|s| !s.is_empty())
                .map(str::to_owned)
        };
        let metadata = row
            .iter()
            .filter(|(key, value)| {
                !NOT_METADATA.contains(&key.as_str())
                    && !key.starts_with("inferometer")
                    && value
                        .as_str()
                        .is_some_and(|s| !s.is_empty() && s.parse::<f64>().is_err())
            })
            .map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned()))
            .collect();
        Self {
            name: text("filename").unwrap_or_else(|| format!("run {}", index + 1)),
            model: text("model_id").unwrap_or_default(),
            backend: text("backend")
                .or_else(|| text("endpoint_type"))
                .unwrap_or_default(),
            label: text("label"),
            date: text("date").or_else(|| number(row, "date").map(|n| n.to_string())),
            input_len: number(row, "input_len").or_else(|| equal_length(row, "input")),
            output_len: number(row, "output_len").or_else(|| equal_length(row, "output")),
            concurrency: number(row, "max_concurrency").filter(|n| *n > 0.0),
            rate: number(row, "request_rate").filter(|n| *n > 0.0),
            num_prompts: number(row, "num_prompts"),
            metadata,
            verdict: verdict(row),
            row: row.clone(),
        }
    }

    /// Its lengths; where it has no answer to know them by, those of the runs that it is alike to in
    /// everything but the load, if these are equal.
    fn lengths_of_alike(&self, runs: &[Self]) -> (Option<f64>, Option<f64>) {
        let own = (self.input_len, self.output_len);
        if self.has_answers() || own != (None, None) {
            return own;
        }
        let alike = |run: &&Self| {
            run.has_answers()
                && (&run.model, &run.backend, &run.label, run.place())
                    == (&self.model, &self.backend, &self.label, self.place())
                && run.metadata == self.metadata
        };
        let mut others = runs.iter().filter(alike);
        let lengths = |run: &Self| (run.input_len, run.output_len);
        match others.next().map(lengths) {
            Some(first) if others.all(|run| lengths(run) == first) => first,
            _ => own,
        }
    }

    /// The number under `key`, also where it is written as text.
    pub fn number(&self, key: &str) -> Option<f64> {
        number(&self.row, key)
    }

    /// The number under `key` as far as it was measured: a rate or a latency of a run without
    /// answers, which is 0 in its file, is not.
    pub fn measured(&self, key: &str) -> Option<f64> {
        measured(key, |key| number(&self.row, key))
    }

    /// A number of ours by its path, such as `inferometer.extras.concurrency.mean`.
    pub(crate) fn own_number(&self, path: &str) -> Option<f64> {
        inferometer_decide::number(&self.row, path)
    }

    /// True when at least one request was answered.
    pub fn has_answers(&self) -> bool {
        has_answers(|key| number(&self.row, key))
    }

    /// True when means, ratings and best settings may use the run: it has answers and is not
    /// INVALID.
    pub fn is_sound(&self) -> bool {
        self.has_answers() && !self.is_invalid()
    }

    /// A statistic of a latency metric in milliseconds. Where the median is not stored, p50 is
    /// used.
    pub fn latency(&self, metric: Metric, stat: Stat) -> Option<f64> {
        let name = metric.key();
        match stat {
            Stat::Mean => self
                .measured(&format!("mean_{name}_ms"))
                .or_else(|| self.stored_latency(metric, None)),
            Stat::Median => self
                .measured(&format!("median_{name}_ms"))
                .or_else(|| self.measured(&format!("p50_{name}_ms")))
                .or_else(|| self.stored_latency(metric, Some(50.0))),
            Stat::Tail => self.tail(metric).map(|(_, value)| value),
        }
    }

    /// The percentiles that the run has of any latency.
    pub(crate) fn percentiles(&self) -> impl Iterator<Item = f64> {
        self.row.keys().filter_map(|key| {
            let (percentile, metric) = key.strip_prefix('p')?.split_once('_')?;
            let is_latency = metric.ends_with("_ms");
            percentile.parse().ok().filter(|_| is_latency)
        })
    }

    /// The folder that distinguishes the run from runs of the same file name elsewhere: what its
    /// name has before the file, without the `runN` of a repeat. Names have a folder only where
    /// file names alone are not enough. The folders of vLLM's sweep, whose files are `run=N.json`,
    /// are settings that the file itself holds.
    pub(crate) fn place(&self) -> Option<&str> {
        let (folder, file) = self.name.rsplit_once('/')?;
        if file.starts_with("run=") {
            return None;
        }
        let (above, last) = folder.rsplit_once('/').unwrap_or(("", folder));
        let number = last.strip_prefix("run");
        let is_repeat =
            number.is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()));
        Some(if is_repeat { above } else { folder }).filter(|place| !place.is_empty())
    }

    /// The highest percentile up to 99 (and from 75 on), with its value in milliseconds.
    pub fn tail(&self, metric: Metric) -> Option<(f64, f64)> {
        let ending = format!("_{}_ms", metric.key());
        self.row
            .keys()
            .filter_map(|key| {
                key.strip_prefix('p')?
                    .strip_suffix(&ending)?
                    .parse::<f64>()
                    .ok()
            })
            .filter(|p| (75.0..=99.0).contains(p))
            .max_by(f64::total_cmp)
            .and_then(|p| Some((p, self.measured(&format!("p{p}{ending}"))?)))
            .or_else(|| Some((99.0, self.stored_latency(metric, Some(99.0))?)))
    }

    /// vLLM keeps each request's latency in its file even when E2EL was not among the metrics asked
    /// for: the mean, or a percentile (linear between neighbours), of those that are not zero,
    /// which mark failures.
    fn stored_latency(&self, metric: Metric, percentile: Option<f64>) -> Option<f64> {
        if metric != Metric::E2el {
            return None;
        }
        // Our own results always have it, whatever metrics were asked for.
        let stat = percentile.map_or("mean".to_owned(), |percentile| format!("p{percentile}"));
        let own = format!("inferometer.extras.service.e2el_ms.{stat}");
        if let Some(value) =
            inferometer_decide::number(&self.row, &own).filter(|_| self.has_answers())
        {
            return Some(value);
        }
        let mut ms: Vec<f64> = self
            .good_detail("latencies")?
            .iter()
            .filter(|s| **s > 0.0)
            .map(|s| s * 1e3)
            .collect();
        ms.sort_by(f64::total_cmp);
        let last = ms.len().checked_sub(1)?;
        let Some(percentile) = percentile else {
            return Some(ms.iter().sum::<f64>() / ms.len() as f64);
        };
        let place = last as f64 * percentile / 100.0;
        let (low, part) = (place.floor() as usize, place.fract());
        Some(ms[low] + (ms[(low + 1).min(last)] - ms[low]) * part)
    }

    /// True when the run has fewer answers than `percentile` needs to be estimated with 99 %
    /// confidence. A tool that does not report how many requests succeeded is believed to have
    /// enough.
    pub fn is_below_floor(&self, percentile: f64) -> bool {
        let needed = samples_needed(percentile).unwrap_or(0);
        self.number("completed")
            .is_some_and(|completed| completed < needed as f64)
    }

    /// True when the verdict is CAUTION.
    pub fn is_caution(&self) -> bool {
        self.verdict
            .as_ref()
            .is_some_and(|verdict| verdict.level == Level::Caution)
    }

    /// True when the verdict is INVALID.
    pub fn is_invalid(&self) -> bool {
        self.verdict
            .as_ref()
            .is_some_and(|verdict| verdict.level == Level::Invalid)
    }

    /// The numbers of an array of details, `None` where there is none.
    pub fn detail(&self, key: &str) -> Option<Vec<f64>> {
        detail(&self.row, key)
    }

    /// True when the details say that the request at this place failed. Files may hold the times of
    /// failed requests too, up to where they ended.
    pub(crate) fn has_failed(&self, place: usize) -> bool {
        has_failed(&self.row, place)
    }

    /// The numbers of an array of details of requests that did not fail.
    pub(crate) fn good_detail(&self, key: &str) -> Option<Vec<f64>> {
        good_detail(&self.row, key)
    }

    /// Mean number of requests in flight in a closed loop as a fraction of its cap, where known.
    /// Below 1 by what the start and the end of the run, where not all slots are busy, take of it.
    pub(crate) fn busy_slots(&self) -> Option<f64> {
        let mean = inferometer_decide::number(&self.row, "inferometer.extras.concurrency.mean")?;
        let cap = self.concurrency.filter(|_| self.is_closed_loop())?;
        Some(mean / cap)
    }

    /// True when requests were sent as slots became free: a cap and no rate.
    pub(crate) fn is_closed_loop(&self) -> bool {
        self.concurrency.is_some() && self.rate.is_none()
    }

    /// Requests that failed, and those that failed or were answered; where both numbers are known.
    pub(crate) fn failed_of_all(&self) -> Option<(f64, f64)> {
        let failed = self.number("failed")?;
        Some((failed, failed + self.number("completed")?))
    }
}

fn detail(row: &Row, key: &str) -> Option<Vec<f64>> {
    let list = row.get(key)?.as_array()?;
    let numbers: Vec<f64> = list.iter().filter_map(Value::as_f64).collect();
    (!numbers.is_empty()).then_some(numbers)
}

fn has_failed(row: &Row, place: usize) -> bool {
    let errors = row.get("errors").and_then(Value::as_array);
    errors
        .and_then(|list| list.get(place)?.as_str())
        .is_some_and(|error| !error.is_empty())
}

fn good_detail(row: &Row, key: &str) -> Option<Vec<f64>> {
    let good: Vec<f64> = detail(row, key)?
        .into_iter()
        .enumerate()
        .filter(|(place, _)| !has_failed(row, *place))
        .map(|(_, value)| value)
        .collect();
    (!good.is_empty()).then_some(good)
}

fn number(row: &Row, key: &str) -> Option<f64> {
    match row.get(key)? {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
    .filter(|value: &f64| value.is_finite())
}

/// The length of all prompts (`part` "input") or answers ("output") in tokens, where the data of
/// the run say that it is the same: the range in our own result, in a file or a table, else the list
/// of single requests. A total that is a multiple of the number of requests says nothing.
fn equal_length(row: &Row, part: &str) -> Option<f64> {
    let place = |end: &str| format!("inferometer.extras.token_lengths.{part}.{end}");
    let end = |end: &str| inferometer_decide::number(row, &place(end));
    if let (Some(min), Some(max)) = (end("min"), end("max")) {
        return (min == max).then_some(min);
    }
    let lengths = good_detail(row, &format!("{part}_lens"))?;
    lengths
        .iter()
        .all(|length| *length == lengths[0])
        .then_some(lengths[0])
}

fn verdict(row: &Row) -> Option<Verdict> {
    let object = row.get("inferometer").and_then(|ours| ours.get("verdict"));
    if let Some(verdict) =
        object.and_then(|value| serde_json::from_value::<Verdict>(value.clone()).ok())
    {
        return Some(verdict);
    }
    // A CSV holds the level, and perhaps the codes, as text.
    let level = [
        "inferometer.verdict.level",
        "inferometer.verdict",
        "verdict",
    ]
    .iter()
    .find_map(|key| row.get(*key).and_then(Value::as_str))?;
    let level = serde_json::from_value(Value::String(level.trim().to_ascii_uppercase())).ok()?;
    let codes = row
        .get("inferometer.verdict.reasons")
        .and_then(Value::as_str)
        .unwrap_or_default();
    // Our own tables have them as JSON.
    if let Ok(reasons) = serde_json::from_str::<Vec<Reason>>(codes) {
        return Some(Verdict { level, reasons });
    }
    let reasons = codes
        .split([';', ','])
        .map(str::trim)
        .filter(|code| !code.is_empty())
        .map(|code| Reason {
            code: code.into(),
            level,
            message: String::new(),
            remedy: String::new(),
            detail: None,
        })
        .collect();
    Some(Verdict { level, reasons })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn row(value: Value) -> Row {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn text_from_csv_and_numbers_from_json_are_the_same() {
        let json = row(
            json!({"max_concurrency": 8, "request_rate": "inf", "median_ttft_ms": 12.5, "p95_ttft_ms": 20}),
        );
        let csv = row(
            json!({"max_concurrency": "8", "request_rate": "inf", "median_ttft_ms": "12.5", "p95_ttft_ms": "20.0"}),
        );
        for run in parse_rows(&[json, csv]) {
            assert_eq!((run.concurrency, run.rate), (Some(8.0), None));
            assert_eq!(run.latency(Metric::Ttft, Stat::Median), Some(12.5));
            assert_eq!(run.tail(Metric::Ttft), Some((95.0, 20.0)));
        }
    }

    /// 13,360 / 80 = 167, and the prompts were 24 to 310 tokens long.
    #[test]
    fn lengths_are_known_only_from_the_data_of_the_run() {
        let totals =
            json!({"completed": 80, "total_input_tokens": 13_360, "total_output_tokens": 8_000});
        let run = &parse_rows(&[row(totals.clone())])[0];
        assert_eq!((run.input_len, run.output_len), (None, None));

        let mut own = row(totals.clone());
        let ranges = json!({"input": {"min": 24, "max": 310}, "output": {"min": 100, "max": 100}});
        own.insert(
            "inferometer".into(),
            json!({"extras": {"token_lengths": ranges}}),
        );
        let run = &parse_rows(&[own])[0];
        assert_eq!((run.input_len, run.output_len), (None, Some(100.0)));

        let mut table = row(totals.clone());
        for (end, value) in [("input.min", "167"), ("input.max", "167")] {
            let column = format!("inferometer.extras.token_lengths.{end}");
            table.insert(column, value.into());
        }
        assert_eq!(parse_rows(&[table])[0].input_len, Some(167.0));

        // The third request failed: its answer has no length.
        let mut details = row(totals);
        for (key, list) in [
            ("input_lens", json!([167, 167, 9])),
            ("output_lens", json!([100, 101, 0])),
            ("errors", json!(["", "", "timeout"])),
        ] {
            details.insert(key.into(), list);
        }
        let run = &parse_rows(&[details])[0];
        assert_eq!((run.input_len, run.output_len), (Some(167.0), None));
    }

    #[test]
    fn verdicts_come_from_our_object_or_a_column() {
        let ours = json!({"inferometer": {"verdict": {"level": "INVALID", "reasons": []}}});
        assert!(parse_rows(&[row(ours)])[0].is_invalid());
        let column = json!({"inferometer.verdict.level": "caution", "inferometer.verdict.reasons": "late_sends; failures"});
        let verdict = parse_rows(&[row(column)])[0].verdict.clone().unwrap();
        assert_eq!((verdict.level, verdict.reasons.len()), (Level::Caution, 2));
        assert_eq!(parse_rows(&[row(json!({}))])[0].verdict, None);
    }
}
