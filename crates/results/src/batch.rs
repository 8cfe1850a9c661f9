//! Records to and from Arrow record batches.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::builder::{
    BooleanBuilder, Float64Builder, Int64Builder, ListBuilder, PrimitiveBuilder, StringBuilder,
    UInt8Builder, UInt16Builder, UInt32Builder,
};
use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, Float64Type, Int64Type, UInt8Type, UInt16Type, UInt32Type,
};
use arrow_array::{Array, ArrayRef, ListArray, PrimitiveArray, RecordBatch};
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef};
use inferometer_core::Record;

use crate::columns::{
    EVENT_FLAGS, EVENT_KIND, EVENT_LAG_NS, EVENT_NS, EVENT_TOKENS, Kind, columns, event_from,
    event_parts,
};

/// Version of the record columns, in log and Parquet file alike.
pub const RECORD_FORMAT_VERSION: u32 = 1;

/// Key of the version in the schema's metadata.
pub(crate) const VERSION_KEY: &str = "inferometer.format_version";
/// The same in files from before November 2026, when the program had another name.
const OLD_VERSION_KEY: &str = "servebench.format_version";

/// Records of a batch at most.
const MAX_ROWS: usize = 65_536;
/// Bytes of a batch at most, roughly: Arrow's list and text offsets are 32 bits wide.
const MAX_BYTES: usize = 32 << 20;

/// The schema of the record log and of `requests.parquet`.
pub fn record_schema() -> SchemaRef {
    let scalar = columns().iter().map(|column| {
        let data_type = match column.kind {
            Kind::I64(..) => DataType::Int64,
            Kind::U32(..) => DataType::UInt32,
            Kind::U16(..) => DataType::UInt16,
            Kind::F64(..) => DataType::Float64,
            Kind::Bool(..) => DataType::Boolean,
            Kind::Text(..) => DataType::Utf8,
        };
        Field::new(column.name, data_type, column.nullable)
    });
    let lists = [
        (EVENT_NS, DataType::Int64),
        (EVENT_LAG_NS, DataType::UInt32),
        (EVENT_TOKENS, DataType::UInt16),
        (EVENT_KIND, DataType::UInt8),
        (EVENT_FLAGS, DataType::UInt8),
    ]
    .into_iter()
    .map(|(name, item)| Field::new_list(name, Field::new_list_field(item, false), false));
    let metadata = HashMap::from([(VERSION_KEY.to_owned(), RECORD_FORMAT_VERSION.to_string())]);
    Arc::new(Schema::new_with_metadata(
        scalar.chain(lists).collect::<Vec<_>>(),
        metadata,
    ))
}

/// Gathers records until there are enough for a batch.
#[derive(Debug)]
pub(crate) struct BatchBuilder {
    schema: SchemaRef,
    scalars: Vec<Builder>,
    event_ns: ListBuilder<Int64Builder>,
    event_lag_ns: ListBuilder<UInt32Builder>,
    event_tokens: ListBuilder<UInt16Builder>,
    event_kind: ListBuilder<UInt8Builder>,
    event_flags: ListBuilder<UInt8Builder>,
    rows: usize,
    bytes: usize,
}

#[derive(Debug)]
enum Builder {
    I64(Int64Builder),
    U32(UInt32Builder),
    U16(UInt16Builder),
    F64(Float64Builder),
    Bool(BooleanBuilder),
    Text(StringBuilder),
}

impl BatchBuilder {
    pub(crate) fn new() -> Self {
        let scalars = columns().iter().map(|column| match column.kind {
            Kind::I64(..) => Builder::I64(Int64Builder::new()),
            Kind::U32(..) => Builder::U32(UInt32Builder::new()),
            Kind::U16(..) => Builder::U16(UInt16Builder::new()),
            Kind::F64(..) => Builder::F64(Float64Builder::new()),
            Kind::Bool(..) => Builder::Bool(BooleanBuilder::new()),
            Kind::Text(..) => Builder::Text(StringBuilder::new()),
        });
        Self {
            schema: record_schema(),
            scalars: scalars.collect(),
            event_ns: list(),
            event_lag_ns: list(),
            event_tokens: list(),
            event_kind: list(),
            event_flags: list(),
            rows: 0,
            bytes: 0,
        }
    }

    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// True when the batch should be taken before another record is added.
    pub(crate) fn is_full(&self) -> bool {
        self.rows >= MAX_ROWS || self.bytes >= MAX_BYTES
    }

    pub(crate) fn push(&mut self, record: &Record) {
        for (column, builder) in columns().iter().zip(&mut self.scalars) {
            match (&column.kind, builder) {
                (Kind::I64(get, _), Builder::I64(builder)) => builder.append_option(get(record)),
                (Kind::U32(get, _), Builder::U32(builder)) => builder.append_option(get(record)),
                (Kind::U16(get, _), Builder::U16(builder)) => builder.append_option(get(record)),
                (Kind::F64(get, _), Builder::F64(builder)) => builder.append_option(get(record)),
                (Kind::Bool(get, _), Builder::Bool(builder)) => builder.append_option(get(record)),
                (Kind::Text(get, _), Builder::Text(builder)) => {
                    let text = get(record);
                    self.bytes += text.map_or(0, str::len);
                    builder.append_option(text);
                }
                _ => unreachable!("builders are made from the columns, in their order"),
            }
        }
        for event in &record.events {
            let (at, lag_ns, tokens, kind, flags) = event_parts(event);
            self.event_ns.values().append_value(at);
            self.event_lag_ns.values().append_value(lag_ns);
            self.event_tokens.values().append_value(tokens);
            self.event_kind.values().append_value(kind);
            self.event_flags.values().append_value(flags);
        }
        self.event_ns.append(true);
        self.event_lag_ns.append(true);
        self.event_tokens.append(true);
        self.event_kind.append(true);
        self.event_flags.append(true);
        self.rows += 1;
        self.bytes += 400 + 16 * record.events.len();
    }

    /// The batch of what was pushed; the builder is empty afterwards.
    pub(crate) fn take(&mut self) -> Result<RecordBatch, ArrowError> {
        let scalars = self.scalars.iter_mut().map(|builder| -> ArrayRef {
            match builder {
                Builder::I64(builder) => Arc::new(builder.finish()),
                Builder::U32(builder) => Arc::new(builder.finish()),
                Builder::U16(builder) => Arc::new(builder.finish()),
                Builder::F64(builder) => Arc::new(builder.finish()),
                Builder::Bool(builder) => Arc::new(builder.finish()),
                Builder::Text(builder) => Arc::new(builder.finish()),
            }
        });
        let mut arrays: Vec<ArrayRef> = scalars.collect();
        arrays.push(Arc::new(self.event_ns.finish()));
        arrays.push(Arc::new(self.event_lag_ns.finish()));
        arrays.push(Arc::new(self.event_tokens.finish()));
        arrays.push(Arc::new(self.event_kind.finish()));
        arrays.push(Arc::new(self.event_flags.finish()));
        self.rows = 0;
        self.bytes = 0;
        RecordBatch::try_new(Arc::clone(&self.schema), arrays)
    }
}

fn list<T: ArrowPrimitiveType>() -> ListBuilder<PrimitiveBuilder<T>> {
    ListBuilder::new(PrimitiveBuilder::new()).with_field(Field::new_list_field(T::DATA_TYPE, false))
}

/// Appends the records of a batch to `records`; the error says what is wrong with the batch.
pub(crate) fn decode(batch: &RecordBatch, records: &mut Vec<Record>) -> Result<(), String> {
    let start = records.len();
    records.resize_with(start + batch.num_rows(), Record::default);
    let rows = &mut records[start..];
    for column in columns() {
        // Older files lack newer columns.
        let Some(array) = batch.column_by_name(column.name) else {
            continue;
        };
        let known = match column.kind {
            Kind::I64(_, set) => fill::<Int64Type>(array, rows, set),
            Kind::U32(_, set) => fill::<UInt32Type>(array, rows, set),
            Kind::U16(_, set) => fill::<UInt16Type>(array, rows, set),
            Kind::F64(_, set) => fill::<Float64Type>(array, rows, set),
            Kind::Bool(_, set) => array.as_boolean_opt().map(|array| {
                for (row, value) in rows.iter_mut().zip(array) {
                    if let Some(value) = value {
                        set(row, value);
                    }
                }
            }),
            Kind::Text(_, set) => match array.as_string_opt::<i32>() {
                Some(array) => {
                    for (row, value) in rows.iter_mut().zip(array) {
                        if let Some(value) = value
                            && !set(row, value)
                        {
                            return Err(format!(
                                "unknown value '{value}' in column {}",
                                column.name
                            ));
                        }
                    }
                    Some(())
                }
                None => None,
            },
        };
        known.ok_or_else(|| format!("column {} has type {}", column.name, array.data_type()))?;
    }
    decode_events(batch, rows)
}

fn fill<T: ArrowPrimitiveType>(
    array: &ArrayRef,
    rows: &mut [Record],
    set: fn(&mut Record, T::Native),
) -> Option<()> {
    let array = array.as_primitive_opt::<T>()?;
    for (row, value) in rows.iter_mut().zip(array) {
        if let Some(value) = value {
            set(row, value);
        }
    }
    Some(())
}

fn decode_events(batch: &RecordBatch, rows: &mut [Record]) -> Result<(), String> {
    let (at_lists, at) = list_column::<Int64Type>(batch, EVENT_NS)?;
    let (_, lag) = list_column::<UInt32Type>(batch, EVENT_LAG_NS)?;
    let (_, tokens) = list_column::<UInt16Type>(batch, EVENT_TOKENS)?;
    let (_, kind) = list_column::<UInt8Type>(batch, EVENT_KIND)?;
    let (_, flags) = list_column::<UInt8Type>(batch, EVENT_FLAGS)?;
    let shortest = lag.len().min(tokens.len()).min(kind.len()).min(flags.len());
    if shortest < at.len() {
        return Err("the event columns differ in length".to_owned());
    }
    for (row, record) in rows.iter_mut().enumerate() {
        let range =
            at_lists.value_offsets()[row] as usize..at_lists.value_offsets()[row + 1] as usize;
        record.events.reserve_exact(range.len());
        for i in range {
            let event = event_from(
                at.value(i),
                lag.value(i),
                tokens.value(i),
                kind.value(i),
                flags.value(i),
            )
            .ok_or_else(|| format!("unknown event kind {}", kind.value(i)))?;
            record.events.push(event);
        }
    }
    Ok(())
}

fn list_column<'a, T: ArrowPrimitiveType>(
    batch: &'a RecordBatch,
    name: &str,
) -> Result<(&'a ListArray, &'a PrimitiveArray<T>), String> {
    let array = batch
        .column_by_name(name)
        .ok_or_else(|| format!("column {name} is missing"))?;
    let lists = array.as_list_opt::<i32>();
    lists
        .and_then(|lists| Some((lists, lists.values().as_primitive_opt::<T>()?)))
        .ok_or_else(|| format!("column {name} has type {}", array.data_type()))
}

/// The version in a schema's metadata, or what is wrong with it.
pub(crate) fn schema_version(schema: &Schema) -> Result<u32, String> {
    let metadata = schema.metadata();
    let text = [VERSION_KEY, OLD_VERSION_KEY]
        .iter()
        .find_map(|&key| metadata.get(key));
    let text = text.ok_or("not a file of inferometer records")?;
    text.parse()
        .map_err(|_| format!("invalid format version '{text}': expected a whole number"))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    /// The name that Arrow's documentation has for a type.
    fn type_name(data_type: &DataType) -> String {
        match data_type {
            DataType::Utf8 => "string".to_owned(),
            DataType::Float64 => "double".to_owned(),
            DataType::Boolean => "bool".to_owned(),
            DataType::List(item) => {
                assert!(!item.is_nullable());
                format!("list<{}>", type_name(item.data_type()))
            }
            other => format!("{other:?}").to_lowercase(),
        }
    }

    #[test]
    fn the_columns_are_those_of_the_published_schema() {
        let published = include_str!("../../../docs/schema/requests.schema.json");
        let published: Value = serde_json::from_str(published).unwrap();
        assert_eq!(published["format_version"], RECORD_FORMAT_VERSION);
        let expected: Vec<_> = published["columns"].as_array().unwrap().iter().collect();
        let schema = record_schema();
        let found: Vec<_> = schema.fields().iter().collect();
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.into_iter().zip(expected) {
            assert_eq!(expected["name"], found.name().as_str());
            assert_eq!(
                expected["type"],
                type_name(found.data_type()),
                "{}",
                found.name()
            );
            assert_eq!(
                expected["nullable"],
                found.is_nullable(),
                "{}",
                found.name()
            );
        }
    }
}
