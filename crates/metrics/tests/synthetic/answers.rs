//! Answers whose usage, text and events do not hold the same tokens, and prompts that the server counts
//! otherwise.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use inferometer_core::Nanos;
use inferometer_metrics::{Analysis, Extras, Metric, analyse};

use crate::verdict::{Run, count_prompts};

fn codes(run: &Run) -> Vec<String> {
    let reasons = run.verdict().reasons.into_iter();
    reasons.map(|reason| reason.code).collect()
}

/// The deviation of prompts of `client` tokens that the server counts as `server`, with this tolerance.
fn deviation(client: u32, server: u32, tolerance: u32) -> f64 {
    let mut run = Run::clean();
    count_prompts(&mut run, client, server);
    run.metrics.prompt_tolerance = Some(tolerance);
    let Analysis { extras, .. } = analyse(&run.records, &run.metrics);
    extras.tokens.prompts.unwrap().deviation
}

/// A chat template adds tokens and takes none away.
#[test]
fn a_shorter_prompt_is_a_difference_in_full() {
    for tolerance in [8, 40] {
        assert_eq!(deviation(400, 235, tolerance), 165.0 / 400.0);
        assert_eq!(deviation(100, 60, tolerance), 0.4);
        assert_eq!(deviation(32, 1, tolerance), 31.0 / 32.0);
        // A token that marks the start, and one at the end.
        assert_eq!(deviation(32, 30, tolerance), 0.0);
    }
    assert_eq!(deviation(100, 140, 40), 0.0);
    assert_eq!(deviation(100, 150, 40), 0.1);
}

/// A server's prompt that its cached tokens exceed is the client's own count, which agrees with itself.
#[test]
fn a_prompt_that_is_not_believed_is_not_compared() {
    let mut run = Run::clean();
    count_prompts(&mut run, 100, 10);
    run.each(1, |record| record.usage.cached_tokens = Some(90));
    let Analysis {
        summary, extras, ..
    } = analyse(&run.records, &run.metrics);
    assert_eq!(summary.total_input_tokens, 100 * run.records.len() as u64);
    assert!(extras.tokens.prompts.is_none());
    assert!(codes(&run).contains(&"usage_impossible".to_owned()));
}

/// Answers of 16 events, 10 ms apart, of which the usage counts 216 tokens.
fn hiding(withheld: bool, found: Option<u32>) -> Run {
    let mut run = Run::clean();
    run.each(1, |record| {
        let start = record.events[0].at;
        for (event, number) in record.events.iter_mut().zip(0..) {
            event.at = start + Nanos::from_millis(10 * number);
            event.tokens = 0;
        }
        record.end = record.last_token();
        record.withheld_reasoning = withheld;
        record.asked_output_tokens = Some(216);
        record.output_tokens = 216;
        record.usage.completion_tokens = Some(216);
        record.tokenizer_output_tokens = found;
        record.bytes_received = 10_000;
    });
    run
}

fn notes(extras: &Extras) -> Vec<&str> {
    let notes = extras.notes.iter().map(|note| note.code.as_str());
    notes
        .filter(|code| code.contains("hidden") || code.contains("uncounted"))
        .collect()
}

fn tpot(run: &Run) -> (Option<f64>, Extras) {
    let Analysis {
        summary, extras, ..
    } = analyse(&run.records, &run.metrics);
    let mut stats = summary.stats.into_iter();
    let stats = stats.find(|stats| stats.metric == Metric::Tpot);
    let stats = stats.filter(|stats| stats.samples > 0);
    (stats.map(|stats| stats.mean_ms), extras)
}

#[test]
fn tokens_that_did_not_come_have_no_part_in_tpot() {
    // Withheld and announced, or only missing.
    for withheld in [true, false] {
        let run = hiding(withheld, Some(16));
        let (mean, extras) = tpot(&run);
        assert!((mean.unwrap() - 10.0).abs() < 1e-9, "{mean:?}");
        assert_eq!(notes(&extras), ["hidden_output"]);
        let disagree = codes(&run).contains(&"usage_disagreement".to_owned());
        assert_eq!(disagree, !withheld, "{:?}", codes(&run));
    }
    let (mean, extras) = tpot(&hiding(true, None));
    assert_eq!(mean, None);
    assert_eq!(notes(&extras), ["uncounted_reasoning"]);
    // vLLM divides by all of them.
    let mut run = hiding(true, Some(16));
    run.metrics.as_vllm = true;
    let (mean, extras) = tpot(&run);
    assert!((mean.unwrap() - 150.0 / 215.0).abs() < 1e-9, "{mean:?}");
    assert!(notes(&extras).is_empty());
}

#[test]
fn output_of_an_unknown_kind_is_noted() {
    let mut run = Run::clean();
    run.records[3].unknown_output = Some("thoughts".into());
    let Analysis { extras, .. } = analyse(&run.records, &run.metrics);
    let note = extras
        .notes
        .iter()
        .find(|note| note.code == "unknown_output");
    let note = note.unwrap();
    assert!(note.message.contains("\"thoughts\" in 1;"), "{note:?}");
    assert!(note.zh.contains("\"thoughts\" 见于 1 个回答"), "{note:?}");
}

/// The limit of a transcription is not a length that was requested.
#[test]
fn speech_ends_with_its_clip() {
    let mut run = Run::clean();
    run.settings.ignore_eos = false;
    run.each(1, |record| record.asked_output_tokens = Some(256));
    assert!(codes(&run).contains(&"natural_end".to_owned()));
    run.each(1, |record| record.audio_seconds = 1.0);
    assert!(!codes(&run).contains(&"natural_end".to_owned()));
}
