//! What the findings divide by, and what they say in each language.

use inferometer_core::{Level, Nanos, Outcome, Reason};
use inferometer_metrics::analyse;

use crate::support::MS;
use crate::verdict::{Run, busy, count_prompts, cut, fail};

/// The only finding with this code.
fn reason(run: &Run, code: &str) -> Reason {
    let reasons = run.verdict().reasons;
    let mut found = reasons.iter().filter(|reason| reason.code == code);
    let reason = found.next().unwrap_or_else(|| panic!("{reasons:#?}"));
    assert_eq!(found.next(), None);
    reason.clone()
}

/// 60 of 300 requests that were sent failed: 20 %. The other 700 were never sent, because the run was
/// stopped or because they follow a turn that failed.
#[test]
fn requests_that_were_not_sent_dilute_no_failures() {
    for interrupted in [true, false] {
        let mut run = Run::clean();
        cut(&mut run, 700);
        run.settings.interrupted = interrupted;
        for record in run.records[..300].iter_mut().step_by(5) {
            fail(record, Outcome::HttpError);
        }
        for record in run.records[1..300].iter_mut().step_by(10) {
            fail(record, Outcome::Truncated);
        }
        let failures = reason(&run, "failures");
        assert_eq!(failures.level, Level::Invalid);
        assert!(
            failures.message.contains("is 20 % (60 of 300)"),
            "{failures:?}"
        );
        let truncated = reason(&run, "truncated");
        assert!(
            truncated.message.contains("is 10 % (30 of 300)"),
            "{truncated:?}"
        );
    }
}

/// The log of a killed run is up to a second behind: which of the requests that it lacks were sent,
/// nobody knows.
#[test]
fn a_recovered_run_does_not_say_what_was_not_sent() {
    let mut run = Run::clean();
    cut(&mut run, 300);
    run.settings.recovered = true;
    let partial = reason(&run, "partial_run");
    assert!(
        partial.message.contains(
            "is 30 % (of 1000 requests, 300 are not in the log: not sent, in flight, or in its last second)"
        ),
        "{partial:?}"
    );
    assert!(partial.detail.unwrap().zh.contains("300 个不在日志中"));
}

/// Every number and name of a detail is in both languages.
#[test]
fn details_have_the_same_numbers_in_both_languages() {
    let digits = |text: &str| {
        let split = text.split(|c: char| !c.is_ascii_digit() && c != '.');
        let mut numbers: Vec<String> = split
            .filter(|word| word.chars().any(|c| c.is_ascii_digit()))
            .map(|word| word.trim_matches('.').to_owned())
            .collect();
        numbers.sort();
        numbers
    };
    let mut details = 0;
    for case in crate::verdict::CASES {
        let mut run = Run::clean();
        (case.perturb)(&mut run);
        for reason in run.verdict().reasons {
            let Some(detail) = &reason.detail else {
                continue;
            };
            details += 1;
            assert!(reason.message.contains(&detail.en), "{reason:?}");
            assert_eq!(digits(&detail.en), digits(&detail.zh), "{reason:?}");
            assert!(!detail.zh.is_ascii(), "{reason:?}");
        }
    }
    assert!(details > 20, "{details}");
}

/// A server counts the token at which an answer ends, and that token has no text: 9 by the usage and 8
/// by the tokenizer is agreement, for ten of the other differences it is not.
#[test]
fn a_token_that_ends_an_answer_is_no_disagreement() {
    let counted = |reason: &str, usage: u32, own: u32, prompts: bool| {
        let mut run = Run::clean();
        if prompts {
            count_prompts(&mut run, 400, 400);
        }
        run.settings.ignore_eos = false;
        run.each(1, |record| {
            record.finish_reason = Some(reason.into());
            record.events.truncate(own as usize);
            record.asked_output_tokens = Some(usage);
            record.output_tokens = usage;
            record.usage.completion_tokens = Some(usage);
            record.tokenizer_output_tokens = Some(own);
        });
        let extras = analyse(&run.records, &run.metrics).extras;
        let agreement = extras.tokens.usage_against_tokenizer.unwrap();
        let codes: Vec<String> = run.verdict().reasons.into_iter().map(|r| r.code).collect();
        (agreement.end_tokens, agreement.retokenised, codes)
    };
    let disagreement = vec!["usage_disagreement".to_owned()];
    for prompts in [true, false] {
        assert_eq!(counted("stop", 9, 8, prompts), (1000, false, vec![]));
        assert_eq!(
            counted("length", 9, 8, false),
            (0, false, disagreement.clone())
        );
        assert_eq!(counted("stop", 16, 8, prompts).0, 1000);
    }
    // More than one token an answer is a difference still, and so is one too few.
    assert_eq!(counted("stop", 16, 8, false).2, disagreement);
    assert_eq!(
        counted("stop", 8, 9, false),
        (0, false, disagreement.clone())
    );
    // Random weights: more tokens than text, and the events confirm neither count.
    assert_eq!(counted("length", 9, 8, true).2, disagreement);
}

/// One short request costs a worker milliseconds of CPU time once; that is no load.
#[test]
fn a_run_of_milliseconds_has_no_cpu_use() {
    let mut run = Run::clean();
    run.records.truncate(1);
    run.health.wall = Nanos(3 * MS);
    busy(&mut run, 0.95);
    assert!(
        run.verdict()
            .reasons
            .iter()
            .all(|reason| reason.code != "client_cpu")
    );
    run.health.wall = Nanos(3000 * MS);
    busy(&mut run, 0.95);
    assert_eq!(reason(&run, "client_cpu").level, Level::Invalid);
}
