//! The performance report in words.

mod reproduce;
mod settings;

use inferometer_core::Level as Trust;
use inferometer_metrics::Metric;

use super::advice::advice;
use super::analysis::{Findings, RatingScale, Saturation, study};
use super::groups::{Level, Load, Series, series};
use super::notes::{notes, subtitle};
use super::rows::{Run, Stat};
use super::throughput::{full_name, nothing};
use crate::Lang;
use crate::document::Document;
use crate::findings;
use crate::format::{count, duration_ms, percent, significant};
use reproduce::{commands, environment};
use settings::{best, ratings, with_loose};

/// Format of the report.
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
    let every = with_loose(&all, runs, load);
    key_figures(&mut doc, runs, &every, load, lang);
    best(&mut doc, &all, load, lang);
    ratings(&mut doc, &every, load, scale, lang);
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

/// Key figures: of each setting the mean of its repeats, so that no lucky run stands for it.
fn key_figures(doc: &mut Document, runs: &[Run], every: &[Series<'_>], load: Load, lang: Lang) {
    doc.heading(2, lang.pick("Key figures", "关键数据"));
    let mut items = vec![requests_item(runs, lang)];
    let sound: Vec<Place<'_>> = every
        .iter()
        .flat_map(|one| one.levels.iter().map(move |level| Place { one, level }))
        .filter(|place| !place.level.is_suspect())
        .collect();
    items.extend(highest_items(&sound, load, lang));
    items.extend(
        [(Metric::Ttft, "TTFT"), (Metric::Tpot, "TPOT")]
            .iter()
            .filter_map(|(metric, name)| median_item(&sound, *metric, name, lang)),
    );
    doc.list(items);
}

/// A setting at a load.
struct Place<'a> {
    one: &'a Series<'a>,
    level: &'a Level<'a>,
}

impl Place<'_> {
    /// Its run, or its setting with the number of the runs that the mean is of.
    fn name(&self, load: Load, lang: Lang) -> String {
        let mut sound = self.level.sound();
        if let (Some(run), None) = (sound.next(), sound.next()) {
            return run.name.clone();
        }
        let (name, at) = (full_name(self.one, lang), self.level.load);
        let (count, load) = (self.level.sound().count(), load.short(lang));
        match lang {
            Lang::En => format!("{name} at {load} {at} (mean of {count} runs)"),
            Lang::Zh => format!("{name}，{load} {at}（{count} 次运行的均值）"),
        }
    }
}

fn requests_item(runs: &[Run], lang: Lang) -> String {
    let sum = |key: &str| -> f64 { runs.iter().filter_map(|run| run.number(key)).sum() };
    let (completed, failed) = (sum("completed"), sum("failed"));
    let fraction = if completed + failed > 0.0 {
        percent(failed / (completed + failed))
    } else {
        percent(0.0)
    };
    let (n, completed, failed) = (runs.len(), count(completed as u64), count(failed as u64));
    match lang {
        Lang::En => {
            format!("{n} runs; {completed} requests completed, {failed} failed ({fraction}).")
        }
        Lang::Zh => {
            format!("共 {n} 次运行；完成 {completed} 个请求，失败 {failed} 个（{fraction}）。")
        }
    }
}

/// The highest throughputs, and the settings that have them.
fn highest_items(sound: &[Place<'_>], load: Load, lang: Lang) -> Vec<String> {
    let highest = |name: &str, key: &str, unit: &str| {
        let (value, place) = sound
            .iter()
            .filter_map(|place| Some((place.level.number(key)?.mean, place)))
            // Of equal ones the first.
            .rev()
            .max_by(|a, b| a.0.total_cmp(&b.0))?;
        let (value, place) = (significant(value, 4), place.name(load, lang));
        Some(match lang {
            Lang::En => format!("{name}: {value} {unit}, in {place}."),
            Lang::Zh => format!("{name}：{value} {unit}，见 {place}。"),
        })
    };
    let items = [
        highest(
            lang.pick("Highest output throughput", "最高输出吞吐量"),
            "output_throughput",
            "tok/s",
        ),
        highest(
            lang.pick("Highest request throughput", "最高请求吞吐量"),
            "request_throughput",
            "req/s",
        ),
        highest(
            lang.pick("Highest goodput", "最高有效吞吐量"),
            "request_goodput",
            "req/s",
        ),
    ];
    items.into_iter().flatten().collect()
}

/// The range of a metric's medians.
fn median_item(sound: &[Place<'_>], metric: Metric, name: &str, lang: Lang) -> Option<String> {
    let medians: Vec<f64> = sound
        .iter()
        .filter_map(|place| Some(place.level.latency(metric, Stat::Median)?.mean))
        .collect();
    let low = medians.iter().copied().reduce(f64::min)?;
    let high = medians.iter().copied().fold(0.0, f64::max);
    let (low, high) = (duration_ms(low), duration_ms(high));
    Some(match lang {
        Lang::En if low == high => format!("Median {name}: {low}."),
        Lang::Zh if low == high => format!("{name} 中位数：{low}。"),
        Lang::En => format!("Median {name}: {low} to {high}."),
        Lang::Zh => format!("{name} 中位数：{low} 至 {high}。"),
    })
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
                "saturated from {} {at} on: higher loads added at most 5 % throughput and only longer waits.",
                load.short(lang)
            )),
            (Saturation::At(at), Lang::Zh) => sentences
                .push(format!("自{} {at} 起饱和：更高负载的吞吐量提升不超过 5 %，只会增加等待。", load.short(lang))),
            (Saturation::NotReached(gain), Lang::En) => sentences.push(format!(
                "saturation not reached: the last step changed throughput by {}. Try higher loads.",
                percent(gain)
            )),
            (Saturation::NotReached(gain), Lang::Zh) => {
                sentences.push(format!("未达到饱和：最后一级负载使吞吐量变化 {}。可尝试更高负载。", percent(gain)));
            }
            (Saturation::Unknown, _) => sentences.push(
                lang.pick("saturation unknown: two or more loads are needed.", "饱和点未知：需要至少两个负载水平。").to_owned(),
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
        items.push(nothing(lang));
    }
    doc.list(items);
}

fn validity(doc: &mut Document, runs: &[Run], lang: Lang) {
    doc.heading(2, lang.pick("Can the numbers be trusted?", "数据是否可信"));
    let of = |level: Trust| {
        runs.iter()
            .filter(|r| r.verdict.as_ref().is_some_and(|v| v.level == level))
            .count()
    };
    let silent = runs.iter().filter(|run| run.verdict.is_none()).count();
    doc.text(match lang {
        Lang::En => format!(
            "{} VALID, {} CAUTION, {} INVALID, {silent} without a verdict (from a tool that reports none).",
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

fn definitions(lang: Lang) -> Vec<String> {
    match lang {
        Lang::En => vec![
            "TTFT: time from sending a request to its first token. TPOT: time per output token after the first. ITL: gap \
             between successive token events. E2EL: time to the last token.".to_owned(),
            "Balance (knee): the load with the highest throughput per unit of delay.".to_owned(),
            "Results that are INVALID or have no answer are shown but not used for means, ratings, best settings, \
             saturation and advice; only failed requests are counted over all results.".to_owned(),
        ],
        Lang::Zh => vec![
            "TTFT：从发送请求到首个 token 的时间。TPOT：首 token 之后每个输出 token 的时间。ITL：相邻 token 事件的间隔。E2EL：到最后一个 token 的时间。".to_owned(),
            "均衡（拐点）：单位延迟吞吐量最高的负载。".to_owned(),
            "标为 INVALID 或没有任何回答的结果仍会显示，但不参与均值、评级、最佳配置、饱和点与建议；只有失败的请求按所有结果计数。".to_owned(),
        ],
    }
}
