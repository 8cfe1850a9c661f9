//! From records to what is printed. `run` and `report` both come through here, which is why a
//! report can be made again from the run folder.

use inferometer_core::{ClientHealth, Records, Verdict};
use inferometer_metrics::traffic::{Traffic, TrafficSettings};
use inferometer_metrics::{Extras, MetricSettings, Summary, VerdictSettings, analyse, judge};
use inferometer_report::Lang;
use inferometer_report::console::{
    BlockContext, TableContext, result_table, traffic_lines, verdict_block,
};
use serde::{Deserialize, Serialize};

use crate::decoding::Decoding;
use crate::probe::ProbeNumbers;

/// What decides the numbers besides the records; kept in the manifest.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct NumberSettings {
    /// Which metrics, percentiles and limits.
    pub(crate) metrics: MetricSettings,
    /// What the verdict needs to know.
    pub(crate) verdict: VerdictSettings,
    /// The constant rate that was asked for, if it was finite.
    pub(crate) request_rate: Option<f64>,
    /// What is known of the traffic.
    #[serde(default)]
    pub(crate) traffic: TrafficSettings,
    /// vLLM's spelling of a label until December 2025.
    #[serde(default)]
    pub(crate) old_total_label: bool,
    /// What the server's counters said of its decoding.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) decoding: Option<Decoding>,
    /// What became of the probe requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) probe: Option<ProbeNumbers>,
}

/// The numbers of a run and the judgement on them.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Numbers {
    /// Under vLLM's definitions.
    pub(crate) summary: Summary,
    /// What vLLM does not have.
    pub(crate) extras: Extras,
    /// Traces, conversations and other shapes.
    #[serde(skip_serializing_if = "Traffic::is_empty")]
    pub(crate) traffic: Traffic,
    /// May they be trusted?
    #[serde(skip)]
    pub(crate) verdict: Verdict,
}

impl Numbers {
    /// Everything that can be said of `records`.
    pub(crate) fn of(
        records: &dyn Records,
        settings: &NumberSettings,
        health: &ClientHealth,
    ) -> Self {
        let (summary, extras) = analyse(records, &settings.metrics);
        let verdict = judge(&summary, &extras, health, &settings.verdict);
        let traffic = Traffic::of(records, &settings.traffic);
        Self {
            summary,
            extras,
            traffic,
            verdict,
        }
    }

    /// vLLM's table, then our block.
    pub(crate) fn render(
        &self,
        settings: &NumberSettings,
        health: &ClientHealth,
        look: &Look,
    ) -> String {
        let table = result_table(
            &self.summary,
            &TableContext {
                max_concurrency: settings.metrics.cap.map(|cap| cap as u64),
                request_rate: settings.request_rate,
                tokenizer: settings.metrics.has_tokenizer,
                old_total_label: settings.old_total_label,
                probes: settings.probe.as_ref().map(ProbeNumbers::section),
                extra: settings
                    .decoding
                    .as_ref()
                    .map(Decoding::sections)
                    .unwrap_or_default(),
            },
        );
        let extras = &self.extras;
        let share = extras
            .client_share
            .iter()
            .find(|share| share.metric == "ttft" && share.p99_ms > 0.0);
        let block = verdict_block(&BlockContext {
            verdict: self.verdict.clone(),
            outcomes: extras.outcomes.clone(),
            lateness: extras
                .arrival
                .own_lateness_ms
                .or(extras.arrival.lateness_ms),
            receive_lag: extras.receive.lag_ms,
            kernel_stamps: health.kernel_stamps,
            coalesced_share: (extras.receive.events > 0).then_some(extras.receive.coalesced_share),
            client_share: share
                .and_then(|share| Some(share.bound_ms? / share.p99_ms))
                .filter(|share| share.is_finite()),
            worker_cpu: worker_cpu(health),
            service: extras.service.e2el_ms,
            response: extras
                .response
                .as_ref()
                .and_then(|response| response.e2el_ms),
            partial: settings.verdict.interrupted,
            run_folder: look.run_folder.clone(),
            lang: look.lang,
            color: look.color,
        });
        format!("{table}{block}{}", traffic_lines(&self.traffic))
    }
}

/// How the text is to look.
#[derive(Clone, Debug, Default)]
pub(crate) struct Look {
    /// Language of our own block.
    pub(crate) lang: Lang,
    /// With colour codes.
    pub(crate) color: bool,
    /// The run folder to name.
    pub(crate) run_folder: Option<String>,
}

/// The busiest worker's use of its processor, without the time spent spinning towards due instants.
fn worker_cpu(health: &ClientHealth) -> Option<f64> {
    let wall = health.wall.as_secs_f64();
    let busiest = health
        .workers
        .iter()
        .map(|worker| worker.cpu.since(worker.spin).as_secs_f64());
    busiest
        .reduce(f64::max)
        .filter(|_| wall > 0.0)
        .map(|busy| busy / wall)
}
