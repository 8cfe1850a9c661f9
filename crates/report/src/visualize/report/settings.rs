//! The settings compared: best ones, and a rating of each.

use inferometer_core::Level as Trust;
use inferometer_metrics::{Metric, samples_needed};

use crate::Lang;
use crate::document::Document;
use crate::format::cell;
use crate::visualize::analysis::{RatingScale, delay_ms, study};
use crate::visualize::groups::{Level, Load, Series};
use crate::visualize::rows::{Run, Stat};
use crate::visualize::throughput::{full_name, nothing, per_user};

fn mean_of(level: &Level<'_>, key: &str) -> Option<f64> {
    level.number(key).map(|found| found.mean)
}

pub(super) fn best(doc: &mut Document, all: &[Series<'_>], load: Load, lang: Lang) {
    doc.heading(2, lang.pick("Best settings", "最佳配置"));
    if all
        .iter()
        .any(|one| one.levels.iter().all(Level::is_suspect))
    {
        doc.text(lang.pick(
            "Settings without a run that has answers and is not INVALID are left out.",
            "没有任何有效运行（有回答且判定不是 INVALID）的设置未列出。",
        ));
    }
    let mut rows = Vec::new();
    for one in all {
        let mut row = |goal: &str, level: &Level<'_>| {
            rows.push(vec![
                full_name(one, lang),
                goal.to_owned(),
                level.load.to_string(),
                cell(mean_of(level, "output_throughput")),
                cell(per_user(level)),
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
            row(lang.pick("throughput", "输出吞吐量"), level);
        }
        if let Some(level) = by(&|level| Some(-delay_ms(one, level)?)) {
            row(lang.pick("latency", "延迟"), level);
        }
        if let Some(level) = study(one, load).knee.map(|index| &one.levels[index]) {
            row(lang.pick("balance (knee)", "均衡（拐点）"), level);
        }
    }
    if rows.is_empty() {
        doc.text(nothing(lang));
        return;
    }
    let head = [
        lang.pick("Setting", "设置"),
        lang.pick("Best for", "适用目标"),
        load.short(lang),
        lang.pick("tok/s", "输出 token/秒"),
        lang.pick("tok/s/user", "token/秒/用户"),
        lang.pick("TTFT p50 ms", "TTFT p50 ms"),
        lang.pick("TPOT p50 ms", "TPOT p50 ms"),
        lang.pick("E2EL p50 ms", "E2EL p50 ms"),
    ];
    doc.table(&head, rows);
}

pub(super) fn ratings(
    doc: &mut Document,
    all: &[Series<'_>],
    load: Load,
    scale: &RatingScale,
    lang: Lang,
) {
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
    let common = common_tail(all);
    let tail_word = common.map_or(lang.pick("tail", "尾部").to_owned(), |tail| {
        format!("p{tail}")
    });
    let table = RatingTable {
        scale,
        name_tail: common.is_none(),
        lang,
    };
    let rows: Vec<Vec<String>> = all
        .iter()
        .flat_map(|one| one.levels.iter().map(|level| table.row(one, level)))
        .collect();
    let few = rows.iter().flatten().any(|cell| cell.ends_with(FEW));
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
    if few {
        doc.text(few_note(all, lang));
    }
    if all
        .iter()
        .flat_map(|one| &one.levels)
        .any(|level| level.sound().count() < level.runs.len())
    {
        doc.text(lang.pick(
            "Runs as used / all: a run that is INVALID or has no answer is in no number and no rating. A setting \
             without any other run has no rating.",
            "次数为“采用/全部”：INVALID 或没有任何回答的运行不计入数据与评级；没有其他运行的设置无评级。",
        ));
    }
}

/// Mark of a percentile that rests on too few requests.
const FEW: char = '*';

/// What the mark means, with the number of requests that each percentile needs.
fn few_note(all: &[Series<'_>], lang: Lang) -> String {
    let mut percentiles = vec![50.0];
    let levels = all.iter().flat_map(|one| &one.levels);
    percentiles.extend(
        levels
            .flat_map(Level::sound)
            .filter_map(|run| Some(run.tail(Metric::Ttft)?.0)),
    );
    percentiles.sort_by(f64::total_cmp);
    percentiles.dedup();
    let needs: Vec<String> = percentiles
        .into_iter()
        .filter_map(|percentile| Some((percentile, samples_needed(percentile)?)))
        .map(|(percentile, needed)| match lang {
            Lang::En => format!("p{percentile} needs {needed}"),
            Lang::Zh => format!("p{percentile} 需要 {needed} 个"),
        })
        .collect();
    let needs = needs.join(lang.pick(", ", "，"));
    match lang {
        Lang::En => format!(
            "{FEW} too few requests to estimate this percentile with 99 % confidence ({needs}): largely chance, and not rated."
        ),
        Lang::Zh => format!(
            "{FEW} 请求数不足以在 99 % 置信度下估计该百分位（{needs}）：多属偶然，不予评级。"
        ),
    }
}

/// The percentile that is the tail of all runs; `None` where they differ.
fn common_tail(all: &[Series<'_>]) -> Option<f64> {
    let mut tails = all
        .iter()
        .flat_map(|one| &one.levels)
        .filter_map(|level| level.runs.iter().find_map(|run| run.tail(Metric::Ttft)))
        .map(|tail| tail.0);
    let first = tails.next().unwrap_or(99.0);
    tails.all(|tail| tail == first).then_some(first)
}

/// How the rows of the ratings are written.
struct RatingTable<'a> {
    scale: &'a RatingScale,
    /// The tails differ, so each row names its own.
    name_tail: bool,
    lang: Lang,
}

impl RatingTable<'_> {
    fn row(&self, one: &Series<'_>, level: &Level<'_>) -> Vec<String> {
        let tail = level
            .runs
            .iter()
            .find_map(|run| run.tail(Metric::Ttft))
            .map_or(99.0, |(percentile, _)| percentile);
        let latency = |metric, stat| {
            let value = level.latency(metric, stat).map(|found| found.mean);
            let mark = value.is_some() && level.is_below_floor(percentile_of(stat, tail));
            format!("{}{}", cell(value), if mark { "*" } else { "" })
        };
        let word = |stat| {
            let rated = !level.is_suspect() && !level.is_below_floor(percentile_of(stat, tail));
            self.scale
                .of(level, stat)
                .filter(|_| rated)
                .map_or("–", |rating| rating.word(self.lang))
                .to_owned()
        };
        let tail_rating = match word(Stat::Tail) {
            word if self.name_tail => format!("{word} (p{tail})"),
            word => word,
        };
        let (used, all) = (level.sound().count(), level.runs.len());
        vec![
            full_name(one, self.lang),
            if level.load.is_finite() {
                level.load.to_string()
            } else {
                "–".to_owned()
            },
            if used == all {
                all.to_string()
            } else {
                format!("{used}/{all}")
            },
            latency(Metric::Ttft, Stat::Median),
            latency(Metric::Ttft, Stat::Tail),
            latency(Metric::Tpot, Stat::Median),
            latency(Metric::Tpot, Stat::Tail),
            word(Stat::Median),
            tail_rating,
            trust(level).to_owned(),
        ]
    }
}

/// The percentile of a statistic.
const fn percentile_of(stat: Stat, tail: f64) -> f64 {
    match stat {
        Stat::Mean | Stat::Median => 50.0,
        Stat::Tail => tail,
    }
}

/// The series, and each run without a load as one more.
pub(super) fn with_loose<'a>(all: &[Series<'a>], runs: &'a [Run], load: Load) -> Vec<Series<'a>> {
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
