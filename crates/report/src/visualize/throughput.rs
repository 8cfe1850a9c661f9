//! The throughput figure: how the server scales.

use inferometer_metrics::{Estimate, Metric};

use super::groups::{
    Level, Load, MAX_LINES, Series, Trust, by_input_length, drawn, lens_name, loads, series,
    thinned,
};
use super::notes::{keys, notes, subtitle};
use super::rows::{Run, Stat};
use crate::Lang;
use crate::chart::{
    Axis, Figure, Heat, Interval, Line, Mark, Marker, Panel, Scale, fitted_apart, theme,
};
use crate::format::significant;

/// Room for a setting's name beside the heat map, in pixels.
const NAME_ROOM: f64 = 190.0;

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
    mark(line, level);
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

/// Marks the next point of a line by how far its level can be trusted.
fn mark(line: &mut Line, level: &Level<'_>) {
    match level.trust() {
        Trust::Suspect => line.suspect.push(line.points.len()),
        Trust::Caution => line.open.push(line.points.len()),
        Trust::Sound => {}
    }
}

/// A panel whose logarithmic axes say so in their titles.
pub(super) fn panel(title: impl Into<String>, x: Axis, y: Axis, lang: Lang) -> Panel {
    let named = |mut axis: Axis| {
        if axis.scale == Scale::Log {
            axis.title += lang.pick(", log scale", "，对数刻度");
        }
        axis
    };
    Panel::new(title, named(x), named(y))
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
        "输出吞吐量：按负载与长度（输入 → 输出 token）",
    );
    Panel {
        marks,
        empty: nothing(lang),
        ..panel(title, load_axis(all, load, lang), y, lang)
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
        lang.pick("Input + output tokens/s", "总吞吐量（输入+输出 token/秒）"),
        values_of(&marks),
        50.0,
    );
    let x_title = lang.pick("Input length (tokens)", "输入长度（token）");
    let x = Axis::spanning(x_title, lens.iter().copied(), 5.0).with_ticks(lens);
    let empty = no_lengths(runs, lang);
    let title = lang.pick("Effect of the input length", "输入长度的影响");
    Panel {
        marks,
        empty,
        ..panel(title, x, y, lang)
    }
}

/// Why no line against the input length can be drawn, from what the runs have.
fn no_lengths(runs: &[Run], lang: Lang) -> String {
    let mut lengths: Vec<f64> = runs.iter().filter_map(|run| run.input_len).collect();
    lengths.sort_by(f64::total_cmp);
    lengths.dedup();
    let unknown = runs.iter().filter(|run| run.input_len.is_none()).count();
    match (lengths.len(), lang) {
        (0 | 1, Lang::En) if unknown > 0 => format!(
            "{unknown} of {} runs have prompts of different lengths, or lengths that their files do not hold",
            runs.len()
        ),
        (0 | 1, Lang::Zh) if unknown > 0 => format!(
            "{} 次运行中有 {unknown} 次的提示词长度不一，或结果文件中没有长度",
            runs.len()
        ),
        (0 | 1, _) => lang
            .pick(
                "all runs have the same input length",
                "所有运行的输入长度相同",
            )
            .to_owned(),
        (count, Lang::En) => format!(
            "no two runs differ in the input length alone: the runs at {count} input lengths differ in load or other \
             settings as well"
        ),
        (count, Lang::Zh) => {
            format!("没有两次运行仅输入长度不同：{count} 种输入长度的运行在负载或其他设置上也不同")
        }
    }
}

/// Output tokens per second per user of one run: throughput over the mean number of requests in
/// flight, which is rate × mean latency (Little's law) where both are known, else the cap.
fn per_user_of(run: &Run) -> Option<f64> {
    let throughput = run.measured("output_throughput")?;
    let by_law = run
        .measured("request_throughput")
        .zip(run.latency(Metric::E2el, Stat::Mean))
        .map(|(rate, latency)| rate * latency / 1e3);
    let in_flight = by_law.or(run.concurrency.filter(|_| run.is_closed_loop()))?;
    (in_flight > 0.0).then(|| throughput / in_flight)
}

/// Output tokens per second per user at a level: the mean over its runs, as in the dashboard.
pub(super) fn per_user(level: &Level<'_>) -> Option<f64> {
    level.fold(per_user_of).map(|found| found.mean)
}

fn heat_panel(all: &[Series<'_>], load: Load, lang: Lang) -> Panel {
    let columns = loads(all);
    let mut cells: Vec<(usize, usize, f64, Trust)> = Vec::new();
    // Row 0 is at the bottom, so the shortest lengths come last.
    for (row, one) in all.iter().rev().enumerate() {
        for level in &one.levels {
            let Some(column) = columns.iter().position(|load| *load == level.load) else {
                continue;
            };
            if let Some(value) = per_user(level) {
                cells.push((column, row, value, level.trust()));
            }
        }
    }
    // What is not data does not set the scale.
    let data = || cells.iter().filter(|cell| cell.3 != Trust::Suspect);
    let most = data().fold(0.0_f64, |most, cell| most.max(cell.2));
    let least = data().fold(most, |least, cell| least.min(cell.2));
    let heat = cells
        .iter()
        .map(|&(column, row, value, trust)| Heat {
            at: (column, row),
            shade: if most > least {
                ((value - least) / (most - least)).clamp(0.0, 1.0)
            } else {
                1.0
            },
            text: significant(value, 3),
            suspect: trust == Trust::Suspect,
            caution: trust == Trust::Caution,
        })
        .collect();
    let names: Vec<&str> = all.iter().rev().map(|one| one.name.as_str()).collect();
    let names = fitted_apart(&names, theme::TICK_SIZE, &vec![NAME_ROOM; names.len()]);
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
        ..panel(title, x, y, lang)
    }
}

/// The lowest level whose throughput is data, which the others are compared with.
fn lowest<'a, 'b>(one: &'b Series<'a>) -> Option<&'b Level<'a>> {
    one.levels.iter().find(|level| {
        let throughput = level.number("output_throughput");
        !level.is_suspect() && throughput.is_some_and(|found| found.mean > 0.0)
    })
}

/// Throughput of a series relative to its lowest load, against the load relative to the lowest one;
/// `None` without two levels to compare.
fn scaling_line(one: &Series<'_>) -> Option<Line> {
    let first = lowest(one)?;
    let base = first.number("output_throughput")?.mean;
    let mut line = Line::default();
    for level in &one.levels {
        let Some(found) = level.number("output_throughput") else {
            continue;
        };
        mark(&mut line, level);
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
        .filter_map(|one| Some((one, lowest(one)?.load)))
        .flat_map(|(one, base)| one.levels.iter().map(move |level| level.load / base))
        .collect();
    multiples.sort_by(f64::total_cmp);
    multiples.dedup();
    let x = Axis::spanning(x_title, span, 5.0).with_ticks(multiples);
    let y = Axis::spanning(y_title, span, 5.0);
    Panel {
        marks,
        empty,
        ..panel(title, x, y, lang)
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
