//! Which numbers to compute, and how flags select them.

use inferometer_core::suggest::meant;
use serde::{Deserialize, Serialize};

use crate::{Kind, Metric};

/// What decides a [`Summary`](crate::Summary) besides the records.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MetricSettings {
    /// Metrics with statistics (`--percentile-metrics`). Those that the run cannot have are left
    /// out of the result.
    pub selected: Vec<Metric>,
    /// Percentiles from 0 to 100 (`--metric-percentiles`).
    pub percentiles: Vec<f64>,
    /// Limits in milliseconds (`--goodput`).
    pub goodput: Vec<(Slo, f64)>,
    /// Requests that may be in flight at once (`--max-concurrency`).
    pub cap: Option<usize>,
    /// Conversations that may be active at once.
    // The name in manifests of version 1.
    #[serde(
        default,
        rename = "most_conversations",
        skip_serializing_if = "Option::is_none"
    )]
    pub max_conversations: Option<usize>,
    /// True when the request rate is finite.
    pub finite_rate: bool,
    /// True when the rate rises on purpose, so that a growing backlog is expected.
    #[serde(default)]
    pub ramp: bool,
    /// Kind of the endpoint.
    pub kind: Kind,
    /// False when there is no tokenizer; vLLM then leaves out TTFT, TPOT and ITL.
    pub has_tokenizer: bool,
    /// True where vLLM's rules hold to the letter (`--compat vllm`): an answer in one piece has a TPOT
    /// of 0, and meets every limit.
    #[serde(default)]
    pub as_vllm: bool,
    /// Tokens that the server may add to each prompt before its count differs from the client's. `None`
    /// where the two counts cannot be compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_tolerance: Option<u32>,
}

impl Default for MetricSettings {
    fn default() -> Self {
        Self {
            selected: default_metrics(Kind::Generation),
            percentiles: vec![99.0],
            goodput: Vec::new(),
            cap: None,
            max_conversations: None,
            finite_rate: false,
            ramp: false,
            kind: Kind::Generation,
            has_tokenizer: true,
            as_vllm: false,
            prompt_tolerance: None,
        }
    }
}

impl MetricSettings {
    /// True when the summary has the metric: it is selected, and the run has it.
    pub(crate) fn shows(&self, metric: Metric) -> bool {
        self.selected.contains(&metric) && self.has(metric)
    }

    /// True when this run has the metric: queueing needs a cap, and the first three need tokens.
    pub fn has(&self, metric: Metric) -> bool {
        let has_tokens = self.kind == Kind::Generation && self.has_tokenizer;
        let has_queue = match metric {
            Metric::Ttft | Metric::Tpot | Metric::Itl | Metric::E2el => true,
            Metric::ClientQueueTime => self.cap.is_some(),
            Metric::E2elIncludingClientQueue => self.cap.is_some() && self.finite_rate,
        };
        has_queue && (has_tokens || !metric.needs_stream())
    }
}

/// The metrics that vLLM reports by default.
pub fn default_metrics(kind: Kind) -> Vec<Metric> {
    match kind {
        Kind::Generation => vec![Metric::Ttft, Metric::Tpot, Metric::Itl],
        Kind::Pooling => vec![Metric::E2el],
    }
}

/// A metric that a limit can be set on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Slo {
    /// Time to first token.
    Ttft,
    /// Time per output token; 0 for answers of one token.
    Tpot,
    /// End-to-end latency.
    E2el,
}

impl Slo {
    /// All of them, in the order in which they are listed.
    pub const ALL: [Self; 3] = [Self::Ttft, Self::Tpot, Self::E2el];

    /// The metric that is limited.
    pub const fn metric(self) -> Metric {
        match self {
            Self::Ttft => Metric::Ttft,
            Self::Tpot => Metric::Tpot,
            Self::E2el => Metric::E2el,
        }
    }

    /// The name in flags.
    pub const fn key(self) -> &'static str {
        self.metric().key()
    }
}

/// An invalid value of a flag that selects numbers.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MetricFlagError {
    /// A metric that does not exist.
    #[error(
        "--percentile-metrics: unknown metric {name:?}; choose from {}{}",
        metric_names(),
        meant(name, Metric::ALL.map(Metric::key))
    )]
    UnknownMetric {
        /// The name that was given.
        name: String,
    },
    /// A percentile that is not a number.
    #[error(
        "--metric-percentiles: invalid percentile {text:?}: expected a number, for example 50,90,99.9"
    )]
    NotAPercentile {
        /// What was given.
        text: String,
    },
    /// A percentile outside 0 to 100.
    #[error("--metric-percentiles: {text} is outside 0 to 100")]
    PercentileRange {
        /// What was given.
        text: String,
    },
    /// A limit that is not `NAME:MILLISECONDS`.
    #[error(
        "--goodput: invalid limit {text:?}: expected NAME:MILLISECONDS, for example ttft:500 tpot:50"
    )]
    NotALimit {
        /// What was given.
        text: String,
    },
    /// A limit on a metric that does not support one.
    #[error(
        "--goodput: unknown metric {name:?}; choose from ttft, tpot, e2el{}",
        meant(name, Slo::ALL.map(Slo::key))
    )]
    UnknownLimit {
        /// The name that was given.
        name: String,
    },
    /// A limit that is negative or not a number.
    #[error("--goodput: invalid limit {text}: expected 0 ms or more")]
    LimitRange {
        /// What was given.
        text: String,
    },
}

fn metric_names() -> String {
    Metric::ALL.map(Metric::key).join(", ")
}

/// Parses `--percentile-metrics`, a comma-separated list. vLLM ignores unknown names; here they are
/// errors, because the intended metric would silently be missing. The result is in vLLM's order.
///
/// # Errors
///
/// Unknown names.
pub fn parse_metrics(list: &str) -> Result<Vec<Metric>, MetricFlagError> {
    let mut metrics = Vec::new();
    for name in items(list) {
        match Metric::from_key(name) {
            Some(metric) => metrics.push(metric),
            None => return Err(MetricFlagError::UnknownMetric { name: name.into() }),
        }
    }
    metrics.sort_unstable();
    metrics.dedup();
    Ok(metrics)
}

/// Parses `--metric-percentiles`, a comma-separated list of numbers from 0 to 100. Keeps the order
/// and drops repetitions.
///
/// # Errors
///
/// Anything but numbers from 0 to 100.
pub fn parse_percentiles(list: &str) -> Result<Vec<f64>, MetricFlagError> {
    let mut percentiles = Vec::new();
    for text in items(list) {
        let p: f64 = text
            .parse()
            .map_err(|_| MetricFlagError::NotAPercentile { text: text.into() })?;
        if !(0.0..=100.0).contains(&p) {
            return Err(MetricFlagError::PercentileRange { text: text.into() });
        }
        if !percentiles.contains(&p) {
            percentiles.push(p);
        }
    }
    Ok(percentiles)
}

/// Parses the values of `--goodput`, each `NAME:MILLISECONDS`. A later limit on the same metric
/// wins.
///
/// # Errors
///
/// Anything but `NAME:MILLISECONDS` with a known name and a limit that is not negative.
pub fn parse_goodput<S: AsRef<str>>(pairs: &[S]) -> Result<Vec<(Slo, f64)>, MetricFlagError> {
    let mut limits = std::collections::BTreeMap::new();
    for pair in pairs {
        let text = pair.as_ref().trim();
        let wrong = || MetricFlagError::NotALimit { text: text.into() };
        let (name, value) = text.split_once(':').ok_or_else(wrong)?;
        let name = name.trim();
        let slo = Slo::ALL
            .into_iter()
            .find(|slo| slo.key() == name)
            .ok_or_else(|| MetricFlagError::UnknownLimit { name: name.into() })?;
        let limit: f64 = value.trim().parse().map_err(|_| wrong())?;
        if limit.is_nan() || limit < 0.0 {
            return Err(MetricFlagError::LimitRange { text: text.into() });
        }
        limits.insert(slo, limit);
    }
    Ok(limits.into_iter().collect())
}

fn items(list: &str) -> impl Iterator<Item = &str> {
    list.split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metric_lists_may_be_in_any_order_and_unknown_names_are_rejected() {
        assert_eq!(
            parse_metrics("itl, ttft,,ttft").unwrap(),
            [Metric::Ttft, Metric::Itl]
        );
        let message = parse_metrics("ttft,ltt").unwrap_err().to_string();
        assert!(
            message.contains("\"ltt\"") && message.contains("e2el_including_client_queue"),
            "{message}"
        );
    }

    #[test]
    fn percentiles_keep_their_order_and_must_be_from_0_to_100() {
        assert_eq!(
            parse_percentiles("99, 50,99.9,99").unwrap(),
            [99.0, 50.0, 99.9]
        );
        assert!(
            parse_percentiles("p99")
                .unwrap_err()
                .to_string()
                .contains("invalid percentile \"p99\": expected a number")
        );
        for text in ["-1", "100.5", "nan", "inf"] {
            assert!(
                parse_percentiles(text)
                    .unwrap_err()
                    .to_string()
                    .contains("outside"),
                "{text}"
            );
        }
    }

    #[test]
    fn goodput_limits_are_parsed_and_checked() {
        let limits = parse_goodput(&["e2el:2000", "ttft: 500", "ttft:300.5"]).unwrap();
        assert_eq!(limits, [(Slo::Ttft, 300.5), (Slo::E2el, 2000.0)]);
        let error = |text: &str| parse_goodput(&[text]).unwrap_err().to_string();
        assert!(error("itl:5").contains("choose from ttft, tpot, e2el"));
        assert!(error("ttft=5").contains("NAME:MILLISECONDS"));
        assert!(error("ttft:fast").contains("NAME:MILLISECONDS"));
        assert!(error("ttft:-1").contains("0 ms or more"));
        assert!(error("ttft:nan").contains("0 ms or more"));
    }

    #[test]
    fn queueing_metrics_need_a_cap_and_token_metrics_need_tokens() {
        let mut settings = MetricSettings {
            finite_rate: true,
            ..MetricSettings::default()
        };
        assert!(settings.has(Metric::Ttft) && !settings.has(Metric::ClientQueueTime));
        settings.cap = Some(4);
        assert!(
            settings.has(Metric::ClientQueueTime) && settings.has(Metric::E2elIncludingClientQueue)
        );
        settings.finite_rate = false;
        assert!(!settings.has(Metric::E2elIncludingClientQueue));
        settings.has_tokenizer = false;
        assert!(!settings.has(Metric::Itl) && settings.has(Metric::E2el));
        settings = MetricSettings {
            kind: Kind::Pooling,
            ..MetricSettings::default()
        };
        assert!(!settings.has(Metric::Tpot));
    }
}
