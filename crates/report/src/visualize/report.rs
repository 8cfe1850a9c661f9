//! The performance report in words.

use inferometer_core::Level as Trust;
use inferometer_metrics::Metric;

use super::advice::advice;
use super::analysis::{Findings, RatingScale, Saturation, delay_ms, study};
use super::groups::{Level, Load, Series, series};
use super::rows::{Run, Stat};
use super::throughput::{full_name, notes, per_user, subtitle};
use crate::Lang;
use crate::document::Document;
use crate::findings;
use crate::format::{cell, duration_ms, percent, significant};

/// How the report is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReportFormat {
    /// Plain text.
    #[default]
    Text,
    /// Markdown.
    Markdown,
}

/// The performance report on many runs: key figures, best settings, ratings, saturation, limits
/// with advice, validity, environment, commands.
pub fn performance_report(
    runs: &[Run],
    scale: &RatingScale,
    lang: Lang,
    format: ReportFormat,
) -> String {
    let load = Load::of(runs);
    let all = series(runs, load, lang);
    let mut doc = Document::default();
    doc.heading(1, lang.pick("Performance report", "性能报告"));
    doc.text(subtitle(runs, lang));
    key_figures(&mut doc, runs, lang);
    best(&mut doc, &all, load, lang);
    ratings(&mut doc, &with_loose(&all, runs, load), load, scale, lang);
    findings(&mut doc, &all, load, lang);
    validity(&mut doc, runs, lang);
    environment(&mut doc, runs, lang);
    commands(&mut doc, runs, lang);
    doc.heading(2, lang.pick("How to read this", "阅读说明"));
    let mut how = notes(runs, lang);
    how.extend(definitions(lang));
    doc.list(how);
    match format {
        ReportFormat::Text => doc.to_plain(),
        ReportFormat::Markdown => doc.to_markdown(),
    }
}

fn mean_of(level: &Level<'_>, key: &str) -> Option<f64> {
    level.number(key).map(|found| found.mean)
}

fn key_figures(doc: &mut Document, runs: &[Run], lang: Lang) {
    doc.heading(2, lang.pick("Key figures", "关键数据"));
    let mut items = Vec::new();
    let completed: f64 = runs.iter().filter_map(|run| run.number("completed")).sum();
    let failed: f64 = runs.iter().filter_map(|run| run.number("failed")).sum();
    let counted = |n: f64| crate::format::count(n as u64);
    let share = if completed + failed > 0.0 {
        failed / (completed + failed)
    } else {
        0.0
    };
    items.push(match lang {
        Lang::En => format!(
            "{} runs; {} requests completed, {} failed ({}).",
            runs.len(),
            counted(completed),
            counted(failed),
            percent(share)
        ),
        Lang::Zh => {
            format!(
                "共 {} 次运行；完成 {} 个请求，失败 {} 个（{}）。",
                runs.len(),
                counted(completed),
                counted(failed),
                percent(share)
            )
        }
    });
    let sound: Vec<&Run> = runs.iter().filter(|run| !run.is_invalid()).collect();
    let mut extreme = |en: &str, zh: &str, key: &str, unit: &str| {
        let most = sound
            .iter()
            .filter_map(|run| Some((run.number(key)?, run)))
            .max_by(|a, b| a.0.total_cmp(&b.0).then_with(|| b.1.name.cmp(&a.1.name)));
        if let Some((value, run)) = most {
            items.push(match lang {
                Lang::En => format!("{en}: {} {unit}, in {}.", significant(value, 4), run.name),
                Lang::Zh => format!("{zh}：{} {unit}，见 {}。", significant(value, 4), run.name),
            });
        }
    };
    extreme(
        "Highest output throughput",
        "最高输出吞吐量",
        "output_throughput",
        "tok/s",
    );
    extreme(
        "Highest request throughput",
        "最高请求吞吐量",
        "request_throughput",
        "req/s",
    );
    extreme(
        "Highest goodput",
        "最高有效吞吐量",
        "request_goodput",
        "req/s",
    );
    for (metric, name) in [(Metric::Ttft, "TTFT"), (Metric::Tpot, "TPOT")] {
        let medians = || {
            sound
                .iter()
                .filter_map(|run| run.latency(metric, Stat::Median))
        };
        let (low, high) = (
            medians().fold(f64::INFINITY, f64::min),
            medians().fold(0.0, f64::max),
        );
        if low.is_finite() {
            let (low, high) = (duration_ms(low), duration_ms(high));
            items.push(match lang {
                Lang::En if low == high => format!("Median {name}: {low}."),
                Lang::Zh if low == high => format!("{name} 中位数：{low}。"),
                Lang::En => format!("Median {name}: {low} to {high}."),
                Lang::Zh => format!("{name} 中位数：{low} 至 {high}。"),
            });
        }
    }
    doc.list(items);
}

fn best(doc: &mut Document, all: &[Series<'_>], load: Load, lang: Lang) {
    doc.heading(2, lang.pick("Best settings", "最佳配置"));
    let mut rows = Vec::new();
    for one in all {
        let mut row = |goal: &str, level: &Level<'_>| {
            rows.push(vec![
                full_name(one, lang),
                goal.to_owned(),
                level.load.to_string(),
                cell(mean_of(level, "output_throughput")),
                cell(per_user(level, load)),
                cell(level.latency(Metric::Ttft, Stat::Median).map(|e| e.mean)),
                cell(level.latency(Metric::Tpot, Stat::Median).map(|e| e.mean)),
                cell(delay_ms(one, level)),
            ]);
        };
        let sound: Vec<&Level<'_>> = one
            .levels
            .iter()
            .filter(|level| !level.is_suspect())
            .collect();
        let by = |value: &dyn Fn(&Level<'_>) -> Option<f64>| {
            sound
                .iter()
                .filter_map(|level| Some((value(level)?, *level)))
                .max_by(|a, b| a.0.total_cmp(&b.0))
                .map(|(_, level)| level)
        };
        if let [only] = sound.as_slice() {
            row(lang.pick("(only load tried)", "（唯一负载）"), only);
            continue;
        }
        if let Some(level) = by(&|level| mean_of(level, "output_throughput")) {
            row(lang.pick("throughput", "吞吐量"), level);
        }
        if let Some(level) = by(&|level| Some(-delay_ms(one, level)?)) {
            row(lang.pick("latency", "延迟"), level);
        }
        if let Some(level) = study(one, load).knee.map(|index| &one.levels[index]) {
            row(lang.pick("balance (knee)", "均衡（拐点）"), level);
        }
    }
    if rows.is_empty() {
        doc.text(super::throughput::nothing(lang));
        return;
    }
    let head = [
        lang.pick("Setting", "设置"),
        lang.pick("Best for", "适用目标"),
        load.short(lang),
        lang.pick("tok/s", "token/秒"),
        lang.pick("tok/s/user", "token/秒/用户"),
        lang.pick("TTFT p50 ms", "TTFT p50 ms"),
        lang.pick("TPOT p50 ms", "TPOT p50 ms"),
        lang.pick("E2EL p50 ms", "E2EL p50 ms"),
    ];
    doc.table(&head, rows);
}

fn ratings(doc: &mut Document, all: &[Series<'_>], load: Load, scale: &RatingScale, lang: Lang) {
    doc.heading(2, lang.pick("Rating of each setting", "各配置评级"));
    let (e, g, a) = (scale.excellent, scale.good, scale.acceptable);
    doc.text(match lang {
        Lang::En => format!(
            "Scale: excellent TTFT < {} ms and TPOT < {} ms; good < {} / < {}; acceptable < {} / < {}; else needs optimisation.",
            e.0, e.1, g.0, g.1, a.0, a.1
        ),
        Lang::Zh => format!(
            "标准：优秀 TTFT < {} ms 且 TPOT < {} ms；良好 < {} / < {}；可接受 < {} / < {}；其余需要优化。",
            e.0, e.1, g.0, g.1, a.0, a.1
        ),
    });
    // "p99", or a word where the runs' highest percentiles differ.
    let mut tails = all
        .iter()
        .flat_map(|one| &one.levels)
        .filter_map(|level| level.runs.iter().find_map(|run| run.tail(Metric::Ttft)))
        .map(|tail| tail.0);
    let first_tail = tails.next().unwrap_or(99.0);
    let tail_word = if tails.all(|tail| tail == first_tail) {
        format!("p{first_tail}")
    } else {
        lang.pick("tail", "尾部").to_owned()
    };
    let latency =
        |level: &Level<'_>, metric, stat| cell(level.latency(metric, stat).map(|found| found.mean));
    let mut rows = Vec::new();
    for one in all {
        for level in &one.levels {
            let tail = level.runs.iter().find_map(|run| run.tail(Metric::Ttft));
            let word = |stat| {
                scale
                    .of(level, stat)
                    .map_or("–", |rating| rating.word(lang))
                    .to_owned()
            };
            let tail_rating = match tail {
                Some((p, _)) if !tail_word.starts_with('p') => {
                    format!("{} (p{p})", word(Stat::Tail))
                }
                _ => word(Stat::Tail),
            };
            rows.push(vec![
                full_name(one, lang),
                if level.load.is_finite() {
                    level.load.to_string()
                } else {
                    "–".to_owned()
                },
                level.runs.len().to_string(),
                latency(level, Metric::Ttft, Stat::Median),
                latency(level, Metric::Ttft, Stat::Tail),
                latency(level, Metric::Tpot, Stat::Median),
                latency(level, Metric::Tpot, Stat::Tail),
                word(Stat::Median),
                tail_rating,
                trust(level).to_owned(),
            ]);
        }
    }
    let head = [
        lang.pick("Setting", "设置"),
        load.short(lang),
        lang.pick("runs", "次数"),
        "TTFT p50",
        &format!("TTFT {tail_word}"),
        "TPOT p50",
        &format!("TPOT {tail_word}"),
        lang.pick("Rating p50", "评级 p50"),
        &format!("{} {tail_word}", lang.pick("Rating", "评级")),
        lang.pick("Verdict", "判定"),
    ];
    doc.table(&head, rows);
}

/// The series, and each run without a load as one more.
fn with_loose<'a>(all: &[Series<'a>], runs: &'a [Run], load: Load) -> Vec<Series<'a>> {
    let mut loose: Vec<&Run> = runs
        .iter()
        .filter(|run| load.value(run).is_none())
        .collect();
    loose.sort_by(|a, b| a.name.cmp(&b.name));
    let loose = loose.into_iter().map(|run| Series {
        name: run.name.clone(),
        lens: (run.input_len, run.output_len),
        levels: vec![Level {
            load: f64::NAN,
            runs: vec![run],
        }],
    });
    all.iter().cloned().chain(loose).collect()
}

/// The worst verdict of a level's runs.
fn trust(level: &Level<'_>) -> &'static str {
    match level
        .runs
        .iter()
        .filter_map(|run| run.verdict.as_ref().map(|verdict| verdict.level))
        .max()
    {
        None => "–",
        Some(Trust::Valid) => "VALID",
        Some(Trust::Caution) => "CAUTION",
        Some(Trust::Invalid) => "INVALID",
    }
}

fn findings(doc: &mut Document, all: &[Series<'_>], load: Load, lang: Lang) {
    doc.heading(
        2,
        lang.pick("Saturation, limits, advice", "饱和点、瓶颈与建议"),
    );
    let mut items = Vec::new();
    for one in all {
        let Findings {
            saturation, limits, ..
        } = study(one, load);
        let name = full_name(one, lang);
        let colon = lang.pick(": ", "：");
        let mut sentences = Vec::new();
        match (saturation, lang) {
            (Saturation::At(at), Lang::En) => sentences.push(format!(
                "saturated from {} {at} on: higher loads gave at most 5 % more throughput and only longer waits.",
                load.short(lang)
            )),
            (Saturation::At(at), Lang::Zh) => sentences
                .push(format!("自{} {at} 起饱和：更高负载的吞吐量提升不超过 5 %，只会增加等待。", load.short(lang))),
            (Saturation::NotReached(gain), Lang::En) => sentences.push(format!(
                "saturation was not reached: the last step changed throughput by {}. Try higher loads.",
                percent(gain)
            )),
            (Saturation::NotReached(gain), Lang::Zh) => {
                sentences.push(format!("未达到饱和：最后一级负载使吞吐量变化 {}。可尝试更高负载。", percent(gain)));
            }
            (Saturation::Unknown, _) => sentences.push(
                lang.pick("saturation unknown: needs two or more loads.", "饱和点未知：需要至少两个负载水平。").to_owned(),
            ),
        }
        sentences.extend(limits.iter().map(|limit| advice(*limit, load, lang)));
        items.extend(
            sentences
                .iter()
                .map(|sentence| format!("{name}{colon}{sentence}")),
        );
    }
    if items.is_empty() {
        items.push(super::throughput::nothing(lang));
    }
    doc.list(items);
}

fn validity(doc: &mut Document, runs: &[Run], lang: Lang) {
    doc.heading(2, lang.pick("May the numbers be trusted?", "数据是否可信"));
    let of = |level: Trust| {
        runs.iter()
            .filter(|r| r.verdict.as_ref().is_some_and(|v| v.level == level))
            .count()
    };
    let silent = runs.iter().filter(|run| run.verdict.is_none()).count();
    doc.text(match lang {
        Lang::En => format!(
            "{} VALID, {} CAUTION, {} INVALID, {silent} without a verdict (made by a tool that gives none).",
            of(Trust::Valid),
            of(Trust::Caution),
            of(Trust::Invalid)
        ),
        Lang::Zh => format!(
            "VALID {} 次，CAUTION {} 次，INVALID {} 次，{silent} 次没有判定（由不提供判定的工具生成）。",
            of(Trust::Valid),
            of(Trust::Caution),
            of(Trust::Invalid)
        ),
    });
    let mut items = Vec::new();
    for run in runs {
        let Some(verdict) = run
            .verdict
            .as_ref()
            .filter(|verdict| verdict.level != Trust::Valid)
        else {
            continue;
        };
        if verdict.reasons.is_empty() {
            items.push(format!("{}: {}", run.name, verdict.level));
        }
        for reason in &verdict.reasons {
            let (message, remedy) = findings::texts(reason, lang);
            let text = format!("{}: {} [{}] {message}", run.name, reason.level, reason.code);
            items.push(if remedy.is_empty() {
                text
            } else {
                format!("{text} → {remedy}")
            });
        }
    }
    doc.list(items);
}

fn environment(doc: &mut Document, runs: &[Run], lang: Lang) {
    doc.heading(2, lang.pick("Environment", "环境"));
    let mut items = Vec::new();
    let mut distinct = |label: &str, value: &dyn Fn(&Run) -> Option<String>| {
        let mut values: Vec<String> = runs
            .iter()
            .filter_map(value)
            .filter(|v| !v.is_empty())
            .collect();
        values.sort();
        values.dedup();
        if values.len() > 8 {
            let more = values.len() - 8;
            values.truncate(8);
            values.push(format!("(+{more})"));
        }
        if !values.is_empty() {
            items.push(format!(
                "{label}{}{}",
                lang.pick(": ", "："),
                values.join(lang.pick(", ", "、"))
            ));
        }
    };
    distinct(lang.pick("Model", "模型"), &|run| Some(run.model.clone()));
    distinct(lang.pick("Backend", "后端"), &|run| {
        Some(run.backend.clone())
    });
    distinct(lang.pick("Tokenizer", "分词器"), &|run| {
        Some(run.row.get("tokenizer_id")?.as_str()?.to_owned())
    });
    distinct(lang.pick("Metadata", "元数据"), &|run| {
        Some(
            run.metadata
                .iter()
                .map(|(key, value)| format!("{key}={value}"))
                .collect::<Vec<_>>()
                .join(" "),
        )
    });
    distinct(lang.pick("Host", "主机"), &|run| {
        let environment = run.row.get("inferometer")?.get("environment")?;
        let parts: Vec<String> = environment
            .as_object()?
            .iter()
            .filter_map(|(key, value)| match value {
                serde_json::Value::String(text) => Some(format!("{key} {text}")),
                serde_json::Value::Number(number) => Some(format!("{key} {number}")),
                _ => None,
            })
            .collect();
        Some(parts.join(" · "))
    });
    let mut dates: Vec<&str> = runs.iter().filter_map(|run| run.date.as_deref()).collect();
    dates.sort_unstable();
    if let (Some(first), Some(last)) = (dates.first(), dates.last()) {
        items.push(format!(
            "{}{}{first} – {last}",
            lang.pick("Runs made", "运行时间"),
            lang.pick(": ", "：")
        ));
    }
    doc.list(items);
}

fn commands(doc: &mut Document, runs: &[Run], lang: Lang) {
    const MOST: usize = 40;
    doc.heading(2, lang.pick("Commands to reproduce", "复现命令"));
    let mut lines: Vec<String> = runs.iter().map(command).collect();
    let mut seen = std::collections::BTreeSet::new();
    lines.retain(|line| seen.insert(line.clone()));
    let known = runs
        .iter()
        .filter(|run| stored_command(run).is_some())
        .count();
    if known < runs.len() {
        doc.text(lang.pick(
            "Put together from the result files, which do not hold every option; add --base-url and your server's own options.",
            "根据结果文件整理；其中并不包含所有选项，请补充 --base-url 及服务器相关选项。",
        ));
    }
    let more = lines.len().saturating_sub(MOST);
    lines.truncate(MOST);
    if more > 0 {
        lines.push(match lang {
            Lang::En => format!("# … and {more} more"),
            Lang::Zh => format!("# …… 另有 {more} 条"),
        });
    }
    doc.code(lines);
}

/// The command that the result file itself holds.
fn stored_command(run: &Run) -> Option<String> {
    Some(
        run.row
            .get("inferometer")?
            .get("command")?
            .as_str()?
            .replace(['\n', '\r'], " "),
    )
}

fn command(run: &Run) -> String {
    use std::fmt::Write as _;
    if let Some(stored) = stored_command(run) {
        return stored;
    }
    let mut line = "inferometer run".to_owned();
    let mut flag = |name: &str, value: Option<String>| {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            let _ = write!(line, " --{name} {}", quoted(&value));
        }
    };
    flag("backend", Some(run.backend.clone()));
    flag("model", Some(run.model.clone()));
    if let (Some(input), Some(output)) = (run.input_len, run.output_len) {
        flag("dataset-name", Some("random".into()));
        flag("random-input-len", Some(input.to_string()));
        flag("random-output-len", Some(output.to_string()));
    }
    flag("num-prompts", run.num_prompts.map(|n| n.to_string()));
    flag(
        "request-rate",
        Some(run.rate.map_or("inf".into(), |rate| rate.to_string())),
    );
    flag("max-concurrency", run.concurrency.map(|n| n.to_string()));
    line
}

/// A word for a POSIX shell.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
    if word.chars().all(plain) {
        word.to_owned()
    } else {
        format!(
            "'{}'",
            word.replace(['\n', '\r'], " ").replace('\'', "'\\''")
        )
    }
}

fn definitions(lang: Lang) -> Vec<String> {
    match lang {
        Lang::En => vec![
            "TTFT: time from sending a request to its first token. TPOT: time per output token after the first. ITL: gap \
             between successive token events. E2EL: time to the last token.".to_owned(),
            "Balance (knee): the load with the highest throughput per unit of delay.".to_owned(),
            "Results marked INVALID are shown but take no part in best settings, saturation and advice.".to_owned(),
        ],
        Lang::Zh => vec![
            "TTFT：从发送请求到首个 token 的时间。TPOT：首 token 之后每个输出 token 的时间。ITL：相邻 token 事件的间隔。E2EL：到最后一个 token 的时间。".to_owned(),
            "均衡（拐点）：单位延迟吞吐量最高的负载。".to_owned(),
            "标为 INVALID 的结果仍会显示，但不参与最佳配置、饱和点与建议。".to_owned(),
        ],
    }
}
