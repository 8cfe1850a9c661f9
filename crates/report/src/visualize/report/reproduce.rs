//! Where the numbers come from: environment and commands.

use crate::Lang;
use crate::document::Document;
use crate::visualize::rows::Run;
use inferometer_core::shell_word;

pub(super) fn environment(doc: &mut Document, runs: &[Run], lang: Lang) {
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
            lang.pick("Run dates", "运行时间"),
            lang.pick(": ", "：")
        ));
    }
    doc.list(items);
}

pub(super) fn commands(doc: &mut Document, runs: &[Run], lang: Lang) {
    const MAX_COMMANDS: usize = 40;
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
            "Commands without a URL are reconstructed from result files that do not hold every option; add --base-url, \
             --seed and the options of your server.",
            "不含地址的命令由结果文件整理而成，其中并不包含所有选项，请补充 --base-url、--seed 及服务器相关选项。",
        ));
    }
    let more = lines.len().saturating_sub(MAX_COMMANDS);
    lines.truncate(MAX_COMMANDS);
    if more > 0 {
        lines.push(match lang {
            Lang::En => format!("# … and {more} more"),
            Lang::Zh => format!("# …… 另有 {more} 条"),
        });
    }
    doc.code(lines);
}

/// The command stored in the result file, or in a table of them.
fn stored_command(run: &Run) -> Option<String> {
    let nested = run
        .row
        .get("inferometer")
        .and_then(|ours| ours.get("command"));
    let stored = nested.or_else(|| run.row.get("inferometer.command"))?;
    Some(stored.as_str()?.replace(['\n', '\r'], " "))
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
    let text = |key: &str| run.row.get(key).and_then(serde_json::Value::as_str);
    flag("tokenizer", text("tokenizer_id").map(str::to_owned));
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

/// A word for a POSIX shell on one line; an empty one stays empty.
fn quoted(word: &str) -> String {
    if word.is_empty() {
        return String::new();
    }
    shell_word(&word.replace(['\n', '\r'], " "))
}
