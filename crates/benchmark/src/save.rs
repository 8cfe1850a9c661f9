//! The files of a run, written in one place for measured and simulated runs.

use std::path::{Path, PathBuf};

use inferometer_core::{Nanos, Records, Schedule};
use inferometer_engine as engine;
use inferometer_report::Lang;
use inferometer_results::{
    Manifest, ResultFile, RunFolder, VllmHeader, VllmResult, result_file_name, run_folder_name,
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
        header: &VllmHeader,
        began: Nanos,
    ) -> Result<Self, Error> {
        let result = if saving.needs_result_file() {
            let name = match &saving.result_filename {
                Some(name) => name.display().to_string(),
                None => result_file_name(header),
            };
            Some(
                ResultFile::prepare(saving.result_dir.as_deref(), &name, saving.append)
                    .or_usage()?,
            )
        } else {
            None
        };
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

    /// The result file's path, if vLLM's file is written.
    pub(crate) fn result_path(&self, saving: &SavingSettings) -> Option<PathBuf> {
        self.result
            .as_ref()
            .filter(|_| saving.save)
            .map(|file| file.path().to_owned())
    }
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
        result
    }

    /// Writes every requested file; the record log stays.
    pub(crate) fn write(
        &self,
        places: &Places,
        result: &VllmResult,
        observer: &dyn Observer,
    ) -> Result<(), Error> {
        if let Some(file) = &places.result {
            if self.saving.save {
                let details = vllm::details(self.saving.detailed, self.records);
                file.write(result, details).or_failure()?;
            }
            sidecars::write(self.saving, file, self.records, result)?;
        }
        if let Some(folder) = &places.folder {
            folder.store_records(self.records).or_failure()?;
            folder.write_manifest(self.manifest).or_failure()?;
            page::write(
                folder,
                self.manifest,
                self.records,
                self.numbers,
                Lang::default(),
            )?;
        }
        export::write(
            &self.saving.exports,
            places.folder_path(),
            self.manifest,
            self.records,
            self.spec,
            self.facts,
            observer,
        )
    }
}
