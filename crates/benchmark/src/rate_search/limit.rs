//! The limits of a search.

use inferometer_metrics::{Metric, Summary};

use crate::error::Error;

/// A statistic of a metric that must stay below a number of milliseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Limit {
    pub(super) metric: Metric,
    pub(super) statistic: Statistic,
    pub(super) below_ms: f64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Statistic {
    Mean,
    Percentile(f64),
}

impl Limit {
    /// Limits such as `p99_ttft<500,mean_itl <= 30`, separated by commas or spaces.
    pub(super) fn parse_all(text: &str) -> Result<Vec<Self>, Error> {
        let mut tight = text.to_owned();
        for (spaced, sign) in [(" <", "<"), ("< ", "<"), ("<= ", "<=")] {
            while tight.contains(spaced) {
                tight = tight.replace(spaced, sign);
            }
        }
        let limits: Vec<Self> = tight
            .split([',', ' '])
            .filter(|limit| !limit.is_empty())
            .map(Self::parse)
            .collect::<Result<_, _>>()?;
        if limits.is_empty() {
            return Err(Error::usage(
                "--find-rate: missing limit, such as p99_ttft<500",
            ));
        }
        Ok(limits)
    }

    fn parse(text: &str) -> Result<Self, Error> {
        let wrong = |why: &str| {
            Error::usage(format!(
                "--find-rate {text}: {why}; expected STATISTIC_METRIC<MILLISECONDS, such as p99_ttft<500, with mean, \
                 median or pNN and ttft, tpot, itl, e2el, client_queue_time, e2el_including_client_queue"
            ))
        };
        let (name, limit) = text.split_once('<').ok_or_else(|| wrong("missing <"))?;
        let below_ms = limit
            .trim_start_matches('=')
            .trim()
            .parse()
            .ok()
            .filter(|limit: &f64| *limit > 0.0);
        let below_ms = below_ms.ok_or_else(|| wrong("invalid limit: expected a number above 0"))?;
        let (statistic, metric) = name
            .trim()
            .split_once('_')
            .ok_or_else(|| wrong("missing _"))?;
        let metric = Metric::from_key(metric).ok_or_else(|| wrong("unknown metric"))?;
        let statistic = match statistic {
            "mean" => Statistic::Mean,
            "median" => Statistic::Percentile(50.0),
            other => {
                let percentile = other
                    .strip_prefix('p')
                    .and_then(|number| number.parse().ok());
                let percentile = percentile.filter(|number| (0.0..=100.0).contains(number));
                Statistic::Percentile(percentile.ok_or_else(|| wrong("unknown statistic"))?)
            }
        };
        Ok(Self {
            metric,
            statistic,
            below_ms,
        })
    }

    pub(super) fn name(self) -> String {
        match self.statistic {
            Statistic::Mean => format!("mean_{}", self.metric.key()),
            Statistic::Percentile(p) => format!("p{p}_{}", self.metric.key()),
        }
    }

    /// True for a metric of the client's queue, the time before the send.
    pub(super) fn is_of_queue(self) -> bool {
        matches!(
            self.metric,
            Metric::ClientQueueTime | Metric::E2elIncludingClientQueue
        )
    }

    /// The value in a run; `None` when the run has no such metric.
    pub(super) fn value(self, summary: &Summary) -> Option<f64> {
        let stats = summary
            .stats
            .iter()
            .find(|stats| stats.metric == self.metric && stats.samples > 0)?;
        match self.statistic {
            Statistic::Mean => Some(stats.mean_ms),
            Statistic::Percentile(wanted) => stats
                .percentiles
                .iter()
                .find(|&&(p, _)| p == wanted)
                .map(|&(_, value)| value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_as_people_write_them() {
        let limit = Limit::parse("p99_ttft<500").unwrap();
        assert_eq!(
            (limit.metric, limit.statistic),
            (Metric::Ttft, Statistic::Percentile(99.0))
        );
        assert_eq!((limit.below_ms, limit.name().as_str()), (500.0, "p99_ttft"));
        let several = Limit::parse_all("median_itl <= 30, mean_tpot < 9 p5_e2el<1").unwrap();
        let read: Vec<_> = several
            .iter()
            .map(|one| (one.name(), one.below_ms))
            .collect();
        assert_eq!(
            read,
            [
                ("p50_itl".to_owned(), 30.0),
                ("mean_tpot".to_owned(), 9.0),
                ("p5_e2el".to_owned(), 1.0)
            ]
        );
        for (wrong, why) in [
            ("p99_ttft", "missing <"),
            ("p99<5", "missing _"),
            ("p101_ttft<5", "statistic"),
            ("p99_speed<5", "metric"),
            ("p99_ttft<0", "above 0"),
        ] {
            let error = Limit::parse(wrong).unwrap_err();
            assert!(error.to_string().contains(why), "{wrong}: {error}");
        }
    }
}
