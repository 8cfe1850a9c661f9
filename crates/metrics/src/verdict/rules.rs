//! The rules of the verdict, one row each: what is measured, its limits, and what to say.

use super::rule::Limit::{Any, From, Never, OfTtft};
use super::rule::{Advice, Rule, Unit};

/// All rules, in the order in which findings of the same level are listed.
#[expect(
    clippy::redundant_closure_for_method_calls,
    reason = "a method of Findings<'a> is for one 'a only, and a rule is for all"
)]
pub const RULES: &[Rule] = &[
    Rule {
        code: "late_sends",
        quantity: "client send lateness: p99",
        definition: Some("send time minus the later of due time and slot release"),
        unit: Unit::Ms,
        caution: OfTtft {
            fraction: 0.02,
            at_least_ms: 3.0,
        },
        invalid: OfTtft {
            fraction: 0.05,
            at_least_ms: 10.0,
        },
        en: Advice {
            meaning: "the load was not offered at the scheduled times",
            remedy: "give the client more or faster cores (--workers), lower the rate, or use another machine",
        },
        zh: Advice {
            meaning: "负载没有按计划的时刻发出",
            remedy: "给客户端更多或更快的核（--workers），降低速率，或换一台机器",
        },
        measure: |run| run.extras.arrival.own_lateness_ms.map(|spread| spread.p99),
        detail: None,
    },
    Rule {
        code: "client_cpu",
        quantity: "CPU use of the busiest worker",
        definition: Some("CPU time without spinning / run duration, for runs of 0.1 s and more"),
        unit: Unit::Fraction,
        caution: From(0.7),
        invalid: From(0.9),
        en: Advice {
            meaning: "the client was near or at its own limit and may have slowed the load",
            remedy: "use more workers (--workers) or more client machines",
        },
        zh: Advice {
            meaning: "客户端接近或达到自身极限，可能拖慢了负载",
            remedy: "增加工作线程（--workers）或客户端机器",
        },
        measure: |run| run.busiest_worker(),
        detail: None,
    },
    Rule {
        code: "near_ceiling",
        quantity: "load relative to the ceiling of this host",
        definition: Some("as measured by a self-test"),
        unit: Unit::Fraction,
        caution: From(0.5),
        invalid: Never,
        en: Advice {
            meaning: "the client has little headroom; bursts may have exceeded it",
            remedy: "use more client machines, or measure the ceiling again if this host has changed",
        },
        zh: Advice {
            meaning: "客户端余量很小，突发时可能已超出其能力",
            remedy: "增加客户端机器；若本机已变化，请重新测量上限",
        },
        measure: |run| run.settings.ceiling_used,
        detail: None,
    },
    Rule {
        code: "worker_stall",
        quantity: "longest stall of a worker",
        definition: Some("time in which it was needed but did not run"),
        unit: Unit::Ms,
        caution: From(20.0),
        invalid: From(500.0),
        en: Advice {
            meaning: "sends due during the stall were late, and a full receive buffer may have blocked the server",
            remedy: "stop other programs on this machine, pin the workers (--pin), and run again",
        },
        zh: Advice {
            meaning: "停顿期间应发的请求迟到，接收缓冲区满时可能阻塞服务器",
            remedy: "停止本机其他程序，绑定工作线程（--pin），然后重新运行",
        },
        measure: |run| run.longest_stall_ms(),
        detail: None,
    },
    Rule {
        code: "stall_in_stamps",
        quantity: "longest stall of a worker",
        definition: Some("events were not stamped by the kernel"),
        unit: Unit::Ms,
        caution: Never,
        invalid: OfTtft {
            fraction: 0.05,
            at_least_ms: 20.0,
        },
        en: Advice {
            meaning: "the stall is part of the reported latencies, because the process itself took the stamps",
            remedy: "run on Linux without a proxy in between, so that the kernel stamps what it receives",
        },
        zh: Advice {
            meaning: "时间戳由进程自己获取，停顿计入了所报延迟",
            remedy: "在 Linux 上直连运行，使内核为收到的数据打时间戳",
        },
        measure: |run| {
            let in_stamps = !run.health.kernel_stamps && run.extras.receive.events > 0;
            run.longest_stall_ms().filter(|_| in_stamps)
        },
        detail: None,
    },
    Rule {
        code: "receive_lag",
        quantity: "receive lag: p99",
        definition: Some("process stamp minus kernel stamp"),
        unit: Unit::Ms,
        caution: From(2.0),
        invalid: From(100.0),
        en: Advice {
            meaning: "the client was slow to read; latencies are correct, but requests that wait for an earlier answer (closed loop, conversation) were sent late",
            remedy: "use more workers (--workers), or stop other programs on this machine",
        },
        zh: Advice {
            meaning: "客户端读取较慢；延迟正确，但需等待先前回答的请求（闭环、对话）发送偏晚",
            remedy: "增加工作线程（--workers），或停止本机其他程序",
        },
        measure: |run| run.extras.receive.lag_ms.map(|spread| spread.p99),
        detail: None,
    },
    Rule {
        code: "coalesced",
        quantity: "fraction of events that shared a read with a later event",
        definition: None,
        unit: Unit::Fraction,
        caution: From(0.1),
        invalid: Never,
        en: Advice {
            meaning: "their stamps are upper bounds: some gaps between tokens are zero, others too long",
            remedy: "use TPOT instead of ITL, or configure the server to flush every token",
        },
        zh: Advice {
            meaning: "这些事件的时间戳只是上界：token 间隔有的为零，有的过长",
            remedy: "以 TPOT 代替 ITL，或让服务器逐个发送 token",
        },
        measure: |run| Some(run.extras.receive.coalesced_share),
        detail: None,
    },
    Rule {
        code: "one_piece_answers",
        quantity: "fraction of answers of several tokens that came in one event or one read",
        definition: None,
        unit: Unit::Fraction,
        caution: From(0.05),
        invalid: Never,
        en: Advice {
            meaning: "their TTFT is the time of the whole answer, and their TPOT and ITL are unknown and left out",
            remedy: "switch off response buffering in the server and in proxies (see the server's stream interval), or read E2EL only",
        },
        zh: Advice {
            meaning: "其 TTFT 实为整个回答的时间，TPOT 与 ITL 未知，未计入",
            remedy: "关闭服务器和代理的响应缓冲（检查服务器的流式间隔），或只看 E2EL",
        },
        measure: |run| {
            let gaps = &run.extras.gaps;
            (gaps.answers > 0).then(|| gaps.one_piece_answers as f64 / gaps.answers as f64)
        },
        detail: Some(|run| Some(run.one_piece_detail())),
    },
    Rule {
        code: "cap_binding",
        quantity: "fraction of requests that waited for a slot for more than 1 ms",
        definition: None,
        unit: Unit::Fraction,
        caution: From(0.01),
        invalid: Never,
        en: Advice {
            meaning: "the cap slowed the load: it is in effect a closed loop, and latency from the send leaves the wait out",
            remedy: "raise or remove the limit (--max-concurrency or --multi-turn-max-active), or read the response \
                     latencies",
        },
        zh: Advice {
            meaning: "并发上限拖慢了负载：实际上成为闭环，自发送起的延迟不含等待",
            remedy: "提高或去掉所设的上限（--max-concurrency 或 --multi-turn-max-active），或查看响应延迟",
        },
        measure: |run| run.extras.arrival.cap_bound_share,
        detail: None,
    },
    Rule {
        code: "offered_rate",
        quantity: "shortfall of the offered rate",
        definition: Some("1 − last due time / last send time, for schedules of a second and more"),
        unit: Unit::Fraction,
        caution: From(0.01),
        invalid: From(0.05),
        en: Advice {
            meaning: "the server received requests at a lower rate than scheduled",
            remedy: "lower --request-rate, or give the client more cores",
        },
        zh: Advice {
            meaning: "服务器收到请求的速率低于计划",
            remedy: "降低 --request-rate，或给客户端更多的核",
        },
        measure: |run| run.rate_shortfall(),
        detail: Some(|run| run.rate_detail()),
    },
    Rule {
        code: "too_few_samples",
        quantity: "number of requested percentiles with too few successful requests",
        definition: None,
        unit: Unit::Count,
        caution: Any,
        invalid: Never,
        en: Advice {
            meaning: "with this few requests, such a percentile is mostly chance",
            remedy: "raise --num-prompts to the number named, or choose a percentile nearer to the median",
        },
        zh: Advice {
            meaning: "请求太少，这样的百分位只是偶然",
            remedy: "把 --num-prompts 提高到所示数量，或使用更接近中位数的百分位",
        },
        measure: |run| {
            run.settings
                .explicit_percentiles
                .then(|| run.short_percentiles().count() as f64)
        },
        detail: Some(|run| Some(run.samples_detail())),
    },
    Rule {
        code: "failures",
        quantity: "fraction of requests that failed",
        definition: Some("of those that were sent, not counting truncated answers"),
        unit: Unit::Fraction,
        caution: Any,
        invalid: From(0.05),
        en: Advice {
            meaning: "latencies cover only the survivors, and failed requests freed the server early",
            remedy: "read the errors in the result; lower the load or fix the server",
        },
        zh: Advice {
            meaning: "延迟只包含成功的请求，失败的请求提前释放了服务器",
            remedy: "查看结果中的错误，降低负载或修复服务器",
        },
        measure: |run| Some(run.fraction_of_sent(run.failed())),
        detail: Some(|run| Some(run.failed_detail())),
    },
    Rule {
        code: "truncated",
        quantity: "fraction of answers that ended early",
        definition: Some("of the requests that were sent"),
        unit: Unit::Fraction,
        caution: Any,
        invalid: From(0.05),
        en: Advice {
            meaning: "the server, or something in front of it, closed streams before their end",
            remedy: "look for time limits in proxies and for crashes in the server log",
        },
        zh: Advice {
            meaning: "服务器或其前方的环节提前结束了流",
            remedy: "检查代理的时间限制和服务器日志中的崩溃",
        },
        measure: |run| Some(run.fraction_of_sent(run.truncated())),
        detail: Some(|run| Some(run.truncated_detail())),
    },
    Rule {
        code: "unknown_ending",
        quantity: "fraction of answers with an unknown finish_reason",
        definition: None,
        unit: Unit::Fraction,
        caution: Any,
        invalid: Never,
        en: Advice {
            meaning: "they count as successful, but the server may have broken them off",
            remedy: "look up what the server means by this word; an answer that it broke off is not a measurement",
        },
        zh: Advice {
            meaning: "这些回答计为成功，但也可能是被服务器中断的",
            remedy: "查明服务器用这个词表示什么；被中断的回答不能作为测量结果",
        },
        measure: |run| run.unknown_endings(),
        detail: Some(|run| Some(run.unknown_endings_detail())),
    },
    Rule {
        code: "input_length",
        quantity: "deviation of the prompt lengths that the server counted from the requested ones",
        definition: Some("beyond the tokens that a template may add"),
        unit: Unit::Fraction,
        caution: From(0.1),
        invalid: Never,
        en: Advice {
            meaning: "the prompts are longer or shorter than asked for, or part of them was dropped",
            remedy: "check that --tokenizer is the tokenizer of the served model, and that the server does not shorten prompts",
        },
        zh: Advice {
            meaning: "提示词比要求的更长或更短，或有一部分被丢弃",
            remedy: "确认 --tokenizer 与所服务的模型一致，且服务器没有截短提示词",
        },
        measure: |run| {
            let prompts = run.extras.tokens.prompts.as_ref()?;
            Some(prompts.deviation)
        },
        detail: Some(|run| run.input_length_detail()),
    },
    Rule {
        code: "output_length",
        quantity: "deviation from the requested output length",
        definition: Some("the difference with --ignore-eos, else only the excess"),
        unit: Unit::Fraction,
        caution: From(0.1),
        invalid: Never,
        en: Advice {
            meaning: "the work done is not the work requested, so throughput cannot be compared",
            remedy: "check that the server honours max_tokens and ignore_eos",
        },
        zh: Advice {
            meaning: "实际工作量与要求不符，吞吐量无法比较",
            remedy: "确认服务器遵守 max_tokens 与 ignore_eos",
        },
        measure: |run| run.length_difference(),
        detail: Some(|run| run.output_length_detail()),
    },
    Rule {
        code: "natural_end",
        quantity: "shortfall from the requested output length",
        definition: Some("without --ignore-eos"),
        unit: Unit::Fraction,
        caution: From(0.5),
        invalid: Never,
        en: Advice {
            meaning: "answers ended on their own long before the limit, so the load is lighter than it looks",
            remedy: "add --ignore-eos for fixed lengths, or request lengths that the model uses",
        },
        zh: Advice {
            meaning: "回答远未达到上限就自行结束，负载比看上去轻",
            remedy: "加 --ignore-eos 以固定长度，或使用模型实际会用到的长度",
        },
        measure: |run| run.missing_length(),
        detail: Some(|run| run.output_length_detail()),
    },
    Rule {
        code: "usage_impossible",
        quantity: "fraction of answers whose usage cannot be true",
        definition: None,
        unit: Unit::Fraction,
        caution: Any,
        invalid: Never,
        en: Advice {
            meaning: "these counts are not used: the client counts instead, by its tokenizer or by events",
            remedy: "check what the server, or a gateway in front of it, writes into usage",
        },
        zh: Advice {
            meaning: "这些计数有误，未被采用；由客户端计数",
            remedy: "检查服务器或其前方的环节所报的 usage",
        },
        measure: |run| run.impossible_usage(),
        detail: Some(|run| Some(run.impossible_usage_detail())),
    },
    Rule {
        code: "usage_disagreement",
        quantity: "difference between the output token counts of the server and the tokenizer",
        definition: None,
        unit: Unit::Fraction,
        caution: From(0.05),
        invalid: Never,
        en: Advice {
            meaning: "one of the two counts is wrong, or the server counts tokens that it does not send",
            remedy: "check that --tokenizer is the tokenizer of the served model, and whether the server keeps reasoning to itself",
        },
        zh: Advice {
            meaning: "两种 token 计数必有一个错误，或服务器计入了未发送的 token",
            remedy: "确认 --tokenizer 与所服务的模型一致，并查明服务器是否不公开推理内容",
        },
        measure: |run| run.usage_difference(),
        detail: Some(|run| run.usage_detail()),
    },
    Rule {
        code: "unequal_targets",
        quantity: "ratio of the slowest to the fastest server",
        definition: Some("medians of the TTFT or the E2EL"),
        unit: Unit::Count,
        caution: From(1.5),
        invalid: Never,
        en: Advice {
            meaning: "the run mixes servers of different speed, and its numbers describe no single server",
            remedy: "see the rows by server; measure the servers one by one",
        },
        zh: Advice {
            meaning: "本次运行混合了速度不同的服务器，结果不代表其中任何一台",
            remedy: "查看各服务器的数据，逐台测量",
        },
        measure: |run| run.unequal_targets().map(|found| found.ratio),
        detail: Some(|run| run.targets_detail()),
    },
    Rule {
        code: "clock_step",
        quantity: "largest step of the wall clock",
        definition: None,
        unit: Unit::Ms,
        caution: Any,
        invalid: From(10.0),
        en: Advice {
            meaning: "kernel stamps use the wall clock, so spans across the step are off by its size",
            remedy: "let the clock settle (chronyc tracking) and run again",
        },
        zh: Advice {
            meaning: "内核时间戳基于系统时钟，跨越跳变的时间段会有同样大小的误差",
            remedy: "等待时钟稳定（chronyc tracking）后重新运行",
        },
        measure: |run| {
            (run.health.clock_steps > 0).then(|| run.health.largest_clock_step.as_millis_f64())
        },
        detail: Some(|run| Some(run.clock_detail())),
    },
    Rule {
        code: "throttled",
        quantity: "CPU throttling by the control group's quota",
        definition: Some("throttled time / run duration"),
        unit: Unit::Fraction,
        caution: From(0.005),
        invalid: From(0.1),
        en: Advice {
            meaning: "the CPU limit of the client's container stopped the client at times",
            remedy: "raise the CPU limit of the client's container",
        },
        zh: Advice {
            meaning: "客户端被容器的 CPU 限额暂停",
            remedy: "提高客户端容器的 CPU 限额",
        },
        measure: |run| run.throttled(),
        detail: None,
    },
    Rule {
        code: "backlog_growing",
        quantity: "growth of the backlog",
        definition: Some(
            "growth of the TTFT or the E2EL divided by the time in which requests arrive, or growth of the number of \
                     requests in the system after the start-up divided by the arrivals, whichever is larger",
        ),
        unit: Unit::Fraction,
        caution: From(0.05),
        invalid: Never,
        en: Advice {
            meaning: "the server fell behind, so latencies depend on the length of the run",
            remedy: "lower --request-rate below the server's capacity, or run for longer",
        },
        zh: Advice {
            meaning: "服务器处理不及，延迟取决于运行时长",
            remedy: "把 --request-rate 降到服务器能力以下，或延长运行",
        },
        measure: |run| run.backlog_growth(),
        detail: Some(|run| run.backlog_detail()),
    },
    Rule {
        code: "identical_prompts",
        quantity: "fraction of prompts that repeat an earlier one",
        definition: None,
        unit: Unit::Fraction,
        caution: From(0.1),
        invalid: Never,
        en: Advice {
            meaning: "a prefix cache answers repeated prompts, so the server looks faster than it is",
            remedy: "use a dataset with more rows, or fewer requests",
        },
        zh: Advice {
            meaning: "前缀缓存会应答重复的提示词，服务器显得比实际快",
            remedy: "使用行数更多的数据集，或减少请求数",
        },
        measure: |run| {
            run.settings
                .duplicate_prompts
                .filter(|_| !run.settings.cache_expected)
        },
        detail: None,
    },
    Rule {
        code: "cache_hits",
        quantity: "excess of prompt tokens from the prefix cache",
        definition: Some(
            "cached fraction minus the fraction that the workload and the chat template repeat",
        ),
        unit: Unit::Fraction,
        caution: From(0.05),
        invalid: Never,
        en: Advice {
            meaning: "part of the prompts was not computed, because an earlier run or other traffic left it in the cache",
            remedy: "reset the cache between runs (--reset-prefix-cache), or change --seed",
        },
        zh: Advice {
            meaning: "部分提示词已被之前的运行或其他流量留在缓存中，没有被计算",
            remedy: "在运行之间重置缓存（--reset-prefix-cache），或更换 --seed",
        },
        measure: |run| {
            let (observed, predicted) = (run.cached_fraction()?, run.predicted_cached());
            (!run.settings.cache_expected).then_some((observed - predicted).max(0.0))
        },
        detail: Some(|run| run.cache_detail()),
    },
    Rule {
        code: "partial_run",
        quantity: "fraction of requests cut off by the end of the run",
        definition: None,
        unit: Unit::Fraction,
        caution: Any,
        invalid: From(0.05),
        en: Advice {
            meaning: "the run was stopped early, and slow requests are missing more often than fast ones",
            remedy: "let the run finish",
        },
        zh: Advice {
            meaning: "运行被提前停止，慢请求比快请求缺失得更多",
            remedy: "让运行自行结束",
        },
        measure: |run| Some(run.unfinished() as f64 / run.extras.issued.max(1) as f64),
        detail: Some(|run| Some(run.partial_detail())),
    },
];
