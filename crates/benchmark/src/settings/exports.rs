//! Which formats of other tools are written, and where.

use std::path::{Path, PathBuf};

use inferometer_metrics::Kind;
use inferometer_results::ExportForm;

use crate::error::{Error, OrError};

/// What to export, and where.
#[derive(Clone, Debug, Default)]
pub struct Exports {
    /// Each form once.
    forms: Vec<ExportForm>,
    /// `--export-dir`; without it the exports go to the run folder.
    folder: Option<PathBuf>,
}

impl Exports {
    /// Exports in these formats for a run of this kind, to `export_dir` or else to the run folder.
    ///
    /// # Errors
    ///
    /// A usage error when a format does not fit the run, or when there is no folder for it.
    pub fn new(
        mut forms: Vec<ExportForm>,
        export_dir: Option<PathBuf>,
        kind: Kind,
        has_run_folder: bool,
    ) -> Result<Self, Error> {
        forms.sort_unstable();
        forms.dedup();
        if forms.contains(&ExportForm::Sglang) && kind == Kind::Pooling {
            return Err(Error::usage(
                "--export sglang: this format is for text generation only; export embeddings and the like as aiperf \
                 or llm-d",
            ));
        }
        match (&export_dir, forms.is_empty()) {
            (Some(folder), true) => Err(Error::usage(format!(
                "--export-dir {}: nothing to export; choose a format with --export sglang, aiperf or llm-d",
                folder.display()
            ))),
            (None, false) if !has_run_folder => Err(Error::usage(
                "--export with --no-run-folder: choose a folder with --export-dir",
            )),
            _ => Ok(Self {
                forms,
                folder: export_dir,
            }),
        }
    }

    /// Checks that the folder can be written to; to be called before the first request. A file in
    /// `--export-dir` is never replaced.
    pub(crate) fn prepare(&self) -> Result<(), Error> {
        let Some(folder) = &self.folder else {
            return Ok(());
        };
        self.forms
            .iter()
            .try_for_each(|form| form.prepare(folder, true).map(drop))
            .or_usage()
    }

    /// The formats, each once.
    pub(crate) fn forms(&self) -> &[ExportForm] {
        &self.forms
    }

    /// True when the user named the folder, where nothing is replaced.
    pub(crate) const fn is_folder_named(&self) -> bool {
        self.folder.is_some()
    }

    /// The folder for them: the named one, else `run_folder`.
    pub(crate) fn folder<'a>(&'a self, run_folder: Option<&'a Path>) -> Option<&'a Path> {
        self.folder.as_deref().or(run_folder)
    }
}
