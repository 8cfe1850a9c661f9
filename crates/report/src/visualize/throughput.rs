//! The throughput figure: how the server scales.

use inferometer_metrics::{Estimate, Metric};

use super::groups::{
    DRAWN, Level, Load, MAX_LINES, Series, by_input_length, drawn, lens_name, loads, series,
    thinned,
};
use super::rows::{Run, Stat};
use crate::Lang;
use crate::chart::{Axis, Figure, Heat, Interval, Key, Line, Mark, Marker, Panel, theme};
use crate::format::significant;

/// Four panels: throughput against load, the effect of the input length, tokens per second per
/// user, and scaling against the ideal.
pub fn throughput_figure(runs: &[Run], lang: Lang) -> Figure {
    let load = Load::of(runs);
    let all = drawn(series(runs, load, lang));
    let panels = vec![
        throughput_panel(&all, load, lang),
        length_panel(runs, lang),
        heat_panel(&all, load, lang),
        scaling_panel(&all, load, lang),
    ];
    Figure {
        width: 1400.0,
        row_height: 430.0,
        title: lang.pick("Throughput", "吞吐量分析").to_owned(),
        subtitle: subtitle(runs, lang),
        keys: keys(runs, lang),
        rows: Vec::new(),
        notes: notes(runs, lang),
    }
    .arranged(panels)
}

/// Model and number of the runs, in one line.
pub(super) fn subtitle(runs: &[Run], lang: Lang) -> String {
    let mut models: Vec<&str> = runs
        .iter()
        .map(|r| super::groups::short_model(&r.model))
        .filter(|m| !m.is_empty())
        .collect();
    models.sort_unstable();
    models.dedup();
    let models = match models.as_slice() {
        [] => String::new(),
        [one] => format!("{one}, "),
        [first, rest @ ..] => format!("{first} +{}, ", rest.len()),
    };
    let requests: f64 = runs.iter().filter_map(|run| run.number("completed")).sum();
    let requests = crate::format::count(requests as u64);
    match lang {
        Lang::En => format!("{models}{} runs, {requests} completed requests", runs.len()),
        Lang::Zh => format!("{models}{} 次运行，{requests} 个完成的请求", runs.len()),
    }
}

/// The entries of the legend that any figure may need.
pub(super) fn keys(runs: &[Run], lang: Lang) -> Vec<Key> {
    if runs.iter().any(Run::is_invalid) {
        vec![Key::Line {
            color: theme::ALARM.into(),
            dash: "0 100".into(),
            marker: Some(Marker::Cross),
            text: lang
                .pick(
                    "run with verdict INVALID: do not use",
                    "判定为 INVALID 的运行：不可使用",
                )
                .into(),
        }]
    } else {
        Vec::new()
    }
}

/// What a reader must know about the samples.
pub(super) fn notes(runs: &[Run], lang: Lang) -> Vec<String> {
    let load = Load::of(runs);
    let repeats: Vec<usize> = series(runs, load, lang)
        .iter()
        .flat_map(|s| s.levels.iter().map(|l| l.runs.len()))
        .collect();
    let (least, most) = (
        repeats.iter().min().copied().unwrap_or(0),
        repeats.iter().max().copied().unwrap_or(0),
    );
    let mut notes = vec![if most > 1 {
        match lang {
            Lang::En => format!(
                "{least} to {most} runs per point; bars are 95 % intervals of the mean (Student's t) over repeated runs."
            ),
            Lang::Zh => format!(
                "每点 {least} 至 {most} 次运行；误差线为重复运行均值的 95 % 置信区间（学生 t 分布）。"
            ),
        }
    } else {
        lang.pick(
            "One run per point: the noise between runs is unknown.",
            "每点仅一次运行：运行之间的波动未知。",
        )
        .to_owned()
    }];
    let without = runs.iter().filter(|run| load.value(run).is_none()).count();
    if without > 0 {
        notes.push(match lang {
            Lang::En if without == 1 => {
                format!(
                    "1 run without a {} level is not shown by load.",
                    load.short(lang)
                )
            }
            Lang::En => format!(
                "{without} runs without a {} level are not shown by load.",
                load.short(lang)
            ),
            Lang::Zh => format!(
                "{without} 次没有{}水平的运行未按负载显示。",
                load.short(lang)
            ),
        });
    }
    let left_out = series(runs, load, lang).len().saturating_sub(DRAWN);
    if left_out > 0 {
        notes.push(match lang {
            Lang::En => format!("{left_out} more settings, those with the fewest levels, are left out here; they are in the report and the dashboard."),
            Lang::Zh => format!("另有 {left_out} 个水平最少的设置未在此绘出；报告与仪表板中均有。"),
        });
    }
    notes
}

/// Lines of one statistic against the load, one for each series.
pub(super) fn lines(
    all: &[Series<'_>],
    value: impl Fn(&Level<'_>) -> Option<Estimate>,
) -> Vec<Mark> {
    let mut marks = Vec::new();
    for (index, one) in all.iter().enumerate() {
        let mut line = Line {
            color: theme::series(index).into(),
            width: 2.4,
            marker: Some(Marker::of(index)),
            label: (all.len() > 1).then(|| one.name.clone()),
            ..Line::default()
        };
        for level in &one.levels {
            let Some(found) = value(level) else { continue };
            add_level(&mut line, level, &found);
        }
        if !line.points.is_empty() {
            marks.push(Mark::Line(line));
        }
    }
    marks
}

/// Adds what was found at a level to a line: the mean, its interval, and a mark if it is suspect.
pub(super) fn add_level(line: &mut Line, level: &Level<'_>, found: &Estimate) {
    if level.is_suspect() {
        line.suspect.push(line.points.len());
    }
    line.points.push((level.load, found.mean));
    if let Some((low, high)) = found.interval
        && high > low
    {
        line.intervals.push(Interval {
            x: level.load,
            low: low.max(0.0),
            high,
        });
    }
}

/// The load's axis, with ticks at the levels that were run.
pub(super) fn load_axis(all: &[Series<'_>], load: Load, lang: Lang) -> Axis {
    let levels = loads(all);
    Axis::spanning(load.title(lang), levels.iter().copied(), 5.0).with_ticks(levels)
}

fn throughput_panel(all: &[Series<'_>], load: Load, lang: Lang) -> Panel {
    let marks = lines(all, |level| level.number("output_throughput"));
    let values = values_of(&marks);
    let y = Axis::spanning(lang.pick("Output tokens/s", "输出 token/秒"), values, 50.0);
    let title = lang.pick(
        "Output throughput by load and length (input → output tokens)",
        "吞吐量与负载、长度（输入 → 输出 token）",
    );
    Panel {
        marks,
        empty: nothing(lang),
        ..Panel::new(title, load_axis(all, load, lang), y)
    }
}

fn values_of(marks: &[Mark]) -> Vec<f64> {
    let (mut xs, mut ys) = (Vec::new(), Vec::new());
    for mark in marks {
        mark.extents(&mut xs, &mut ys);
    }
    ys
}

pub(super) fn nothing(lang: Lang) -> String {
    lang.pick(
        "no run has the numbers that this chart needs",
        "没有包含此图所需数据的运行",
    )
    .to_owned()
}

/// Throughput against the input length, one line for each setting that was run at several.
fn length_panel(runs: &[Run], lang: Lang) -> Panel {
    let groups = thinned(by_input_length(runs, lang), MAX_LINES);
    let named: Vec<Series<'_>> = groups
        .into_iter()
        .map(|group| Series {
            name: group.name,
            lens: (None, None),
            levels: group.levels,
        })
        .collect();
    let marks = lines(&named, |level| level.number("total_token_throughput"));
    let lens = loads(&named);
    let y = Axis::spanning(
        lang.pick("Input + output tokens/s", "输入+输出 token/秒"),
        values_of(&marks),
        50.0,
    );
    let x_title = lang.pick("Input length (tokens)", "输入长度（token）");
    let x = Axis::spanning(x_title, lens.iter().copied(), 5.0).with_ticks(lens);
    let empty = lang
        .pick(
            "needs runs at two or more input lengths",
            "需要至少两种输入长度的运行",
        )
        .to_owned();
    Panel {
        marks,
        empty,
        ..Panel::new(
            lang.pick("Effect of the input length", "输入长度的影响"),
            x,
            y,
        )
    }
}

/// Output tokens per second per user: throughput over the mean number of requests in flight,
/// which is rate × mean latency (Little's law) where both are known, else the cap.
pub(super) fn per_user(level: &Level<'_>, load: Load) -> Option<f64> {
    let throughput = level.number("output_throughput")?.mean;
    let by_law = level
        .number("request_throughput")
        .zip(level.latency(Metric::E2el, Stat::Mean))
        .map(|(rate, latency)| rate.mean * latency.mean / 1e3);
    let in_flight = by_law.or((load == Load::Concurrency).then_some(level.load))?;
    (in_flight > 0.0).then(|| throughput / in_flight)
}

fn heat_panel(all: &[Series<'_>], load: Load, lang: Lang) -> Panel {
    let columns = loads(all);
    let mut cells: Vec<(usize, usize, f64, bool)> = Vec::new();
    // Row 0 is at the bottom, so the shortest lengths come last.
    for (row, one) in all.iter().rev().enumerate() {
        for level in &one.levels {
            let Some(column) = columns.iter().position(|load| *load == level.load) else {
                continue;
            };
            if let Some(value) = per_user(level, load) {
                cells.push((column, row, value, level.is_suspect()));
            }
        }
    }
    let most = cells.iter().fold(0.0_f64, |most, cell| most.max(cell.2));
    let least = cells.iter().fold(most, |least, cell| least.min(cell.2));
    let heat = cells
        .iter()
        .map(|&(column, row, value, suspect)| Heat {
            at: (column, row),
            shade: if most > least {
                (value - least) / (most - least)
            } else {
                1.0
            },
            text: significant(value, 3),
            suspect,
        })
        .collect();
    let names = all.iter().rev().map(|one| shorten(&one.name, 24)).collect();
    let x = Axis::categories(
        load.title(lang),
        columns.iter().map(ToString::to_string).collect(),
    );
    let title = lang.pick(
        "Efficiency: output tokens/s per request in flight",
        "效率：每个在途请求的输出 token/秒",
    );
    let y = Axis::categories("", names);
    Panel {
        marks: vec![Mark::Heat(heat)],
        empty: nothing(lang),
        ..Panel::new(title, x, y)
    }
}

pub(super) fn shorten(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        text.to_owned()
    } else {
        let kept: String = text.chars().take(most - 1).collect();
        format!("{kept}…")
    }
}

/// Throughput of a series relative to its lowest load, against the load relative to the lowest one;
/// `None` without two levels to compare.
fn scaling_line(one: &Series<'_>) -> Option<Line> {
    let first = one.levels.first()?;
    let base = first.number("output_throughput")?.mean;
    if base <= 0.0 {
        return None;
    }
    let mut line = Line::default();
    for level in &one.levels {
        let Some(found) = level.number("output_throughput") else {
            continue;
        };
        if level.is_suspect() {
            line.suspect.push(line.points.len());
        }
        let place = (level.load / first.load, found.mean / base);
        line.points.push(place);
    }
    Some(line)
}

/// Throughput relative to that at the lowest load, against the same ratio of loads.
fn scaling_panel(all: &[Series<'_>], load: Load, lang: Lang) -> Panel {
    let mut marks = Vec::new();
    let mut widest = 1.0_f64;
    for (index, one) in all.iter().enumerate() {
        let Some(line) = scaling_line(one) else {
            continue;
        };
        widest = line.points.iter().fold(widest, |most, at| most.max(at.0));
        if line.points.len() > 1 {
            marks.push(Mark::Line(Line {
                color: theme::series(index).into(),
                width: 2.4,
                marker: Some(Marker::of(index)),
                label: (all.len() > 1).then(|| one.name.clone()),
                ..line
            }));
        }
    }
    if !marks.is_empty() {
        marks.insert(0, Mark::Line(ideal_line(widest, lang)));
    }
    let title = lang.pick("Scaling against the ideal", "扩展性与理想值对比");
    let x_title = match (load, lang) {
        (Load::Concurrency, Lang::En) => "Concurrency, as a multiple of the lowest",
        (Load::Rate, Lang::En) => "Request rate, as a multiple of the lowest",
        (Load::Concurrency, Lang::Zh) => "并发（相对最低水平的倍数）",
        (Load::Rate, Lang::Zh) => "请求速率（相对最低水平的倍数）",
    };
    let y_title = lang.pick("Speed-up (×)", "加速比（×）");
    let span = [1.0, widest];
    let empty = lang
        .pick(
            "needs runs at two or more loads",
            "需要至少两个负载水平的运行",
        )
        .to_owned();
    let mut multiples: Vec<f64> = all
        .iter()
        .filter_map(|one| Some((one, one.levels.first()?.load)))
        .flat_map(|(one, base)| one.levels.iter().map(move |level| level.load / base))
        .collect();
    multiples.sort_by(f64::total_cmp);
    multiples.dedup();
    let x = Axis::spanning(x_title, span, 5.0).with_ticks(multiples);
    let y = Axis::spanning(y_title, span, 5.0);
    Panel {
        marks,
        empty,
        ..Panel::new(title, x, y)
    }
}

/// Throughput that grows as the load does.
fn ideal_line(widest: f64, lang: Lang) -> Line {
    Line {
        points: vec![(1.0, 1.0), (widest, widest)],
        color: theme::SOFT.into(),
        width: 1.6,
        dash: "6 5".into(),
        label: Some(lang.pick("ideal", "理想").to_owned()),
        ..Line::default()
    }
}

/// A series' name for places outside charts.
pub(super) fn full_name(one: &Series<'_>, lang: Lang) -> String {
    if one.name.is_empty() {
        lens_name(one.lens, lang)
    } else {
        one.name.clone()
    }
}
