//! The order of rows: as in the files, shuffled as a whole, or shuffled through a window.
//!
//! The window gives the same order as the streaming mode of the Python library `datasets` since
//! 5.1: the files are shuffled, and up to ten are read in turn, 100 rows each, into a buffer. When
//! the buffer has 1,000 rows, it is permuted, and its first 500 rows are returned.

use std::collections::VecDeque;
use std::path::PathBuf;

use inferometer_core::random::NumpyGenerator;
use serde_json::Value;

use super::parquet;
use crate::{WorkloadError, WorkloadSettings, read};

type Rows = Box<dyn Iterator<Item = Result<Value, WorkloadError>>>;

/// Rows of the Python library's buffer, and how many of them wait for the rows that follow.
const WINDOW: usize = 1000;
const KEPT: usize = WINDOW / 2;

/// Files that fill the buffer in turn, and the rows that each gives when it is its turn.
const SOURCES: usize = 10;
const TURN: usize = WINDOW / SOURCES;

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
        sources: sources(files),
        at: 0,
        rng,
        waiting: Vec::new(),
        leaving: VecDeque::new(),
    }))
}

/// The files in groups that are read in turn: neighbours together, the first groups one longer.
fn sources(files: Vec<PathBuf>) -> Vec<Rows> {
    let groups = files.len().min(SOURCES);
    let mut files = files.into_iter();
    let count = files.len();
    (0..groups)
        .map(|at| {
            let len = count / groups + usize::from(at < count % groups);
            chain(files.by_ref().take(len).collect())
        })
        .collect()
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
    /// Those that still have rows.
    sources: Vec<Rows>,
    /// Whose turn it is.
    at: usize,
    rng: NumpyGenerator,
    waiting: Vec<Value>,
    leaving: VecDeque<Value>,
}

impl Window {
    /// Adds the rows of one turn to those that wait.
    fn fill(&mut self) -> Result<(), WorkloadError> {
        let before = self.waiting.len();
        for row in self.sources[self.at].by_ref().take(TURN) {
            self.waiting.push(row?);
        }
        if self.waiting.len() < before + TURN {
            drop(self.sources.remove(self.at));
        } else {
            self.at += 1;
        }
        if self.at >= self.sources.len() {
            self.at = 0;
        }
        Ok(())
    }

    /// Permutes the rows that wait and lets all but the last `kept` go.
    fn release(&mut self, kept: usize) {
        let order = self.rng.permutation(self.waiting.len());
        let mut permuted: Vec<Value> = order
            .into_iter()
            .map(|at| self.waiting[at].take())
            .collect();
        self.waiting = permuted.split_off(permuted.len() - kept);
        self.leaving = permuted.into();
    }
}

impl Iterator for Window {
    type Item = Result<Value, WorkloadError>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.leaving.is_empty() {
            if self.waiting.len() >= WINDOW {
                self.release(KEPT);
            } else if !self.sources.is_empty() {
                if let Err(error) = self.fill() {
                    self.sources.clear();
                    return Some(Err(error));
                }
            } else if self.waiting.is_empty() {
                return None;
            } else {
                self.release(0);
            }
        }
        self.leaving.pop_front().map(Ok)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::{DatasetSettings, HfSettings, HubSettings};

    /// The order that `load_dataset("json", data_files=…, streaming=True).shuffle(seed=…)` of
    /// `datasets` 5.2.0 gives to numbered rows in files of these sizes: the first, the four from
    /// place 498 (where a first window of 1,000 has let its half go), the last, and a hash of all.
    #[test]
    fn rows_come_in_the_order_of_pythons_streaming_mode() {
        let many = &[130, 7, 250, 1, 99, 400, 33, 300, 64, 100, 201, 88][..];
        for (sizes, seed, first, middle, last, hash) in [
            (
                &[2500][..],
                0,
                [459, 206, 222],
                [569, 692, 1239, 491],
                2199,
                11_566_438_059_861_461_266,
            ),
            (
                &[2500],
                9,
                [49, 340, 77],
                [350, 622, 45, 1498],
                208,
                8_545_596_680_247_914_924,
            ),
            (
                &[200, 200, 200],
                0,
                [376, 229, 563],
                [102, 121, 342, 31],
                304,
                3_372_005_020_724_846_252,
            ),
            (
                &[200, 200, 200],
                9,
                [221, 88, 222],
                [497, 192, 44, 342],
                432,
                18_269_207_928_847_798_518,
            ),
            (
                many,
                0,
                [1368, 196, 583],
                [657, 1026, 606, 649],
                760,
                13_732_626_688_070_802_458,
            ),
            (
                many,
                9,
                [1104, 1608, 623],
                [537, 946, 945, 577],
                936,
                14_835_655_198_196_274_736,
            ),
            (
                &[999],
                9,
                [49, 641, 77],
                [577, 324, 124, 170],
                801,
                378_958_784_213_993_457,
            ),
        ] {
            let order = streamed(sizes, seed);
            assert_eq!(order.len(), sizes.iter().sum::<usize>());
            assert_eq!(order[..3], first, "{sizes:?}, seed {seed}");
            assert_eq!(order[498..502], middle, "{sizes:?}, seed {seed}");
            assert_eq!(order.last(), Some(&last), "{sizes:?}, seed {seed}");
            let folded = order.iter().fold(0_u64, |hash, &row| {
                hash.wrapping_mul(1_000_003).wrapping_add(row)
            });
            assert_eq!(folded, hash, "{sizes:?}, seed {seed}");
        }
    }

    /// The numbers of the rows of files with these sizes, as they are streamed.
    fn streamed(sizes: &[usize], seed: u64) -> Vec<u64> {
        let folder = tempfile::tempdir().unwrap();
        let mut first = 0;
        let mut files = Vec::new();
        for (at, size) in sizes.iter().enumerate() {
            let path = folder.path().join(format!("{at:02}.jsonl"));
            let rows: Vec<String> = (first..first + size)
                .map(|row| format!("{{\"n\": {row}}}"))
                .collect();
            fs::write(&path, rows.join("\n")).unwrap();
            files.push(path);
            first += size;
        }
        let unread = HfSettings::new("", HubSettings::offline());
        let mut settings = WorkloadSettings::new(DatasetSettings::Hf(unread));
        settings.seed = seed;
        settings.shuffle = true;
        rows(files, &settings, false)
            .unwrap()
            .map(|row| row.unwrap()["n"].as_u64().unwrap())
            .collect()
    }
}
