//! `requests.parquet`: one row per request.

use std::cell::RefCell;
use std::io::Write;
use std::path::{Path, PathBuf};

use arrow_array::RecordBatch;
use inferometer_core::{Record, Records};
use inferometer_os::files;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::schema::types::ColumnPath;

use crate::ResultsError;
use crate::atomic::{Links, write_atomically};
use crate::batch::{BatchBuilder, RECORD_FORMAT_VERSION, VERSION_KEY, decode};
use crate::columns::{EVENT_LAG_NS, EVENT_NS};
use crate::log::check_version;

/// Maximum rows of a row group.
const ROW_GROUP_ROWS: usize = 65_536;
/// Maximum bytes of a row group before compression: bounds what a reader must hold.
const ROW_GROUP_BYTES: usize = 128 << 20;
/// Rows decoded at a time.
const READ_ROWS: usize = 4_096;

/// Writes records to a Parquet file, sorted by index as [`Records`] gives them; returns their
/// number.
///
/// The file appears whole or not at all.
///
/// # Errors
///
/// The file cannot be written.
pub fn write_parquet(
    records: &(impl Records + ?Sized),
    path: &Path,
) -> Result<usize, ResultsError> {
    write_atomically(path, Links::Replace, |out| {
        let mut batches = BatchBuilder::new();
        let mut writer = ArrowWriter::try_new(out, batches.schema().clone(), Some(properties()))
            .map_err(parquet_error("write", path))?;
        let mut count = 0;
        let mut failure = None;
        records.visit(&mut |record| {
            if failure.is_some() {
                return;
            }
            batches.push(record);
            count += 1;
            if batches.is_full() {
                failure = write_batch(&mut writer, &mut batches).err();
            }
        });
        failure
            .map_or(Ok(()), Err)
            .map_err(parquet_error("write", path))?;
        write_batch(&mut writer, &mut batches).map_err(parquet_error("write", path))?;
        writer.close().map_err(parquet_error("write", path))?;
        Ok(count)
    })
}

/// Reads all records of a Parquet file written by [`write_parquet`] of this or an older version.
///
/// # Errors
///
/// The file cannot be read, is not a table of records, or is of a newer version.
pub fn read_parquet(path: &Path) -> Result<Vec<Record>, ResultsError> {
    let mut records = Vec::new();
    for batch in open(path)? {
        let batch = batch.map_err(|error| ResultsError::format(path, error.to_string()))?;
        decode(&batch, &mut records).map_err(|problem| ResultsError::format(path, problem))?;
    }
    Ok(records)
}

/// The records of a Parquet file, decoded anew on each visit so that they need not fit into memory.
///
/// [`Records::visit`] cannot fail, so a read error ends the visit early and is kept for
/// [`StoredRecords::check`], which must be called after the last visit.
#[derive(Debug)]
pub struct StoredRecords {
    path: PathBuf,
    count: usize,
    failure: RefCell<Option<ResultsError>>,
}

impl StoredRecords {
    /// Opens a file written by [`write_parquet`].
    ///
    /// # Errors
    ///
    /// As [`read_parquet`].
    pub fn open(path: &Path) -> Result<Self, ResultsError> {
        let file = files::open(path).map_err(ResultsError::io("read", path))?;
        let builder =
            ParquetRecordBatchReaderBuilder::try_new(file).map_err(parquet_error("read", path))?;
        check_version(path, builder.schema())?;
        let count = builder.metadata().file_metadata().num_rows();
        Ok(Self {
            path: path.to_owned(),
            count: usize::try_from(count).unwrap_or(0),
            failure: None.into(),
        })
    }

    /// The first error of any visit so far.
    ///
    /// # Errors
    ///
    /// That error.
    pub fn check(&self) -> Result<(), ResultsError> {
        self.failure.take().map_or(Ok(()), Err)
    }

    fn try_visit(&self, visitor: &mut dyn FnMut(&Record)) -> Result<(), ResultsError> {
        let mut records = Vec::new();
        for batch in open(&self.path)? {
            let batch =
                batch.map_err(|error| ResultsError::format(&self.path, error.to_string()))?;
            records.clear();
            decode(&batch, &mut records)
                .map_err(|problem| ResultsError::format(&self.path, problem))?;
            records.iter().for_each(&mut *visitor);
        }
        Ok(())
    }
}

impl Records for StoredRecords {
    fn count(&self) -> usize {
        self.count
    }

    fn visit(&self, visitor: &mut dyn FnMut(&Record)) {
        if let Err(error) = self.try_visit(visitor) {
            self.failure.borrow_mut().get_or_insert(error);
        }
    }
}

fn properties() -> WriterProperties {
    let version = KeyValue::new(VERSION_KEY.to_owned(), RECORD_FORMAT_VERSION.to_string());
    let event_column =
        |name: &str| ColumnPath::from(vec![name.to_owned(), "list".into(), "item".into()]);
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_max_row_group_bytes(Some(ROW_GROUP_BYTES))
        .set_created_by(concat!("inferometer ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_key_value_metadata(Some(vec![version]));
    // Stamps rise in small steps, and no two are alike: differences pack well, a dictionary does
    // not.
    for name in [EVENT_NS, EVENT_LAG_NS] {
        properties = properties
            .set_column_dictionary_enabled(event_column(name), false)
            .set_column_encoding(event_column(name), Encoding::DELTA_BINARY_PACKED);
    }
    properties.build()
}

fn write_batch<W: Write + Send>(
    writer: &mut ArrowWriter<W>,
    batches: &mut BatchBuilder,
) -> Result<(), ParquetError> {
    let batch: RecordBatch = batches.take()?;
    if batch.num_rows() == 0 {
        Ok(())
    } else {
        writer.write(&batch)
    }
}

fn open(path: &Path) -> Result<ParquetRecordBatchReader, ResultsError> {
    let file = files::open(path).map_err(ResultsError::io("read", path))?;
    let builder =
        ParquetRecordBatchReaderBuilder::try_new(file).map_err(parquet_error("read", path))?;
    check_version(path, builder.schema())?;
    builder
        .with_batch_size(READ_ROWS)
        .build()
        .map_err(parquet_error("read", path))
}

pub(crate) fn parquet_error(
    action: &'static str,
    path: &Path,
) -> impl FnOnce(ParquetError) -> ResultsError {
    let path = path.to_owned();
    move |error| match error {
        ParquetError::External(inner) => match inner.downcast::<std::io::Error>() {
            Ok(source) => ResultsError::Io {
                action,
                path,
                source: *source,
            },
            Err(inner) => ResultsError::Format {
                path,
                problem: inner.to_string(),
            },
        },
        other => ResultsError::Format {
            path,
            problem: other.to_string(),
        },
    }
}
