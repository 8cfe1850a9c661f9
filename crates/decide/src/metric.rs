//! Numbers of a run by name, and which direction of each is an improvement.

use indexmap::IndexMap;
use serde_json::Value;

/// A run in the keys of its result file.
pub type Row = IndexMap<String, Value>;

/// Which direction of a number is an improvement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Such as throughput.
    Higher,
    /// Such as latency.
    Lower,
}

impl Direction {
    /// The direction of the number under `key`; `None` where neither is an improvement. A number of
    /// samples follows from the plan, and says nothing about the server.
    pub fn of(key: &str) -> Option<Self> {
        if key.ends_with(".samples") {
            None
        } else if key.contains("throughput") || key.contains("goodput") || key.contains("per_s") {
            Some(Self::Higher)
        } else if key.ends_with("_ms") || key.contains("_ms.") {
            Some(Self::Lower)
        } else {
            None
        }
    }

    /// 1 where a larger number is worse, −1 where a smaller one is.
    pub(crate) const fn harm(self) -> f64 {
        match self {
            Self::Lower => 1.0,
            Self::Higher => -1.0,
        }
    }

    /// The logarithm of the ratio to a number that is worse by `percent`, as a positive number.
    pub(crate) fn log_margin(self, percent: f64) -> f64 {
        match self {
            Self::Lower => (percent / 100.0).ln_1p(),
            Self::Higher => -(-percent / 100.0).ln_1p(),
        }
    }

    /// The inverse of [`Direction::log_margin`].
    pub(crate) fn margin_percent(self, log: f64) -> f64 {
        match self {
            Self::Lower => log.exp_m1() * 100.0,
            Self::Higher => -(-log).exp_m1() * 100.0,
        }
    }
}

/// Unit of the number under `key`; empty where the name has none.
pub fn unit(key: &str) -> &'static str {
    if key.ends_with("_ms") || key.contains("_ms.") {
        "ms"
    } else if key == "request_throughput"
        || key == "request_goodput"
        || key == "input_sequence_throughput"
    {
        "1/s"
    } else if key.ends_with("throughput") || key.ends_with("tokens_per_s") {
        "tokens/s"
    } else if key == "duration" {
        "s"
    } else {
        ""
    }
}

/// The number under `key`, which is one of the file's keys or the path of one of ours with dots, with or
/// without `inferometer.` before it. Tables keep numbers as text.
pub fn number(row: &Row, key: &str) -> Option<f64> {
    let nested = |path: &str| {
        let mut parts = path.split('.');
        let first = row.get(parts.next()?)?;
        parts.try_fold(first, |value, part| value.get(part))
    };
    let value = row
        .get(key)
        .or_else(|| nested(key))
        .or_else(|| row.get(&format!("inferometer.{key}")))
        .or_else(|| nested(&format!("inferometer.{key}")))?;
    let found = match value {
        Value::String(text) => text.trim().parse().ok(),
        other => other.as_f64(),
    };
    found.filter(|number| number.is_finite())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_number_is_found_by_its_key_and_by_its_path() {
        let row: Row = [
            ("mean_ttft_ms".to_owned(), json!(12.5)),
            ("p99_ttft_ms".to_owned(), json!("31")),
            (
                "inferometer".to_owned(),
                json!({"extras": {"response": {"e2el_ms": {"p99": 7.0}}}}),
            ),
            ("inferometer.extras.arrival.x".to_owned(), json!(3)),
        ]
        .into_iter()
        .collect();
        for (key, expected) in [
            ("mean_ttft_ms", Some(12.5)),
            ("p99_ttft_ms", Some(31.0)),
            ("extras.response.e2el_ms.p99", Some(7.0)),
            ("inferometer.extras.response.e2el_ms.p99", Some(7.0)),
            ("extras.arrival.x", Some(3.0)),
            ("p50_ttft_ms", None),
        ] {
            assert_eq!(number(&row, key), expected, "{key}");
        }
    }

    #[test]
    fn margins_are_percentages_of_the_baseline_in_the_direction_of_harm() {
        // 5 % more latency: × 1.05. 5 % less throughput: × 0.95.
        assert!((Direction::Lower.log_margin(5.0) - 1.05_f64.ln()).abs() < 1e-15);
        assert!((Direction::Higher.log_margin(5.0) + 0.95_f64.ln()).abs() < 1e-15);
        for direction in [Direction::Lower, Direction::Higher] {
            assert!((direction.margin_percent(direction.log_margin(5.0)) - 5.0).abs() < 1e-12);
        }
    }
}
