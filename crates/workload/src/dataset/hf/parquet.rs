//! Rows of a Parquet file as JSON values. Bytes become base64 text.

use std::path::Path;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type,
    UInt32Type, UInt64Type,
};
use arrow_array::{Array, RecordBatch};
use arrow_schema::DataType;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use inferometer_os::files;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Map, Value};

use crate::WorkloadError;

/// Small batches, since a row may hold megabytes.
const BATCH: usize = 64;

/// The rows of a file.
pub(super) fn rows(
    path: &Path,
) -> Result<Box<dyn Iterator<Item = Result<Value, WorkloadError>>>, WorkloadError> {
    let owned = path.to_owned();
    let wrong = move |message: String| WorkloadError::format(&owned, None, message);
    let file = files::open(path).map_err(|source| WorkloadError::Io {
        path: path.to_owned(),
        source,
    })?;
    let reader = ParquetRecordBatchReaderBuilder::try_new(file)
        .and_then(|builder| builder.with_batch_size(BATCH).build())
        .map_err(|error| wrong(format!("not a readable Parquet file: {error}")))?;
    Ok(Box::new(reader.flat_map(
        move |batch| -> Box<dyn Iterator<Item = Result<Value, WorkloadError>>> {
            match batch {
                Ok(batch) => Box::new((0..batch.num_rows()).map(move |at| Ok(row(&batch, at)))),
                Err(error) => Box::new(std::iter::once(Err(wrong(error.to_string())))),
            }
        },
    )))
}

fn row(batch: &RecordBatch, at: usize) -> Value {
    let schema = batch.schema();
    let columns = schema.fields().iter().zip(batch.columns());
    Value::Object(
        columns
            .map(|(field, column)| (field.name().clone(), value(column.as_ref(), at)))
            .collect(),
    )
}

/// One value; types that no dataset here uses become null.
fn value(array: &dyn Array, at: usize) -> Value {
    if array.is_null(at) {
        return Value::Null;
    }
    match array.data_type() {
        DataType::Utf8 => array.as_string::<i32>().value(at).into(),
        DataType::LargeUtf8 => array.as_string::<i64>().value(at).into(),
        DataType::Utf8View => array.as_string_view().value(at).into(),
        DataType::Binary => BASE64_STANDARD
            .encode(array.as_binary::<i32>().value(at))
            .into(),
        DataType::LargeBinary => BASE64_STANDARD
            .encode(array.as_binary::<i64>().value(at))
            .into(),
        DataType::BinaryView => BASE64_STANDARD
            .encode(array.as_binary_view().value(at))
            .into(),
        DataType::Boolean => array.as_boolean().value(at).into(),
        DataType::Int8 => array.as_primitive::<Int8Type>().value(at).into(),
        DataType::Int16 => array.as_primitive::<Int16Type>().value(at).into(),
        DataType::Int32 => array.as_primitive::<Int32Type>().value(at).into(),
        DataType::Int64 => array.as_primitive::<Int64Type>().value(at).into(),
        DataType::UInt8 => array.as_primitive::<UInt8Type>().value(at).into(),
        DataType::UInt16 => array.as_primitive::<UInt16Type>().value(at).into(),
        DataType::UInt32 => array.as_primitive::<UInt32Type>().value(at).into(),
        DataType::UInt64 => array.as_primitive::<UInt64Type>().value(at).into(),
        DataType::Float32 => array.as_primitive::<Float32Type>().value(at).into(),
        DataType::Float64 => array.as_primitive::<Float64Type>().value(at).into(),
        DataType::List(_) => list(array.as_list::<i32>().value(at).as_ref()),
        DataType::LargeList(_) => list(array.as_list::<i64>().value(at).as_ref()),
        DataType::FixedSizeList(..) => list(array.as_fixed_size_list().value(at).as_ref()),
        DataType::Struct(fields) => {
            let columns = array.as_struct().columns();
            let members = fields.iter().zip(columns);
            let members =
                members.map(|(field, column)| (field.name().clone(), value(column.as_ref(), at)));
            Value::Object(members.collect::<Map<_, _>>())
        }
        _ => Value::Null,
    }
}

fn list(items: &dyn Array) -> Value {
    Value::Array((0..items.len()).map(|at| value(items, at)).collect())
}
