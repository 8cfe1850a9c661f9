//! Writes every kind of report of a synthetic campaign into a folder:
//! `gallery FOLDER [RESULT.json …]`. The result files, if any, become one more campaign.

#[path = "../tests/fixture/mod.rs"]
mod fixture;

use std::error::Error;
use std::fs;
use std::path::Path;

use inferometer_metrics::{Analysis, VerdictSettings, judge};
use inferometer_report::chart::to_png;
use inferometer_report::visualize::{
    RatingScale, ReportFormat, Row, dashboard, latency_figure, parse_rows, performance_report,
    throughput_figure,
};
use inferometer_report::{
    Comparison, Lang, RunAbout, RunPageInput, Side, dataset_stats_figure, run_page, timeline_page,
};
use serde_json::{Value, json};

/// The page of a synthetic run of `n` requests.
fn page(n: usize, lang: Lang) -> String {
    let records = fixture::records(n, 64);
    let Analysis {
        summary,
        extras,
        intervals,
    } = fixture::analysis(&records);
    let health = fixture::health();
    let verdict = judge(
        &summary,
        &extras,
        &health,
        &VerdictSettings {
            finite_rate: true,
            ..VerdictSettings::default()
        },
    );
    run_page(&RunPageInput {
        title: "A synthetic run",
        records: &records,
        summary: &summary,
        extras: &extras,
        intervals: &intervals,
        verdict: &verdict,
        health: &health,
        about: &RunAbout {
            started: "2026-11-03T10:15:00+01:00".into(),
            version: "inferometer 0.1.0 (release, linux-x86_64)".into(),
            command: "inferometer run --base-url http://127.0.0.1:8000 --model tiny --request-rate 20 --seed 0".into(),
            urls: vec!["http://127.0.0.1:8000/v1/completions".into()],
        },
        settings: &json!({"backend": "vllm", "model": "tiny", "request-rate": 20.0, "num-prompts": n}),
        defaults: &json!({"backend": "vllm"}),
        environment: &json!({"host": "bench-01", "cpu": {"model": "synthetic", "cores": 8}}),
        server_metrics: &Value::Null,
        partial: false,
        recovered: false,
        lang,
    })
}

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args().nth(1).ok_or("name a folder to write to")?;
    let folder = Path::new(&folder);
    fs::create_dir_all(folder)?;
    let named: Vec<Row> = std::env::args()
        .skip(2)
        .map(|file| {
            let mut row: Row = serde_json::from_str(&fs::read_to_string(&file)?)?;
            row.insert("filename".into(), file.into());
            Ok(row)
        })
        .collect::<Result<_, Box<dyn Error>>>()?;
    for lang in Lang::ALL {
        fs::write(folder.join(format!("run-{lang}.html")), page(600, lang))?;
        fs::write(
            folder.join(format!("run-big-{lang}.html")),
            page(30_000, lang),
        )?;
        let records = fixture::records(600, 64);
        fs::write(
            folder.join(format!("timeline-{lang}.html")),
            timeline_page(&records, (20.0, 24.0), lang),
        )?;
        let lengths: Vec<(u32, u32)> = records
            .iter()
            .map(|r| (r.prompt_tokens, 20 + r.prompt_tokens % 97))
            .collect();
        fs::write(
            folder.join(format!("stats-{lang}.png")),
            to_png(&dataset_stats_figure(&lengths, lang).to_svg(), 1.0)?,
        )?;
        let pair = [
            fixture::campaign()[7].clone(),
            fixture::campaign()[30].clone(),
        ]
        .map(Side::from);
        let comparison = Comparison::new(&pair, lang)?;
        fs::write(
            folder.join(format!("compare-{lang}.txt")),
            comparison.to_text(),
        )?;
        for (name, rows) in [
            ("campaign", fixture::campaign()),
            ("rates", fixture::rates()),
            ("tutorial", fixture::tutorial()),
            ("named", named.clone()),
        ] {
            let runs = parse_rows(&rows);
            for (kind, figure) in [
                ("throughput", throughput_figure(&runs, lang)),
                ("latency", latency_figure(&runs, lang)),
            ] {
                let svg = figure.to_svg();
                fs::write(
                    folder.join(format!("{name}-{kind}-{lang}.png")),
                    to_png(&svg, 1.0)?,
                )?;
                fs::write(folder.join(format!("{name}-{kind}-{lang}.svg")), svg)?;
            }
            fs::write(
                folder.join(format!("{name}-dashboard-{lang}.html")),
                dashboard(&runs, lang),
            )?;
            for (ending, format) in [("txt", ReportFormat::Text), ("md", ReportFormat::Markdown)] {
                let text = performance_report(&runs, &RatingScale::default(), lang, format);
                fs::write(folder.join(format!("{name}-report-{lang}.{ending}")), text)?;
            }
        }
    }
    Ok(())
}
