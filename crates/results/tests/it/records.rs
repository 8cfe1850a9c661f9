//! Records through the log and through Parquet.

use std::fs;

use inferometer_core::{
    Choices, Connection, Event, EventKind, Marks, Nanos, Outcome, Record, Records, TokenSource,
    Usage,
};
use inferometer_results::{
    RecordLog, ResultsError, StoredRecords, read_log, read_parquet, write_parquet,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

fn nanos() -> impl Strategy<Value = Nanos> {
    prop_oneof![0..1_000_u64, 0..i64::MAX as u64].prop_map(Nanos)
}

fn event() -> impl Strategy<Value = Event> {
    (nanos(), any::<u32>(), any::<u16>(), 0..4_u8, any::<u8>()).prop_map(
        |(at, lag, tokens, kind, flags)| {
            Event::from_parts(at, lag, tokens, EventKind::from_u8(kind).unwrap(), flags)
        },
    )
}

fn marks() -> impl Strategy<Value = Marks> {
    vec(option::of(nanos()), 10).prop_map(|m| Marks {
        first_byte: m[0],
        headers: m[1],
        first_event: m[2],
        first_content: m[3],
        first_reasoning: m[4],
        first_tool_call: m[5],
        first_answer: m[6],
        last_content: m[7],
        usage: m[8],
        done: m[9],
    })
}

fn usage(counts: &[Option<u32>]) -> Usage {
    Usage {
        prompt_tokens: counts[0],
        completion_tokens: counts[1],
        cached_tokens: counts[2],
        reasoning_tokens: counts[3],
    }
}

fn choices(count: Option<u32>, span: Option<Nanos>) -> Option<Choices> {
    let (count, span) = count.zip(span)?;
    Some(Choices { count, span })
}

/// Records with every field set, so that a field without a column fails the round trip. A new field
/// of `Record` fails to compile here.
pub(crate) fn record() -> impl Strategy<Value = Record> {
    let sources = [
        TokenSource::Usage,
        TokenSource::Tokenizer,
        TokenSource::Events,
        TokenSource::None,
    ];
    let instants = (
        nanos(),
        vec(option::of(nanos()), 4),
        marks(),
        vec(event(), 0..20),
    );
    let texts = vec(option::of(".{0,12}"), 5);
    let counts = vec(option::of(any::<u32>()), 11);
    let small = (
        any::<[u16; 3]>(),
        option::of(any::<u16>()),
        any::<[u32; 2]>(),
        any::<bool>(),
    );
    let rest = (
        vec(option::of(nanos()), 3),
        option::of((0..1_000_usize, 0..50_usize)),
        vec(option::of(0.0..1e6_f64), 3),
        prop::sample::select(Outcome::ALL.to_vec()),
        prop::sample::select(sources.to_vec()),
        (".{0,40}", ".{0,8}"),
    );
    (instants, texts, counts, small, rest).prop_map(|(instants, texts, counts, small, rest)| {
        let (due, times, marks, events) = instants;
        let ([reconnects, worker, target], status, [bytes_sent, bytes_received], reused) = small;
        let (spans, session, floats, outcome, token_source, (text, other_text)) = rest;
        Record {
            index: 0,
            id: texts[0].clone(),
            due,
            dequeued: times[0],
            send_start: times[1],
            send_end: times[2],
            marks,
            events,
            end: times[3],
            outcome,
            status,
            error: texts[1].clone(),
            prompt_tokens: counts[0].unwrap_or(7),
            asked_output_tokens: counts[1],
            usage: usage(&counts[2..6]),
            output_tokens: counts[6].unwrap_or(9),
            token_source,
            tokenizer_output_tokens: counts[7],
            finish_reason: texts[2].clone(),
            choices: choices(counts[9], spans[0]),
            unseparated_events: counts[10].unwrap_or(2),
            withheld_reasoning: reused,
            unknown_output: texts[4].clone(),
            text,
            other_text,
            connection: Connection {
                id: counts[8].unwrap_or(1),
                reused,
                dns: spans[0],
                connect: spans[1],
                tls: spans[2],
            },
            reconnects,
            worker,
            target,
            bytes_sent: u64::from(bytes_sent) << 20,
            bytes_received: u64::from(bytes_received) << 20,
            sequences: 3,
            audio_seconds: floats[0].unwrap_or(0.0),
            session,
            category: texts[3].clone(),
            server_queue_s: floats[1],
            server_ttft_s: floats[2],
        }
    })
}

fn records() -> impl Strategy<Value = Vec<Record>> {
    vec(record(), 0..12).prop_map(|mut records| {
        for (index, record) in records.iter_mut().enumerate() {
            record.index = index;
        }
        records
    })
}

fn sample(n: usize) -> Vec<Record> {
    let event = |i: u64| Event::new(Nanos(i * 1_000), Nanos(20), EventKind::Text, false, true);
    (0..n)
        .map(|index| Record {
            index,
            due: Nanos(index as u64),
            outcome: Outcome::Ok,
            events: (0..5).map(event).collect(),
            text: format!("answer {index}"),
            ..Record::default()
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn log_and_parquet_give_back_what_was_written(records in records()) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("requests.arrows");
        let mut log = RecordLog::create(&path).unwrap();
        for record in &records {
            log.push(record).unwrap();
            if record.index % 3 == 2 {
                log.flush().unwrap();
            }
        }
        log.finish().unwrap();
        let contents = read_log(&path).unwrap();
        prop_assert_eq!(&contents.records, &records);
        prop_assert!(!contents.truncated);

        let path = folder.path().join("requests.parquet");
        prop_assert_eq!(write_parquet(&records, &path).unwrap(), records.len());
        prop_assert_eq!(&read_parquet(&path).unwrap(), &records);
        let stored = StoredRecords::open(&path).unwrap();
        prop_assert_eq!(stored.count(), records.len());
        for _ in 0..2 {
            let mut seen = Vec::new();
            stored.visit(&mut |record| seen.push(record.clone()));
            prop_assert_eq!(&seen, &records);
        }
        stored.check().unwrap();
    }
}

#[test]
fn a_truncated_log_keeps_every_complete_batch() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("requests.arrows");
    let records = sample(6);
    let mut log = RecordLog::create(&path).unwrap();
    let mut ends = vec![fs::metadata(&path).unwrap().len()];
    for pair in records.chunks(2) {
        for record in pair {
            log.push(record).unwrap();
        }
        log.flush().unwrap();
        ends.push(fs::metadata(&path).unwrap().len());
    }
    log.finish().unwrap();
    let whole = fs::read(&path).unwrap();
    assert!(ends[0] > 0, "the schema is written at once");
    let cut = folder.path().join("cut.arrows");
    let near_an_end = |len: &usize| ends.iter().any(|&end| len.abs_diff(end as usize) < 10);
    // Also within the schema, with which the log begins.
    let cuts = (0..=whole.len()).filter(|len| *len < 12 || len % 53 == 0 || near_an_end(len));
    for len in cuts.chain([whole.len()]) {
        fs::write(&cut, &whole[..len]).unwrap();
        let contents = read_log(&cut).unwrap();
        let complete = ends.iter().filter(|&&end| end <= len as u64).count();
        let batches = complete.saturating_sub(1);
        assert_eq!(contents.records, records[..batches * 2], "cut at {len}");
        assert_eq!(contents.truncated, len < whole.len(), "cut at {len}");
    }
    // Garbage after the last whole batch, with a length that no memory could hold.
    let mut torn = whole[..ends[2] as usize].to_vec();
    torn.extend([0xff, 0xff, 0xff, 0xff, 0xf0, 0xff, 0xff, 0x7f, 1, 2, 3]);
    fs::write(&cut, torn).unwrap();
    assert_eq!(read_log(&cut).unwrap().records, records[..4]);
    fs::write(&cut, b"").unwrap();
    assert!(read_log(&cut).unwrap().truncated);
}

#[test]
fn a_log_flushes_by_time_and_by_number() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("requests.arrows");
    let on_disk = || read_log(&path).unwrap().records.len();
    let record = &sample(1)[0];
    let mut log = RecordLog::create(&path).unwrap();
    log.push(record).unwrap();
    log.maybe_flush(Nanos::from_millis(1_000)).unwrap();
    log.push(record).unwrap();
    log.maybe_flush(Nanos::from_millis(1_999)).unwrap();
    assert_eq!(on_disk(), 1);
    log.maybe_flush(Nanos::from_millis(2_000)).unwrap();
    assert_eq!(on_disk(), 2);
    for _ in 0..5_000 {
        log.push(record).unwrap();
    }
    assert!(on_disk() > 4_000);
    assert!(
        RecordLog::create(&path).is_err(),
        "a log is never overwritten"
    );
}

#[test]
fn foreign_and_damaged_files_are_reported_not_trusted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("requests.parquet");
    for content in [&b""[..], b"PAR1", b"{\"a\": 1}", &[0xff; 64]] {
        fs::write(&path, content).unwrap();
        let error = read_parquet(&path).unwrap_err();
        assert!(matches!(error, ResultsError::Format { .. }), "{error}");
        assert!(error.to_string().contains("requests.parquet"), "{error}");
    }
    fs::write(&path, b"{\"a\": 1}").unwrap();
    assert!(read_log(&path).is_err());
    assert!(matches!(
        read_parquet(&folder.path().join("none")),
        Err(ResultsError::Io { .. })
    ));
}

#[test]
fn a_log_with_a_damaged_frame_is_read_up_to_it_or_refused() {
    // Found by fuzzing: a buffer outside of its message made the reader panic.
    let golden = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/data/format-1/requests.arrows"
    );
    let whole = fs::read(golden).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("requests.arrows");
    for place in (0..whole.len() - 8).step_by(8) {
        for number in [i64::MIN, -1, 1 << 20, i64::MAX - 6] {
            let mut damaged = whole.clone();
            damaged[place..place + 8].copy_from_slice(&number.to_le_bytes());
            fs::write(&path, &damaged).unwrap();
            if let Ok(log) = read_log(&path) {
                assert!(log.records.len() <= 3);
            }
        }
    }
}

#[test]
fn files_of_the_first_format_version_stay_readable() {
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/format-1");
    let mut expected = sample(3);
    expected[1].outcome = Outcome::HttpError;
    expected[1].status = Some(503);
    expected[1].error = Some("no room".to_owned());
    expected[2].session = Some((4, 1));
    if std::env::var_os("INFEROMETER_BLESS").is_some() {
        fs::create_dir_all(golden).unwrap();
        write_parquet(&expected, format!("{golden}/requests.parquet").as_ref()).unwrap();
        let _ = fs::remove_file(format!("{golden}/requests.arrows"));
        let mut log = RecordLog::create(format!("{golden}/requests.arrows").as_ref()).unwrap();
        for record in &expected {
            log.push(record).unwrap();
        }
        log.finish().unwrap();
    }
    assert_eq!(
        read_parquet(format!("{golden}/requests.parquet").as_ref()).unwrap(),
        expected
    );
    assert_eq!(
        read_log(format!("{golden}/requests.arrows").as_ref())
            .unwrap()
            .records,
        expected
    );
}
