//! `trace`: recorded traffic with its own clock, sent as text.
//!
//! Known files: the Azure LLM inference traces (CSV), BurstGPT (CSV), Mooncake (JSON Lines, blocks
//! of 512 tokens). Their columns tell which is which.

use std::path::{Path, PathBuf};

use inferometer_core::random::indexed_stream;
use inferometer_core::{Nanos, Prompt};
use serde_json::json;

use super::limits::{check_span, row_tokens};
use super::spec::{DatasetSpec, LengthsSpec};
use super::texts::push_words;
use super::trace_rows::{backwards, block_id, check_range, outside_range};
use super::words::Words;
use super::{Context, Emit, Sample, chunk_size, chunks, request};
use crate::{WorkloadError, read};

/// Options of `trace`: recorded traffic with its own clock.
#[derive(Clone, Debug)]
pub struct TraceSettings {
    /// The file: an Azure LLM trace or BurstGPT (CSV), or Mooncake (JSON Lines). Told apart by
    /// their columns.
    pub path: PathBuf,
    /// The trace runs this many times as fast.
    pub speed: f64,
    /// Rows before this many seconds of the trace are left out.
    pub start: f64,
    /// Rows after this many seconds from the start are left out.
    pub duration: Option<f64>,
}

impl Default for TraceSettings {
    fn default() -> Self {
        Self {
            path: PathBuf::new(),
            speed: 1.0,
            start: 0.0,
            duration: None,
        }
    }
}

impl TraceSettings {
    /// The form that the manifest keeps.
    pub(super) fn spec(&self) -> DatasetSpec {
        let Self {
            path,
            speed,
            start,
            duration,
        } = self;
        let options = json!({"speed": speed, "start_s": start, "duration_s": duration});
        DatasetSpec::of_file(path, LengthsSpec::default(), options)
    }
}

/// Tokens that one hash of a Mooncake trace stands for, by the description of the trace.
const MOONCAKE_BLOCK: usize = 512;

/// One request of a trace.
struct Row {
    line: usize,
    seconds: f64,
    input: usize,
    output: i64,
    blocks: Vec<u64>,
}

/// One row of a BurstGPT file.
#[derive(Debug)]
pub(super) struct BurstGptRow {
    pub(super) line: usize,
    pub(super) seconds: f64,
    pub(super) model: String,
    pub(super) input: usize,
    pub(super) output: usize,
}

/// Makes the requests chunk by chunk; the rows of the file are held. What it returns holds
/// everything but the requests.
pub(super) fn in_chunks<E: From<WorkloadError>>(
    context: &Context<'_>,
    options: &TraceSettings,
    emit: Emit<'_, E>,
) -> Result<Sample, E> {
    let tokenizer = context.tokenizer()?;
    check_range(options.speed, options.start, options.duration)?;
    let (rows, total) = read_rows(context, options)?;
    let first = rows[0].seconds;
    let words = Words::find(tokenizer)
        .filter(|words| words.first_len() > 0)
        .ok_or_else(|| WorkloadError::Unreachable {
            tokenizer: tokenizer.name().to_owned(),
            wanted: rows[0].input,
            message: "it has too few words of one token".into(),
        })?;
    let special = tokenizer.num_special_tokens_to_add();
    let seed = context.text_seed();
    let make = |at: usize| {
        let row = &rows[at];
        let tokens = row.input.saturating_sub(special).max(1);
        let mut text = String::with_capacity(tokens * 7);
        let mut left = tokens;
        for block in &row.blocks {
            let mut rng = indexed_stream(seed, "trace/block", *block);
            let count = MOONCAKE_BLOCK.min(left);
            push_words(&words, &mut rng, count, &mut text);
            left -= count;
        }
        let mut rng = indexed_stream(seed, "trace/rest", at as u64);
        push_words(&words, &mut rng, left, &mut text);
        let mut made = request(
            Prompt::Text(text),
            tokens + special,
            Some(row.output.max(1)),
        );
        made.trace_at = Some(Nanos::from_secs_f64((row.seconds - first) / options.speed));
        made
    };
    let used = rows.len();
    let mean = rows.iter().map(|row| row.input).sum::<usize>() / used;
    for range in chunks(used, chunk_size(mean)) {
        emit(context.parallel_of(range, used, make), used)?;
    }
    let mut sample = Sample {
        with_ids: true,
        force_ignore_eos: true,
        ..Sample::default()
    };
    sample.about.insert("trace_rows".into(), total.into());
    if used < total {
        sample
            .warnings
            .push(format!("{used} of the {total} rows of the trace are sent."));
    }
    Ok(sample)
}

/// The rows that are sent, at least one, and the number of rows in the file.
fn read_rows(
    context: &Context<'_>,
    options: &TraceSettings,
) -> Result<(Vec<Row>, usize), WorkloadError> {
    let rows = load(&options.path)?;
    let total = rows.len();
    if let Some([before, after]) = rows
        .array_windows()
        .find(|[before, after]| after.seconds < before.seconds)
    {
        return Err(backwards(
            &options.path,
            after.line,
            before.seconds,
            after.seconds,
        ));
    }
    let origin = rows.first().map_or(0.0, |row| row.seconds) + options.start;
    let end = options
        .duration
        .map_or(f64::INFINITY, |duration| origin + duration);
    let mut rows: Vec<Row> = rows
        .into_iter()
        .filter(|row| row.seconds >= origin && row.seconds < end)
        .collect();
    rows.truncate(context.count_or_all(rows.len()));
    if rows.is_empty() {
        return Err(WorkloadError::NoRows {
            path: options.path.clone(),
            message: outside_range(total),
        });
    }
    if let [first, .., last] = rows.as_slice() {
        let seconds = (last.seconds - first.seconds) / options.speed;
        check_span(&options.path, last.line, seconds)?;
    }
    Ok((rows, total))
}

fn load(path: &Path) -> Result<Vec<Row>, WorkloadError> {
    let name = path.to_string_lossy();
    // The form follows from the name, with or without compression.
    if [".jsonl", ".jsonl.gz"]
        .iter()
        .any(|end| name.ends_with(end))
    {
        return mooncake(path);
    }
    let header = read::csv_header(path)?;
    let has = |name: &str| header.iter().any(|column| column == name);
    if has("TIMESTAMP") && has("ContextTokens") && has("GeneratedTokens") {
        return azure(path);
    }
    if has("Timestamp") && has("Request tokens") && has("Response tokens") {
        let rows = burstgpt_rows(path)?
            .into_iter()
            .filter(|row| row.output > 0);
        return Ok(rows
            .map(|row| Row {
                line: row.line,
                seconds: row.seconds,
                input: row.input,
                output: row.output as i64,
                blocks: Vec::new(),
            })
            .collect());
    }
    Err(WorkloadError::format(
        path,
        Some(1),
        format!(
            "not a known trace: its columns are {}; an Azure trace has TIMESTAMP, ContextTokens and \
             GeneratedTokens, BurstGPT has Timestamp, Request tokens and Response tokens",
            header.join(", ")
        ),
    ))
}

fn mooncake(path: &Path) -> Result<Vec<Row>, WorkloadError> {
    let rows = read::json_lines(path)?;
    let parse = |(line, row): &(usize, serde_json::Value)| {
        let number = |label: &str| read::number(path, *line, row, label);
        Ok(Row {
            line: *line,
            seconds: number("timestamp")? / 1000.0,
            input: row_tokens(path, *line, "input_length", number("input_length")?)?,
            output: row_tokens(path, *line, "output_length", number("output_length")?)? as i64,
            blocks: row["hash_ids"]
                .as_array()
                .into_iter()
                .flatten()
                .map(block_id)
                .collect(),
        })
    };
    rows.iter().map(parse).collect()
}

fn azure(path: &Path) -> Result<Vec<Row>, WorkloadError> {
    let rows = read::csv_rows(path, &["TIMESTAMP", "ContextTokens", "GeneratedTokens"])?;
    let parse = |(line, cells): &(usize, Vec<String>)| {
        let wrong = |what: &str| {
            WorkloadError::format(path, Some(*line), format!("{what:?} cannot be read"))
        };
        let tokens = |label: &str, cell: &str| {
            let number = cell.trim().parse::<u64>().map_err(|_| wrong(cell))?;
            row_tokens(path, *line, label, number as f64)
        };
        Ok(Row {
            line: *line,
            seconds: timestamp(&cells[0]).ok_or_else(|| wrong(&cells[0]))?,
            input: tokens("ContextTokens", &cells[1])?,
            output: tokens("GeneratedTokens", &cells[2])? as i64,
            blocks: Vec::new(),
        })
    };
    rows.iter().map(parse).collect()
}

/// Seconds since 1970 of `YYYY-MM-DD HH:MM:SS.fraction`, with or without an offset of zero.
fn timestamp(text: &str) -> Option<f64> {
    let text = text
        .strip_suffix("+00:00")
        .or_else(|| text.strip_suffix('Z'))
        .unwrap_or(text);
    let (date, time) = text.split_once([' ', 'T'])?;
    let mut date = date.split('-').map(str::parse::<i64>);
    let (year, month, day) = (date.next()?.ok()?, date.next()?.ok()?, date.next()?.ok()?);
    let mut time = time.split(':');
    let (hour, minute): (f64, f64) = (time.next()?.parse().ok()?, time.next()?.parse().ok()?);
    let second: f64 = time.next()?.parse().ok()?;
    let is_date =
        (0..=9999).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day);
    let is_time = (0.0..24.0).contains(&hour)
        && (0.0..60.0).contains(&minute)
        && (0.0..61.0).contains(&second);
    if !is_date || !is_time {
        return None;
    }
    // Days of the civil calendar, with years that begin in March.
    let shifted = if month <= 2 { year - 1 } else { year };
    let era = shifted.div_euclid(400);
    let of_era = shifted.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
    Some(days as f64 * 86_400.0 + hour * 3600.0 + minute * 60.0 + second)
}

/// The rows of a BurstGPT file.
pub(super) fn burstgpt_rows(path: &Path) -> Result<Vec<BurstGptRow>, WorkloadError> {
    let rows = read::csv_rows(
        path,
        &["Timestamp", "Model", "Request tokens", "Response tokens"],
    )?;
    let parse = |(line, cells): &(usize, Vec<String>)| {
        let number = |at: usize, label: &str| read::cell_number(path, *line, label, &cells[at]);
        let tokens = |at, label| row_tokens(path, *line, label, number(at, label)?);
        Ok(BurstGptRow {
            line: *line,
            seconds: number(0, "Timestamp")?,
            model: cells[1].clone(),
            input: tokens(2, "Request tokens")?,
            output: tokens(3, "Response tokens")?,
        })
    };
    rows.iter().map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DatasetSettings, Tokenizer, WorkloadSettings, build};

    fn run(
        name: &str,
        content: &str,
        change: impl FnOnce(&mut TraceSettings),
    ) -> Result<inferometer_core::Workload, WorkloadError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        std::fs::write(&path, content).unwrap();
        let mut options = TraceSettings {
            path,
            ..TraceSettings::default()
        };
        change(&mut options);
        let settings = WorkloadSettings::new(DatasetSettings::Trace(options));
        build(&settings, Some(&Tokenizer::builtin().unwrap()), &|_, _| {})
    }

    fn times(workload: &inferometer_core::Workload) -> Vec<u64> {
        workload
            .requests
            .iter()
            .map(|request| request.trace_at.unwrap().0 / 1_000_000)
            .collect()
    }

    const AZURE: &str = "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 23:59:59.5000000,37,44\n\
                         2023-11-17 00:00:01.2500000,5,2\n2023-11-17 00:00:09.2500000,6,3\n";

    #[test]
    fn an_azure_trace_keeps_its_clock() {
        let workload = run("azure.csv", AZURE, |options| options.speed = 2.0).unwrap();
        assert_eq!(times(&workload), [0, 875, 4875]);
        let tokenizer = Tokenizer::builtin().unwrap();
        for (request, (input, output)) in workload.requests.iter().zip([(37, 44), (5, 2), (6, 3)]) {
            assert_eq!(
                tokenizer.encode(request.prompt.as_text().unwrap()).len(),
                input
            );
            assert_eq!(request.output_tokens, Some(output));
        }
        let cut = run("azure.csv", AZURE, |options| {
            options.start = 1.0;
            options.duration = Some(5.0);
        });
        let cut = cut.unwrap();
        assert_eq!(times(&cut), [0]);
        assert!(cut.warnings[0].contains("1 of the 3 rows"));
    }

    #[test]
    fn a_burstgpt_trace_drops_failed_rows() {
        let csv = "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n\
                   5,ChatGPT,472,18,490,Conversation log\n45,ChatGPT,10,0,10,Conversation log\n118,GPT-4,20,7,27,API log\n";
        let workload = run("burst.csv", csv, |_| {}).unwrap();
        assert_eq!(times(&workload), [0, 113_000]);
    }

    #[test]
    fn mooncake_blocks_become_shared_prefixes() {
        let lines = "{\"timestamp\": 0, \"input_length\": 600, \"output_length\": 5, \"hash_ids\": [1, 2]}\n\
                     {\"timestamp\": 3000, \"input_length\": 700, \"output_length\": 5, \"hash_ids\": [1, 3]}\n";
        // The form follows from the ending, also of a compressed file, which is recognised by its content.
        let compressed = run("mooncake.jsonl.gz", lines, |_| {}).unwrap();
        let workload = run("mooncake.jsonl", lines, |_| {}).unwrap();
        assert_eq!(times(&compressed), times(&workload));
        let tokenizer = Tokenizer::builtin().unwrap();
        let ids: Vec<Vec<u32>> = workload
            .requests
            .iter()
            .map(|request| tokenizer.encode(request.prompt.as_text().unwrap()))
            .collect();
        assert_eq!((ids[0].len(), ids[1].len()), (600, 700));
        assert_eq!(ids[0][..512], ids[1][..512]);
        assert_ne!(ids[0][512..600], ids[1][512..600]);
        assert_eq!(times(&workload), [0, 3000]);
    }

    #[test]
    fn bad_traces_say_where() {
        let backwards = AZURE.replace("2023-11-17 00:00:09", "2023-11-16 00:00:09");
        for (content, part) in [
            (backwards.as_str(), "line 4: time goes backwards"),
            ("a,b\n1,2\n", "columns are a, b"),
            (
                "TIMESTAMP,ContextTokens,GeneratedTokens\nyesterday,1,1\n",
                "line 2: \"yesterday\"",
            ),
            (
                "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 00:00:nan,1,1\n",
                "cannot be read",
            ),
            (
                "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 00:00:00,99999999999999,1\n",
                "line 2: invalid `ContextTokens`",
            ),
            (
                "Timestamp,Model,Request tokens,Response tokens\n0,GPT-4,1e18,7\n",
                "line 2: invalid `Request tokens`",
            ),
            (
                "Timestamp,Model,Request tokens,Response tokens\n0,GPT-4,5,7\n1e15,GPT-4,5,7\n",
                "line 3: the row is due",
            ),
        ] {
            let error = run("x.csv", content, |_| {}).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
