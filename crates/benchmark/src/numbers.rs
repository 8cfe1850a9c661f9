//! From records to what is printed, for `run` and `report` alike, so that a run folder gives the same
//! report again.

use inferometer_core::{ClientHealth, Records, Verdict, redact_url};
use inferometer_metrics::traffic::Traffic;
use inferometer_metrics::{
    Analysis, Extras, Intervals, Kind, MetricSettings, Note, Summary, Target, analyse, judge,
};
use inferometer_report::Lang;
use inferometer_report::console::{
    BlockContext, ClientPart, TableContext, result_table, traffic_lines, verdict_block,
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
    /// How precise both are. Not in the manifest: they follow from the records.
    #[serde(skip)]
    pub intervals: Intervals,
    /// Metrics of traces, conversations and other kinds of traffic.
    #[serde(skip_serializing_if = "Traffic::is_empty")]
    pub traffic: Traffic,
    /// Whether the numbers can be trusted.
    #[serde(skip)]
    pub verdict: Verdict,
    /// vLLM's rules hold to the letter (`--compat vllm`).
    #[serde(skip)]
    pub as_vllm: bool,
}

impl Numbers {
    /// Computes everything from `records`.
    pub fn of(
        records: &dyn Records,
        spec: &RunSpec,
        facts: &RunFacts,
        health: &ClientHealth,
    ) -> Self {
        let as_vllm = spec.compat.is_vllm();
        let settings = MetricSettings {
            prompt_tolerance: facts.prompt_tolerance,
            ..spec.metric_settings()
        };
        let Analysis {
            mut summary,
            mut extras,
            intervals,
        } = analyse(records, &settings);
        extras.notes.extend(repeated_workload(&extras, facts));
        if !as_vllm && summary.kind == Kind::Generation {
            // vLLM counts events and not tokens, and requests that did not overlap.
            summary.max_output_tokens_per_s = extras.peak_output_tokens_per_s;
            summary.max_concurrent_requests = extras.concurrency.max;
        }
        let verdict = judge(&summary, &extras, health, &spec.verdict_settings(facts));
        let traffic = Traffic::of(records, &facts.traffic);
        Self {
            summary,
            extras,
            intervals,
            traffic,
            verdict,
            as_vllm,
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
                as_vllm: self.as_vllm,
                probes: facts.probe.as_ref().map(ProbeNumbers::section),
                extra: facts
                    .decoding
                    .as_ref()
                    .map(Decoding::sections)
                    .unwrap_or_default(),
            },
        );
        let block = self.block(spec, facts, health, look);
        format!("{table}{block}{}", traffic_lines(&self.traffic, look.lang))
    }

    /// The client's part of the first latency there is: TTFT, or E2EL where answers have no tokens.
    fn client_share(&self) -> Option<ClientPart> {
        let extras = &self.extras;
        let metric = |key: &str| extras.client_share.iter().find(|share| share.metric == key);
        let generates = self.summary.kind == Kind::Generation;
        let (name, share) = match metric("ttft").filter(|_| generates) {
            Some(share) => ("TTFT", share),
            None => ("E2EL", metric("e2el")?),
        };
        let of_p99 = |ms: f64| Some(ms / share.p99_ms).filter(|part| part.is_finite());
        Some(ClientPart {
            metric: name,
            fraction: of_p99(share.bound_ms?)?,
            stamps: of_p99(share.stamps_ms?)?,
        })
    }

    /// The notes that the console shows: those that no other line of it says.
    fn shown_notes(&self) -> Vec<Note> {
        let elsewhere = |code: &str| match code {
            "few_samples" => !self.as_vllm,
            "user_space_stamps" | "closed_loop" => true,
            _ => false,
        };
        let notes = self.extras.notes.iter();
        notes
            .filter(|note| !elsewhere(&note.code))
            .cloned()
            .collect()
    }

    fn block(
        &self,
        spec: &RunSpec,
        facts: &RunFacts,
        health: &ClientHealth,
        look: &Look,
    ) -> String {
        let extras = &self.extras;
        verdict_block(&BlockContext {
            verdict: self.verdict.clone(),
            outcomes: extras.outcomes.clone(),
            not_sent: extras.not_sent,
            recovered: facts.recovered,
            targets: extras.targets.iter().map(|row| named(row, spec)).collect(),
            lateness: extras
                .arrival
                .own_lateness_ms
                .or(extras.arrival.lateness_ms),
            receive_lag: extras.receive.lag_ms,
            kernel_stamped: kernel_stamped(extras, health, facts),
            tokens_per_event: extras.gaps.mean_tokens_per_event,
            coalesced_share: (extras.receive.events > 0).then_some(extras.receive.coalesced_share),
            client_share: self.client_share(),
            worker_cpu: worker_cpu(health),
            service: extras.service.e2el_ms,
            response: extras
                .response
                .as_ref()
                .and_then(|response| response.e2el_ms),
            // vLLM's output has none.
            intervals: (!self.as_vllm).then(|| self.intervals.clone()),
            notes: self.shown_notes(),
            partial: facts.interrupted,
            run_folder: look.run_folder.clone(),
            lang: look.lang,
            color: look.color,
            columns: look.columns,
        })
    }
}

/// The fraction of events that the kernel has stamped; `None` on a virtual clock. Such a run has no
/// workers, and of a killed one nothing is known of them.
fn kernel_stamped(extras: &Extras, health: &ClientHealth, facts: &RunFacts) -> Option<f64> {
    (!health.workers.is_empty() || facts.recovered).then(|| {
        if extras.receive.events > 0 {
            extras.receive.kernel_stamped_share
        } else {
            f64::from(u8::from(health.kernel_stamps))
        }
    })
}

/// A note on a run that repeats an earlier one, unless the server reports what it took from its cache:
/// then the verdict judges that.
fn repeated_workload(extras: &Extras, facts: &RunFacts) -> Option<Note> {
    let earlier = facts.repeats.as_deref()?;
    let known = extras.tokens.cached.is_some() || facts.counted_cached.is_some();
    let (part, part_zh) = match facts.repeated_fraction {
        None => ("the same requests".to_owned(), "相同的请求".to_owned()),
        Some(fraction) => (
            format!("{:.0} % of the requests of this run", fraction * 100.0),
            format!("本次运行中 {:.0} % 的请求", fraction * 100.0),
        ),
    };
    (!known).then(|| Note {
        code: "repeated_workload".to_owned(),
        message: format!(
            "the run of {earlier} sent {part} to this server; whatever is still in the prefix cache makes this run \
             faster, and the server does not report how much; change --seed or reset the cache \
             (--reset-prefix-cache)"
        ),
        zh: format!(
            "{earlier} 的运行曾向该服务器发送{part_zh}；其前缀缓存中保留的部分会使本次运行更快，而服务器没有报告多少；\
             请更换 --seed 或重置缓存（--reset-prefix-cache）"
        ),
    })
}

/// A target with its URL, where it has one of its own.
fn named(row: &Target, spec: &RunSpec) -> (String, Target) {
    let urls = &spec.target.base_urls;
    let url = urls.get(usize::from(row.target)).filter(|_| urls.len() > 1);
    (
        url.map(|url| redact_url(url)).unwrap_or_default(),
        row.clone(),
    )
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
