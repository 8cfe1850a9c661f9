//! The record log of a running benchmark: append-only, and readable after a crash.

use std::fmt;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use arrow_ipc::reader::StreamReader;
use arrow_ipc::writer::StreamWriter;
use arrow_schema::ArrowError;
use inferometer_core::{Nanos, Record};
use inferometer_os::files;

use crate::ResultsError;
use crate::batch::{BatchBuilder, RECORD_FORMAT_VERSION, decode, schema_version};

/// A crash loses at most what was pushed during this time.
pub const FLUSH_INTERVAL: Nanos = Nanos::from_millis(1_000);
/// A flush comes at the latest when this many records wait for it. Chosen, not measured.
const MAX_PENDING: usize = 4_096;

/// The record log of a running benchmark: an Arrow IPC stream with one record batch per flush.
///
/// A flush hands the batch to the kernel, which keeps it even if the process is killed the next
/// moment. Only [`RecordLog::finish`] waits for the disk.
pub struct RecordLog {
    path: PathBuf,
    writer: StreamWriter<BufWriter<File>>,
    pending: BatchBuilder,
    pending_rows: usize,
    last_flush: Nanos,
    broken: bool,
}

impl fmt::Debug for RecordLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordLog")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl RecordLog {
    /// Creates a log; the file must not exist yet.
    ///
    /// # Errors
    ///
    /// When the file exists or cannot be written.
    pub fn create(path: &Path) -> Result<Self, ResultsError> {
        let file = File::options()
            .write(true)
            .create_new(true)
            .open(path)
            .map_err(ResultsError::io("create", path))?;
        let pending = BatchBuilder::new();
        let mut writer =
            StreamWriter::try_new(BufWriter::with_capacity(1 << 18, file), pending.schema())
                .map_err(arrow("write", path))?;
        // The schema is written at once: a log without it could not be distinguished from a foreign
        // file.
        writer.flush().map_err(arrow("write", path))?;
        Ok(Self {
            path: path.to_owned(),
            writer,
            pending,
            pending_rows: 0,
            last_flush: Nanos::ZERO,
            broken: false,
        })
    }

    /// Adds a record. It survives a crash after the next flush, which happens by itself when many
    /// records wait.
    ///
    /// # Errors
    ///
    /// Those of a flush.
    pub fn push(&mut self, record: &Record) -> Result<(), ResultsError> {
        self.pending.push(record);
        self.pending_rows += 1;
        if self.pending_rows >= MAX_PENDING || self.pending.is_full() {
            self.flush()
        } else {
            Ok(())
        }
    }

    /// Flushes if the last flush is [`FLUSH_INTERVAL`] or more before `now` (any monotonic axis,
    /// but always the same one).
    ///
    /// # Errors
    ///
    /// As [`Self::flush`].
    pub fn maybe_flush(&mut self, now: Nanos) -> Result<(), ResultsError> {
        if now.since(self.last_flush) < FLUSH_INTERVAL {
            return Ok(());
        }
        self.last_flush = now;
        self.flush()
    }

    /// Hands everything that was pushed to the kernel.
    ///
    /// After an error the log takes nothing more, so that it stays readable up to its last whole
    /// batch.
    ///
    /// # Errors
    ///
    /// The log cannot be written, now or before.
    pub fn flush(&mut self) -> Result<(), ResultsError> {
        if self.broken {
            let source = io::Error::other("an earlier write failed");
            return Err(ResultsError::io("write", &self.path)(source));
        }
        if self.pending.is_empty() {
            return Ok(());
        }
        self.pending_rows = 0;
        let batch = self.pending.take().map_err(arrow("write", &self.path))?;
        let written = self.writer.write(&batch).and_then(|()| self.writer.flush());
        self.broken = written.is_err();
        written.map_err(arrow("write", &self.path))
    }

    /// Flushes, ends the stream and waits until it is on the disk.
    ///
    /// # Errors
    ///
    /// As [`Self::flush`], and where the disk refuses.
    pub fn finish(mut self) -> Result<(), ResultsError> {
        self.flush()?;
        self.writer.finish().map_err(arrow("write", &self.path))?;
        let buffered = self.writer.get_mut();
        buffered
            .flush()
            .and_then(|()| buffered.get_ref().sync_all())
            .map_err(ResultsError::io("write", &self.path))
    }
}

/// What a record log holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LogContents {
    /// The records in the order in which they ended.
    pub records: Vec<Record>,
    /// True when the log is cut off, as it is after a crash: its last batch is incomplete, or the end
    /// mark is missing.
    pub truncated: bool,
}

/// Reads a record log up to its last complete batch.
///
/// # Errors
///
/// When the file cannot be read, is not a record log, or is of a later version.
pub fn read_log(path: &Path) -> Result<LogContents, ResultsError> {
    let mut contents = LogContents::default();
    contents.truncated = visit_log(path, &mut |record| contents.records.push(record))?;
    Ok(contents)
}

/// Gives the records of a log to `visitor`, batch by batch, in the order in which they ended. True
/// when the log is cut off: see [`LogContents::truncated`].
pub(crate) fn visit_log(
    path: &Path,
    visitor: &mut dyn FnMut(Record),
) -> Result<bool, ResultsError> {
    let mut file = files::open(path).map_err(ResultsError::io("read", path))?;
    let extent = whole_messages(&mut file).map_err(ResultsError::io("read", path))?;
    if extent.messages == 0 {
        // The crash came before the schema was written, or this is another kind of file.
        let is_start = is_start_of_log(&mut file, extent.file_len);
        return if is_start.map_err(ResultsError::io("read", path))? {
            Ok(true)
        } else {
            Err(ResultsError::format(path, "not an inferometer record log"))
        };
    }
    file.seek(SeekFrom::Start(0))
        .map_err(ResultsError::io("read", path))?;
    let reader = StreamReader::try_new(
        BufReader::with_capacity(1 << 18, file.take(extent.len)),
        None,
    )
    .map_err(arrow("read", path))?;
    check_version(path, &reader.schema())?;
    let mut records = Vec::new();
    for batch in reader {
        let batch = batch.map_err(arrow("read", path))?;
        decode(&batch, &mut records).map_err(|problem| ResultsError::format(path, problem))?;
        records.drain(..).for_each(&mut *visitor);
    }
    Ok(!extent.ended)
}

/// Refuses files of a later version.
pub(crate) fn check_version(
    path: &Path,
    schema: &arrow_schema::Schema,
) -> Result<(), ResultsError> {
    let found = schema_version(schema).map_err(|problem| ResultsError::format(path, problem))?;
    if found > RECORD_FORMAT_VERSION {
        return Err(ResultsError::TooNew {
            path: path.to_owned(),
            found,
            known: RECORD_FORMAT_VERSION,
        });
    }
    Ok(())
}

/// How much of a log is complete.
struct Extent {
    file_len: u64,
    /// Bytes up to the end of the last complete message.
    len: u64,
    /// Complete messages, the schema included.
    messages: usize,
    /// The end mark was found.
    ended: bool,
}

/// Bytes of the schema of a log, at most; the longest so far has 4 KB.
const LONGEST_SCHEMA: u64 = 1 << 16;

/// Bytes of a message's metadata, by the head of its frame; `None` without the continuation mark.
fn metadata_len(head: [u8; 8]) -> Option<u64> {
    let [mark @ .., a, b, c, d] = head;
    (mark == [0xff; 4]).then(|| u64::from(u32::from_le_bytes([a, b, c, d])))
}

/// True where a file of this length is empty, or ends within the schema with which a log begins.
fn is_start_of_log(file: &mut File, file_len: u64) -> io::Result<bool> {
    let mut head = [0xff_u8; 8];
    let there = file_len.min(8) as usize;
    file.seek(SeekFrom::Start(0))?;
    file.read_exact(&mut head[..there])?;
    let is_cut =
        |metadata_len| there < 8 || (metadata_len <= LONGEST_SCHEMA && 8 + metadata_len > file_len);
    Ok(metadata_len(head).is_some_and(is_cut))
}

/// Walks the frames of an Arrow IPC stream: continuation mark, length, metadata, body.
///
/// Done before the real reader runs, which would trust the length in a torn frame and reserve that
/// much memory.
fn whole_messages(file: &mut File) -> io::Result<Extent> {
    let file_len = file.metadata()?.len();
    let mut extent = Extent {
        file_len,
        len: 0,
        messages: 0,
        ended: false,
    };
    let mut reader = BufReader::new(file);
    loop {
        let mut head = [0_u8; 8];
        if extent.len + 8 > file_len {
            return Ok(extent);
        }
        reader.read_exact(&mut head)?;
        let Some(metadata_len) =
            metadata_len(head).filter(|metadata_len| extent.len + 8 + metadata_len <= file_len)
        else {
            return Ok(extent);
        };
        if metadata_len == 0 {
            extent.len += 8;
            extent.ended = true;
            return Ok(extent);
        }
        let mut metadata = vec![0_u8; metadata_len as usize];
        reader.read_exact(&mut metadata)?;
        let Ok(message) = arrow_ipc::root_as_message(&metadata) else {
            return Ok(extent);
        };
        let Ok(body_len) = u64::try_from(message.bodyLength()) else {
            return Ok(extent);
        };
        let end = (extent.len + 8 + metadata_len).checked_add(body_len);
        let Some(end) = end.filter(|&end| end <= file_len) else {
            return Ok(extent);
        };
        if !fits(message, body_len) {
            return Ok(extent);
        }
        reader.seek_relative(body_len as i64)?;
        extent.len = end;
        extent.messages += 1;
    }
}

/// True unless a message names buffers outside of its body, for which the real reader would panic.
fn fits(message: arrow_ipc::Message<'_>, body_len: u64) -> bool {
    let dictionary = message
        .header_as_dictionary_batch()
        .and_then(|dictionary| dictionary.data());
    let Some(batch) = message.header_as_record_batch().or(dictionary) else {
        return true;
    };
    // No array has more items than its body has bits.
    let most = body_len.saturating_mul(8);
    let is_count = |count: i64| u64::try_from(count).is_ok_and(|count| count <= most);
    let buffers = batch.buffers().is_none_or(|buffers| {
        buffers.iter().all(|buffer| {
            let place = u64::try_from(buffer.offset())
                .ok()
                .zip(u64::try_from(buffer.length()).ok());
            place
                .and_then(|(offset, length)| offset.checked_add(length))
                .is_some_and(|end| end <= body_len)
        })
    });
    let nodes = batch.nodes().is_none_or(|nodes| {
        nodes
            .iter()
            .all(|node| is_count(node.length()) && is_count(node.null_count()))
    });
    is_count(batch.length()) && buffers && nodes
}

/// Turns Arrow's error into ours, keeping the system's reason where there is one.
pub(crate) fn arrow(action: &'static str, path: &Path) -> impl FnOnce(ArrowError) -> ResultsError {
    let path = path.to_owned();
    move |error| match error {
        ArrowError::IoError(_, source) => ResultsError::Io {
            action,
            path,
            source,
        },
        other => ResultsError::Format {
            path,
            problem: other.to_string(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_is_an_error_and_what_was_written_stays_readable() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("requests.arrows");
        let mut log = RecordLog::create(&path).unwrap();
        log.push(&Record::default()).unwrap();
        log.flush().unwrap();
        let full = File::options().write(true).open("/dev/full").unwrap();
        let real = std::mem::replace(log.writer.get_mut().get_mut(), full);
        log.push(&Record::default()).unwrap();
        let error = log.flush().unwrap_err();
        let ResultsError::Io { source, .. } = &error else {
            panic!("{error}");
        };
        assert_eq!(source.kind(), io::ErrorKind::StorageFull, "{error}");
        *log.writer.get_mut().get_mut() = real;
        log.push(&Record::default()).unwrap();
        assert!(
            log.flush()
                .unwrap_err()
                .to_string()
                .contains("an earlier write failed")
        );
        assert_eq!(read_log(&path).unwrap().records.len(), 1);
    }
}
