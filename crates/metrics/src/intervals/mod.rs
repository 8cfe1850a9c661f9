//! How precise the numbers of one run are: a 95 % interval for each of them, or the reason why there
//! is none.
//!
//! Requests are not independent: they share batches, caches and stalls, so that neighbours are slow
//! together. Formulas for independent samples give intervals that are far too narrow then. Here, the
//! requests are put in order of their sends and cut into 5 or 10 batches, long enough that batches
//! hardly depend on each other, and the spread between batches carries the interval (batch means;
//! for percentiles, sectioning on the logarithm). `docs/statistics.md` explains the method and has
//! the measured coverage.
//!
//! An interval is one of *this start of the server*: with other requests of the same kind, on the
//! server as it was during the run, 95 of 100 such intervals contain the value. What changes from
//! start to start is not in it.

mod batches;
mod by_metric;
mod collect;
mod independent;
mod rates;
mod sent;

use serde::{Deserialize, Serialize};

pub(crate) use collect::IntervalCollector;

/// Intervals of the numbers of one run: the object `inferometer.intervals` of a result.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Intervals {
    /// Probability that an interval contains the value it is an interval of; 0.95.
    pub confidence: f64,
    /// What the intervals speak of; always this start of the server.
    pub scope: Scope,
    /// One entry per number, in the order of vLLM's table. An object by metric in files.
    #[serde(with = "by_metric")]
    pub metrics: Vec<MetricInterval>,
}

/// Which noise the intervals contain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// That within one run. Noise between runs, such as that of a new start of the server, is not
    /// in them.
    #[default]
    ThisStartOfTheServer,
}

/// One number with its interval.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MetricInterval {
    /// vLLM's key (`p99_ttft_ms`), or a path in `inferometer.extras` (`response.ttft_ms.p99`).
    #[serde(skip)]
    pub metric: String,
    /// Unit of the value and its bounds.
    pub unit: IntervalUnit,
    /// The number as reported.
    pub value: f64,
    /// Requests that the number is made of. For ITL these are the answers with gaps, not the gaps:
    /// the gaps of one answer depend on each other.
    pub requests: usize,
    /// The interval. Absent where there is none; then `refused` says why.
    #[serde(flatten)]
    pub bounds: Option<Bounds>,
    /// The reason for a missing interval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<Refusal>,
    /// What textbook formulas give, which hold only if requests were independent. For percentiles of
    /// request latencies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub if_independent: Option<IfIndependent>,
}

/// Units of [`MetricInterval`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum IntervalUnit {
    /// Milliseconds.
    #[serde(rename = "ms")]
    Milliseconds,
    /// Requests per second.
    #[serde(rename = "requests/s")]
    RequestsPerSecond,
    /// Output tokens per second.
    #[serde(rename = "tokens/s")]
    TokensPerSecond,
}

/// A 95 % interval and what it is made of.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bounds {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Batches of successive requests that it was computed from: 5 or 10.
    pub batches: usize,
    /// Effective sample size: this many independent requests would give the same precision. Requests
    /// divided by (variance from batches / variance if requests were independent), and at most the
    /// requests. A rough figure, because it is a ratio of variances from 5 or 10 batches. Absent for
    /// percentiles of ITL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n_eff: Option<f64>,
}

/// Bounds of a percentile for independent requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct IfIndependent {
    /// Lower end of the order-statistic interval at 95 %: the latency whose rank is the 2.5 % quantile
    /// of Binomial(n, p). Absent where n is too small for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub low: Option<f64>,
    /// Its upper end, from the 97.5 % quantile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub high: Option<f64>,
    /// MLPerf's early-stopping estimate: an upper bound with 99 % confidence, the (t + 1)-th largest
    /// latency with the largest t for which P(Binomial(n, 1 − p) ≤ t) ≤ 1 %. Absent below
    /// [`samples_needed`](crate::samples_needed) requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub early_stopping_upper: Option<f64>,
}

/// Why a number has no interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum Refusal {
    /// Batches would be too short for this number.
    FewRequests {
        /// Requests from which on there is an interval.
        needed: usize,
        /// Requests that the number is made of.
        have: usize,
    },
    /// All requests are due at once and nothing limits them: the run is a single burst.
    OneBurst,
    /// The rate rises on purpose, so that no part of the run is like another.
    Ramp,
    /// The server did not keep up, so that numbers depend on the length of the run.
    BacklogGrows,
    /// The cap sometimes delays requests of a finite rate, so that neither the schedule nor the server
    /// sets the rate.
    CapSometimesBinds,
    /// Slots were often empty although the loop is closed, as with pauses in conversations.
    SlotsNotFull,
    /// The server kept up and every request counts alike, so that the schedule sets the rate.
    SetBySchedule,
    /// Too few requests are within the limits, or too few are not, to know their fraction.
    FewOfAKind {
        /// Requests of each kind from which on there is an interval.
        needed: usize,
        /// Those of the rarer kind.
        have: usize,
    },
    /// A minimum or maximum (percentile 0 or 100).
    Extreme,
    /// The value of the run or of a batch is 0, which has no logarithm.
    Zero,
    /// Requests depend on each other over a large part of a batch.
    LongDependence,
}

impl Refusal {
    /// The reason in a few words, for people.
    pub fn sentence(self) -> String {
        match self {
            Self::FewRequests { needed, have } => format!("needs {needed} requests, has {have}"),
            Self::OneBurst => "all requests are due at once: one burst is one sample".to_owned(),
            Self::Ramp => "the rate rises during the run".to_owned(),
            Self::BacklogGrows => "the server did not keep up".to_owned(),
            Self::CapSometimesBinds => "the cap delays some of the requests".to_owned(),
            Self::SlotsNotFull => "slots were often empty".to_owned(),
            Self::SetBySchedule => "set by the schedule while the server keeps up".to_owned(),
            Self::FewOfAKind { needed, have } => {
                format!("needs {needed} requests within the limits and as many beyond, has {have}")
            }
            Self::Extreme => "a minimum or maximum has none".to_owned(),
            Self::Zero => "the value is 0 in a part of the run".to_owned(),
            Self::LongDependence => {
                "requests depend on each other over a large part of the run".to_owned()
            }
        }
    }

    /// The same in Chinese.
    pub fn sentence_zh(self) -> String {
        match self {
            Self::FewRequests { needed, have } => format!("需要 {needed} 个请求，只有 {have} 个"),
            Self::OneBurst => "所有请求同时到期：一次突发只是一个样本".to_owned(),
            Self::Ramp => "运行期间速率上升".to_owned(),
            Self::BacklogGrows => "服务器跟不上".to_owned(),
            Self::CapSometimesBinds => "并发上限推迟了部分请求".to_owned(),
            Self::SlotsNotFull => "并发槽经常空闲".to_owned(),
            Self::SetBySchedule => "服务器跟得上时由发送计划决定".to_owned(),
            Self::FewOfAKind { needed, have } => {
                format!("限制内与限制外的请求各需 {needed} 个，只有 {have} 个")
            }
            Self::Extreme => "最小值和最大值没有区间".to_owned(),
            Self::Zero => "运行的某一部分中该值为 0".to_owned(),
            Self::LongDependence => "请求之间的相关性跨越了运行的很大一部分".to_owned(),
        }
    }
}

/// An interval, or why there is none.
pub(crate) type Found = Result<Bounds, Refusal>;
