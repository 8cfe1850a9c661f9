//! The block after vLLM's table: whether the numbers can be trusted, and what they leave out.

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};
use inferometer_core::{Level, Outcome, OutcomeCounts, Verdict};
use inferometer_metrics::Spread;

use super::{display_width, wrap};
use crate::Lang;
use crate::findings;
use crate::format::{count, duration_ms, percent};

/// Columns of running text in the block on a wide terminal and in files: longer lines are hard to read.
const WIDTH: usize = 100;
/// Columns that are used even on a narrower terminal, so that the indented text has room.
const MIN_WIDTH: usize = 40;

/// What [`verdict_block`] shows. Everything optional is left out when absent; spreads are in
/// milliseconds.
#[derive(Clone, Debug, Default)]
pub struct BlockContext {
    /// Whether the numbers can be trusted.
    pub verdict: Verdict,
    /// How the requests ended; shown when any of them failed.
    pub outcomes: OutcomeCounts,
    /// The part of the time between due instant and send that the client itself caused.
    pub lateness: Option<Spread>,
    /// Time from the kernel's receive stamp to the process having the bytes.
    pub receive_lag: Option<Spread>,
    /// False when the process itself took the stamps.
    pub kernel_stamps: bool,
    /// Fraction of events that shared a read with a later event, 0 to 1.
    pub coalesced_share: Option<f64>,
    /// The largest fraction of the 99th percentile of TTFT that the client itself can have caused, 0
    /// to 1.
    pub client_share: Option<f64>,
    /// CPU use of the busiest worker, 0 to 1, spinning excluded.
    pub worker_cpu: Option<f64>,
    /// End-to-end latency from the send.
    pub service: Option<Spread>,
    /// End-to-end latency from the due instant.
    pub response: Option<Spread>,
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

/// The block of our own after the table, each line ended by a line feed. The first line is always
/// `Verdict: VALID` (or `CAUTION`, `INVALID`), in either language, so that scripts can search for
/// it.
pub fn verdict_block(context: &BlockContext) -> String {
    let mut block = Block {
        text: String::new(),
        lang: context.lang,
        width: context.columns.unwrap_or(WIDTH).clamp(MIN_WIDTH, WIDTH),
    };
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
    outcome_line(&mut block, &context.outcomes);
    client_lines(&mut block, context);
    latency_lines(&mut block, context);
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

fn outcome_line(block: &mut Block, outcomes: &OutcomeCounts) {
    if outcomes.total() == outcomes.get(Outcome::Ok) {
        return;
    }
    let listed = outcomes
        .iter()
        .map(|(outcome, n)| format!("{outcome} {}", count(n as u64)))
        .collect::<Vec<_>>()
        .join(" · ");
    block.entry(block.lang.pick("Outcomes", "请求结局"), &listed);
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
    if let Some(share) = context.client_share {
        parts.push(format!(
            "{} {}",
            lang.pick("client's part of p99 TTFT ≤", "客户端占 p99 TTFT ≤"),
            percent(share)
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
    parts.push(
        if context.kernel_stamps {
            lang.pick("stamps by the kernel", "内核时间戳")
        } else {
            lang.pick(
                "stamps by the process (none from the kernel)",
                "进程时间戳（内核未提供）",
            )
        }
        .to_owned(),
    );
    block.entry(lang.pick("Client error", "客户端误差"), &parts.join(" · "));
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

struct Block {
    text: String,
    lang: Lang,
    width: usize,
}

impl Block {
    /// `label: text`, continuation lines indented below the text.
    fn entry(&mut self, label: &str, text: &str) {
        const LABEL_WIDTH: usize = 18;
        let colon = self.lang.pick(":", "：");
        let label = format!("{label}{colon}");
        let pad = LABEL_WIDTH.saturating_sub(display_width(&label)).max(1);
        let lead = format!("{label}{}", " ".repeat(pad));
        self.hanging(&lead, text);
    }

    fn bullet(&mut self, lead: &str, text: &str) {
        self.hanging(&format!("  {lead}"), text);
    }

    fn hanging(&mut self, lead: &str, text: &str) {
        let indent = display_width(lead);
        for (number, line) in wrap(text, self.width.saturating_sub(indent))
            .iter()
            .enumerate()
        {
            if number == 0 {
                let _ = writeln!(self.text, "{lead}{line}");
            } else {
                let _ = writeln!(self.text, "{}{line}", " ".repeat(indent));
            }
        }
    }
}
