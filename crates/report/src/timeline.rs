//! vLLM's `--plot-timeline`: each request as a row of segments, drawn on a canvas so that big runs
//! work.

use inferometer_core::Records;
use serde_json::{Value, json};

use crate::Lang;
use crate::page::Page;

/// Segments that a page holds at most; with more, requests are thinned evenly, and the page says so.
const MAX_SEGMENTS: usize = 1_500_000;

/// The timeline of a run as one HTML file. `thresholds_ms` are the two limits between which gaps
/// change their colour (`--timeline-itl-thresholds`, 25 and 50 by default). Successive gaps of one
/// colour form one segment.
pub fn timeline_page(records: &dyn Records, thresholds_ms: (f64, f64), lang: Lang) -> String {
    let mut segments = 0_usize;
    records.visit(&mut |record| {
        let mut last = None;
        segments += 1;
        for pair in record.events.windows(2) {
            let class = class_of(pair[1].at.since(pair[0].at).as_millis_f64(), thresholds_ms);
            segments += usize::from(last != Some(class));
            last = Some(class);
        }
    });
    let stride = segments.div_ceil(MAX_SEGMENTS).max(1);
    let mut rows: Vec<Value> = Vec::new();
    let mut sent = 0_usize;
    records.visit(&mut |record| {
        let Some(start) = record.send_start else {
            return;
        };
        sent += 1;
        if !(sent - 1).is_multiple_of(stride) {
            return;
        }
        let micros = |nanos: inferometer_core::Nanos| nanos.0 / 1000;
        let end = record.end.unwrap_or(start);
        let first = record.first_token();
        // [index, ok, prompt tokens, output tokens, start, first token or end, then (class, length,
        // gaps) …], in µs.
        let mut row: Vec<u64> = vec![
            record.index as u64,
            u64::from(record.is_ok()),
            u64::from(record.input_tokens()),
            u64::from(record.output_tokens),
            micros(start),
            micros(first.unwrap_or(end)),
        ];
        let mut open: Option<(u64, u64, u64)> = None;
        for pair in record.events.windows(2) {
            let class = class_of(pair[1].at.since(pair[0].at).as_millis_f64(), thresholds_ms);
            // Differences of rounded instants, so that the sum never drifts from the true end.
            let length = micros(pair[1].at).saturating_sub(micros(pair[0].at));
            match &mut open {
                Some((current, total, gaps)) if *current == class => {
                    *total += length;
                    *gaps += 1;
                }
                _ => {
                    if let Some((class, total, gaps)) = open.replace((class, length, 1)) {
                        row.extend([class, total, gaps]);
                    }
                }
            }
        }
        if let Some((class, total, gaps)) = open {
            row.extend([class, total, gaps]);
        }
        rows.push(json!(row));
    });
    let data = json!({
        "lang": lang.code(), "thresholds": [thresholds_ms.0, thresholds_ms.1], "total": sent, "rows": rows,
    });
    Page {
        title: lang.pick("Request timeline", "请求时间线"),
        lang,
        data: &data,
        scripts: &[include_str!("../assets/html/canvas.js")],
        plain: true,
    }
    .to_html()
}

fn class_of(gap_ms: f64, (low, high): (f64, f64)) -> u64 {
    if gap_ms < low {
        0
    } else if gap_ms < high {
        1
    } else {
        2
    }
}
