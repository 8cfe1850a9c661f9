//! Figures and reports of a synthetic campaign.

mod fixture;

use inferometer_metrics::RULES;
use inferometer_report::Lang;
use inferometer_report::chart::to_png;
use inferometer_report::visualize::{
    RatingScale, ReportFormat, Run, Wanted, files, latency_figure, parse_rows, performance_report,
    throughput_figure,
};

/// One length, few levels, one repeat, one run that must not be trusted: small enough to read as a
/// snapshot.
fn small() -> Vec<Run> {
    let mut rows: Vec<_> = [(1, 0), (4, 0), (4, 1), (16, 0)]
        .into_iter()
        .map(|(cap, repeat)| fixture::run(512, 128, cap, repeat, cap == 1))
        .collect();
    rows[3].insert("verdict".into(), "INVALID".into());
    parse_rows(&rows)
}

#[test]
fn figures_as_svg() {
    insta::assert_snapshot!(
        "throughput_svg",
        throughput_figure(&small(), Lang::En).to_svg()
    );
    insta::assert_snapshot!("latency_svg", latency_figure(&small(), Lang::En).to_svg());
}

#[test]
fn reports_in_both_languages_and_formats() {
    let scale = RatingScale::default();
    insta::assert_snapshot!(
        "report_en",
        performance_report(&small(), &scale, Lang::En, ReportFormat::Text)
    );
    insta::assert_snapshot!(
        "report_zh",
        performance_report(
            &parse_rows(&fixture::rates()),
            &scale,
            Lang::Zh,
            ReportFormat::Markdown
        )
    );
}

#[test]
fn the_order_of_files_does_not_matter() {
    let rows = fixture::campaign();
    let mut turned = rows.clone();
    turned.reverse();
    for lang in Lang::ALL {
        let one = throughput_figure(&parse_rows(&rows), lang).to_svg();
        assert_eq!(one, throughput_figure(&parse_rows(&turned), lang).to_svg());
    }
}

#[test]
fn a_png_is_drawn_with_the_embedded_font() {
    let with = |title: &str| {
        let mut figure = throughput_figure(&small(), Lang::Zh);
        figure.title = title.into();
        to_png(&figure.to_svg(), 0.5).unwrap()
    };
    let png = with("吞吐量");
    assert_eq!(&png[..8], b"\x89PNG\r\n\x1a\n");
    assert_eq!(
        png,
        with("吞吐量"),
        "the same figure must give the same bytes"
    );
    assert_ne!(png, with("   "), "Chinese characters leave no mark");
}

#[test]
fn the_files_of_visualize_have_the_names_that_scripts_expect() {
    let runs = small();
    let names = |wanted| -> Vec<&str> {
        let files = files(&runs, wanted, &RatingScale::default(), Lang::En).unwrap();
        assert!(files.iter().all(|(_, content)| content.len() > 200));
        files.into_iter().map(|(name, _)| name).collect()
    };
    let all = [
        "throughput_analysis.png",
        "throughput_analysis.svg",
        "latency_analysis.png",
        "latency_analysis.svg",
        "interactive_dashboard.html",
        "performance_report.txt",
        "performance_report.md",
    ];
    assert_eq!(names(Wanted::ALL), all);
    let only = Wanted {
        throughput: false,
        latency: false,
        interactive: false,
        report: true,
    };
    assert_eq!(names(only), all[5..]);
}

#[test]
fn mixed_folders_are_drawn_without_mixing_settings() {
    let runs = parse_rows(&fixture::tutorial());
    let svg = throughput_figure(&runs, Lang::En).to_svg();
    assert!(
        svg.contains("4 runs without a concurrency level are not shown by load."),
        "{svg}"
    );
    // The four input lengths at 5 requests/s form the one line of their panel.
    assert!(svg.contains(">2048</text>"), "{svg}");
    let report = performance_report(&runs, &RatingScale::default(), Lang::En, ReportFormat::Text);
    assert!(report.contains("(only load tried)"), "{report}");
}

/// Eight runs have details, and six curves can be distinguished: the title mentions the other two.
#[test]
fn distributions_that_are_not_drawn_are_counted() {
    let runs = |count: u64| {
        let rows: Vec<_> = (0..count)
            .map(|power| fixture::run(512, 128, 1 << power, 0, true))
            .collect();
        parse_rows(&rows)
    };
    let all = latency_figure(&runs(6), Lang::En).to_svg();
    assert!(
        all.contains("Distribution of TTFT (runs with details)"),
        "{all}"
    );
    for (lang, said) in [
        (Lang::En, "6 of 8 runs with details"),
        (Lang::Zh, "8 个含明细的运行中按负载间隔选取 6 个"),
    ] {
        let svg = latency_figure(&runs(8), lang).to_svg();
        assert!(svg.contains(said), "{svg}");
        assert!(!svg.contains("毫秒") && svg.contains("(ms)"), "{svg}");
    }
}

/// 4 of 120 requests failed (3.3 %): 4 of the 16 of one run and none of the 104 of the other. The mean of
/// the runs' fractions would be 12.5 %. The run with failures is INVALID: its latencies are not used, and
/// its failures count, as the report says.
#[test]
fn failed_requests_are_counted_over_all_runs() {
    let run = |repeat: u32, completed: u32, failed: u32, level: &str| {
        let mut row = fixture::run(512, 128, 4, repeat, false);
        row.insert("completed".into(), completed.into());
        row.insert("failed".into(), failed.into());
        row.insert("verdict".into(), level.into());
        row
    };
    let rows = [run(0, 104, 0, "VALID"), run(1, 12, 4, "INVALID")];
    let runs = parse_rows(&rows);
    let text = |lang| {
        let report = performance_report(&runs, &RatingScale::default(), lang, ReportFormat::Text);
        report.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let en = text(Lang::En);
    assert!(
        en.contains("3.3 % of the requests failed at concurrency 4 (4 of 120 in all runs"),
        "{en}"
    );
    assert!(
        en.contains("only failed requests are counted over all results"),
        "{en}"
    );
    assert!(text(Lang::Zh).contains("120 个请求中的 4 个"));
}

/// Two runs of one setting, one of which has no answer by which its lengths are known.
#[test]
fn a_run_without_answers_is_no_setting_of_its_own() {
    let mut failed = fixture::run(512, 128, 4, 1, false);
    for key in ["input_len", "output_len"] {
        failed.shift_remove(key);
    }
    failed.insert("completed".into(), 0.into());
    failed.insert("failed".into(), 16.into());
    failed.insert("verdict".into(), "INVALID".into());
    let good = |repeat| fixture::run(512, 128, 4, repeat, false);
    let report = |rows: &[_]| {
        let runs = parse_rows(rows);
        let report =
            performance_report(&runs, &RatingScale::default(), Lang::En, ReportFormat::Text);
        report.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let rows = [good(0), failed.clone(), good(2)];
    let text = report(&rows);
    assert!(!text.contains("mixed lengths"), "{text}");
    assert!(text.contains("- 2 runs per point;"), "{text}");
    assert!(
        text.contains(
            "In no mean, rating or best setting: 1 of 3 runs (1 INVALID, 1 without answers, 1 both)."
        ),
        "{text}"
    );
    // Where runs of several lengths are alike, its own are unknown.
    let other = fixture::run(1024, 128, 4, 0, false);
    let runs = parse_rows(&[good(0), failed, other]);
    assert_eq!(runs[1].input_len, None);
}

#[test]
fn a_report_has_ranges_only_where_values_differ_and_separates_remedies() {
    let mut row = fixture::run(512, 128, 8, 0, false);
    row.insert(
        "inferometer".into(),
        serde_json::json!({"verdict": {"level": "CAUTION", "reasons": [
            {"code": "late_sends", "level": "CAUTION", "message": "sends were late", "remedy": "use more workers"}]}}),
    );
    let runs = parse_rows(&[row]);
    let report = performance_report(&runs, &RatingScale::default(), Lang::En, ReportFormat::Text);
    let line = report
        .lines()
        .find(|line| line.contains("Median TTFT"))
        .unwrap();
    assert!(!line.contains(" to "), "{line}");
    let words: Vec<&str> = report.split_whitespace().collect();
    assert!(
        words
            .join(" ")
            .contains("sends were late → use more workers"),
        "{report}"
    );
}

#[test]
fn a_figure_without_data_says_so() {
    let svg = throughput_figure(&[], Lang::En).to_svg();
    assert!(
        svg.contains("no run has the numbers that this chart needs"),
        "{svg}"
    );
    to_png(&svg, 1.0).unwrap();
    performance_report(&[], &RatingScale::default(), Lang::En, ReportFormat::Text);
}

#[test]
fn text_from_servers_cannot_become_markup() {
    let mut rows = fixture::rates();
    for row in &mut rows {
        row.insert("model_id".into(), "x/<script>alert(1)</script>&\"".into());
    }
    let svg = latency_figure(&parse_rows(&rows), Lang::En).to_svg();
    assert!(!svg.contains("<script"), "{svg}");
    assert!(svg.contains("script&gt;"), "{svg}");
}

/// Every character of our own Chinese texts must have a glyph, or PNGs would show boxes.
#[test]
fn the_embedded_font_has_all_characters_of_our_texts() {
    let glyphs = include_str!("../assets/fonts/glyphs.txt");
    let mut missing = Vec::new();
    let mut folders = vec![std::path::PathBuf::from(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/src"
    ))];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                missing.extend(
                    text.chars()
                        .filter(|c| !c.is_ascii() && !glyphs.contains(*c)),
                );
            }
        }
    }
    // The verdict's rules are in metrics, with their Chinese words.
    let rules = RULES
        .iter()
        .flat_map(|rule| [rule.zh.meaning, rule.zh.remedy]);
    missing.extend(
        rules
            .flat_map(str::chars)
            .filter(|c| !c.is_ascii() && !glyphs.contains(*c)),
    );
    missing.sort_unstable();
    missing.dedup();
    assert!(
        missing.is_empty(),
        "run assets/fonts/subset.py: no glyph for {missing:?}"
    );
}
