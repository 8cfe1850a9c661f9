//! The block after vLLM's table: whether the numbers can be trusted, and what they leave out.

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};
use inferometer_core::{Level, Outcome, OutcomeCounts, Verdict};
use inferometer_metrics::{Intervals, KERNEL_SHARE, Note, Spread, Target};

use super::entries::Block;
use super::intervals::interval_lines;
use crate::Lang;
use crate::findings;
use crate::format::{count, duration_ms, fixed2, percent};

/// What [`verdict_block`] shows. Everything optional is left out when absent; spreads are in
/// milliseconds.
#[derive(Clone, Debug, Default)]
pub struct BlockContext {
    /// Whether the numbers can be trusted.
    pub verdict: Verdict,
    /// How the requests ended; shown when any of them failed.
    pub outcomes: OutcomeCounts,
    /// Requests among the unfinished ones that were not sent.
    pub not_sent: usize,
    /// The run was killed, and its records come from its log, which lacks its last second: whether
    /// the requests under `not_sent` were sent is unknown.
    pub recovered: bool,
    /// The numbers of each base URL with its name, when there are several.
    pub targets: Vec<(String, Target)>,
    /// The part of the time between due instant and send that the client itself caused.
    pub lateness: Option<Spread>,
    /// Time from the kernel's receive stamp to the process having the bytes.
    pub receive_lag: Option<Spread>,
    /// Fraction of the events with the kernel's receive stamp, 0 to 1; the process stamped the others.
    /// `None` for the exact times of a virtual clock.
    pub kernel_stamped: Option<f64>,
    /// Output tokens per event; shown unless it is 1.
    pub tokens_per_event: Option<f64>,
    /// Fraction of events that shared a read with a later event, 0 to 1.
    pub coalesced_share: Option<f64>,
    /// The largest part of a latency that the client itself can have caused.
    pub client_share: Option<ClientPart>,
    /// CPU use of the busiest worker, 0 to 1, spinning excluded.
    pub worker_cpu: Option<f64>,
    /// End-to-end latency from the send.
    pub service: Option<Spread>,
    /// End-to-end latency from the due instant.
    pub response: Option<Spread>,
    /// How precise the numbers of the table are.
    pub intervals: Option<Intervals>,
    /// Remarks without a level.
    pub notes: Vec<Note>,
    /// The run was stopped before its end.
    pub partial: bool,
    /// Where the run's files are.
    pub run_folder: Option<String>,
    /// Language of the block.
    pub lang: Lang,
    /// Colour the verdict with ANSI codes.
    pub color: bool,
    /// Columns of the terminal; `None` where nothing limits them.
    pub columns: Option<usize>,
}

/// The part of the 99th percentile of a latency that the client itself can have caused, at most.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ClientPart {
    /// The latency: `TTFT` or `E2EL`.
    pub metric: &'static str,
    /// Fraction, 0 to 1.
    pub fraction: f64,
    /// The fraction that stamps leave open, 0 to 1: events that came together have upper bounds for
    /// stamps.
    pub stamps: f64,
}

/// A stamp's share from which on the line says what the bound is made of.
const STAMPS_MATTER: f64 = 0.01;

/// The block of our own after the table, each line ended by a line feed. The first line is always
/// `Verdict: VALID` (or `CAUTION`, `INVALID`), in either language, so that scripts can search for
/// it.
pub fn verdict_block(context: &BlockContext) -> String {
    let mut block = Block::new(context.lang, context.columns);
    verdict_lines(&mut block, context);
    if context.partial {
        block.entry(
            block.lang.pick("Partial", "未完成"),
            block.lang.pick(
                "the run was stopped before its end; the numbers cover the completed part",
                "运行被提前停止；数据只覆盖已完成的部分",
            ),
        );
    }
    outcome_line(&mut block, context);
    target_lines(&mut block, &context.targets);
    client_lines(&mut block, context);
    latency_lines(&mut block, context);
    if let Some(intervals) = &context.intervals {
        interval_lines(&mut block, intervals);
    }
    for note in &context.notes {
        let text = match context.lang {
            Lang::Zh if !note.zh.is_empty() => &note.zh,
            Lang::Zh | Lang::En => &note.message,
        };
        block.entry(
            block.lang.pick("Note", "备注"),
            &format!("[{}] {text}", note.code),
        );
    }
    if let Some(folder) = &context.run_folder {
        block.entry(block.lang.pick("Run folder", "结果目录"), folder);
    }
    block.text
}

fn verdict_lines(block: &mut Block, context: &BlockContext) {
    let level = context.verdict.level;
    let word = if context.color {
        let style = level_style(level);
        format!("{style}{level}{style:#}")
    } else {
        level.to_string()
    };
    let _ = writeln!(block.text, "Verdict: {word}");
    for reason in &context.verdict.reasons {
        let (message, remedy) = findings::texts(reason, context.lang);
        block.bullet(
            "- ",
            &format!("{} [{}] {message}", reason.level, reason.code),
        );
        if !remedy.is_empty() {
            block.bullet("  → ", &remedy);
        }
    }
}

const fn level_style(level: Level) -> Style {
    let color = match level {
        Level::Valid => AnsiColor::Green,
        Level::Caution => AnsiColor::Yellow,
        Level::Invalid => AnsiColor::Red,
    };
    color.on_default().bold()
}

fn outcome_line(block: &mut Block, context: &BlockContext) {
    let outcomes = &context.outcomes;
    if outcomes.total() == outcomes.get(Outcome::Ok) {
        return;
    }
    let mut listed: Vec<String> = outcomes
        .iter()
        .map(|(outcome, n)| match outcome {
            Outcome::Unfinished => (outcome, n.saturating_sub(context.not_sent)),
            _ => (outcome, n),
        })
        .filter(|&(_, n)| n > 0)
        .map(|(outcome, n)| format!("{outcome} {}", count(n as u64)))
        .collect();
    if context.not_sent > 0 {
        let not_sent = if context.recovered {
            block.lang.pick(
                "not in the log (not sent, in flight, or in its last second)",
                "不在日志中（未发送、仍在处理，或属于日志缺失的最后一秒）",
            )
        } else {
            block.lang.pick("not sent", "未发送")
        };
        listed.push(format!("{not_sent} {}", count(context.not_sent as u64)));
    }
    block.entry(block.lang.pick("Outcomes", "请求结局"), &listed.join(" · "));
}

/// One line per base URL.
fn target_lines(block: &mut Block, targets: &[(String, Target)]) {
    let lang = block.lang;
    for (url, target) in targets {
        let label = format!("{} {}", lang.pick("Server", "服务器"), target.target + 1);
        let mut parts = Vec::new();
        parts.extend((!url.is_empty()).then(|| url.clone()));
        parts.push(format!(
            "{} {}/{}",
            lang.pick("completed", "完成"),
            count(target.completed as u64),
            count(target.requests as u64)
        ));
        let latencies = [
            ("TTFT", target.service.ttft_ms),
            ("E2EL", target.service.e2el_ms),
        ];
        for (name, spread) in latencies {
            let spread = spread.map(|spread| {
                let (p50, p99) = (duration_ms(spread.p50), duration_ms(spread.p99));
                format!("{name} p50 {p50}, p99 {p99}")
            });
            parts.extend(spread);
        }
        block.entry(&label, &parts.join(" · "));
    }
}

fn client_lines(block: &mut Block, context: &BlockContext) {
    let lang = block.lang;
    let mut parts = Vec::new();
    if let Some(lateness) = context.lateness {
        parts.push(format!(
            "{} {}",
            lang.pick("send lateness", "发送迟到"),
            tails(&lateness, lang)
        ));
    }
    if let Some(lag) = context.receive_lag {
        parts.push(format!(
            "{} {}",
            lang.pick("receive lag", "接收滞后"),
            tails(&lag, lang)
        ));
    }
    if let Some(share) = context.coalesced_share {
        parts.push(format!(
            "{} {}",
            lang.pick("coalesced events", "合并到达的事件"),
            percent(share)
        ));
    }
    if let Some(part) = context.client_share {
        parts.push(client_part(part, lang));
    }
    // Rounded as shown: counts by a tokenizer differ from the events by a few in ten thousand.
    if let Some(tokens) = context.tokens_per_event.map(fixed2).filter(|n| n != "1.00") {
        parts.push(format!(
            "{} {tokens}",
            lang.pick("tokens per event", "每个事件的 token 数"),
        ));
    }
    if let Some(share) = context.worker_cpu {
        parts.push(format!(
            "{} {}",
            lang.pick("busiest worker", "最忙工作线程"),
            percent(share)
        ));
    }
    if parts.is_empty() {
        return;
    }
    parts.push(stamps(context.kernel_stamped, lang));
    block.entry(lang.pick("Client error", "客户端误差"), &parts.join(" · "));
}

/// The bound on the client's part, and what it is made of where that is not the client's time alone.
fn client_part(part: ClientPart, lang: Lang) -> String {
    let metric = part.metric;
    let bound = percent(part.fraction);
    let bound = match lang {
        Lang::En => format!("client's part of p99 {metric} ≤ {bound}"),
        Lang::Zh => format!("客户端占 p99 {metric} ≤ {bound}"),
    };
    if part.stamps < STAMPS_MATTER {
        return bound;
    }
    let stamps = percent(part.stamps);
    match lang {
        Lang::En => format!(
            "{bound} (of which ≤ {stamps} because events came together, so that the client cannot tell when the first \
             one did)"
        ),
        Lang::Zh => format!(
            "{bound}（其中 ≤ {stamps} 是因为事件合并到达，客户端无法得知首个事件的到达时刻）"
        ),
    }
}

/// Who took the stamps.
fn stamps(by_kernel: Option<f64>, lang: Lang) -> String {
    let Some(by_kernel) = by_kernel else {
        return lang
            .pick("times of a virtual clock", "虚拟时钟的时刻")
            .to_owned();
    };
    if by_kernel >= KERNEL_SHARE {
        lang.pick("stamps by the kernel", "内核时间戳").to_owned()
    } else if by_kernel > 0.0 {
        let share = percent(by_kernel);
        match lang {
            Lang::En => format!("stamps: {share} by the kernel, the others by the process"),
            Lang::Zh => format!("时间戳：{share} 由内核提供，其余由进程提供"),
        }
    } else {
        lang.pick(
            "stamps by the process (none from the kernel)",
            "进程时间戳（内核未提供）",
        )
        .to_owned()
    }
}

fn latency_lines(block: &mut Block, context: &BlockContext) {
    let lang = block.lang;
    if let Some(service) = context.service {
        let text = format!(
            "{} {}",
            lang.pick("from the send:", "自发送起："),
            centre_and_tails(&service, lang)
        );
        block.entry(lang.pick("Service latency", "服务延迟"), &text);
    }
    if let Some(response) = context.response {
        let text = format!(
            "{} {}",
            lang.pick("from the due instant:", "自应发时刻起："),
            centre_and_tails(&response, lang)
        );
        block.entry(lang.pick("Response latency", "响应延迟"), &text);
    }
}

fn tails(spread: &Spread, lang: Lang) -> String {
    let max = lang.pick("max", "最大");
    format!(
        "p99 {}, {max} {}",
        duration_ms(spread.p99),
        duration_ms(spread.max)
    )
}

fn centre_and_tails(spread: &Spread, lang: Lang) -> String {
    let (mean, max) = (lang.pick("mean", "均值"), lang.pick("max", "最大"));
    format!(
        "{mean} {}, p50 {}, p99 {}, {max} {}",
        duration_ms(spread.mean),
        duration_ms(spread.p50),
        duration_ms(spread.p99),
        duration_ms(spread.max)
    )
}
