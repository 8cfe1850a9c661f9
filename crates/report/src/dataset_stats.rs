//! vLLM's `--plot-dataset-stats`: the lengths of the requests.

use crate::Lang;
use crate::chart::{Axis, Bar, Figure, Key, Mark, Panel, theme};
use crate::format::{count, significant};

/// Bins of a histogram, as in vLLM.
const BINS: usize = 30;
/// Bars of the panel by request; with more requests, neighbours are averaged.
const MAX_BARS: usize = 300;

/// Histograms of prompt, output and total tokens, and both by request. `lengths` has one pair of
/// token counts (prompt, output) per request.
pub fn dataset_stats_figure(lengths: &[(u32, u32)], lang: Lang) -> Figure {
    let of = |value: fn(&(u32, u32)) -> u32| {
        lengths
            .iter()
            .map(|pair| f64::from(value(pair)))
            .collect::<Vec<f64>>()
    };
    let (prompt, output) = (theme::SERIES[0], theme::SERIES[1]);
    let panels = vec![
        histogram(
            &of(|l| l.0),
            lang.pick("Prompt length", "提示词长度"),
            prompt,
            lang,
        ),
        histogram(
            &of(|l| l.1),
            lang.pick("Output length", "输出长度"),
            output,
            lang,
        ),
        histogram(
            &of(|l| l.0 + l.1),
            lang.pick("Total length", "总长度"),
            theme::SERIES[2],
            lang,
        ),
        by_request(lengths, (prompt, output), lang),
    ];
    let requests = count(lengths.len() as u64);
    Figure {
        width: 1400.0,
        row_height: 420.0,
        title: lang.pick("Dataset statistics", "数据集统计").to_owned(),
        subtitle: match lang {
            Lang::En => format!("{requests} requests"),
            Lang::Zh => format!("{requests} 个请求"),
        },
        keys: vec![
            Key::Area {
                color: prompt.into(),
                opacity: 1.0,
                text: lang.pick("prompt tokens", "提示词 token").into(),
            },
            Key::Area {
                color: output.into(),
                opacity: 1.0,
                text: lang.pick("output tokens", "输出 token").into(),
            },
        ],
        rows: Vec::new(),
        notes: Vec::new(),
    }
    .arranged(panels)
}

fn histogram(values: &[f64], title: &str, color: &str, lang: Lang) -> Panel {
    let x = Axis::linear(lang.pick("Tokens", "token 数"));
    let y = Axis::linear(lang.pick("Requests", "请求数"));
    let empty = lang.pick("No requests", "没有请求").to_owned();
    let Some((low, high)) = ends(values) else {
        return Panel {
            empty,
            ..Panel::new(title, x, y)
        };
    };
    let (low, high) = if high > low {
        (low, high)
    } else {
        (low - 0.5, high + 0.5)
    };
    let width = (high - low) / BINS as f64;
    let mut counts = [0_u32; BINS];
    for value in values {
        counts[(((value - low) / width) as usize).min(BINS - 1)] += 1;
    }
    let bars = counts
        .iter()
        .enumerate()
        .filter(|(_, n)| **n > 0)
        .map(|(bin, n)| {
            let left = low + bin as f64 * width;
            let gap = width * 0.04;
            Bar {
                x: (left + gap, left + width - gap),
                y: (0.0, f64::from(*n)),
                color: color.into(),
                label: None,
            }
        })
        .collect();
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = f64::midpoint(sorted[(sorted.len() - 1) / 2], sorted[sorted.len() / 2]);
    let (first, last) = (sorted[0], sorted[sorted.len() - 1]);
    let title = match lang {
        Lang::En => format!(
            "{title}: mean {}, median {}, {} to {}",
            significant(mean, 4),
            significant(middle, 4),
            count(first as u64),
            count(last as u64)
        ),
        Lang::Zh => format!(
            "{title}：均值 {}，中位数 {}，{} 至 {}",
            significant(mean, 4),
            significant(middle, 4),
            count(first as u64),
            count(last as u64)
        ),
    };
    let x = x.with_range(low - width, high + width);
    Panel {
        marks: vec![Mark::Bars(bars)],
        empty,
        ..Panel::new(title, x, y)
    }
}

fn ends(values: &[f64]) -> Option<(f64, f64)> {
    let low = values.iter().copied().reduce(f64::min)?;
    Some((low, values.iter().copied().fold(low, f64::max)))
}

fn by_request(lengths: &[(u32, u32)], (prompt, output): (&str, &str), lang: Lang) -> Panel {
    let stride = lengths.len().div_ceil(MAX_BARS).max(1);
    let mut bars = Vec::new();
    for (group, chunk) in lengths.chunks(stride).enumerate() {
        let n = chunk.len() as f64;
        let mean = |value: fn(&(u32, u32)) -> u32| {
            chunk.iter().map(|pair| f64::from(value(pair))).sum::<f64>() / n
        };
        let (input, out) = (mean(|l| l.0), mean(|l| l.1));
        let left = (group * stride) as f64;
        let x = (
            left,
            left + stride as f64 * if stride > 1 { 1.0 } else { 0.9 },
        );
        bars.push(Bar {
            x,
            y: (0.0, input),
            color: prompt.into(),
            label: None,
        });
        bars.push(Bar {
            x,
            y: (input, input + out),
            color: output.into(),
            label: None,
        });
    }
    let title = match (stride, lang) {
        (1, Lang::En) => "Tokens per request".to_owned(),
        (1, Lang::Zh) => "每个请求的 token".to_owned(),
        (_, Lang::En) => format!("Tokens per request (means of {stride} neighbours)"),
        (_, Lang::Zh) => format!("按请求的 token（{stride} 个相邻请求的均值）"),
    };
    let x = Axis::linear(lang.pick("Request", "请求"));
    let y = Axis::linear(lang.pick("Tokens", "token 数"));
    let empty = lang.pick("No requests", "没有请求").to_owned();
    let marks = if bars.is_empty() {
        Vec::new()
    } else {
        vec![Mark::Bars(bars)]
    };
    Panel {
        marks,
        empty,
        ..Panel::new(title, x, y)
    }
}
