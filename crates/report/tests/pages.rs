//! Comparison, dataset statistics, and the data inside the pages.

mod fixture;

use inferometer_metrics::{Analysis, VerdictSettings, judge};
use inferometer_report::chart::to_png;
use inferometer_report::visualize::{Row, dashboard, latency_figure, parse_rows};
use inferometer_report::{
    Comparison, Lang, RunAbout, RunPageInput, Side, dataset_stats_figure, run_page, timeline_page,
};
use serde_json::{Value, json};

/// The data that the scripts of a page read.
fn data(page: &str) -> Value {
    let start = "<script type=\"application/json\" id=\"data\">";
    let text = &page[page.find(start).expect("no data") + start.len()..];
    serde_json::from_str(&text[..text.find("</script>").expect("data without end")])
        .expect("data is JSON")
}

fn pair() -> [Side; 2] {
    let mut a = fixture::run(512, 128, 8, 0, false);
    let mut b = fixture::run(512, 128, 16, 0, false);
    a.insert("config".into(), "a|x".into());
    b.insert("config".into(), "b".into());
    b.insert(
        "inferometer".into(),
        json!({"verdict": {"level": "INVALID", "reasons": [
            {"code": "late_sends", "level": "INVALID", "message": "", "remedy": ""}]}}),
    );
    [a, b].map(Side::from)
}

#[test]
fn a_comparison_in_three_formats() {
    let comparison = Comparison::new(&pair(), Lang::En).unwrap();
    insta::assert_snapshot!("compare_text", comparison.to_text());
    insta::assert_snapshot!(
        "compare_md_zh",
        Comparison::new(&pair(), Lang::Zh).unwrap().to_markdown()
    );
    let json = comparison.to_json();
    assert_eq!(json["noise"], "unknown");
    let cap = json["settings"]
        .as_array()
        .unwrap()
        .iter()
        .find(|s| s["key"] == "max_concurrency")
        .unwrap();
    assert_eq!(
        (&cap["differs"], &cap["values"]),
        (&json!(true), &json!([8, 16]))
    );
    let tpot = json["metrics"]
        .as_array()
        .unwrap()
        .iter()
        .find(|m| m["key"] == "median_tpot_ms")
        .unwrap();
    assert_eq!(
        (&tpot["better"], &tpot["difference"][0]),
        (&json!("lower"), &json!(0.0))
    );
}

#[test]
fn numbers_of_different_definitions_are_not_compared_unawares() {
    let run = |meaning: Option<u32>| {
        let mut ours = json!({"verdict": {"level": "VALID", "reasons": []}});
        if let Some(meaning) = meaning {
            ours["meaning"] = meaning.into();
        }
        let mut run = fixture::run(512, 128, 8, 0, false);
        run.insert("inferometer".into(), ours);
        Side::from(run)
    };
    let compare = |a, b| Comparison::new(&[run(a), run(b)], Lang::En).unwrap();
    let old = compare(None, Some(2));
    assert!(
        old.to_text().contains("meaning 1 and 2"),
        "{}",
        old.to_text()
    );
    assert_eq!(old.to_json()["meanings"], json!([1, 2]));
    let same = compare(Some(2), Some(2));
    assert!(!same.to_text().contains("meaning"));
}

/// The tutorial's A/B under a cap: the responses of B come sooner (596 → 449 ms), although each of
/// its requests, once sent, takes longer.
#[test]
fn response_latency_comes_first_and_one_run_each_cannot_tell() {
    let one = |response: f64, service: f64| -> Row {
        serde_json::from_value(json!({
            "completed": 100, "mean_ttft_ms": service, "request_throughput": 1000.0 / response,
            "inferometer": {"extras": {"response": {"e2el_ms": {"mean": response, "p50": response, "p99": response}}}},
        }))
        .unwrap()
    };
    let side = |name: &str, rows: Vec<Row>| Side {
        name: name.into(),
        rows,
    };
    let decision = |sides: &[Side], key: &str| {
        let json = Comparison::new(sides, Lang::En).unwrap().to_json();
        let metrics = json["metrics"].as_array().unwrap().clone();
        let found = metrics.iter().find(|metric| metric["key"] == key).unwrap();
        found["decision"][1].clone()
    };
    let response = "inferometer.extras.response.e2el_ms.mean";
    let single = [
        side("a", vec![one(596.0, 20.0)]),
        side("b", vec![one(449.0, 31.0)]),
    ];
    let text = Comparison::new(&single, Lang::En).unwrap().to_text();
    let first = text.find("response mean_e2el_ms").unwrap();
    assert!(first < text.find("mean_ttft_ms").unwrap(), "{text}");
    assert!(text.contains("cannot tell"), "{text}");
    let table = &text[first..];
    assert!(
        !table.contains("worse") && !table.contains("better"),
        "{text}"
    );
    assert_eq!(decision(&single, response), "cannot_tell");

    let repeats = [
        side(
            "a",
            vec![one(596.0, 20.0), one(601.0, 21.0), one(590.0, 19.0)],
        ),
        side(
            "b",
            vec![one(449.0, 20.5), one(455.0, 21.5), one(440.0, 18.5)],
        ),
    ];
    assert_eq!(decision(&repeats, response), "better");
    assert_eq!(decision(&repeats, "request_throughput"), "better");
    assert_eq!(decision(&repeats, "mean_ttft_ms"), "cannot_tell");
    let turned = [repeats[1].clone(), repeats[0].clone()];
    assert_eq!(decision(&turned, response), "worse");
}

/// How many samples there are is up to the plan: 15 or 12 are neither better nor worse.
#[test]
fn numbers_of_samples_are_not_judged() {
    let samples = "inferometer.extras.arrival.own_lateness_ms.samples";
    let p99 = "inferometer.extras.arrival.own_lateness_ms.p99";
    let row = |n: u32, late: f64| -> Row {
        serde_json::from_value(json!({"completed": n, "mean_ttft_ms": 20.0, samples: n, p99: late}))
            .unwrap()
    };
    let side = |name: &str, n: u32, late: f64| Side {
        name: name.into(),
        rows: vec![row(n, late), row(n + 1, late + 0.01)],
    };
    let sides = [side("a", 150, 0.9), side("b", 120, 0.1)];
    let json = Comparison::new(&sides, Lang::En).unwrap().to_json();
    let metric = |key: &str| {
        let metrics = json["metrics"].as_array().unwrap();
        let found = metrics.iter().find(|metric| metric["key"] == key).unwrap();
        (found["better"].clone(), found["decision"][1].clone())
    };
    assert_eq!(metric(samples), (json!("neither"), json!(null)));
    assert_eq!(metric(p99), (json!("lower"), json!("better")));
}

/// A side whose requests all failed has TTFT 0 in its file, which is not faster than 21 ms.
#[test]
fn a_side_without_answers_has_no_latency() {
    let row = |completed: u32, ttft: f64| -> Row {
        serde_json::from_value(json!({"completed": completed, "failed": 5, "mean_ttft_ms": ttft}))
            .unwrap()
    };
    let sides = [row(10, 21.0), row(0, 0.0)].map(Side::from);
    let comparison = Comparison::new(&sides, Lang::En).unwrap();
    let json = comparison.to_json();
    let metrics = json["metrics"].as_array().unwrap();
    let ttft = metrics
        .iter()
        .find(|metric| metric["key"] == "mean_ttft_ms")
        .unwrap();
    assert_eq!(
        (&ttft["values"][1], &ttft["decision"][1]),
        (&json!(null), &json!(null))
    );
    assert!(comparison.to_text().contains("0/1"));
}

#[test]
fn one_run_cannot_be_compared() {
    let error = Comparison::new(&pair()[..1], Lang::En).unwrap_err();
    assert_eq!(
        error.to_string(),
        "compare needs at least two results, got 1"
    );
}

#[test]
fn dataset_statistics_for_any_number_of_requests() {
    for lengths in [
        vec![],
        vec![(5, 7)],
        (0..1000).map(|i| (i % 300, 20)).collect::<Vec<_>>(),
    ] {
        to_png(&dataset_stats_figure(&lengths, Lang::En).to_svg(), 0.5).unwrap();
    }
    let lengths: Vec<(u32, u32)> = (0..40).map(|i| (100 + i * i % 97, 16)).collect();
    insta::assert_snapshot!(
        "dataset_stats_svg",
        dataset_stats_figure(&lengths, Lang::Zh).to_svg()
    );
}

#[test]
fn the_dashboard_thins_timelines_but_not_distributions() {
    let rows: Vec<Row> = (0..60)
        .map(|repeat| fixture::run(512, 32, 128, repeat, true))
        .collect();
    let data = data(&dashboard(&parse_rows(&rows), Lang::En));
    let detail = &data["runs"][0]["detail"];
    assert_eq!(
        (&detail["timeline"]["total"], &detail["ttft"]["n"]),
        (&json!(1280), &json!(1280))
    );
    let shown = detail["timeline"]["rows"].as_array().unwrap().len();
    assert!((500..=1000).contains(&shown), "{shown}");
}

/// Files have the times of failed requests too, up to where they ended; the metrics leave them out.
#[test]
fn failed_requests_are_in_the_timeline_and_not_in_distributions() {
    let mut row = fixture::run(512, 32, 8, 0, true);
    let count = row["ttfts"].as_array().unwrap().len();
    row["ttfts"][0] = json!(1e6);
    row["errors"][0] = json!("the connection broke");
    let runs = parse_rows(&[row]);
    let data = data(&dashboard(&runs, Lang::En));
    let detail = &data["runs"][0]["detail"];
    for name in ["ttft", "tpot", "e2el"] {
        assert_eq!(detail[name]["n"], json!(count - 1), "{name}");
    }
    assert_eq!(detail["timeline"]["rows"][0][4], 1);
    assert_eq!(detail["timeline"]["total"], json!(count));
    let svg = latency_figure(&runs, Lang::En).to_svg();
    assert!(svg.contains(&format!("n={}<", count - 1)), "{svg}");
}

#[test]
fn the_run_page_has_the_data_of_the_records() {
    let records = fixture::records(600, 8);
    let Analysis {
        summary,
        extras,
        intervals,
    } = fixture::analysis(&records);
    let health = fixture::health();
    let verdict = judge(&summary, &extras, &health, &VerdictSettings::default());
    let page = run_page(&RunPageInput {
        title: "r",
        records: &records,
        summary: &summary,
        extras: &extras,
        intervals: &intervals,
        verdict: &verdict,
        health: &health,
        about: &RunAbout::default(),
        settings: &json!({"a": {"b": [1, 2]}, "c": "x"}),
        defaults: &Value::Null,
        environment: &Value::Null,
        server_metrics: &Value::Null,
        partial: false,
        recovered: false,
        lang: Lang::En,
    });
    let data = data(&page);
    assert_eq!(data["settings"], json!([["a.b", "[1,2]"], ["c", "x"]]));
    assert_eq!(data["errors"].as_array().unwrap().len(), 2);
    let interval = |metric: &str| {
        let rows = data["intervals"].as_array().unwrap();
        rows.iter().find(|row| row["metric"] == metric).unwrap()
    };
    let rate = interval("output_throughput");
    assert!(
        rate["bounds"][0].as_f64() < rate["value"].as_f64(),
        "{rate}"
    );
    assert!(
        rate["value"].as_f64() < rate["bounds"][1].as_f64(),
        "{rate}"
    );
    let why = &interval("p99_ttft_ms")["why"];
    assert_eq!(why[0], "needs 2000 requests, has 585");
    assert_eq!(why[1], "需要 2000 个请求，只有 585 个");
    let most = data["series"]["rows"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row[2].as_u64().unwrap())
        .max();
    assert_eq!(data["health"]["in_flight_peak"].as_u64(), most);
    assert_eq!(data["distributions"]["itl"]["n"], json!(585 * 7));
    let rows = data["series"]["rows"].as_array().unwrap();
    let width = data["series"]["width"].as_f64().unwrap();
    let tokens: f64 = rows
        .iter()
        .map(|row| row[3].as_f64().unwrap() * width)
        .sum();
    assert!((tokens - f64::from(585 * 8)).abs() < 1.0, "{tokens} tokens");
    let sent: u64 = rows.iter().map(|row| row[11].as_u64().unwrap()).sum();
    assert_eq!(sent, 600);
    let median = summary.stats[0].median_ms;
    let halfway = data["distributions"]["ttft"]["q"]
        .as_array()
        .unwrap()
        .iter()
        .find(|q| q[1].as_f64() >= Some(0.5))
        .unwrap();
    assert!(
        (halfway[0].as_f64().unwrap() / median - 1.0).abs() < 0.02,
        "{halfway} against {median}"
    );
}

#[test]
fn gaps_of_one_colour_become_one_segment() {
    let mut records = fixture::records(1, 5);
    for (event, at_ms) in records[0].events.iter_mut().zip([100, 110, 120, 170, 180]) {
        event.at = inferometer_core::Nanos::from_millis(at_ms);
    }
    let data = data(&timeline_page(&records, (25.0, 50.0), Lang::En));
    let row = data["rows"][0].as_array().unwrap();
    // 10 + 10 ms below 25; 50 ms is not below 50; 10 ms below 25.
    assert_eq!(
        row[6..],
        [0, 20_000, 2, 2, 50_000, 1, 0, 10_000, 1].map(Value::from)
    );
}
