//! Reading dataset files chunk by chunk, with line numbers for messages.

use std::io::{BufRead, BufReader, Cursor, Read};
use std::path::Path;

use flate2::read::MultiGzDecoder;
use inferometer_os::files::{self, SMALL_FILE};
use rayon::prelude::*;
use serde_json::Value;

use crate::WorkloadError;

/// The number at `label` of a row in JSON: finite, zero or more.
pub(crate) fn number(
    path: &Path,
    line: usize,
    row: &Value,
    label: &str,
) -> Result<f64, WorkloadError> {
    let value = &row[label];
    let found = match value.as_f64() {
        Some(number) => usable(label, number),
        None if value.is_null() => {
            Err(format!("the row has no `{label}`; it has {}", columns(row)))
        }
        None => Err(format!("`{label}` is not a number, but {}", kind(value))),
    };
    found.map_err(|problem| WorkloadError::format(path, Some(line), problem))
}

/// The number in a cell of a table: finite, zero or more.
pub(crate) fn cell_number(
    path: &Path,
    line: usize,
    label: &str,
    cell: &str,
) -> Result<f64, WorkloadError> {
    let found = match cell.trim().parse::<f64>() {
        Ok(number) => usable(label, number),
        Err(_) => Err(format!("`{label}` is not a number, but {cell:?}")),
    };
    found.map_err(|problem| WorkloadError::format(path, Some(line), problem))
}

fn usable(label: &str, number: f64) -> Result<f64, String> {
    if number.is_finite() && number >= 0.0 {
        Ok(number)
    } else {
        Err(format!(
            "`{label}` is {number}: expected a number, zero or more"
        ))
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// Longest row of a file: 256 MB, more than a request of the longest context with its images.
const MAX_ROW: usize = 256 << 20;

fn too_long(path: &Path, line: usize) -> WorkloadError {
    let message = format!("the row is longer than {} MB", MAX_ROW >> 20);
    WorkloadError::format(path, Some(line), message)
}

/// The content of a file from its beginning; that of a gzip file is unpacked, whatever its name.
fn open(path: &Path) -> Result<Box<dyn Read>, WorkloadError> {
    let failed = |source| WorkloadError::Io {
        path: path.to_owned(),
        source,
    };
    if path.as_os_str().is_empty() {
        return Err(WorkloadError::setting(
            "--dataset-path",
            "is missing; this dataset is read from a file",
        ));
    }
    let mut file = files::open(path).map_err(failed)?;
    let mut start = Vec::with_capacity(MAGIC);
    file.by_ref()
        .take(MAGIC as u64)
        .read_to_end(&mut start)
        .map_err(failed)?;
    if let Some((_, name)) = PACKED.iter().find(|(magic, _)| start.starts_with(magic)) {
        let message = format!("the file is compressed ({name}): expected plain text or gzip");
        return Err(WorkloadError::format(path, None, message));
    }
    let is_gzip = start.starts_with(GZIP);
    let whole = Cursor::new(start).chain(file);
    Ok(if is_gzip {
        Box::new(MultiGzDecoder::new(BufReader::new(whole)))
    } else {
        Box::new(whole)
    })
}

/// The first bytes of gzip, and of the other forms that pandas would unpack.
const GZIP: &[u8] = b"\x1f\x8b";
const PACKED: [(&[u8], &str); 4] = [
    (b"BZh", "bzip2"),
    (b"PK\x03\x04", "zip"),
    (b"\xfd7zXZ\0", "xz"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
];
/// Bytes that tell the form of a file.
const MAGIC: usize = 6;

/// The rows of a JSON Lines file with their line numbers, counted from 1. Empty lines are skipped.
pub(crate) fn json_lines(path: &Path) -> Result<Vec<(usize, Value)>, WorkloadError> {
    let failed = |source| WorkloadError::Io {
        path: path.to_owned(),
        source,
    };
    let mut reader = BufReader::with_capacity(1 << 16, open(path)?);
    let mut rows = Vec::new();
    let mut line = Vec::new();
    let mut number = 0;
    while {
        line.clear();
        let mut limited = reader.by_ref().take(MAX_ROW as u64);
        limited.read_until(b'\n', &mut line).map_err(failed)? > 0
    } {
        number += 1;
        if line.len() == MAX_ROW {
            return Err(too_long(path, number));
        }
        let text = line.trim_ascii();
        let text = if number == 1 {
            text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text)
        } else {
            text
        };
        if text.is_empty() {
            continue;
        }
        let value: Value = serde_json::from_slice(text).map_err(|error| {
            let hint = if text.starts_with(b"[") || number == 1 && text == b"{" {
                "; the file must be JSON Lines: one object per line"
            } else {
                ""
            };
            WorkloadError::format(
                path,
                Some(number),
                format!("not valid JSON ({error}){hint}"),
            )
        })?;
        if !value.is_object() {
            return Err(WorkloadError::format(
                path,
                Some(number),
                "not a JSON object; the file must be JSON Lines: one object per line",
            ));
        }
        rows.push((number, value));
    }
    Ok(rows)
}

/// The content of a text file.
pub(crate) fn text(path: &Path) -> Result<String, WorkloadError> {
    let mut text = String::new();
    let read = open(path)?
        .take(SMALL_FILE + 1)
        .read_to_string(&mut text)
        .map_err(|source| WorkloadError::Io {
            path: path.to_owned(),
            source,
        })?;
    if read as u64 > SMALL_FILE {
        let message = format!("the file is longer than {} MB", SMALL_FILE >> 20);
        return Err(WorkloadError::format(path, None, message));
    }
    Ok(text)
}

/// The column names of a CSV file.
pub(crate) fn csv_header(path: &Path) -> Result<Vec<String>, WorkloadError> {
    let mut reader = csv::ReaderBuilder::new()
        .flexible(true)
        .from_reader(open(path)?);
    let header = reader
        .headers()
        .map_err(|error| WorkloadError::format(path, Some(1), error.to_string()))?;
    Ok(header
        .iter()
        .map(|name| name.trim_start_matches('\u{feff}').trim().to_owned())
        .collect())
}

/// Some columns of a CSV file, each row with its line number.
pub(crate) fn csv_rows(
    path: &Path,
    wanted: &[&str],
) -> Result<Vec<(usize, Vec<String>)>, WorkloadError> {
    let header = csv_header(path)?;
    let mut places = Vec::with_capacity(wanted.len());
    for name in wanted {
        let place = header
            .iter()
            .position(|column| column == name)
            .ok_or_else(|| {
                let message = format!(
                    "missing column `{name}`; the columns are {}",
                    header.join(", ")
                );
                WorkloadError::format(path, Some(1), message)
            })?;
        places.push(place);
    }
    let mut reader = csv::ReaderBuilder::new()
        .flexible(true)
        .from_reader(open(path)?);
    let mut rows = Vec::new();
    for record in reader.records() {
        let record =
            record.map_err(|error| WorkloadError::format(path, None, error.to_string()))?;
        let line = record
            .position()
            .map_or(0, |position| position.line() as usize);
        let cells: Option<Vec<String>> = places
            .iter()
            .map(|&place| record.get(place).map(str::to_owned))
            .collect();
        let cells = cells.ok_or_else(|| {
            WorkloadError::format(path, Some(line), "the row has too few columns")
        })?;
        rows.push((line, cells));
    }
    Ok(rows)
}

/// The names of a row's columns, for messages.
pub(crate) fn columns(row: &Value) -> String {
    let names: Vec<String> = row
        .as_object()
        .into_iter()
        .flat_map(|row| row.keys().map(|name| format!("`{name}`")))
        .collect();
    if names.is_empty() {
        "no columns".into()
    } else {
        names.join(", ")
    }
}

/// The rows of a JSON file that is one list, or of JSON Lines, whatever its name.
pub(crate) fn json_rows(path: &Path) -> Result<Vec<Value>, WorkloadError> {
    let mut start = Vec::new();
    open(path)?
        .take(64)
        .read_to_end(&mut start)
        .map_err(|source| WorkloadError::Io {
            path: path.to_owned(),
            source,
        })?;
    let first = start
        .iter()
        .find(|byte| !byte.is_ascii_whitespace() && **byte < 0x80);
    if first != Some(&b'[') {
        return Ok(json_lines(path)?.into_iter().map(|(_, row)| row).collect());
    }
    let mut rows = Vec::new();
    json_array(
        path,
        |bytes| serde_json::from_slice::<Value>(bytes),
        |line, row| {
            rows.push(
                row.map_err(|error| WorkloadError::format(path, Some(line), error.to_string()))?,
            );
            Ok(())
        },
    )?;
    Ok(rows)
}

/// Bytes of a batch of elements that are parsed on all cores at once: large enough that starting
/// the threads costs little beside the parsing, small beside the memory that the rows take.
const BATCH: usize = 4 << 20;

/// Visits the elements of a JSON file that is one list, in order, without holding the file in
/// memory.
///
/// `parse` runs on all cores; `visit` gets each result with the line on which the element starts.
pub(crate) fn json_array<T: Send>(
    path: &Path,
    parse: impl Fn(&[u8]) -> T + Sync,
    mut visit: impl FnMut(usize, T) -> Result<(), WorkloadError>,
) -> Result<(), WorkloadError> {
    let mut elements = Elements::new(path, open(path)?)?;
    loop {
        let batch = elements.batch()?;
        if batch.is_empty() {
            return Ok(());
        }
        let parsed: Vec<T> = batch
            .par_iter()
            .map(|element| parse(&elements.buffer[element.start..element.end]))
            .collect();
        for (element, item) in batch.iter().zip(parsed) {
            visit(element.line, item)?;
        }
        elements.drop_batch();
    }
}

struct Element {
    start: usize,
    end: usize,
    line: usize,
}

/// Cuts a JSON list into its elements by counting brackets outside strings.
struct Elements<'a> {
    path: &'a Path,
    reader: BufReader<Box<dyn Read>>,
    buffer: Vec<u8>,
    /// Where scanning continues in the buffer.
    at: usize,
    line: usize,
    finished: bool,
}

impl<'a> Elements<'a> {
    fn new(path: &'a Path, file: Box<dyn Read>) -> Result<Self, WorkloadError> {
        let reader = BufReader::with_capacity(1 << 16, file);
        let mut elements = Self {
            path,
            reader,
            buffer: Vec::new(),
            at: 0,
            line: 1,
            finished: false,
        };
        if elements.peek()? == Some(0xef) && elements.buffer.starts_with(b"\xef\xbb\xbf") {
            elements.at = 3;
        }
        match elements.skip_space()? {
            Some(b'[') => elements.at += 1,
            Some(b'{') => {
                return Err(
                    elements.wrong("the file must be one JSON list, but it starts with an object")
                );
            }
            Some(_) => {
                return Err(
                    elements.wrong("not JSON: the file must be one list, starting with `[`")
                );
            }
            None => return Err(elements.wrong("the file is empty")),
        }
        Ok(elements)
    }

    fn wrong(&self, message: impl Into<String>) -> WorkloadError {
        WorkloadError::format(self.path, Some(self.line), message)
    }

    /// The next byte; reads more where the buffer ends.
    fn peek(&mut self) -> Result<Option<u8>, WorkloadError> {
        if self.at == self.buffer.len() {
            let failed = |source| WorkloadError::Io {
                path: self.path.to_owned(),
                source,
            };
            if self.at > BATCH + MAX_ROW {
                return Err(too_long(self.path, self.line));
            }
            let more = self.reader.fill_buf().map_err(failed)?;
            let n = more.len();
            self.buffer.extend_from_slice(more);
            self.reader.consume(n);
        }
        Ok(self.buffer.get(self.at).copied())
    }

    fn skip_space(&mut self) -> Result<Option<u8>, WorkloadError> {
        loop {
            match self.peek()? {
                Some(b'\n') => self.line += 1,
                Some(b' ' | b'\t' | b'\r') => {}
                other => return Ok(other),
            }
            self.at += 1;
        }
    }

    /// The next elements, about [`BATCH`] bytes of them; none at the end of the list.
    fn batch(&mut self) -> Result<Vec<Element>, WorkloadError> {
        let mut batch: Vec<Element> = Vec::new();
        while !self.finished && self.at < BATCH {
            match self.skip_space()? {
                Some(b']') => {
                    self.at += 1;
                    self.finished = true;
                    if self.skip_space()?.is_some() {
                        return Err(
                            self.wrong("not valid JSON: something follows the end of the list")
                        );
                    }
                }
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    return Err(
                        self.wrong("not valid JSON: a `}` closes an object that was never opened")
                    );
                }
                Some(_) => {
                    let (start, line) = (self.at, self.line);
                    self.skip_element()?;
                    batch.push(Element {
                        start,
                        end: self.at,
                        line,
                    });
                }
                None => {
                    return Err(self.wrong("not valid JSON: the file ends before the list does"));
                }
            }
        }
        Ok(batch)
    }

    /// Moves to the end of one element.
    fn skip_element(&mut self) -> Result<(), WorkloadError> {
        let mut depth = 0_usize;
        loop {
            let Some(byte) = self.peek()? else {
                return Err(self.wrong("not valid JSON: the file ends inside an entry"));
            };
            match byte {
                b'"' => self.skip_string()?,
                b'{' | b'[' => depth += 1,
                b'}' | b']' | b',' if depth == 0 => return Ok(()),
                b'}' | b']' => {
                    depth -= 1;
                    if depth == 0 {
                        self.at += 1;
                        return Ok(());
                    }
                }
                b'\n' => self.line += 1,
                _ => {}
            }
            self.at += 1;
        }
    }

    /// Moves to the closing quote of a string.
    fn skip_string(&mut self) -> Result<(), WorkloadError> {
        self.at += 1;
        loop {
            let rest = &self.buffer[self.at..];
            match memchr::memchr2(b'"', b'\\', rest) {
                Some(found) => {
                    self.at += found;
                    if self.buffer[self.at] == b'"' {
                        return Ok(());
                    }
                    self.at += 1;
                    if self.peek()?.is_some() {
                        self.at += 1;
                    }
                }
                None => self.at = self.buffer.len(),
            }
            if self.peek()?.is_none() {
                return Err(self.wrong("not valid JSON: the file ends inside a string"));
            }
        }
    }

    fn drop_batch(&mut self) {
        self.buffer.drain(..self.at);
        self.at = 0;
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn numbers_that_cannot_be_used_are_described() {
        let row = serde_json::json!({"a": -5, "b": "7", "c": [1], "d": 2.5});
        let message = |label| {
            let found = number(Path::new("x"), 3, &row, label);
            found.map_err(|error| error.to_string())
        };
        assert_eq!(message("d"), Ok(2.5));
        for (label, words) in [
            ("a", "`a` is -5: expected a number, zero or more"),
            ("b", "`b` is not a number, but text"),
            ("c", "`c` is not a number, but a list"),
            ("e", "the row has no `e`; it has"),
        ] {
            let found = message(label).unwrap_err();
            assert!(found.contains(words), "{found}");
        }
        let cell = |cell| cell_number(Path::new("x"), 3, "Timestamp", cell);
        assert!(
            cell("-10")
                .unwrap_err()
                .to_string()
                .contains("`Timestamp` is -10: expected")
        );
        assert!(cell("x").unwrap_err().to_string().contains("not a number"));
    }

    fn elements(json: &str) -> Result<Vec<(usize, String)>, WorkloadError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.json");
        std::fs::write(&path, json).unwrap();
        let mut seen = Vec::new();
        json_array(
            &path,
            |bytes| String::from_utf8(bytes.to_vec()).unwrap(),
            |line, text| {
                seen.push((line, text));
                Ok(())
            },
        )?;
        Ok(seen)
    }

    #[test]
    fn a_list_is_cut_into_elements_with_their_lines() {
        let json = "\u{feff}[ {\"a\": \"]}\\\"\"},\n 1,\n\n[2, {\"b\":[]}], \"x,y\"]\n";
        let expected = [
            (1, r#"{"a": "]}\""}"#),
            (2, "1"),
            (4, r#"[2, {"b":[]}]"#),
            (4, r#""x,y""#),
        ];
        assert_eq!(
            elements(json).unwrap(),
            expected.map(|(line, text)| (line, text.to_owned()))
        );
    }

    /// pandas, with which vLLM's benchmark reads its tables, unpacks by the file's name.
    #[test]
    fn gzip_is_unpacked_and_other_packed_files_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let packed = |text: &str| {
            let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            packer.write_all(text.as_bytes()).unwrap();
            packer.finish().unwrap()
        };
        let path = dir.path().join("rows.jsonl.gz");
        // Two members, as parallel packers write them.
        let both = [packed("{\"a\": 1}\n"), packed("{\"a\": 2}\n")].concat();
        std::fs::write(&path, both).unwrap();
        let rows = json_lines(&path).unwrap();
        assert_eq!((rows.len(), &rows[1].1["a"]), (2, &2.into()));
        assert_eq!(json_rows(&path).unwrap().len(), 2);
        let path = dir.path().join("rows.csv");
        std::fs::write(&path, packed("a,b\n1,2\n")).unwrap();
        assert_eq!(csv_rows(&path, &["b"]).unwrap()[0].1, ["2"]);
        for (magic, name) in PACKED {
            std::fs::write(&path, [magic, b"more"].concat()).unwrap();
            let error = csv_rows(&path, &["b"]).unwrap_err().to_string();
            assert!(error.contains(&format!("compressed ({name})")), "{error}");
        }
    }

    #[test]
    fn each_kind_of_broken_file_has_its_message() {
        for (json, part) in [
            ("", "empty"),
            ("{}", "starts with an object"),
            ("hello", "not JSON"),
            ("[1, 2,", "ends before the list"),
            ("[{\"a\": 1", "ends inside an entry"),
            ("[\"a", "ends inside a string"),
            ("[1] x", "follows the end"),
            // Found by fuzzing: it was read as empty entries without end.
            ("[{\"a\": 1}}]", "never opened"),
            ("[{\"a[\":s{\"b\":\"c\"},{\"d:\"e?}]}]", "never opened"),
        ] {
            let error = elements(json).unwrap_err().to_string();
            assert!(error.contains(part), "{json}: {error}");
        }
    }

    #[test]
    fn a_list_longer_than_a_batch_keeps_its_order() {
        let body: Vec<String> = (0..3000)
            .map(|n| format!("{{\"n\": {n}, \"pad\": \"{}\"}}", "x".repeat(3000)))
            .collect();
        let seen = elements(&format!("[{}]", body.join(",\n"))).unwrap();
        assert_eq!(seen.len(), 3000);
        assert!(
            seen.iter()
                .enumerate()
                .all(|(n, (line, text))| *line == n + 1 && *text == body[n])
        );
    }
}
