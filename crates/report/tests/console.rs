//! The console's text, against real output of vLLM 0.33 and against snapshots.

use inferometer_core::{Level, Outcome, OutcomeCounts, Reason, Verdict};
use inferometer_metrics::{
    Bounds, IntervalUnit, Intervals, Kind, Latencies, Metric, MetricInterval, MetricStats, Note,
    Refusal, Spread, Summary, Target,
};
use inferometer_report::Lang;
use inferometer_report::console::{
    BlockContext, ClientPart, Section, SpeculativeDecoding, TableContext, result_table,
    verdict_block,
};

/// The part of a recorded terminal output that is the table.
fn table_of(stdout: &str) -> &str {
    let start = stdout.find("============ Serving").expect("no table");
    &stdout[start..]
}

/// (metric, mean, median, percentiles)
type Row<'a> = (Metric, f64, f64, &'a [(f64, f64)]);

fn stats(rows: &[Row<'_>]) -> Vec<MetricStats> {
    rows.iter()
        .map(|&(metric, mean_ms, median_ms, percentiles)| MetricStats {
            metric,
            samples: 1,
            mean_ms,
            median_ms,
            std_ms: 0.0,
            percentiles: percentiles.to_vec(),
        })
        .collect()
}

#[test]
fn a_ramp_without_cap_prints_what_vllm_printed() {
    let summary = Summary {
        duration_s: 2.225_448_002_999_655_7,
        completed: 20,
        total_input_tokens: 985,
        total_output_tokens: 240,
        request_throughput: 8.986_954_524_680_977,
        output_throughput: 107.843_454_296_171_71,
        total_token_throughput: 550.450_964_636_709_8,
        max_output_tokens_per_s: 141.0,
        max_concurrent_requests: 13,
        stats: stats(&[
            (
                Metric::Ttft,
                32.928_676_350_047_68,
                32.502_655_500_138_644,
                &[(99.0, 36.970_925_409_777_91)],
            ),
            (
                Metric::Tpot,
                7.995_146_509_078_534,
                7.998_711_863_613_36,
                &[(99.0, 8.078_505_789_991_883)],
            ),
            (
                Metric::Itl,
                7.995_146_509_078_536,
                7.997_744_000_022_067,
                &[(99.0, 10.049_930_689_783_65)],
            ),
        ]),
        ..Summary::default()
    };
    let expected = include_str!("data/vllm-0.33-ramp-chat.txt");
    assert_eq!(
        result_table(&summary, &TableContext::default()),
        table_of(expected)
    );
}

#[test]
fn a_rate_with_cap_and_goodput_prints_what_vllm_printed() {
    let five = |p50, p90, p95, p99, p999| {
        [
            (50.0, p50),
            (90.0, p90),
            (95.0, p95),
            (99.0, p99),
            (99.9, p999),
        ]
    };
    let ttft = five(33.670_674, 41.675_457, 41.983_489, 48.618_024, 50.983_615);
    let tpot = five(8.003_906, 8.101_810, 8.193_086, 8.209_435, 8.214_545);
    let itl = five(8.002_707, 8.896_710, 11.608_333, 13.236_491, 23.839_492);
    let e2el = five(
        218.128_822,
        225.862_830,
        226.099_131,
        232.683_332,
        235.038_730,
    );
    let queue = five(0.135_247, 0.360_349, 0.550_901, 0.840_011, 0.892_412);
    let both = five(
        218.360_849,
        226.054_536,
        226.549_660,
        232.866_771,
        235.177_637,
    );
    let summary = Summary {
        duration_s: 2.218_819_165_999_775_6,
        completed: 30,
        total_input_tokens: 2907,
        total_output_tokens: 720,
        request_throughput: 13.520_705_274_096_697,
        request_goodput: Some(13.520_705_274_096_697),
        output_throughput: 324.496_926_578_320_7,
        total_token_throughput: 1_634.653_267_638_290_6,
        max_output_tokens_per_s: 412.0,
        max_concurrent_requests: 20,
        stats: stats(&[
            (Metric::Ttft, 34.994_156, 33.670_674, &ttft),
            (Metric::Tpot, 8.019_962, 8.003_906, &tpot),
            (Metric::Itl, 8.019_962, 8.002_707, &itl),
            (Metric::E2el, 219.453_283, 218.128_822, &e2el),
            (Metric::ClientQueueTime, 0.192_442, 0.135_247, &queue),
            (
                Metric::E2elIncludingClientQueue,
                219.645_726,
                218.360_849,
                &both,
            ),
        ]),
        ..Summary::default()
    };
    let context = TableContext {
        max_concurrency: Some(8),
        request_rate: Some(15.0),
        ..TableContext::default()
    };
    let expected = include_str!("data/vllm-0.33-rate-cap-goodput.txt");
    assert_eq!(result_table(&summary, &context), table_of(expected));
}

#[test]
fn pooling_without_tokens_and_with_extra_sections() {
    let pooling = Summary {
        kind: Kind::Pooling,
        duration_s: 1.5,
        completed: 3,
        failed: 1,
        total_input_tokens: 300,
        total_input_sequences: 12,
        request_throughput: 2.0,
        input_sequence_throughput: 8.0,
        total_token_throughput: 200.0,
        stats: stats(&[(Metric::E2el, 12.0, 11.0, &[(99.0, 20.0)])]),
        ..Summary::default()
    };
    let reported = SpeculativeDecoding {
        acceptance_rate: 61.5,
        acceptance_length: 2.23,
        drafts: 400,
        draft_tokens: 800,
        accepted_tokens: 492,
        per_position: vec![0.75, 0.48],
    };
    let generation = Summary {
        rtfx: 12.5,
        kind: Kind::Generation,
        ..pooling.clone()
    };
    let context = TableContext {
        tokenizer: false,
        probes: Some(Section::probes(5, 0, 10.0, 20.0, 21.0)),
        extra: vec![Section::speculative_decoding(&reported)],
        ..TableContext::default()
    };
    insta::assert_snapshot!(format!(
        "{}\n{}",
        result_table(&pooling, &TableContext::default()),
        result_table(&generation, &context)
    ));
}

fn problematic(lang: Lang, color: bool) -> BlockContext {
    let mut outcomes = OutcomeCounts::default();
    for _ in 0..97 {
        outcomes.add(Outcome::Ok);
    }
    outcomes.add(Outcome::Timeout);
    outcomes.add(Outcome::HttpError);
    outcomes.add(Outcome::HttpError);
    let reason = |level, code: &str, message: &str, remedy: &str| Reason {
        code: code.into(),
        level,
        message: message.into(),
        remedy: remedy.into(),
        detail: None,
    };
    BlockContext {
        verdict: Verdict::from_reasons(vec![
            reason(
                Level::Caution,
                "failures",
                "3 of 100 requests failed (3.0 %).",
                "Read the errors in the run folder before comparing this run with others.",
            ),
            reason(
                Level::Invalid,
                "late_sends",
                "1.2 % of the requests were sent more than 10 ms after they were due, because the client could \
                 not keep up with the offered load.",
                "Use more workers, a faster machine or a lower rate.",
            ),
        ]),
        outcomes,
        not_sent: 0,
        recovered: false,
        targets: Vec::new(),
        tokens_per_event: Some(1.0),
        notes: Vec::new(),
        intervals: Some(intervals()),
        lateness: Some(Spread {
            mean: 0.5,
            p50: 0.002,
            p99: 11.2,
            max: 45.0,
            ..Spread::default()
        }),
        receive_lag: Some(Spread {
            mean: 0.01,
            p50: 0.008,
            p99: 0.11,
            max: 2.5,
            ..Spread::default()
        }),
        kernel_stamped: Some(1.0),
        coalesced_share: Some(0.0123),
        client_share: Some(ClientPart {
            metric: "TTFT",
            fraction: 0.0004,
            stamps: 0.0,
        }),
        worker_cpu: Some(0.93),
        service: Some(Spread {
            mean: 900.0,
            p50: 850.0,
            p99: 1500.0,
            max: 1800.0,
            ..Spread::default()
        }),
        response: Some(Spread {
            mean: 9000.0,
            p50: 8500.0,
            p99: 15_000.0,
            max: 18_000.0,
            ..Spread::default()
        }),
        partial: true,
        run_folder: Some("runs/20261103-101500-vllm".into()),
        lang,
        color,
        columns: None,
    }
}

/// An entry of the intervals: with bounds around 20, or refused for want of requests.
fn interval(metric: &str, unit: IntervalUnit, refused: Option<Refusal>) -> MetricInterval {
    MetricInterval {
        metric: metric.into(),
        unit,
        value: 20.0,
        requests: 600,
        bounds: refused.is_none().then_some(Bounds {
            low: 19.5,
            high: 20.5123,
            batches: 5,
            n_eff: Some(123.4),
        }),
        refused,
        if_independent: None,
    }
}

fn intervals() -> Intervals {
    let few = Some(Refusal::FewRequests {
        needed: 1_000,
        have: 600,
    });
    let ms = IntervalUnit::Milliseconds;
    let rate = IntervalUnit::RequestsPerSecond;
    Intervals {
        confidence: 0.95,
        metrics: vec![
            interval("request_throughput", rate, Some(Refusal::SetBySchedule)),
            interval("request_goodput", rate, None),
            interval("output_throughput", IntervalUnit::TokensPerSecond, None),
            interval("mean_ttft_ms", ms, None),
            interval("median_ttft_ms", ms, None),
            interval("p99_ttft_ms", ms, few),
            interval("mean_itl_ms", ms, None),
            interval("p99_itl_ms", ms, few),
            interval("p99.9_itl_ms", ms, Some(Refusal::LongDependence)),
            interval("response.e2el_ms.p99", ms, few),
        ],
        ..Intervals::default()
    }
}

#[test]
fn intervals_have_a_line_per_metric_and_say_what_noise_they_lack() {
    let block = |lang, intervals| {
        verdict_block(&BlockContext {
            intervals: Some(intervals),
            lang,
            ..BlockContext::default()
        })
    };
    insta::assert_snapshot!("intervals", block(Lang::En, intervals()));
    insta::assert_snapshot!("intervals_zh", block(Lang::Zh, intervals()));
    let mut none = intervals();
    for entry in &mut none.metrics {
        *entry = interval(&entry.metric, entry.unit, Some(Refusal::OneBurst));
    }
    insta::assert_snapshot!("intervals_none", block(Lang::En, none));
    assert_eq!(
        block(Lang::En, Intervals::default()),
        "Verdict: VALID\n",
        "a run without answers has no numbers"
    );
}

#[test]
fn the_verdict_block_fits_the_terminal_without_broken_words() {
    let wide = verdict_block(&problematic(Lang::En, false));
    let words =
        |text: &str| -> Vec<String> { text.split_whitespace().map(str::to_owned).collect() };
    for columns in [60, 80] {
        let block = verdict_block(&BlockContext {
            columns: Some(columns),
            ..problematic(Lang::En, false)
        });
        for line in block.lines() {
            assert!(line.chars().count() <= columns, "{columns}: {line}");
        }
        assert_eq!(words(&block), words(&wide), "{columns}:\n{block}");
    }
}

#[test]
fn the_verdict_block_in_both_languages() {
    insta::assert_snapshot!("block_en", verdict_block(&problematic(Lang::En, false)));
    insta::assert_snapshot!("block_zh", verdict_block(&problematic(Lang::Zh, false)));
    let clean = BlockContext {
        kernel_stamped: Some(1.0),
        ..BlockContext::default()
    };
    assert_eq!(verdict_block(&clean), "Verdict: VALID\n");
}

#[test]
fn colour_only_when_requested() {
    assert!(!verdict_block(&problematic(Lang::En, false)).contains('\u{1b}'));
    assert!(
        verdict_block(&problematic(Lang::En, true)).contains("\u{1b}[1m\u{1b}[31mINVALID\u{1b}[0m")
    );
}

#[test]
fn the_client_line_says_what_its_numbers_are_made_of() {
    let context = |lang| BlockContext {
        client_share: Some(ClientPart {
            metric: "E2EL",
            fraction: 0.988,
            stamps: 0.986,
        }),
        kernel_stamped: Some(0.973),
        tokens_per_event: Some(3.996),
        lang,
        ..BlockContext::default()
    };
    let joined = |lang| {
        let block = verdict_block(&context(lang));
        block.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let english = joined(Lang::En);
    for part in [
        "client's part of p99 E2EL ≤ 98.8 % (of which ≤ 98.6 % because events came together",
        "tokens per event 4.00",
        "stamps: 97.3 % by the kernel, the others by the process",
    ] {
        assert!(english.contains(part), "{english}");
    }
    let chinese = joined(Lang::Zh);
    assert!(chinese.contains("每个事件的 token 数 4.00"), "{chinese}");
    let single = BlockContext {
        tokens_per_event: Some(1.0004),
        ..context(Lang::En)
    };
    assert!(!verdict_block(&single).contains("tokens per event"));
}

#[test]
fn servers_notes_and_unsent_requests_have_their_lines() {
    let mut outcomes = OutcomeCounts::default();
    for _ in 0..60 {
        outcomes.add(Outcome::Ok);
    }
    for _ in 0..40 {
        outcomes.add(Outcome::Unfinished);
    }
    let spread = |p50| {
        Some(Spread {
            p50,
            p99: 2.0 * p50,
            ..Spread::default()
        })
    };
    let target = |target, p50| Target {
        target,
        requests: 30,
        completed: 29,
        service: Latencies {
            ttft_ms: spread(p50),
            e2el_ms: spread(10.0 * p50),
            ..Latencies::default()
        },
        ..Target::default()
    };
    let context = |lang| BlockContext {
        outcomes: outcomes.clone(),
        not_sent: 39,
        targets: vec![
            ("http://a:8000".into(), target(0, 10.0)),
            (String::new(), target(1, 800.0)),
        ],
        notes: vec![Note {
            code: "warm_up".into(),
            message: "the first request took 480 times the median".into(),
            zh: "首个请求耗时为中位数的 480 倍".into(),
        }],
        lang,
        ..BlockContext::default()
    };
    insta::assert_snapshot!(format!(
        "{}\n{}",
        verdict_block(&context(Lang::En)),
        verdict_block(&context(Lang::Zh))
    ));
}

/// The log of a killed run is up to a second behind: what it lacks may have been sent.
#[test]
fn a_recovered_run_does_not_say_what_was_not_sent() {
    let mut outcomes = OutcomeCounts::default();
    for _ in 0..40 {
        outcomes.add(Outcome::Unfinished);
    }
    let line = |lang| {
        let block = verdict_block(&BlockContext {
            outcomes: outcomes.clone(),
            not_sent: 39,
            recovered: true,
            lang,
            ..BlockContext::default()
        });
        block.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let en = line(Lang::En);
    assert!(
        en.contains(
            "unfinished 1 · not in the log (not sent, in flight, or in its last second) 39"
        ),
        "{en}"
    );
    let zh = line(Lang::Zh);
    assert!(
        zh.contains("不在日志中") && !zh.contains("· 未发送"),
        "{zh}"
    );
}

#[test]
fn outside_vllm_unknown_is_not_zero_and_few_samples_are_named() {
    let mut summary = Summary {
        completed: 4,
        stats: stats(&[
            (Metric::Ttft, 32.0, 31.0, &[(50.0, 31.0), (99.0, 36.0)]),
            (Metric::Tpot, 0.0, 0.0, &[(50.0, 0.0), (99.0, 0.0)]),
        ]),
        ..Summary::default()
    };
    (summary.stats[0].samples, summary.stats[1].samples) = (20, 0);
    let own = TableContext {
        as_vllm: false,
        ..TableContext::default()
    };
    let table = result_table(&summary, &own);
    let (ttft, tpot) = table.split_once("Time per Output Token").unwrap();
    assert!(
        ttft.contains("36.00     \n  (P99 of 20 samples; needs 662)\n"),
        "{table}"
    );
    assert!(!ttft.contains("P50 of"), "{table}");
    assert_eq!(tpot.matches("n/a       \n").count(), 4, "{table}");
    let vllm = result_table(&summary, &TableContext::default());
    assert!(!vllm.contains("n/a") && !vllm.contains("samples"), "{vllm}");
    assert_eq!(vllm.lines().count() + 1, table.lines().count());
}
