//! What the findings say besides their value, in both languages.

use inferometer_core::Bilingual;

use super::findings::Findings;

/// A detail in English and Chinese.
const fn detail(en: String, zh: String) -> Bilingual {
    Bilingual { en, zh }
}

/// "3 of 100".
fn part_of(part: usize, whole: usize) -> Bilingual {
    detail(
        format!("{part} of {whole}"),
        format!("{whole} 个中的 {part} 个"),
    )
}

/// Joins one detail per item.
fn list(items: impl Iterator<Item = (String, String)>) -> Bilingual {
    let (en, zh): (Vec<_>, Vec<_>) = items.unzip();
    detail(en.join(", "), zh.join("，"))
}

/// Mean lengths received and requested.
fn lengths(got: f64, asked: f64) -> Bilingual {
    detail(
        format!("{got:.1} tokens on average instead of {asked:.1}"),
        format!("平均 {got:.1} 个 token，应为 {asked:.1} 个"),
    )
}

impl Findings<'_> {
    pub(super) fn one_piece_detail(&self) -> Bilingual {
        let gaps = &self.extras.gaps;
        part_of(gaps.one_piece_answers, gaps.answers)
    }

    pub(super) fn rate_detail(&self) -> Option<Bilingual> {
        let arrival = &self.extras.arrival;
        let (offered, scheduled) = (arrival.offered_rate?, arrival.scheduled_rate?);
        Some(detail(
            format!("{offered:.2}/s offered, {scheduled:.2}/s scheduled"),
            format!("实际发送 {offered:.2}/s，计划 {scheduled:.2}/s"),
        ))
    }

    pub(super) fn samples_detail(&self) -> Bilingual {
        list(self.short_percentiles().map(|floor| {
            let (p, needed, have) = (floor.percentile, floor.needed, floor.have);
            (
                format!("p{p} needs {needed} successful requests and has {have}"),
                format!("p{p} 需要 {needed} 个成功的请求，只有 {have} 个"),
            )
        }))
    }

    pub(super) fn failed_detail(&self) -> Bilingual {
        part_of(self.failed(), self.sent())
    }

    pub(super) fn truncated_detail(&self) -> Bilingual {
        part_of(self.truncated(), self.sent())
    }

    pub(super) fn unknown_endings_detail(&self) -> Bilingual {
        list(self.unknown_reasons().map(|(reason, count)| {
            (
                format!("{reason:?}: {count}"),
                format!("{reason:?}：{count} 个"),
            )
        }))
    }

    pub(super) fn input_length_detail(&self) -> Option<Bilingual> {
        let prompts = self.extras.tokens.prompts.as_ref()?;
        let mean = |total: u64| total as f64 / prompts.requests.max(1) as f64;
        Some(lengths(
            mean(prompts.server_total),
            mean(prompts.client_total),
        ))
    }

    pub(super) fn output_length_detail(&self) -> Option<Bilingual> {
        let output = self.extras.output_lengths.as_ref()?;
        Some(lengths(output.mean_got, output.mean_asked))
    }

    /// How many answers have an impossible usage, and what is wrong with it.
    pub(super) fn impossible_usage_detail(&self) -> Bilingual {
        let tokens = &self.extras.tokens;
        let by = tokens.usage_impossible_by;
        let faults = [
            (
                by.output_beyond_bytes,
                "more output tokens than bytes",
                "输出 token 多于字节",
            ),
            (
                by.no_output,
                "no output tokens in spite of output",
                "有输出却为零",
            ),
            (by.no_prompt, "no prompt tokens", "没有提示 token"),
            (
                by.cached_beyond_prompt,
                "more cached than prompt tokens",
                "缓存的 token 多于提示 token",
            ),
            (
                by.no_count,
                "a negative or far too large number",
                "负数或过大的数",
            ),
        ];
        let faults = faults.into_iter().filter(|(count, _, _)| *count > 0);
        let faults = list(
            faults.map(|(count, en, zh)| (format!("{en}: {count}"), format!("{zh}：{count} 个"))),
        );
        let Bilingual { en, zh } = part_of(tokens.usage_impossible, self.answers());
        detail(
            format!("{en}; {}", faults.en),
            format!("{zh}；{}", faults.zh),
        )
    }

    pub(super) fn usage_detail(&self) -> Option<Bilingual> {
        let agreement = self.extras.tokens.usage_against_tokenizer.as_ref()?;
        let (usage, own) = (agreement.usage_total, agreement.tokenizer_total);
        let Bilingual {
            en: ends_en,
            zh: ends_zh,
        } = agreement.ends();
        Some(detail(
            format!("usage {usage}{ends_en}, tokenizer {own}"),
            format!("usage {usage}{ends_zh}，分词器 {own}"),
        ))
    }

    pub(super) fn targets_detail(&self) -> Option<Bilingual> {
        let found = self.unequal_targets()?;
        let (metric, (slow, slow_ms), (fast, fast_ms)) = (found.metric, found.slow, found.fast);
        let (slow, fast) = (slow + 1, fast + 1);
        Some(detail(
            format!(
                "median {metric} {slow_ms:.1} ms at server {slow} and {fast_ms:.1} ms at server {fast}"
            ),
            format!(
                "{metric} 中位数：服务器 {slow} 为 {slow_ms:.1} ms，服务器 {fast} 为 {fast_ms:.1} ms"
            ),
        ))
    }

    pub(super) fn clock_detail(&self) -> Bilingual {
        let steps = self.health.clock_steps;
        detail(
            format!("number of steps: {steps}"),
            format!("跳变 {steps} 次"),
        )
    }

    pub(super) fn cache_detail(&self) -> Option<Bilingual> {
        let (cached, predicted) = (
            self.cached_fraction()? * 100.0,
            self.predicted_cached() * 100.0,
        );
        Some(detail(
            format!("{cached:.1} % cached, {predicted:.1} % predicted from the workload"),
            format!("缓存命中 {cached:.1} %，按负载预测 {predicted:.1} %"),
        ))
    }

    pub(super) fn backlog_detail(&self) -> Option<Bilingual> {
        let backlog = self.extras.concurrency.backlog.as_ref()?;
        let (growth, slowdown) = (backlog.wait_growth * 100.0, backlog.slowdown);
        let en = format!(
            "the wait for the first token grew by {growth:.0} % of the time in which requests arrived; the time per \
             token is {slowdown:.1} times that of the first answers"
        );
        let zh = format!(
            "首个 token 的等待增加了请求到达时间的 {growth:.0} %，每个 token 的时间为最初回答的 {slowdown:.1} 倍"
        );
        let Some([first, second, third]) = backlog.in_system else {
            return Some(detail(en, zh));
        };
        let counts = format!("{first:.1} → {second:.1} → {third:.1}");
        Some(detail(
            format!("requests in the system after the start: {counts}, {en}"),
            format!("启动之后系统中的请求数：{counts}，{zh}"),
        ))
    }

    /// What became of the requests without an end. The log of a killed run is up to a second behind, so
    /// it is unknown which of those that it lacks were sent.
    pub(super) fn partial_detail(&self) -> Bilingual {
        let not_sent = self.extras.not_sent;
        let in_flight = self.unfinished().saturating_sub(not_sent);
        let issued = self.extras.issued;
        if !self.settings.recovered {
            return detail(
                format!("of {issued} requests, {in_flight} were in flight and {not_sent} not sent"),
                format!("{issued} 个请求中，{in_flight} 个仍在处理，{not_sent} 个未发送"),
            );
        }
        let missing = self.unfinished();
        detail(
            format!(
                "of {issued} requests, {missing} are not in the log: not sent, in flight, or in its last second"
            ),
            format!(
                "{issued} 个请求中，{missing} 个不在日志中：未发送、仍在处理，或属于日志缺失的最后一秒"
            ),
        )
    }
}
