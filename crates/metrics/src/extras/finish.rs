//! From what was gathered to [`Extras`].

use inferometer_core::{Bilingual, Nanos, Outcome};

use super::collect::{ExtrasCollector, OwnTime};
use super::sweep::{self, Delay};
use super::{
    Arrival, Backlog, ClientShare, Concurrency, Extras, Floor, Goodput, Note, Reasoning, Receive,
    Spread, Target, fraction, samples_needed,
};

/// A wait for a slot up to this long does not count as bound by the cap.
const CAP_WAIT: Nanos = Nanos::from_millis(1);
/// Below this fraction of kernel stamps there is no bound on the client's part of a latency.
pub const KERNEL_SHARE: f64 = 0.999;
/// A first request that took this many times the median is remarked on. Chosen: compilation takes
/// hundreds of times as long as a request, and a load's own spread hardly ever ten times.
const WARM_UP_TIMES: f64 = 10.0;
/// With fewer requests there is no median to compare with.
const WARM_UP_REQUESTS: u64 = 4;

impl ExtrasCollector<'_> {
    pub(crate) fn finish(mut self) -> Extras {
        // A request that was in flight when the run ended holds its slot until then.
        for span in &mut self.spans {
            span.end = span.end.min(self.duration);
        }
        let delays = sweep::delays(
            &mut self.spans,
            self.settings.cap,
            self.settings.max_conversations,
        );
        self.extras.service = self.service.finish();
        self.extras.response = self.is_scheduled().then(|| self.response.finish());
        self.extras.arrival = self.arrival(&delays);
        self.extras.receive = self.receive();
        self.extras.gaps.per_event_ms = Spread::of_quantiles(&self.gap);
        let per_token = if self.single_tokens {
            &self.gap
        } else {
            &self.token_gap
        };
        self.extras.gaps.per_token_ms = Spread::of_quantiles(per_token);
        self.extras.gaps.mean_tokens_per_event = (self.counted_tokens > 0)
            .then(|| self.counted_tokens as f64 / self.counted_events as f64);
        self.extras.goodput = self.goodput();
        let (tokens, lengths) = std::mem::take(&mut self.tokens).finish();
        self.extras.tokens = tokens;
        self.extras.output_lengths = lengths;
        let seconds = self.duration.as_secs_f64();
        let mean = if seconds > 0.0 {
            self.output_tokens as f64 / seconds
        } else {
            0.0
        };
        self.extras.peak_output_tokens_per_s = self.rate.peak().max(mean);
        self.extras.concurrency = self.concurrency();
        self.extras.reasoning = self.reasoning();
        self.extras.client_share = self.client_share(&delays);
        self.extras.floors = self.floors();
        self.extras.notes = self.notes();
        let connections = &mut self.extras.connections;
        connections.dns_ms = Spread::of_seconds(&mut self.connecting.dns);
        connections.connect_ms = Spread::of_seconds(&mut self.connecting.connect);
        connections.tls_ms = Spread::of_seconds(&mut self.connecting.tls);
        self.extras.targets = self.target_rows();
        self.extras.token_lengths = self.lengths.finish();
        self.extras
    }

    /// False for a closed loop: there a request is sent when another one ends, not when it is due.
    fn is_scheduled(&self) -> bool {
        self.settings.finite_rate || !self.is_limited()
    }

    /// True when a request may have to wait for others to end.
    fn is_limited(&self) -> bool {
        self.settings.cap.is_some() || self.settings.max_conversations.is_some()
    }

    fn arrival(&self, delays: &[Delay]) -> Arrival {
        let scheduled = self.settings.finite_rate;
        let last_send = self
            .spans
            .last()
            .map_or(0.0, |span| span.send.as_secs_f64());
        let per_second =
            |n: usize, seconds: f64| (scheduled && seconds > 0.0).then(|| n as f64 / seconds);
        let mut lateness: Vec<f64> = self
            .spans
            .iter()
            .map(|span| span.send.since(span.due).as_secs_f64())
            .collect();
        let own = delays.iter().filter(|delay| scheduled || delay.followed);
        let mut own: Vec<f64> = own.map(|delay| delay.own.as_secs_f64()).collect();
        let waited = delays.iter().filter(|delay| delay.cap > CAP_WAIT).count();
        let capped = scheduled && self.is_limited();
        let last_due = self
            .spans
            .iter()
            .map(|span| span.due.as_secs_f64())
            .fold(0.0, f64::max);
        let rate_shortfall =
            (scheduled && last_send > 0.0).then(|| (1.0 - last_due / last_send).max(0.0));
        let duration = self.duration.as_secs_f64();
        let completed = self.extras.outcomes.get(Outcome::Ok) as f64;
        Arrival {
            sent: self.spans.len(),
            scheduled_rate: per_second(self.extras.issued, self.last_due.as_secs_f64()),
            offered_rate: per_second(self.spans.len(), last_send),
            rate_shortfall,
            achieved_rate: if duration > 0.0 {
                completed / duration
            } else {
                0.0
            },
            lateness_ms: if self.is_scheduled() {
                Spread::of_seconds(&mut lateness)
            } else {
                None
            },
            own_lateness_ms: Spread::of_seconds(&mut own),
            cap_bound_share: capped.then(|| fraction(waited as u64, delays.len() as u64)),
        }
    }

    fn receive(&self) -> Receive {
        let events = self.extras.receive.events;
        Receive {
            kernel_stamped_share: fraction(self.kernel_stamped, events),
            coalesced_share: fraction(self.coalesced, events),
            lag_ms: Spread::of_quantiles(&self.lag),
            ..self.extras.receive.clone()
        }
    }

    fn goodput(&self) -> Option<Goodput> {
        if self.settings.goodput.is_empty() {
            return None;
        }
        let outcomes = &self.extras.outcomes;
        let left_out = outcomes.get(Outcome::Cancelled) + outcomes.get(Outcome::Unfinished);
        let counted = outcomes.total() - left_out;
        let duration = self.duration.as_secs_f64();
        let attained = |good: usize| fraction(good as u64, counted as u64);
        Some(Goodput {
            counted,
            good: self.good,
            attainment: attained(self.good),
            per_s: if duration > 0.0 {
                self.good as f64 / duration
            } else {
                0.0
            },
            response_attainment: self.is_scheduled().then(|| attained(self.good_response)),
        })
    }

    fn concurrency(&self) -> Concurrency {
        let window = self.last_due.min(self.duration);
        Concurrency {
            max: sweep::most_in_flight(&self.spans),
            mean: sweep::mean_in_flight(&self.spans, self.duration),
            in_system_by_quarter: self
                .settings
                .finite_rate
                .then(|| sweep::in_system(&self.spans.iter(), Nanos::ZERO, window))
                .map(Option::unwrap_or_default),
            backlog: (self.settings.finite_rate && !self.settings.ramp)
                .then(|| Backlog::of(&self.spans))
                .flatten(),
        }
    }

    fn reasoning(&mut self) -> Option<Reasoning> {
        let samples = &mut self.reasoning;
        let requests = samples.first_reasoning.len();
        (requests > 0).then(|| Reasoning {
            requests,
            first_reasoning_ms: Spread::of_seconds(&mut samples.first_reasoning),
            first_answer_ms: Spread::of_seconds(&mut samples.first_answer),
        })
    }

    /// One row per latency, with the 99th percentile of the client's own time in it.
    fn client_share(&self, delays: &[Delay]) -> Vec<ClientShare> {
        let receive = &self.extras.receive;
        let bounded = receive.events == 0 || receive.kernel_stamped_share >= KERNEL_SHARE;
        // The spans are in the order of their sends by now, and the delays with them.
        let lateness = |own: &OwnTime| {
            let place = self.spans.partition_point(|span| span.send < own.send);
            delays.get(place).map_or(Nanos::ZERO, |delay| delay.own)
        };
        let p99 = |part: &dyn Fn(&OwnTime) -> Nanos| {
            let parts = self.own_times.iter().map(|own| part(own).as_secs_f64());
            let spread = Spread::of_seconds(&mut parts.collect::<Vec<_>>())?;
            Some(spread.p99)
        };
        let row = |metric: &str,
                   latency: Option<Spread>,
                   bound_ms: Option<f64>,
                   stamps_ms: Option<f64>| {
            latency.map(|spread| ClientShare {
                metric: metric.into(),
                p99_ms: spread.p99,
                bound_ms: bound_ms.filter(|_| bounded),
                stamps_ms: stamps_ms.filter(|_| bounded),
            })
        };
        let service = &self.extras.service;
        let response = self.extras.response.as_ref();
        let gaps = Spread::of_quantiles(&self.gap_width).map(|spread| spread.p99);
        let (first, last) = (p99(&|own| own.first), p99(&|own| own.last));
        let rows = [
            row(
                "ttft",
                service.ttft_ms,
                p99(&|own| own.writing + own.first),
                first,
            ),
            row("itl", self.extras.gaps.per_event_ms, gaps, gaps),
            row(
                "e2el",
                service.e2el_ms,
                p99(&|own| own.writing + own.last),
                last,
            ),
            row(
                "response_ttft",
                response.and_then(|response| response.ttft_ms),
                p99(&|own| own.writing + own.first + lateness(own)),
                first,
            ),
            row(
                "response_e2el",
                response.and_then(|response| response.e2el_ms),
                p99(&|own| own.writing + own.last + lateness(own)),
                last,
            ),
        ];
        rows.into_iter().flatten().collect()
    }

    fn floors(&self) -> Vec<Floor> {
        let have = self.extras.outcomes.get(Outcome::Ok);
        let floor = |&percentile: &f64| {
            samples_needed(percentile).map(|needed| Floor {
                percentile,
                needed,
                have,
            })
        };
        self.settings.percentiles.iter().filter_map(floor).collect()
    }

    fn notes(&self) -> Vec<Note> {
        let few = self
            .extras
            .floors
            .iter()
            .filter(|floor| !floor.is_met())
            .map(|floor| Note {
                code: "few_samples".into(),
                message: format!(
                    "p{} is based on {} requests; {} are needed to estimate it with 99 % confidence",
                    floor.percentile, floor.have, floor.needed
                ),
                zh: format!(
                    "p{} 只基于 {} 个请求；要以 99 % 的置信度估计它需要 {} 个",
                    floor.percentile, floor.have, floor.needed
                ),
            });
        let receive = &self.extras.receive;
        let user_stamps = (receive.events > 0 && receive.kernel_stamped_share < KERNEL_SHARE).then(|| Note {
            code: "user_space_stamps".into(),
            message: format!(
                "{:.1} % of the events have the kernel's receive stamp; the process stamped the others, so its own \
                 delays are part of their latencies",
                receive.kernel_stamped_share * 100.0
            ),
            zh: format!(
                "{:.1} % 的事件带有内核接收时间戳；其余由进程打戳，进程自身的延迟计入其中",
                receive.kernel_stamped_share * 100.0
            ),
        });
        let closed = (!self.is_scheduled()).then(|| Note {
            code: "closed_loop".into(),
            message: "requests were sent as slots became free, so a slow server received fewer of them; there is no \
                      latency from a due instant"
                .into(),
            zh: "请求在槽位空出时才发送，慢服务器收到的请求也更少；没有自应发时刻起的延迟".into(),
        });
        few.chain(user_stamps)
            .chain(closed)
            .chain(self.answer_notes())
            .chain(self.warm_up())
            .chain(self.retokenised())
            .chain(self.backlog_unknown())
            .collect()
    }

    /// A first request that took a multiple of the others' time: the server compiled or loaded
    /// something.
    fn warm_up(&self) -> Option<Note> {
        let service = &self.extras.service;
        let (name, spread) = match (service.ttft_ms, service.e2el_ms) {
            (Some(ttft), _) => ("TTFT", ttft),
            (None, e2el) => ("E2EL", e2el?),
        };
        let first_ms = self.first_answer?.1 * 1000.0;
        let times = first_ms / spread.p50;
        (spread.samples >= WARM_UP_REQUESTS && times >= WARM_UP_TIMES).then(|| Note {
            code: "warm_up".into(),
            message: format!(
                "the first request took {times:.0} times the median ({name} {first_ms:.1} ms, median {:.1} ms): the \
                 server was still warming up, and this request is in the numbers; send others before the run \
                 (--num-warmups)",
                spread.p50
            ),
            zh: format!(
                "首个请求耗时为中位数的 {times:.0} 倍（{name} {first_ms:.1} ms，中位数 {:.1} ms）：服务器仍在预热，该请求已计入数据；请在运行前先发送预热请求（--num-warmups）",
                spread.p50
            ),
        })
    }

    fn backlog_unknown(&self) -> Option<Note> {
        let backlog = self.extras.concurrency.backlog.as_ref()?;
        backlog.is_unknown().then(|| Note {
            code: "backlog_unknown".into(),
            message: format!(
                "the run is too short to tell whether the server kept up: its first answers took {:.0} % of the time \
                 in which requests arrived; send more requests",
                backlog.start_up * 100.0
            ),
            zh: format!(
                "运行太短，无法判断服务器是否跟得上：最初的回答占请求到达时间的 {:.0} %；请发送更多请求",
                backlog.start_up * 100.0
            ),
        })
    }

    fn retokenised(&self) -> Option<Note> {
        let agreement = self.extras.tokens.usage_against_tokenizer.as_ref()?;
        let (usage, own) = (agreement.usage_total, agreement.tokenizer_total);
        let Bilingual {
            en: ends_en,
            zh: ends_zh,
        } = agreement.ends();
        agreement.retokenised.then(|| Note {
            code: "retokenised_output".into(),
            message: format!(
                "the server counts {usage} output tokens{ends_en} and the tokenizer {own}, although both count the prompts \
                 alike: the text of the answers does not encode into the tokens that it came from, as with random \
                 weights; the server's count is used"
            ),
            zh: format!(
                "服务器计得 {usage} 个输出 token{ends_zh}，分词器计得 {own} 个，而两者对提示词的计数一致：回答文本重新编码后与原 token 不同，随机权重的模型即如此；采用服务器的计数"
            ),
        })
    }

    /// What is particular about the answers.
    fn answer_notes(&self) -> impl Iterator<Item = Note> + use<> {
        let several = (self.several_choices > 0).then(|| Note {
            code: "several_choices".into(),
            message: format!(
                "answers with several choices: {}; {}, ITL the gaps between events of any choice",
                self.several_choices,
                if self.settings.as_vllm {
                    "TPOT divides the time of an answer by the tokens of all its choices"
                } else {
                    "TPOT is the time per token of a choice"
                }
            ),
            zh: format!(
                "含多个候选的回答：{} 个；{}，ITL 为任意候选的事件之间的间隔",
                self.several_choices,
                if self.settings.as_vllm {
                    "TPOT 为回答时间除以所有候选的 token 数"
                } else {
                    "TPOT 为单个候选每个 token 的时间"
                }
            ),
        });
        let unseparated = (self.unseparated_events > 0).then(|| Note {
            code: "nonconforming_sse".into(),
            message: format!(
                "events without the blank line that the event stream format requires after each: {}; they were read as \
                 events of their own, but other clients may join them or fail",
                self.unseparated_events
            ),
            zh: format!(
                "{} 个事件之后没有事件流格式要求的空行；它们按独立事件读取，但其他客户端可能将其合并或出错",
                self.unseparated_events
            ),
        });
        let of_answers = self.answers.notes(self.settings.as_vllm);
        several.into_iter().chain(unseparated).chain(of_answers)
    }

    /// The rows of several targets; none for a single one, whose numbers are those of the run.
    fn target_rows(&mut self) -> Vec<Target> {
        if self.targets.len() < 2 {
            return Vec::new();
        }
        std::mem::take(&mut self.targets)
            .into_values()
            .map(|mut samples| Target {
                service: samples.latencies.finish(),
                ..samples.row
            })
            .collect()
    }
}
