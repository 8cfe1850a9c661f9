//! From records to what is printed, for `run` and `report` alike, so that a run folder gives the same
//! report again.

use inferometer_core::{ClientHealth, Records, Verdict};
use inferometer_metrics::traffic::Traffic;
use inferometer_metrics::{Extras, Summary, analyse, judge};
use inferometer_report::Lang;
use inferometer_report::console::{
    BlockContext, TableContext, result_table, traffic_lines, verdict_block,
};
use serde::Serialize;

use crate::decoding::Decoding;
use crate::probe::ProbeNumbers;
use crate::spec::{RunFacts, RunSpec};

/// The numbers of a run and the verdict on them.
#[derive(Clone, Debug, Serialize)]
pub struct Numbers {
    /// Metrics under vLLM's definitions; times in milliseconds.
    pub summary: Summary,
    /// Metrics that vLLM does not have.
    pub extras: Extras,
    /// Metrics of traces, conversations and other kinds of traffic.
    #[serde(skip_serializing_if = "Traffic::is_empty")]
    pub traffic: Traffic,
    /// Whether the numbers can be trusted.
    #[serde(skip)]
    pub verdict: Verdict,
}

impl Numbers {
    /// Computes everything from `records`.
    pub fn of(
        records: &dyn Records,
        spec: &RunSpec,
        facts: &RunFacts,
        health: &ClientHealth,
    ) -> Self {
        let (summary, extras) = analyse(records, &spec.metric_settings());
        let verdict = judge(&summary, &extras, health, &spec.verdict_settings(facts));
        let traffic = Traffic::of(records, &facts.traffic);
        Self {
            summary,
            extras,
            traffic,
            verdict,
        }
    }

    /// vLLM's table, then inferometer's block, as text.
    pub fn render(
        &self,
        spec: &RunSpec,
        facts: &RunFacts,
        health: &ClientHealth,
        look: &Look,
    ) -> String {
        let table = result_table(
            &self.summary,
            &TableContext {
                max_concurrency: spec.load.max_concurrency.map(|cap| cap as u64),
                request_rate: spec.load.request_rate(),
                tokenizer: spec.target.has_tokenizer,
                old_total_label: spec.compat.has_old_total_label(),
                probes: facts.probe.as_ref().map(ProbeNumbers::section),
                extra: facts
                    .decoding
                    .as_ref()
                    .map(Decoding::sections)
                    .unwrap_or_default(),
            },
        );
        let block = self.block(facts, health, look);
        format!("{table}{block}{}", traffic_lines(&self.traffic))
    }

    fn block(&self, facts: &RunFacts, health: &ClientHealth, look: &Look) -> String {
        let extras = &self.extras;
        let share = extras
            .client_share
            .iter()
            .find(|share| share.metric == "ttft" && share.p99_ms > 0.0);
        verdict_block(&BlockContext {
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
            partial: facts.interrupted,
            run_folder: look.run_folder.clone(),
            lang: look.lang,
            color: look.color,
            columns: look.columns,
        })
    }
}

/// How the text of [`Numbers::render`] looks.
#[derive(Clone, Debug, Default)]
pub struct Look {
    /// Language of inferometer's block.
    pub lang: Lang,
    /// Whether colour codes are used.
    pub color: bool,
    /// Columns of the terminal, at which inferometer's block is wrapped; `None` where nothing limits them.
    pub columns: Option<usize>,
    /// The run folder to mention.
    pub run_folder: Option<String>,
}

/// The busiest worker's CPU use, 0 to 1, without the time spent spinning until due instants.
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
