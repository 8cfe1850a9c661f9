//! The order of rows: as in the files, shuffled as a whole, or shuffled through a window.
//!
//! The window gives the same order as the streaming mode of the Python library: files first change
//! places, then a buffer of 1,000 rows gives one at random for each that comes in.

use std::path::PathBuf;

use inferometer_core::random::NumpyGenerator;
use serde_json::Value;

use super::parquet;
use crate::{WorkloadError, WorkloadSettings, read};

type Rows = Box<dyn Iterator<Item = Result<Value, WorkloadError>>>;

/// Rows of the Python library's buffer, and of the batches in which it draws places.
const WINDOW: usize = 1000;

/// The rows of all files in the order in which they are used.
pub(super) fn rows(
    mut files: Vec<PathBuf>,
    settings: &WorkloadSettings,
    whole: bool,
) -> Result<Rows, WorkloadError> {
    if !settings.shuffle {
        return Ok(chain(files));
    }
    let mut rng = NumpyGenerator::new(settings.seed);
    if whole {
        let mut rows: Vec<Option<Value>> = chain(files)
            .map(|row| row.map(Some))
            .collect::<Result<_, _>>()?;
        let order = rng.permutation(rows.len());
        return Ok(Box::new(
            order
                .into_iter()
                .filter_map(move |at| rows[at].take().map(Ok)),
        ));
    }
    rng.clone().shuffle(&mut files);
    Ok(Box::new(Window {
        source: chain(files),
        rng,
        buffer: Vec::new(),
        places: Vec::new(),
        drained: false,
    }))
}

fn chain(files: Vec<PathBuf>) -> Rows {
    Box::new(files.into_iter().flat_map(|path| {
        let opened: Result<Rows, WorkloadError> =
            if path.extension().is_some_and(|end| end == "parquet") {
                parquet::rows(&path)
            } else {
                read::json_rows(&path).map(|rows| Box::new(rows.into_iter().map(Ok)) as Rows)
            };
        opened.unwrap_or_else(|error| Box::new(std::iter::once(Err(error))))
    }))
}

struct Window {
    source: Rows,
    rng: NumpyGenerator,
    buffer: Vec<Value>,
    /// Places drawn ahead, last one first.
    places: Vec<i64>,
    drained: bool,
}

impl Iterator for Window {
    type Item = Result<Value, WorkloadError>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.drained {
            match self.source.next() {
                Some(Ok(row)) if self.buffer.len() < WINDOW => self.buffer.push(row),
                Some(Ok(row)) => {
                    if self.places.is_empty() {
                        self.places = self.rng.integers_vec(0, WINDOW as i64, WINDOW);
                        self.places.reverse();
                    }
                    let place = self.places.pop().unwrap_or(0) as usize;
                    return Some(Ok(std::mem::replace(&mut self.buffer[place], row)));
                }
                Some(Err(error)) => return Some(Err(error)),
                None => {
                    self.drained = true;
                    self.rng.shuffle(&mut self.buffer);
                    self.buffer.reverse();
                }
            }
        }
        self.buffer.pop().map(Ok)
    }
}
