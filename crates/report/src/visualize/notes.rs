//! What a reader of a figure or a report must know beside the numbers.

use super::groups::{DRAWN, Load, series, short_model};
use super::rows::Run;
use crate::Lang;
use crate::chart::{Key, Marker, theme};
use crate::format::{count, percent};

/// Model and number of the runs, in one line.
pub(super) fn subtitle(runs: &[Run], lang: Lang) -> String {
    let mut models: Vec<&str> = runs
        .iter()
        .map(|r| short_model(&r.model))
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
    let requests = count(requests as u64);
    match lang {
        Lang::En => format!("{models}{} runs, {requests} completed requests", runs.len()),
        Lang::Zh => format!("{models}{} 次运行，{requests} 个完成的请求", runs.len()),
    }
}

/// The entries of the legend that any figure may need.
pub(super) fn keys(runs: &[Run], lang: Lang) -> Vec<Key> {
    let mut keys = Vec::new();
    if runs.iter().any(|run| run.is_sound() && run.is_caution()) {
        keys.push(Key::Shape {
            color: theme::INK.into(),
            marker: Marker::Circle,
            open: true,
            text: lang
                .pick(
                    "run with verdict CAUTION: read its reasons",
                    "判定为 CAUTION 的运行：请先阅读原因",
                )
                .into(),
        });
    }
    if runs.iter().any(Run::is_invalid) {
        keys.push(Key::Shape {
            color: theme::ALARM.into(),
            marker: Marker::Cross,
            open: false,
            text: lang
                .pick(
                    "run with verdict INVALID: do not use",
                    "判定为 INVALID 的运行：不可使用",
                )
                .into(),
        });
    }
    keys
}

/// What a reader must know about the samples.
pub(super) fn notes(runs: &[Run], lang: Lang) -> Vec<String> {
    let load = Load::of(runs);
    let all = series(runs, load, lang);
    let repeats: Vec<usize> = all
        .iter()
        .flat_map(|s| s.levels.iter().map(|l| l.sound().count()))
        .filter(|count| *count > 0)
        .collect();
    let (least, most) = (
        repeats.iter().min().copied().unwrap_or(0),
        repeats.iter().max().copied().unwrap_or(0),
    );
    let mut notes = vec![if most > 1 {
        let each = if least == most {
            most.to_string()
        } else {
            format!("{least}{}{most}", lang.pick(" to ", " 至 "))
        };
        match lang {
            Lang::En => format!(
                "{each} runs per point; bars are 95 % intervals of the mean (Student's t) over repeated runs."
            ),
            Lang::Zh => {
                format!("每点 {each} 次运行；误差线为重复运行均值的 95 % 置信区间（学生 t 分布）。")
            }
        }
    } else {
        lang.pick(
            "One run per point: the noise between runs is unknown.",
            "每点仅一次运行：运行之间的波动未知。",
        )
        .to_owned()
    }];
    notes.extend(left_out_note(runs, lang));
    notes.extend(closed_loop_note(runs, lang));
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
    let left_out = all.len().saturating_sub(DRAWN);
    if left_out > 0 {
        notes.push(match lang {
            Lang::En => format!("{left_out} more settings, those with the fewest levels, are left out here; they are in the report and the dashboard."),
            Lang::Zh => format!("另有 {left_out} 个水平最少的设置未在此绘出；报告与仪表板中均有。"),
        });
    }
    notes
}

/// How many runs no mean is taken over.
fn left_out_note(runs: &[Run], lang: Lang) -> Option<String> {
    let unanswered = runs.iter().filter(|run| !run.has_answers()).count();
    let invalid = runs.iter().filter(|run| run.is_invalid()).count();
    let left_out = runs.iter().filter(|run| !run.is_sound()).count();
    (left_out > 0).then(|| match lang {
        Lang::En => format!(
            "In no mean, rating or best setting: {left_out} of {} runs ({invalid} INVALID, {unanswered} without \
             answers{}).",
            runs.len(),
            both(", {} both", invalid + unanswered - left_out)
        ),
        Lang::Zh => format!(
            "{} 次运行中，{left_out} 次不计入均值、评级与最佳配置：{invalid} 次 INVALID，{unanswered} 次没有任何回答{}。",
            runs.len(),
            both("，{} 次为两者", invalid + unanswered - left_out)
        ),
    })
}

/// `text` about runs that are counted twice; empty where none is.
fn both(text: &str, runs: usize) -> String {
    if runs == 0 {
        return String::new();
    }
    text.replace("{}", &runs.to_string())
}

/// What the start and the end of closed loops do to their numbers.
fn closed_loop_note(runs: &[Run], lang: Lang) -> Option<String> {
    runs.iter()
        .find(|run| run.is_sound() && run.is_closed_loop())?;
    let busy = runs
        .iter()
        .filter(|run| run.is_sound())
        .filter_map(Run::busy_slots);
    let (mut least, mut most) = (f64::INFINITY, 0.0_f64);
    for fraction in busy {
        (least, most) = (least.min(fraction), most.max(fraction));
    }
    let rule = lang.pick(
        "With a cap and no rate, the start and the end of each run, where fewer requests than the cap are in flight, \
         count in its throughput",
        "仅有并发上限而无速率时，运行首尾在途请求不足上限的时段也计入吞吐量",
    );
    let known = most > 0.0;
    let (least, most) = (percent(least), percent(most));
    Some(match lang {
        Lang::En if known => {
            format!("{rule}: the mean number in flight was {least} to {most} of the cap.")
        }
        Lang::Zh if known => format!("{rule}：平均在途数为上限的 {least} 至 {most}。"),
        Lang::En => format!("{rule}."),
        Lang::Zh => format!("{rule}。"),
    })
}
