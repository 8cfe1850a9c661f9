//! `timed_trace`: lengths, times and shared blocks from a trace, sent as token ids.

use std::path::PathBuf;

use inferometer_core::python;
use inferometer_core::random::{PythonHash, PythonRandom, StreamRng, indexed_stream};
use inferometer_core::{Nanos, Prompt};
use rand::Rng;
use serde_json::{Value, json};

use super::limits::{check_span, row_tokens};
use super::spec::{DatasetSpec, LengthsSpec};
use super::texts::allowed_ids;
use super::trace_rows::{backwards, block_id, check_range, outside_range};
use super::{Context, Emit, Sample, chunk_size, chunks, request};
use crate::{Tokenizer, WorkloadError, read};

/// Options of `timed_trace`.
#[derive(Clone, Debug)]
pub struct TimedTraceSettings {
    /// The JSON Lines file.
    pub path: PathBuf,
    /// Tokens that one hash id stands for.
    pub chunk_hash_size: i64,
    /// Seconds in one unit of the time column.
    pub sec_multiplier: f64,
    /// Name of the time column.
    pub label_timestamp: String,
    /// Name of the column of input lengths.
    pub label_input_length: String,
    /// Name of the column of output lengths.
    pub label_output_length: String,
    /// Name of the column of hash ids.
    pub label_hash_ids: String,
    /// The trace runs this many times as fast.
    pub speed: f64,
    /// Rows before this many seconds from the first row are left out.
    pub start: f64,
    /// Rows after this many seconds from the start are left out.
    pub duration: Option<f64>,
    /// `PYTHONHASHSEED` of the process of vLLM whose prompts are made under `--compat vllm`.
    pub hash_seed: u32,
}

impl Default for TimedTraceSettings {
    fn default() -> Self {
        Self {
            path: PathBuf::new(),
            chunk_hash_size: 16,
            sec_multiplier: 1.0,
            label_timestamp: "timestamp".into(),
            label_input_length: "input_length".into(),
            label_output_length: "output_length".into(),
            label_hash_ids: "hash_ids".into(),
            speed: 1.0,
            start: 0.0,
            duration: None,
            hash_seed: 0,
        }
    }
}

impl TimedTraceSettings {
    /// The form that the manifest keeps.
    pub(super) fn spec(&self) -> DatasetSpec {
        let Self {
            path,
            chunk_hash_size,
            sec_multiplier,
            label_timestamp,
            label_input_length,
            label_output_length,
            label_hash_ids,
            speed,
            start,
            duration,
            hash_seed,
        } = self;
        let options = json!({
            "chunk_hash_size": chunk_hash_size, "seconds_per_unit": sec_multiplier,
            "timestamp_column": label_timestamp, "input_length_column": label_input_length,
            "output_length_column": label_output_length, "hash_ids_column": label_hash_ids,
            "speed": speed, "start_s": start, "duration_s": duration, "python_hash_seed": hash_seed,
        });
        DatasetSpec::of_file(path, LengthsSpec::default(), options)
    }
}

struct Row {
    line: usize,
    seconds: f64,
    input: usize,
    output: i64,
    blocks: Vec<Value>,
}

/// Makes the requests chunk by chunk; the rows of the file are held. What it returns holds
/// everything but the requests.
pub(super) fn in_chunks<E: From<WorkloadError>>(
    context: &Context<'_>,
    options: &TimedTraceSettings,
    emit: Emit<'_, E>,
) -> Result<Sample, E> {
    let tokenizer = context.tokenizer()?;
    let block_tokens = check(context, options)?;
    let (rows, rows_in_file) = read_rows(context, options)?;
    let is_vllm = context.settings.is_vllm();
    let prompts = Prompts {
        allowed: if is_vllm {
            ordinary_ids(tokenizer)
        } else {
            allowed_ids(tokenizer, tokenizer.special_ids())
        },
        block_tokens,
        way: if is_vllm {
            Way::Vllm(PythonHash::new(options.hash_seed))
        } else {
            Way::Native {
                seed: context.text_seed(),
            }
        },
    };
    // vLLM does not count from the first row, so that a part from the middle of a trace starts
    // with a pause.
    let origin = if is_vllm { 0.0 } else { rows[0].seconds };
    let make = |at: usize| {
        let row = &rows[at];
        let ids = prompts.make(at, row);
        let tokens = ids.len();
        let mut made = request(Prompt::Tokens(ids), tokens, Some(row.output));
        made.trace_at = Some(Nanos::from_secs_f64((row.seconds - origin) / options.speed));
        made
    };
    let mean = rows.iter().map(|row| row.input).sum::<usize>() / rows.len();
    for range in chunks(rows.len(), chunk_size(mean)) {
        emit(context.parallel_of(range, rows.len(), make), rows.len())?;
    }
    let mut sample = Sample {
        with_ids: true,
        force_ignore_eos: true,
        ..Sample::default()
    };
    sample
        .about
        .insert("trace_rows".into(), rows_in_file.into());
    let wanted = usize::try_from(context.settings.num_prompts).unwrap_or(0);
    if wanted > rows_in_file && is_whole(options) {
        sample.warnings.push(format!(
            "The trace has {rows_in_file} rows, so {rows_in_file} of the {wanted} requests asked for are sent."
        ));
    }
    Ok(sample)
}

/// Refuses impossible options; gives the number of tokens that one hash stands for.
fn check(context: &Context<'_>, options: &TimedTraceSettings) -> Result<usize, WorkloadError> {
    if context.settings.is_chat || context.settings.is_pooling {
        return Err(WorkloadError::setting(
            "--dataset-name",
            "timed_trace sends token ids, which only the backends vllm and openai take; `trace` sends the same \
             file as text",
        ));
    }
    let block_tokens = usize::try_from(options.chunk_hash_size)
        .ok()
        .filter(|&n| n > 0)
        .ok_or_else(|| {
            WorkloadError::setting("--timed-trace-chunk-hash-size", "must be at least 1")
        })?;
    if !(options.sec_multiplier > 0.0 && options.sec_multiplier.is_finite()) {
        let message = "must be a number above 0";
        return Err(WorkloadError::setting(
            "--timed-trace-sec-multiplier",
            message,
        ));
    }
    check_range(options.speed, options.start, options.duration)?;
    Ok(block_tokens)
}

/// True where no part of the trace is cut away.
fn is_whole(options: &TimedTraceSettings) -> bool {
    options.start == 0.0 && options.duration.is_none()
}

/// The rows that are sent, at least one, and the number of rows in the file.
fn read_rows(
    context: &Context<'_>,
    options: &TimedTraceSettings,
) -> Result<(Vec<Row>, usize), WorkloadError> {
    let lines = read::json_lines(&options.path)?;
    let rows_in_file = lines.len();
    let no_rows = |message: String| WorkloadError::NoRows {
        path: options.path.clone(),
        message,
    };
    let is_whole = is_whole(options);
    // Rows that are not sent are not checked either.
    let needed = if is_whole {
        context.count_or_all(rows_in_file)
    } else {
        rows_in_file
    };
    let lines = &lines[..needed.min(rows_in_file)];
    let mut rows = lines
        .iter()
        .map(|(line, row)| parse(options, *line, row))
        .collect::<Result<Vec<_>, _>>()?;
    if rows.is_empty() {
        return Err(no_rows("it is empty".into()));
    }
    if let Some(at) = rows
        .windows(2)
        .position(|pair| pair[1].seconds < pair[0].seconds)
    {
        let (before, after) = (rows[at].seconds, rows[at + 1].seconds);
        return Err(backwards(&options.path, lines[at + 1].0, before, after));
    }
    if !is_whole {
        let from = rows[0].seconds + options.start;
        let to = options
            .duration
            .map_or(f64::INFINITY, |duration| from + duration);
        rows.retain(|row| row.seconds >= from && row.seconds < to);
        rows.truncate(context.count_or_all(rows.len()));
        if rows.is_empty() {
            return Err(no_rows(outside_range(rows_in_file)));
        }
    }
    if let Some(last) = rows.last() {
        check_span(&options.path, last.line, last.seconds / options.speed)?;
    }
    Ok((rows, rows_in_file))
}

/// All ids but the special ones, ascending. vLLM draws from added tokens too.
fn ordinary_ids(tokenizer: &Tokenizer) -> Vec<u32> {
    let special = tokenizer.special_ids();
    let mut ids = tokenizer.all_ids();
    ids.retain(|id| special.binary_search(id).is_err());
    ids
}

/// What the token ids of the prompts are drawn from.
struct Prompts {
    /// Ids that may be sent.
    allowed: Vec<u32>,
    /// Tokens that one hash stands for.
    block_tokens: usize,
    way: Way,
}

/// How the tokens of a block are drawn.
enum Way {
    /// From a stream of the block's own; a prompt with fewer hashes than tokens gets further tokens.
    Native { seed: u64 },
    /// As vLLM does: from Python's generator, seeded with the hash of the block's name. Prompts with
    /// fewer hashes than tokens stay short.
    Vllm(PythonHash),
}

impl Prompts {
    /// The prompt of row number `at`.
    fn make(&self, at: usize, row: &Row) -> Vec<u32> {
        let mut ids: Vec<u32> = Vec::with_capacity(row.input);
        for block in &row.blocks {
            let count = self.block_tokens.min(row.input - ids.len());
            match self.way {
                Way::Native { seed } => {
                    let label = format!("timed_trace/{}", self.block_tokens);
                    let mut rng = indexed_stream(seed, &label, block_id(block));
                    push(&mut ids, &self.allowed, &mut rng, count);
                }
                Way::Vllm(hash) => {
                    if count == 0 || self.allowed.is_empty() {
                        break;
                    }
                    let seed = hash.of(&format!("{}:{count}", python_str(block))) as u32;
                    let drawn = PythonRandom::new(seed.into()).choices(self.allowed.len(), count);
                    ids.extend(drawn.into_iter().map(|at| self.allowed[at]));
                }
            }
        }
        if let Way::Native { seed } = self.way
            && ids.len() < row.input
        {
            // The rest is this request's own.
            let mut rng = indexed_stream(seed, "timed_trace/rest", at as u64);
            let missing = row.input - ids.len();
            push(&mut ids, &self.allowed, &mut rng, missing);
        }
        ids
    }
}

/// `str(value)` of Python for what names a block: a number or a text.
fn python_str(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) if number.is_f64() => {
            python::float_repr(number.as_f64().unwrap_or_default())
        }
        other => other.to_string(),
    }
}

fn push(ids: &mut Vec<u32>, allowed: &[u32], rng: &mut StreamRng, count: usize) {
    if allowed.is_empty() {
        return;
    }
    ids.extend(
        (0..count)
            .map(|_| allowed[((u64::from(rng.next_u32()) * allowed.len() as u64) >> 32) as usize]),
    );
}

fn parse(options: &TimedTraceSettings, line: usize, row: &Value) -> Result<Row, WorkloadError> {
    let number = |label: &str| read::number(&options.path, line, row, label);
    let tokens = |label: &str| row_tokens(&options.path, line, label, number(label)?);
    let hashes = row[&options.label_hash_ids].as_array();
    Ok(Row {
        line,
        seconds: number(&options.label_timestamp)? * options.sec_multiplier,
        input: tokens(&options.label_input_length)?,
        output: tokens(&options.label_output_length)? as i64,
        blocks: hashes.cloned().unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Compat, DatasetSettings, Tokenizer, WorkloadSettings, build};

    fn run(lines: &str, compat: Compat) -> Result<inferometer_core::Workload, WorkloadError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("trace.jsonl");
        std::fs::write(&path, lines).unwrap();
        let options = TimedTraceSettings {
            path,
            chunk_hash_size: 4,
            ..TimedTraceSettings::default()
        };
        let mut settings = WorkloadSettings::new(DatasetSettings::TimedTrace(options));
        settings.compat = compat;
        build(&settings, Some(&Tokenizer::builtin().unwrap()), &|_, _| {})
    }

    const TRACE: &str = "{\"timestamp\": 2, \"input_length\": 10, \"output_length\": 3, \"hash_ids\": [7, 8, 9]}\n\
        {\"timestamp\": 2.5, \"input_length\": 6, \"output_length\": 1, \"hash_ids\": [7, 5]}\n\
        {\"timestamp\": 4, \"input_length\": 9, \"output_length\": 1, \"hash_ids\": [7]}\n";

    #[test]
    fn blocks_are_shared_and_times_count_from_the_first_row() {
        let workload = run(TRACE, Compat::Native).unwrap();
        let ids: Vec<&Vec<u32>> = workload
            .requests
            .iter()
            .map(|request| match &request.prompt {
                Prompt::Tokens(ids) => ids,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(
            ids.iter().map(|ids| ids.len()).collect::<Vec<_>>(),
            [10, 6, 9]
        );
        assert_eq!(ids[0][..4], ids[1][..4]);
        assert_eq!(ids[0][..4], ids[2][..4]);
        assert_ne!(ids[0][4..6], ids[1][4..6]);
        let times: Vec<u64> = workload
            .requests
            .iter()
            .map(|request| request.trace_at.unwrap().0)
            .collect();
        assert_eq!(times, [0, 500_000_000, 2_000_000_000]);
        assert!(workload.force_ignore_eos);
        assert!(workload.warnings[0].contains("3 rows"));
    }

    #[test]
    fn vllms_rules_keep_the_pause_and_the_short_prompt() {
        let workload = run(TRACE, Compat::Vllm).unwrap();
        assert_eq!(
            workload.requests[0].trace_at,
            Some(Nanos::from_millis(2000))
        );
        assert_eq!(workload.requests[2].prompt_tokens, 4);
    }

    #[test]
    fn bad_traces_name_the_line() {
        let backwards = TRACE.replace("2.5", "1.5");
        let missing = TRACE.replace("\"output_length\": 1", "\"out\": 1");
        for (lines, part) in [
            (backwards, "line 2: time goes backwards"),
            (missing, "line 2: the row has no `output_length`; it has"),
            (
                TRACE.replace("\"input_length\": 6", "\"input_length\": 1e15"),
                "line 2: invalid `input_length`",
            ),
            (
                TRACE.replace("\"timestamp\": 4", "\"timestamp\": 1e300"),
                "line 3: the row is due",
            ),
        ] {
            let error = run(&lines, Compat::Native).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
