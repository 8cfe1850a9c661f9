//! Which numbers of a stored result were measured.

use crate::Metric;

/// The latencies that a result file names by key.
const METRICS: [Metric; 4] = [Metric::Ttft, Metric::Tpot, Metric::Itl, Metric::E2el];

/// True when the run has answers: without any, its rates and latencies are 0 for want of data.
///
/// `number` gives a number of the result by vLLM's key. A tool that does not report how many
/// requests succeeded is believed to have some.
pub fn has_answers(number: impl Fn(&str) -> Option<f64>) -> bool {
    number("completed").is_none_or(|completed| completed > 0.0)
}

/// The number under `key` as far as it was measured.
///
/// vLLM writes 0 for statistics without a sample: for every latency and rate of a run without
/// answers, and for TPOT where every answer has one token. Such a 0 is no measurement; its mean is
/// 0 too, which no measured latency's is. Counts stay as they are.
pub fn measured(key: &str, number: impl Fn(&str) -> Option<f64>) -> Option<f64> {
    let value = number(key)?;
    let metric = METRICS
        .iter()
        .find(|metric| key.ends_with(&format!("_{}_ms", metric.key())));
    let is_rate = ["throughput", "goodput"]
        .iter()
        .any(|word| key.contains(word));
    let measured = match metric {
        Some(metric) => {
            let mean = number(&format!("mean_{}_ms", metric.key()));
            has_answers(&number)
                && mean.is_none_or(|mean| mean > 0.0)
                && (value > 0.0 || mean.is_some())
        }
        None if is_rate => has_answers(&number),
        None => true,
    };
    measured.then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(row: &[(&str, f64)], key: &str) -> Option<f64> {
        measured(key, |key| {
            row.iter()
                .find(|(name, _)| *name == key)
                .map(|(_, value)| *value)
        })
    }

    #[test]
    fn a_run_without_answers_has_counts_only() {
        let row = [
            ("completed", 0.0),
            ("failed", 20.0),
            ("mean_ttft_ms", 0.0),
            ("p99_ttft_ms", 0.0),
            ("output_throughput", 0.0),
        ];
        for key in ["mean_ttft_ms", "p99_ttft_ms", "output_throughput", "none"] {
            assert_eq!(of(&row, key), None, "{key}");
        }
        assert_eq!(of(&row, "completed"), Some(0.0));
        assert_eq!(of(&row, "failed"), Some(20.0));
    }

    #[test]
    fn a_metric_without_samples_has_a_mean_of_zero() {
        let row = [
            ("completed", 5.0),
            ("mean_tpot_ms", 0.0),
            ("p99_tpot_ms", 0.0),
            ("mean_itl_ms", 3.0),
            ("median_itl_ms", 0.0),
        ];
        assert_eq!(of(&row, "p99_tpot_ms"), None);
        assert_eq!(of(&row, "median_itl_ms"), Some(0.0), "coalesced events");
    }
}
