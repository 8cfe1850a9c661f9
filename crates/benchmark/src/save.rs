//! The files of a run, written in one place for measured and simulated runs.

use std::path::{Path, PathBuf};

use inferometer_core::{Nanos, Records, Schedule};
use inferometer_engine as engine;
use inferometer_results::{
    Existing, Manifest, ResultFile, RunFolder, VllmHeader, VllmResult, check_outputs,
    result_file_name, run_folder_name,
};

use crate::error::{Error, OrError};
use crate::numbers::Numbers;
use crate::observer::Observer;
use crate::settings::{SavingSettings, Settings};
use crate::spec::{RunFacts, RunSpec};
use crate::{export, page, sidecars, vllm};

/// Where a run will write, checked to be writable before the first request.
#[derive(Debug)]
pub(crate) struct Places {
    /// vLLM's file, and the files beside it.
    pub(crate) result: Option<ResultFile>,
    /// The run folder.
    pub(crate) folder: Option<RunFolder>,
}

impl Places {
    /// Determines and checks the paths of a run that began at the local time `began`.
    pub(crate) fn prepare(
        saving: &SavingSettings,
        spec: &RunSpec,
        header: &VllmHeader,
        began: Nanos,
        observer: &dyn Observer,
    ) -> Result<Self, Error> {
        let result = if saving.needs_result_file() {
            Some(result_file(saving, header)?)
        } else {
            None
        };
        if let Some(file) = result.as_ref().filter(|_| saving.save) {
            // A default name is never that of a file that exists.
            if file.existing() != Existing::Keep {
                check_outputs(&[file.path()], spec.workload.files()).or_usage()?;
            }
            if let Some(note) = file.replacement_note() {
                observer.note(&note);
            }
        }
        let name = run_folder_name(began, saving.label.as_deref());
        let folder = match &saving.runs_dir {
            Some(parent) => Some(RunFolder::create(parent, &name).or_usage()?),
            None => None,
        };
        Ok(Self { result, folder })
    }

    /// Removes the folder of a run that measured nothing.
    pub(crate) fn discard(&self) -> Result<(), Error> {
        self.folder
            .as_ref()
            .map_or(Ok(()), |folder| folder.discard().or_failure())
    }

    /// The run folder's path.
    pub(crate) fn folder_path(&self) -> Option<&Path> {
        self.folder.as_ref().map(RunFolder::path)
    }
}

/// The result file that `saving` asks for.
fn result_file(saving: &SavingSettings, header: &VllmHeader) -> Result<ResultFile, Error> {
    if let Some(name) = &saving.result_filename
        && (name.as_os_str().as_encoded_bytes().ends_with(b"/") || name.file_name().is_none())
    {
        return Err(Error::usage(format!(
            "--result-filename {}: expected the name of a file; the folder is set with --result-dir",
            name.display()
        )));
    }
    let (name, named) = match &saving.result_filename {
        Some(name) => (name.clone(), Existing::Replace),
        None => (result_file_name(header).into(), Existing::Keep),
    };
    let existing = if saving.append {
        Existing::Append
    } else {
        named
    };
    let file = ResultFile::prepare(saving.result_dir.as_deref(), &name, existing).or_usage()?;
    sidecars::endings(saving)
        .try_for_each(|ending| file.check_beside(ending))
        .or_usage()?;
    Ok(file)
}

/// Everything that is known about a finished run.
pub(crate) struct Finished<'a> {
    pub(crate) saving: &'a SavingSettings,
    pub(crate) spec: &'a RunSpec,
    pub(crate) facts: &'a RunFacts,
    pub(crate) records: &'a dyn Records,
    pub(crate) numbers: &'a Numbers,
    pub(crate) manifest: &'a Manifest,
}

impl Finished<'_> {
    /// vLLM's result, as far as measured and simulated runs have it in common. `load` is what the
    /// engine returned.
    pub(crate) fn result(
        &self,
        header: VllmHeader,
        settings: &Settings,
        schedule: &Schedule,
        load: &engine::Finished,
    ) -> VllmResult {
        let mut result = vllm::result(header, self.records, self.numbers, &load.health, load.start);
        result.rps_change_events =
            vllm::rate_changes(&settings.load.arrivals, schedule, load.start);
        vllm::note_recipe(&mut result, &RunSpec::of(settings), self.facts);
        // A simulation's result is the same wherever it is saved.
        if !self.manifest.run.simulated {
            vllm::note_command(&mut result, self.manifest);
        }
        result
    }

    /// Writes every requested file; the record log stays. Returns the path of vLLM's file, if there
    /// is one. A result that cannot be written does not keep the run folder from being complete.
    pub(crate) fn write(
        &self,
        places: &Places,
        result: &VllmResult,
        observer: &dyn Observer,
    ) -> Result<Option<PathBuf>, Error> {
        let written = self.write_result(places, result, observer);
        let beside = self.write_folder(places, observer);
        if let (Err(_), Err(error)) = (&written, &beside) {
            // The error that is returned says where the result is.
            observer.warning(&error.report());
        }
        let written = written?;
        beside?;
        Ok(written)
    }

    /// Writes the run folder and the forms of other tools.
    fn write_folder(&self, places: &Places, observer: &dyn Observer) -> Result<(), Error> {
        if let Some(folder) = &places.folder {
            folder.store_records(self.records).or_failure()?;
            let manifest = Manifest {
                files: folder.hashes().or_failure()?,
                ..self.manifest.clone()
            };
            folder.write_manifest(&manifest).or_failure()?;
            page::write(
                folder,
                self.manifest,
                self.records,
                self.numbers,
                self.saving.lang,
            )?;
        }
        export::write(
            &self.saving.exports,
            places.folder_path(),
            export::Measured {
                manifest: self.manifest,
                records: self.records,
                spec: self.spec,
                facts: self.facts,
                summary: &self.numbers.summary,
            },
            observer,
        )
    }

    /// Writes vLLM's file and the files beside it.
    fn write_result(
        &self,
        places: &Places,
        result: &VllmResult,
        observer: &dyn Observer,
    ) -> Result<Option<PathBuf>, Error> {
        let Some(file) = &places.result else {
            return Ok(None);
        };
        let mut written = None;
        if self.saving.save {
            let details = vllm::details(self.saving.detailed, self.records);
            let path = file.write(result, details).or_failure()?;
            if path != file.path() {
                observer.note(&format!(
                    "{} belongs to another run: the result is in {}",
                    file.path().display(),
                    path.display()
                ));
            }
            written = Some(path);
        }
        let beside = written.as_deref().unwrap_or(file.path());
        // A saved result has a name of its own, which its neighbours share.
        let keep = written.is_none() && file.existing() == Existing::Keep;
        sidecars::write(self.saving, beside, keep, self.records, result)?;
        Ok(written)
    }
}
