//! The lines on the kind of traffic, below the verdict.

use std::fmt::Write as _;

use inferometer_metrics::traffic::{Conformity, Conversations, Fidelity, Group, Traffic};

use super::display_width;
use crate::Lang;

/// Groups that a table shows; the result file has all of them.
const MAX_ROWS: usize = 20;

/// The lines on schedule, prefixes, structure, conversations and classes, each ended by a line
/// feed; empty for plain traffic.
pub fn traffic_lines(traffic: &Traffic, lang: Lang) -> String {
    let mut text = String::new();
    let line = |text: &mut String, written: String| {
        text.push_str(&written);
        text.push('\n');
    };
    if let Some(fidelity) = &traffic.fidelity {
        line(&mut text, replay(fidelity, lang));
    }
    if let Some(fraction) = traffic.reusable_prefix_share {
        let percent = fraction * 100.0;
        line(
            &mut text,
            match lang {
                Lang::En => {
                    format!("Reusable prefixes: {percent:.1} % of the prompt tokens (predicted)")
                }
                Lang::Zh => format!("可复用前缀：占提示 token 的 {percent:.1} %（预测值）"),
            },
        );
    }
    if let Some(salt) = &traffic.salt {
        let label = lang.pick("Salt of this run: ", "本次运行的盐值：");
        line(&mut text, format!("{label}{salt}"));
    }
    if let Some(structured) = &traffic.structured {
        line(&mut text, conformity(structured, lang));
    }
    if let Some(conversations) = &traffic.conversations {
        line(&mut text, complete(conversations, lang));
        let turn = lang.pick("turn", "轮次");
        table(&mut text, turn, &conversations.turns, lang);
    }
    if !traffic.classes.is_empty() {
        let class = lang.pick("class", "类别");
        table(&mut text, class, &traffic.classes, lang);
    }
    text
}

fn replay(fidelity: &Fidelity, lang: Lang) -> String {
    let Fidelity {
        rows_used,
        timing_error_p50_ms: p50,
        timing_error_p99_ms: p99,
        timing_error_max_ms: max,
        ..
    } = fidelity;
    match lang {
        Lang::En => {
            let rows = fidelity
                .rows_in_file
                .map(|rows| format!(" of {rows}"))
                .unwrap_or_default();
            let order = match fidelity.out_of_order {
                0 => "in order".to_owned(),
                some => format!("{some} out of order"),
            };
            format!(
                "Replay: {rows_used}{rows} rows sent, timing error p50 {p50:.3} ms, p99 {p99:.3} ms, max {max:.3} ms, \
                 {order}"
            )
        }
        Lang::Zh => {
            let rows = fidelity
                .rows_in_file
                .map(|rows| format!("（共 {rows} 行）"))
                .unwrap_or_default();
            let order = match fidelity.out_of_order {
                0 => "顺序一致".to_owned(),
                some => format!("{some} 行顺序不一致"),
            };
            format!(
                "回放：已发送 {rows_used} 行{rows}，时刻误差 p50 {p50:.3} ms、p99 {p99:.3} ms、最大 {max:.3} ms，{order}"
            )
        }
    }
}

fn complete(conversations: &Conversations, lang: Lang) -> String {
    let Conversations {
        sessions,
        complete,
        turns_not_sent,
        ..
    } = conversations;
    match lang {
        Lang::En => format!(
            "Conversations: {complete} of {sessions} complete, {turns_not_sent} turns not sent"
        ),
        Lang::Zh => {
            format!("多轮对话：{sessions} 个中完成 {complete} 个，{turns_not_sent} 轮未发送")
        }
    }
}

fn conformity(conformity: &Conformity, lang: Lang) -> String {
    let Conformity {
        kind,
        asked,
        answered,
        conforming,
        share,
    } = conformity;
    let percent = share.unwrap_or_default() * 100.0;
    match (lang, conforming) {
        (Lang::En, Some(good)) => format!(
            "Structured output ({kind}): {asked} requests asked for it, {good} of {answered} answers conform \
             ({percent:.1} %)"
        ),
        (Lang::En, None) => format!(
            "Structured output ({kind}): {asked} requests asked for it; a custom grammar is not checked"
        ),
        (Lang::Zh, Some(good)) => format!(
            "结构化输出（{kind}）：{asked} 个请求要求，{answered} 个回答中 {good} 个符合（{percent:.1} %）"
        ),
        (Lang::Zh, None) => {
            format!("结构化输出（{kind}）：{asked} 个请求要求；自定义语法不作检查")
        }
    }
}

/// Headings and widths of the columns after the name.
const COLUMNS: [(&str, &str, usize); 9] = [
    ("requests", "请求数", 8),
    ("ok", "成功", 6),
    ("input", "输入", 9),
    ("cached", "缓存", 8),
    ("output", "输出", 8),
    ("ttft p50", "ttft p50", 10),
    ("ttft p99", "ttft p99", 10),
    ("e2el p50", "e2el p50", 10),
    ("e2el p99", "e2el p99", 10),
];

/// The cells of a group in the order of [`COLUMNS`].
fn cells(group: &Group) -> [String; 9] {
    let cached = group.cached_share;
    let ms = |value: f64| format!("{value:.2}");
    [
        group.requests.to_string(),
        group.completed.to_string(),
        format!("{:.1}", group.mean_input_tokens),
        cached.map_or_else(|| "–".to_owned(), |part| format!("{:.0} %", part * 100.0)),
        format!("{:.1}", group.mean_output_tokens),
        ms(group.ttft_p50_ms),
        ms(group.ttft_p99_ms),
        ms(group.e2el_p50_ms),
        ms(group.e2el_p99_ms),
    ]
}

fn table(text: &mut String, name: &str, groups: &[Group], lang: Lang) {
    let shown = &groups[..groups.len().min(MAX_ROWS)];
    let names = shown.iter().map(|group| display_width(&group.name));
    let width = names.max().unwrap_or(0).max(5);
    let mut row = |name: &str, cells: [String; 9]| {
        text.push_str(name);
        text.push_str(&" ".repeat(width.saturating_sub(display_width(name))));
        for (cell, (_, _, width)) in cells.iter().zip(COLUMNS) {
            let pad = width.saturating_sub(display_width(cell));
            text.push_str(&" ".repeat(1 + pad));
            text.push_str(cell);
        }
        text.push('\n');
    };
    row(
        name,
        COLUMNS.map(|(en, zh, _)| lang.pick(en, zh).to_owned()),
    );
    for group in shown {
        row(&group.name, cells(group));
    }
    let more = groups.len() - shown.len();
    if more > 0 {
        // Writing to a string cannot fail.
        let _ = match lang {
            Lang::En => writeln!(text, "… and {more} more, in the result"),
            Lang::Zh => writeln!(text, "……其余 {more} 组见结果文件"),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_traffic_has_no_lines() {
        assert_eq!(traffic_lines(&Traffic::default(), Lang::En), "");
    }

    #[test]
    fn only_the_first_groups_are_in_the_table() {
        let classes = (0..23)
            .map(|number| Group {
                name: format!("class {number}"),
                ..Group::default()
            })
            .collect();
        let traffic = Traffic {
            classes,
            ..Traffic::default()
        };
        let text = traffic_lines(&traffic, Lang::En);
        assert_eq!(text.lines().count(), 1 + MAX_ROWS + 1);
        assert!(text.ends_with("… and 3 more, in the result\n"), "{text}");
        // Every line is as wide in Chinese, where a character takes two columns.
        let zh = traffic_lines(&traffic, Lang::Zh);
        for line in zh.lines().take(1 + MAX_ROWS) {
            assert_eq!(
                display_width(line),
                display_width(text.lines().next().unwrap())
            );
        }
    }

    #[test]
    fn a_grammar_that_is_not_checked_has_no_count() {
        let checked = Conformity {
            kind: "json".into(),
            asked: 10,
            answered: 8,
            conforming: Some(6),
            share: Some(0.75),
        };
        let custom = Conformity {
            kind: "grammar".into(),
            conforming: None,
            share: None,
            ..checked.clone()
        };
        let line = |structured| {
            let traffic = Traffic {
                structured: Some(structured),
                ..Traffic::default()
            };
            traffic_lines(&traffic, Lang::En)
        };
        assert_eq!(
            line(checked),
            "Structured output (json): 10 requests asked for it, 6 of 8 answers conform (75.0 %)\n"
        );
        assert_eq!(
            line(custom),
            "Structured output (grammar): 10 requests asked for it; a custom grammar is not checked\n"
        );
    }
}
