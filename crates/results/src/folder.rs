//! The folder that a run writes.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use inferometer_core::{Nanos, Record, Records, Schedule, hex};
use inferometer_os::files::{self, SMALL_FILE};
use sha2::{Digest, Sha256};

use crate::atomic::{Links, shortened, write_atomically};
use crate::manifest::Manifest;
use crate::{FolderLock, ResultsError, StoredRecords, read_log, read_parquet, write_parquet};

/// Largest schedule that is read: 80 million requests at 13 digits each.
const MAX_SCHEDULE: u64 = 4 * SMALL_FILE;

/// A run folder: where its files are, and how they are written and read.
///
/// | file | content |
/// | --- | --- |
/// | `manifest.json` | settings, seeds, versions, environment, hashes, verdict, summary |
/// | `requests.arrows` | the record log, during the run |
/// | `requests.parquet` | one row per request, after the run |
/// | `schedule.json` | the due instants, where the settings alone do not give them |
///
/// A process that creates or [claims](RunFolder::claim) a folder holds a lock on it until the last
/// clone is dropped, or the process ends, however it ends.
#[derive(Clone, Debug)]
pub struct RunFolder {
    path: PathBuf,
    /// Locked for as long as this process writes here.
    lock: Option<FolderLock>,
}

impl RunFolder {
    /// Creates the folder `name` in `parent`, with a number appended if the name is taken, and checks
    /// that files can be written in it.
    ///
    /// # Errors
    ///
    /// [`ResultsError::NotWritable`] names `--runs-dir`.
    pub fn create(parent: &Path, name: &str) -> Result<Self, ResultsError> {
        let not_writable = |path: &Path, source| ResultsError::NotWritable {
            flag: "--runs-dir",
            path: path.to_owned(),
            source,
            remedy: "choose a writable folder",
        };
        fs::create_dir_all(parent).map_err(|source| not_writable(parent, source))?;
        for number in 1_u32.. {
            let path = parent.join(if number == 1 {
                name.to_owned()
            } else {
                format!("{name}-{number}")
            });
            match fs::create_dir(&path) {
                Ok(()) => {
                    // A full disk accepts folders but no content.
                    crate::atomic::check_writable(&path.join("manifest.json"))
                        .map_err(|source| not_writable(&path, source))?;
                    // A folder that was just created is nobody else's.
                    let lock = FolderLock::take(&path).ok();
                    return Ok(Self { path, lock });
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && number < 10_000 => {}
                Err(source) => return Err(not_writable(&path, source)),
            }
        }
        unreachable!("the loop ends by the limit on the number")
    }

    /// Opens the folder of an earlier run.
    ///
    /// # Errors
    ///
    /// When `path` does not exist or has none of a run folder's files.
    pub fn open(path: &Path) -> Result<Self, ResultsError> {
        let folder = Self {
            path: path.to_owned(),
            lock: None,
        };
        let known = [
            folder.manifest_path(),
            folder.log_path(),
            folder.records_path(),
        ];
        if known.iter().any(|file| file.is_file()) {
            return Ok(folder);
        }
        if !path.exists() {
            return Err(ResultsError::format(
                path,
                "no such folder: expected a run folder, as inferometer run leaves below --runs-dir",
            ));
        }
        Err(ResultsError::format(
            path,
            "not a run folder: it has neither manifest.json nor requests.parquet nor requests.arrows",
        ))
    }

    /// Locks the folder for this process alone.
    ///
    /// # Errors
    ///
    /// [`ResultsError::InUse`] while another process still writes in it.
    pub fn claim(&mut self) -> Result<(), ResultsError> {
        if self.lock.is_none() {
            let lock = FolderLock::take(&self.path);
            self.lock = Some(lock.map_err(|_| ResultsError::InUse {
                path: self.path.clone(),
            })?);
        }
        Ok(())
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// `manifest.json`.
    pub fn manifest_path(&self) -> PathBuf {
        self.path.join("manifest.json")
    }

    /// `requests.arrows`, the record log.
    pub fn log_path(&self) -> PathBuf {
        self.path.join("requests.arrows")
    }

    /// `requests.parquet`.
    pub fn records_path(&self) -> PathBuf {
        self.path.join("requests.parquet")
    }

    /// `schedule.json`.
    pub fn schedule_path(&self) -> PathBuf {
        self.path.join("schedule.json")
    }

    /// Writes `schedule.json`, for a run whose settings alone do not give its schedule, such as a
    /// replayed trace.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn write_schedule(&self, schedule: &Schedule) -> Result<(), ResultsError> {
        let path = self.schedule_path();
        write_atomically(&path, Links::Replace, |out| {
            serde_json::to_writer(&mut *out, schedule)
                .map_err(io::Error::from)
                .map_err(ResultsError::io("write", &path))
        })
    }

    /// The due instants of `schedule.json`; `None` without such a file.
    ///
    /// # Errors
    ///
    /// When the file cannot be read.
    pub fn read_schedule(&self) -> Result<Option<Schedule>, ResultsError> {
        let path = self.schedule_path();
        if !path.exists() {
            return Ok(None);
        }
        let text = files::text(&path, MAX_SCHEDULE).map_err(ResultsError::io("read", &path))?;
        serde_json::from_str(&text)
            .map(Some)
            .map_err(|error| ResultsError::format(&path, error.to_string()))
    }

    /// SHA-256 of the data in the folder by file name: the records, and the schedule where there is
    /// a file of it.
    ///
    /// # Errors
    ///
    /// When a file cannot be read.
    pub fn hashes(&self) -> Result<BTreeMap<String, String>, ResultsError> {
        let mut hashes = BTreeMap::new();
        for path in [self.records_path(), self.schedule_path()] {
            if path.is_file() {
                hashes.insert(file_name(&path), hash(&path)?);
            }
        }
        Ok(hashes)
    }

    /// The files that are not as the run wrote them, by the hashes in `manifest`; none where the
    /// manifest has no hashes.
    ///
    /// # Errors
    ///
    /// When a file cannot be read.
    pub fn changed_files(&self, manifest: &Manifest) -> Result<Vec<ChangedFile>, ResultsError> {
        if manifest.files.is_empty() {
            return Ok(Vec::new());
        }
        let found = self.hashes()?;
        let mut changed = Vec::new();
        for (name, expected) in &manifest.files {
            match found.get(name) {
                Some(hash) if hash == expected => {}
                Some(_) => changed.push(ChangedFile::Edited(name.clone())),
                None => changed.push(ChangedFile::Missing(name.clone())),
            }
        }
        let added = found
            .keys()
            .filter(|name| !manifest.files.contains_key(*name));
        changed.extend(added.cloned().map(ChangedFile::Added));
        Ok(changed)
    }

    /// Writes the manifest; an older one is replaced in one step.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn write_manifest(&self, manifest: &Manifest) -> Result<(), ResultsError> {
        manifest.write(&self.manifest_path())
    }

    /// Reads the manifest.
    ///
    /// # Errors
    ///
    /// As [`Manifest::read`].
    pub fn read_manifest(&self) -> Result<Manifest, ResultsError> {
        Manifest::read(&self.manifest_path())
    }

    /// Writes `requests.parquet`; returns the number of rows. It replaces the record log, which can be
    /// removed when nothing reads it any more: see [`RunFolder::remove_log`].
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn store_records(&self, records: &(impl Records + ?Sized)) -> Result<usize, ResultsError> {
        write_parquet(records, &self.records_path())
    }

    /// All records, sorted by index: from `requests.parquet`, else from the log of an unfinished run.
    ///
    /// # Errors
    ///
    /// When neither file can be read.
    pub fn read_records(&self) -> Result<Vec<Record>, ResultsError> {
        if self.records_path().exists() {
            return read_parquet(&self.records_path());
        }
        let mut records = read_log(&self.log_path())?.records;
        records.sort_by_key(|record| record.index);
        Ok(records)
    }

    /// The records of `requests.parquet`, without reading them into memory.
    ///
    /// # Errors
    ///
    /// When the file cannot be opened or is not one of records.
    pub fn stored_records(&self) -> Result<StoredRecords, ResultsError> {
        StoredRecords::open(&self.records_path())
    }

    /// Reads the record log of a run that was killed, in order.
    ///
    /// With the run's schedule, requests that the log lacks become records with the outcome
    /// `unfinished` and their true due instant; without it they are only counted, because a due
    /// instant cannot be guessed. Nothing is written: the caller stores the records and removes the
    /// log last, so that a recovery that fails can be repeated.
    ///
    /// # Errors
    ///
    /// When the run is still in progress, has no log, or its log cannot be read.
    pub fn recover(&mut self, schedule: Option<&Schedule>) -> Result<Recovered, ResultsError> {
        self.claim()?;
        if !self.log_path().exists() {
            let problem = if self.records_path().exists() {
                "nothing to recover: requests.parquet is complete and the log is gone, so the run ended or was recovered \
                 before"
            } else {
                "nothing to recover: requests.arrows is missing, so nothing was measured"
            };
            return Err(ResultsError::format(&self.path, problem));
        }
        let contents = read_log(&self.log_path())?;
        let mut records = contents.records;
        let logged = records.len();
        records.sort_by_key(|record| record.index);
        records.dedup_by_key(|record| record.index);
        if let Some(schedule) = schedule {
            records = with_unfinished(records, schedule);
        }
        Ok(Recovered {
            records,
            logged,
            truncated: contents.truncated,
        })
    }

    /// Removes the folder of a run that measured nothing.
    ///
    /// # Errors
    ///
    /// When it holds records, or cannot be removed.
    pub fn discard(&self) -> Result<(), ResultsError> {
        if self.records_path().exists() || self.log_path().exists() {
            return Err(ResultsError::format(
                &self.path,
                "the folder holds records, so it is kept",
            ));
        }
        fs::remove_dir_all(&self.path).map_err(ResultsError::io("remove", &self.path))
    }

    /// Removes the folder of a run that failed, if its log holds no record; true if it did.
    ///
    /// # Errors
    ///
    /// When the log cannot be read or the folder not be removed.
    pub fn discard_unless_measured(&self) -> Result<bool, ResultsError> {
        let log = self.log_path();
        if self.records_path().exists() || (log.exists() && !read_log(&log)?.records.is_empty()) {
            return Ok(false);
        }
        self.remove_log()?;
        self.discard()?;
        Ok(true)
    }

    /// Removes the record log, if there is one, after waiting until the files that were renamed into
    /// the folder are on the disk.
    ///
    /// # Errors
    ///
    /// When the disk cannot be written or the log not be removed.
    pub fn remove_log(&self) -> Result<(), ResultsError> {
        #[cfg(unix)]
        sync_folder(&self.path).map_err(ResultsError::io("write", &self.path))?;
        match fs::remove_file(self.log_path()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(ResultsError::io("remove", &self.log_path())(error))
            }
            _ => Ok(()),
        }
    }
}

/// A file of a run folder that is not as the run wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChangedFile {
    /// It has other content.
    Edited(String),
    /// It is gone.
    Missing(String),
    /// The run did not write it.
    Added(String),
}

impl fmt::Display for ChangedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Edited(name) => write!(f, "{name} was changed after the run"),
            Self::Missing(name) => write!(f, "{name} is missing"),
            Self::Added(name) => write!(f, "{name} was added after the run"),
        }
    }
}

fn file_name(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

fn hash(path: &Path) -> Result<String, ResultsError> {
    let mut file = files::open(path).map_err(ResultsError::io("read", path))?;
    let mut digest = Sha256::new();
    io::copy(&mut file, &mut digest).map_err(ResultsError::io("read", path))?;
    Ok(hex(&digest.finalize()))
}

/// Waits until what was renamed into a folder is on the disk.
#[cfg(unix)]
fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// What [`RunFolder::recover`] found.
#[derive(Clone, Debug, PartialEq)]
pub struct Recovered {
    /// The records, sorted by index.
    pub records: Vec<Record>,
    /// How many of them came from the log.
    pub logged: usize,
    /// True when the log is cut off: it has no end mark.
    pub truncated: bool,
}

/// The default name of a run folder: local date and time, then the label.
pub fn run_folder_name(started_wall: Nanos, label: Option<&str>) -> String {
    let date = crate::dates::vllm_date(started_wall);
    match label.map(plain_name).filter(|label| !label.is_empty()) {
        Some(label) => format!("{date}-{label}"),
        None => date,
    }
}

/// `text` with `_` for characters that are special to file systems or shells; at most 100 characters
/// and 200 bytes, which leaves room for the date and a number.
fn plain_name(text: &str) -> String {
    let name: String = text
        .chars()
        .map(|c| {
            if c.is_alphanumeric() || matches!(c, '-' | '_' | '.') {
                c
            } else {
                '_'
            }
        })
        .take(100)
        .collect();
    shortened(name.trim_start_matches('.'), 200).to_owned()
}

fn with_unfinished(logged: Vec<Record>, schedule: &Schedule) -> Vec<Record> {
    let mut logged = logged.into_iter().peekable();
    let mut records = Vec::with_capacity(schedule.len());
    for (index, &due) in schedule.as_slice().iter().enumerate() {
        match logged.next_if(|record| record.index <= index) {
            Some(record) => records.push(record),
            None => records.push(Record {
                index,
                due,
                sequences: 1,
                ..Record::default()
            }),
        }
    }
    records.extend(logged);
    records
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RecordLog;

    #[test]
    fn edited_data_is_not_as_the_run_wrote_it() {
        let parent = tempfile::tempdir().unwrap();
        let folder = RunFolder::create(parent.path(), "run").unwrap();
        folder.store_records(&[Record::default()][..]).unwrap();
        let mut manifest = Manifest::begin();
        assert_eq!(folder.changed_files(&manifest).unwrap(), []);
        manifest.files = folder.hashes().unwrap();
        assert_eq!(folder.changed_files(&manifest).unwrap(), []);
        let edited = Record {
            output_tokens: 5,
            ..Record::default()
        };
        folder.store_records(&[edited][..]).unwrap();
        folder.write_schedule(&Schedule::default()).unwrap();
        let names = ["requests.parquet", "schedule.json"].map(str::to_owned);
        let [edited, added] = names;
        assert_eq!(
            folder.changed_files(&manifest).unwrap(),
            [ChangedFile::Edited(edited), ChangedFile::Added(added)]
        );
    }

    #[test]
    fn a_failed_run_leaves_a_folder_only_if_it_has_records() {
        let parent = tempfile::tempdir().unwrap();
        let empty = RunFolder::create(parent.path(), "empty").unwrap();
        RecordLog::create(&empty.log_path())
            .unwrap()
            .flush()
            .unwrap();
        assert!(empty.discard_unless_measured().unwrap());
        assert!(!empty.path().exists());

        let measured = RunFolder::create(parent.path(), "measured").unwrap();
        let mut log = RecordLog::create(&measured.log_path()).unwrap();
        log.push(&Record::default()).unwrap();
        log.flush().unwrap();
        drop(log);
        assert!(!measured.discard_unless_measured().unwrap());
        assert!(measured.log_path().exists());
    }
}
