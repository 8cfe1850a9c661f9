//! One run as a row of keys and values, and what the figures use of it.

use indexmap::IndexMap;
use inferometer_core::{Level, Reason, Verdict};
use inferometer_metrics::Metric;
use serde_json::Value;

/// One run in vLLM's keys, plus `input_len`, `output_len`, `filename`.
pub type Row = IndexMap<String, Value>;

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
    rows.iter()
        .enumerate()
        .map(|(index, row)| Run::from_row(index, row))
        .collect()
}

impl Run {
    fn from_row(index: usize, row: &Row) -> Self {
        let text = |key: &str| {
            row.get(key)
                .and_then(Value::as_str)
                .filter(|s| !s.is_empty())
                .map(str::to_owned)
        };
        let completed = number(row, "completed").filter(|n| *n > 0.0);
        let mean_of =
            |key: &str| Some(number(row, key)? / completed?).filter(|mean| mean.fract() == 0.0);
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
            input_len: number(row, "input_len").or_else(|| mean_of("total_input_tokens")),
            output_len: number(row, "output_len").or_else(|| mean_of("total_output_tokens")),
            concurrency: number(row, "max_concurrency").filter(|n| *n > 0.0),
            rate: number(row, "request_rate").filter(|n| *n > 0.0),
            num_prompts: number(row, "num_prompts"),
            metadata,
            verdict: verdict(row),
            row: row.clone(),
        }
    }

    /// The number under `key`, also where it is written as text.
    pub fn number(&self, key: &str) -> Option<f64> {
        number(&self.row, key)
    }

    /// A statistic of a latency metric in milliseconds. Where the median is not stored, p50 is
    /// used.
    pub fn latency(&self, metric: Metric, stat: Stat) -> Option<f64> {
        let name = metric.key();
        match stat {
            Stat::Mean => self
                .number(&format!("mean_{name}_ms"))
                .or_else(|| self.stored_latency(metric, None)),
            Stat::Median => self
                .number(&format!("median_{name}_ms"))
                .or_else(|| self.number(&format!("p50_{name}_ms")))
                .or_else(|| self.stored_latency(metric, Some(50.0))),
            Stat::Tail => self.tail(metric).map(|(_, value)| value),
        }
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
            .and_then(|p| Some((p, self.number(&format!("p{p}{ending}"))?)))
            .or_else(|| Some((99.0, self.stored_latency(metric, Some(99.0))?)))
    }

    /// vLLM keeps each request's latency in its file even when E2EL was not among the metrics asked
    /// for: the mean, or a percentile (linear between neighbours), of those that are not zero,
    /// which mark failures.
    fn stored_latency(&self, metric: Metric, percentile: Option<f64>) -> Option<f64> {
        if metric != Metric::E2el {
            return None;
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

    /// True when the verdict is INVALID.
    pub fn is_invalid(&self) -> bool {
        self.verdict
            .as_ref()
            .is_some_and(|verdict| verdict.level == Level::Invalid)
    }

    /// The numbers of an array of details, `None` where there is none.
    pub fn detail(&self, key: &str) -> Option<Vec<f64>> {
        let list = self.row.get(key)?.as_array()?;
        let numbers: Vec<f64> = list.iter().filter_map(Value::as_f64).collect();
        (!numbers.is_empty()).then_some(numbers)
    }

    /// True when the details say that the request at this place failed. Files may hold the times of
    /// failed requests too, up to where they ended.
    pub(crate) fn has_failed(&self, place: usize) -> bool {
        let errors = self.row.get("errors").and_then(Value::as_array);
        errors
            .and_then(|list| list.get(place)?.as_str())
            .is_some_and(|error| !error.is_empty())
    }

    /// The numbers of an array of details of requests that did not fail.
    pub(crate) fn good_detail(&self, key: &str) -> Option<Vec<f64>> {
        let all = self.detail(key)?.into_iter().enumerate();
        let good: Vec<f64> = all
            .filter(|(place, _)| !self.has_failed(*place))
            .map(|(_, value)| value)
            .collect();
        (!good.is_empty()).then_some(good)
    }

    /// Fraction of requests that failed, where known.
    pub fn failed_fraction(&self) -> Option<f64> {
        let failed = self.number("failed")?;
        let all = failed + self.number("completed")?;
        (all > 0.0).then(|| failed / all)
    }
}

fn number(row: &Row, key: &str) -> Option<f64> {
    match row.get(key)? {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
    .filter(|value: &f64| value.is_finite())
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
    let reasons = codes
        .split([';', ','])
        .map(str::trim)
        .filter(|code| !code.is_empty())
        .map(|code| Reason {
            code: code.into(),
            level,
            message: String::new(),
            remedy: String::new(),
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

    #[test]
    fn lengths_are_known_only_when_they_are_the_same_for_all_requests() {
        let fixed =
            row(json!({"completed": 10, "total_input_tokens": 5120, "total_output_tokens": 1281}));
        let run = &parse_rows(&[fixed])[0];
        assert_eq!((run.input_len, run.output_len), (Some(512.0), None));
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
