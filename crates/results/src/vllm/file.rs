//! Where a result in vLLM's form goes.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use inferometer_core::python::float_repr;
use inferometer_os::files;

use super::{Details, VllmHeader, VllmResult};
use crate::ResultsError;
use crate::atomic::{
    Links, check_writable, folder_of, is_special, shortened, write_atomically, write_new,
};
use crate::outputs::check_output;

/// The file name that vLLM gives a result when none is asked for:
/// `{label or backend}-{rate}qps[-concurrency{C}]-{last part of the model}-{date}.json`, or with
/// `ramp-up-{strategy}-{start}qps-{end}qps` in place of the rate.
pub fn result_file_name(header: &VllmHeader) -> String {
    let label = header
        .label
        .as_deref()
        .filter(|label| !label.is_empty())
        .unwrap_or(&header.backend);
    let load = match &header.ramp {
        Some(ramp) => format!(
            "ramp-up-{}-{}qps-{}qps",
            ramp.strategy, ramp.start_rps, ramp.end_rps
        ),
        None => format!("{}qps", float_repr(header.request_rate)),
    };
    let concurrency = header
        .max_concurrency
        .map(|cap| format!("-concurrency{cap}"))
        .unwrap_or_default();
    let model = header.model_id.rsplit('/').next().unwrap_or_default();
    format!("{label}-{load}{concurrency}-{model}-{}.json", header.date)
}

/// Bytes of a result's name that are kept where it is written elsewhere: all file systems take as many.
const LONGEST_RESCUED: usize = 100;

fn too_long(path: &Path, source: io::Error) -> ResultsError {
    ResultsError::NotWritable {
        flag: "--result-filename",
        path: path.to_owned(),
        source,
        remedy: "choose a shorter name",
    }
}

/// What happens to a file that has the name of a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// It is replaced: the user named it.
    Replace,
    /// It stays, and the result gets a number: the name was not the user's.
    Keep,
    /// It gets one more line.
    Append,
}

/// A result file that was checked to be writable before the run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResultFile {
    path: PathBuf,
    existing: Existing,
    links: Links,
}

impl ResultFile {
    /// Determines the path of the result and checks that it can be written, creating the folder as
    /// vLLM does. To be called before the first request; leaves no file.
    ///
    /// `directory` is `--result-dir`, and `name` is `--result-filename` or [`result_file_name`].
    /// The default name is made of the second, so that runs in the same second share it: a file of
    /// that name is to be [kept](Existing::Keep).
    ///
    /// # Errors
    ///
    /// The folder cannot be created, the file cannot be written to, or it is one of a run folder.
    pub fn prepare(
        directory: Option<&Path>,
        name: impl AsRef<Path>,
        existing: Existing,
    ) -> Result<Self, ResultsError> {
        let name = name.as_ref();
        let path = directory.map_or_else(|| name.to_owned(), |directory| directory.join(name));
        let flag = if directory.is_some() {
            "--result-dir"
        } else {
            "--result-filename"
        };
        let not_writable = |path: &Path, source: io::Error| {
            if source.kind() == io::ErrorKind::InvalidFilename {
                return too_long(path, source);
            }
            ResultsError::NotWritable {
                flag,
                path: path.to_owned(),
                source,
                remedy: "choose a writable folder with --result-dir",
            }
        };
        if let Some(directory) = directory {
            fs::create_dir_all(directory).map_err(|source| not_writable(directory, source))?;
        }
        let folder = folder_of(&path);
        if !folder.is_dir() {
            // vLLM fails on this only after the run.
            fs::create_dir_all(folder).map_err(|source| not_writable(folder, source))?;
        }
        check_output(&path)?;
        check_writable(&path).map_err(|source| not_writable(&path, source))?;
        Ok(Self {
            path,
            existing,
            links: Links::Follow,
        })
    }

    /// Checks that a file of the same name with another ending can be written beside the result.
    ///
    /// # Errors
    ///
    /// The name is too long.
    pub fn check_beside(&self, ending: &str) -> Result<(), ResultsError> {
        let path = self.path.with_extension(ending);
        match path.symlink_metadata() {
            Err(error) if error.kind() == io::ErrorKind::InvalidFilename => {
                Err(too_long(&path, error))
            }
            _ => Ok(()),
        }
    }

    /// The same file, where its name is not the user's but one in a folder that may come from
    /// anywhere: a symbolic link of that name is not followed.
    #[must_use]
    pub fn unnamed(self) -> Self {
        Self {
            links: Links::Replace,
            ..self
        }
    }

    /// Where the result goes.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// True when writing the result replaces a file that is there now.
    pub fn replaces(&self) -> bool {
        self.existing == Existing::Replace
            && self.path.is_file()
            && files::own(&self.path).is_none()
    }

    /// A note that says so, where writing the result replaces a file.
    pub fn replacement_note(&self) -> Option<String> {
        self.replaces()
            .then(|| format!("{} exists and will be replaced", self.path.display()))
    }

    /// What happens to a file of this name.
    pub const fn existing(&self) -> Existing {
        self.existing
    }

    /// Writes the result and returns where: in one step, or as one more line of a JSON Lines file.
    ///
    /// # Errors
    ///
    /// The file cannot be written. What was measured is kept then where there is room for it:
    /// [`ResultsError::Elsewhere`] says where.
    pub fn write(
        &self,
        result: &VllmResult,
        details: Details<'_>,
    ) -> Result<PathBuf, ResultsError> {
        self.write_as_asked(result, details).map_err(|error| {
            match self.keep_elsewhere(result, details) {
                Some(path) => ResultsError::Elsewhere {
                    error: Box::new(error),
                    path,
                },
                None => error,
            }
        })
    }

    /// Writes the result under its own name beside the file, in the current folder or among the
    /// system's temporary files: in the first of them that takes it.
    fn keep_elsewhere(&self, result: &VllmResult, details: Details<'_>) -> Option<PathBuf> {
        let name = self.path.file_stem()?.to_string_lossy();
        // The name itself may be why the result cannot be written.
        let name = format!("{}.rescued.json", shortened(&name, LONGEST_RESCUED));
        let mut folders = vec![PathBuf::from("."), std::env::temp_dir()];
        // The folder of a device is none for results.
        if !is_special(&self.path) && files::own(&self.path).is_none() {
            folders.insert(0, folder_of(&self.path).to_owned());
        }
        folders.into_iter().find_map(|folder| {
            let path = folder.join(&name);
            let written = write_new(&path, |out| {
                result
                    .write_to(out, details)
                    .map_err(ResultsError::io("write", &path))
            });
            written.ok()
        })
    }

    fn write_as_asked(
        &self,
        result: &VllmResult,
        details: Details<'_>,
    ) -> Result<PathBuf, ResultsError> {
        let write = |out: &mut (dyn Write + Send)| {
            result
                .write_to(out, details)
                .map_err(ResultsError::io("write", &self.path))
        };
        match self.existing {
            Existing::Append => self.append(result, details)?,
            Existing::Replace => write_atomically(&self.path, self.links, write)?,
            Existing::Keep => return write_new(&self.path, write),
        }
        Ok(self.path.clone())
    }

    fn append(&self, result: &VllmResult, details: Details<'_>) -> Result<(), ResultsError> {
        if self.links == Links::Replace && self.path.is_symlink() {
            let problem = "it is a symbolic link, expected a regular file: name the link on the command line \
                           to follow it";
            return Err(ResultsError::format(&self.path, problem));
        }
        let open = || File::options().append(true).create(true).open(&self.path);
        let mut file = files::own(&self.path)
            .unwrap_or_else(open)
            .map_err(ResultsError::io("open", &self.path))?;
        let metadata = file
            .metadata()
            .map_err(ResultsError::io("read", &self.path))?;
        let mut line = if metadata.len() == 0 {
            Vec::new()
        } else {
            b"\n".to_vec()
        };
        // A pipe cannot be waited for.
        let sync = |file: &File| {
            if metadata.is_file() {
                file.sync_all()
            } else {
                Ok(())
            }
        };
        // One write of the whole line, so that sweeps writing to one file side by side do not mix.
        result
            .write_to(&mut line, details)
            .and_then(|()| file.write_all(&line))
            .and_then(|()| sync(&file))
            .map_err(ResultsError::io("write", &self.path))
    }
}
