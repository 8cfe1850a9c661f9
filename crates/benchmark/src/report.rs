//! Recomputing the numbers of a run folder, and those of a run that was killed.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

use inferometer_arrival::ArrivalSettings;
use inferometer_core::{Bilingual, Level, Reason, Record, Records, Schedule, Verdict};
use inferometer_report::Lang;
use inferometer_results::{
    ChangedFile, Details, Existing, Manifest, Recovered, ResultFile, RunFolder, ScheduleInfo,
    StoredRecords, VllmResult, result_file_name,
};
use inferometer_workload::{BUILTIN, HubSettings, Tokenizer};

use crate::error::{Error, OrError};
use crate::header::{Identity, header};
use crate::numbers::Numbers;
use crate::observer::{Observer, Shown};
use crate::probe::ProbeNumbers;
use crate::run_records::count_in_memory;
use crate::settings::Exports;
use crate::spec::{RunFacts, RunSpec, without_seeds};
use crate::{export, page, vllm};

/// Where and how vLLM's result file of a run folder is written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SavedResult {
    /// With the lists of single requests and events.
    pub detailed: bool,
    /// Its folder; else the current one.
    pub dir: Option<PathBuf>,
    /// Its name; else vLLM's default.
    pub name: Option<PathBuf>,
}

/// Code of the finding that the files of a run folder were changed after the run.
const DATA_CHANGED: &str = "data_changed";

/// A run folder, with its numbers recomputed from its records.
#[derive(Debug)]
pub struct FolderRun {
    /// The folder.
    pub folder: PathBuf,
    /// The folder's manifest.
    pub manifest: Manifest,
    /// What the run was asked to do.
    pub spec: RunSpec,
    /// What the run found out besides its records.
    pub facts: RunFacts,
    /// The recomputed numbers and the verdict on them.
    pub numbers: Numbers,
    /// Files that are not as the run wrote them: the numbers are not those of the run.
    pub changed: Vec<ChangedFile>,
    records: StoredRecords,
}

impl FolderRun {
    /// Reads the folder of a finished run.
    ///
    /// # Errors
    ///
    /// A usage error when `path` is not a run folder, when the run is still in progress, or when it
    /// was cut off and has to be [recovered](recover) first.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let mut folder = RunFolder::open(path).or_usage()?;
        let manifest = folder.read_manifest().or_usage()?;
        if !folder.records_path().is_file() {
            folder.claim().or_usage()?;
            has_any_records(&folder)?;
            return Err(Error::usage(format!(
                "{} has no requests.parquet: the run was cut off; write its result with: inferometer recover {}",
                path.display(),
                path.display()
            )));
        }
        let (spec, facts) =
            RunSpec::read(&manifest).map_err(|error| error.context(&path.display().to_string()))?;
        let changed = folder.changed_files(&manifest).or_usage()?;
        let records = folder.stored_records().or_usage()?;
        let mut numbers = Numbers::of(&records, &spec, &facts, &manifest.health);
        if !changed.is_empty() {
            numbers.verdict = with_changed_data(numbers.verdict, &changed);
        }
        records.check().or_usage()?;
        Ok(Self {
            folder: path.to_owned(),
            manifest,
            spec,
            facts,
            numbers,
            changed,
            records,
        })
    }

    /// The records, read from the folder on each visit.
    pub fn records(&self) -> &dyn Records {
        &self.records
    }

    /// What the run was asked to do, without its seeds, as a short word: repeats share it, and runs
    /// that differ in any setting do not.
    pub fn plan(&self) -> String {
        let mut settings = serde_json::to_value(&self.spec).unwrap_or_default();
        without_seeds(&mut settings);
        let mut hasher = DefaultHasher::new();
        settings.to_string().hash(&mut hasher);
        format!("{:016x}", hasher.finish())
    }

    /// The run in the keys of vLLM's result file, without per-request lists.
    ///
    /// # Errors
    ///
    /// A usage error when the records cannot be read again.
    pub fn row(&self) -> Result<impl Iterator<Item = (String, serde_json::Value)> + use<>, Error> {
        self.map(Details::Without)
    }

    /// As [`FolderRun::row`], with the lists of single requests and events.
    ///
    /// # Errors
    ///
    /// A usage error when the records cannot be read again.
    pub fn detailed_row(
        &self,
    ) -> Result<impl Iterator<Item = (String, serde_json::Value)> + use<>, Error> {
        self.map(Details::Of(&self.records))
    }

    fn map(
        &self,
        details: Details<'_>,
    ) -> Result<impl Iterator<Item = (String, serde_json::Value)> + use<>, Error> {
        let map = self.result()?.to_map(details);
        self.records.check().or_usage()?;
        Ok(map.into_iter())
    }

    /// The run as vLLM's result.
    fn result(&self) -> Result<VllmResult, Error> {
        let wall = inferometer_core::Nanos(self.manifest.run.started_wall_ns);
        let header = header(&self.spec, Identity::of_manifest(&self.manifest), wall);
        let start = vllm::anchor(&self.manifest);
        let mut result: VllmResult = vllm::result(
            header,
            &self.records,
            &self.numbers,
            &self.manifest.health,
            start,
        );
        self.records.check().or_usage()?;
        // The records are of that meaning, whatever the numbers are now.
        result.inferometer["meaning"] = self.manifest.meaning.into();
        if let Some(decoding) = &self.facts.decoding {
            decoding.fill(&mut result);
        }
        result.probe = self.facts.probe.as_ref().map(ProbeNumbers::form);
        if self.manifest.run.partial {
            vllm::mark_partial(&mut result);
        }
        vllm::note_recipe(&mut result, &self.spec, &self.facts);
        vllm::note_command(&mut result, &self.manifest);
        Ok(result)
    }

    /// Writes vLLM's result file of the run where `saving` says; returns its path.
    ///
    /// # Errors
    ///
    /// A usage error when the place cannot be written to; a failure when writing fails.
    pub fn save(&self, saving: &SavedResult, observer: &dyn Observer) -> Result<PathBuf, Error> {
        let mut result = self.result()?;
        let folder = RunFolder::open(&self.folder).or_usage()?;
        let arrivals = self.spec.load.arrivals.as_ref();
        let schedule = schedule(&folder, &self.manifest, arrivals)?;
        if let (Some(arrivals), Some(schedule)) = (arrivals, &schedule) {
            let start = vllm::anchor(&self.manifest);
            result.rps_change_events = vllm::rate_changes(arrivals, schedule, start);
        }
        result.inferometer["written_from"] = "run folder".into();
        let (name, existing) = match &saving.name {
            Some(name) => (name.clone(), Existing::Replace),
            None => (result_file_name(&result.header).into(), Existing::Keep),
        };
        let file = ResultFile::prepare(saving.dir.as_deref(), &name, existing).or_usage()?;
        if let Some(note) = file.replacement_note() {
            observer.note(&note);
        }
        let details = vllm::details(saving.detailed, &self.records);
        let path = file.write(&result, details).or_failure()?;
        self.records.check().or_usage()?;
        Ok(path)
    }

    /// Writes the result in the forms of other tools.
    fn export(&self, exports: &Exports, observer: &dyn Observer) -> Result<(), Error> {
        export::write(
            exports,
            Some(&self.folder),
            export::Measured {
                manifest: &self.manifest,
                records: &self.records,
                spec: &self.spec,
                facts: &self.facts,
                summary: &self.numbers.summary,
            },
            observer,
        )?;
        self.records.check().or_usage()
    }

    fn show(&self, observer: &dyn Observer) {
        let simulated = self.manifest.run.simulated.then(|| Bilingual {
            en: "Simulated: no server was measured.".into(),
            zh: "模拟：未测量任何服务器。".into(),
        });
        observer.numbers(&Shown {
            numbers: &self.numbers,
            spec: &self.spec,
            facts: &self.facts,
            health: &self.manifest.health,
            failures: "",
            run_folder: Some(&self.folder),
            simulated: simulated.as_ref(),
        });
    }
}

/// `verdict` with the finding that the data of the run were changed, which makes it INVALID.
fn with_changed_data(verdict: Verdict, changed: &[ChangedFile]) -> Verdict {
    let en: Vec<String> = changed.iter().map(ToString::to_string).collect();
    let zh: Vec<String> = changed.iter().map(changed_zh).collect();
    let (en, zh) = (en.join(", "), zh.join("，"));
    let mut reasons = vec![Reason {
        code: DATA_CHANGED.into(),
        level: Level::Invalid,
        message: format!(
            "{en}, by the hash in its manifest: these numbers are not those of the run"
        ),
        remedy: "use an unchanged copy of the run folder".into(),
        detail: Some(Bilingual { en, zh }),
    }];
    reasons.extend(verdict.reasons);
    Verdict::from_reasons(reasons)
}

fn changed_zh(file: &ChangedFile) -> String {
    match file {
        ChangedFile::Edited(name) => format!("{name} 在运行之后被改动"),
        ChangedFile::Missing(name) => format!("缺少 {name}"),
        ChangedFile::Added(name) => format!("{name} 是运行之后添加的"),
    }
}

/// Recomputes the numbers of a finished run from its records and its manifest, and shows them.
/// `exports` gives the forms of other tools to write, for a run with the folder's settings.
///
/// # Errors
///
/// As [`FolderRun::open`], and those of `exports`; a failure when an export cannot be written.
pub fn report(
    path: &Path,
    exports: impl FnOnce(&RunSpec) -> Result<Exports, Error>,
    observer: &dyn Observer,
) -> Result<FolderRun, Error> {
    let run = FolderRun::open(path)?;
    let exports = exports(&run.spec)?;
    exports.prepare()?;
    run.show(observer);
    run.export(&exports, observer)?;
    Ok(run)
}

/// Writes the result of a run that was killed, from its log, and shows it.
///
/// A recovery that fails can be repeated: the log is removed last, when everything else is on the
/// disk. Nothing is written outside of the run folder, since a manifest may come from anywhere, but for what
/// `outside` and `exports` ask for.
///
/// # Errors
///
/// A usage error when there is nothing to recover or the run is still in progress; a failure when a
/// file cannot be written.
pub fn recover(
    path: &Path,
    outside: bool,
    exports: impl FnOnce(&RunSpec) -> Result<Exports, Error>,
    observer: &dyn Observer,
) -> Result<FolderRun, Error> {
    let mut folder = RunFolder::open(path).or_usage()?;
    folder.claim().or_usage()?;
    let mut manifest = folder.read_manifest().or_usage()?;
    let has_log = folder.log_path().exists();
    let is_complete = folder.records_path().is_file() && manifest.verdict.is_some();
    // A recovery removes the log last, so that one which was cut off is repeated.
    if is_complete && !(manifest.run.recovered && has_log) {
        // It was killed after its result was written, or left the log for another reason.
        folder.remove_log().or_failure()?;
        observer.line(match (manifest.run.recovered, has_log) {
            (true, _) => "nothing to recover: the run was recovered before",
            (false, true) => "nothing to recover: the run finished; its leftover log was removed",
            (false, false) => "nothing to recover: the run finished",
        });
        return report(path, exports, observer);
    }
    has_any_records(&folder)?;
    let (spec, mut facts) = RunSpec::read(&manifest)?;
    let schedule = schedule(&folder, &manifest, spec.load.arrivals.as_ref())?;
    let mut recovered = folder.recover(schedule.as_ref()).or_usage()?;
    observer.line(&summary_line(&recovered, manifest.workload.requests));
    let exports = exports(&spec)?;
    exports.prepare()?;
    facts.interrupted = true;
    facts.recovered = true;
    manifest.run.partial = true;
    manifest.run.recovered = true;
    // A vocabulary that stood in for the model's own counts no answers.
    let stood_in =
        spec.target.tokenizer.is_none() && manifest.target.tokenizer.as_deref() == Some(BUILTIN);
    let tokenizer = if stood_in {
        None
    } else {
        tokenizer_if_needed(&manifest, &recovered.records, observer)
    };
    count_in_memory(&mut recovered.records, tokenizer.as_ref());
    let recovery = Recovery {
        folder: &folder,
        spec: &spec,
        facts: &facts,
        schedule: schedule.as_ref(),
        records: &recovered.records,
        outside,
    };
    recovery.write(manifest, observer)?;
    folder.remove_log().or_failure()?;
    let run = FolderRun::open(path)?;
    run.show(observer);
    run.export(&exports, observer)?;
    Ok(run)
}

/// Refuses a folder whose records are gone: nothing can be recovered.
fn has_any_records(folder: &RunFolder) -> Result<(), Error> {
    if folder.records_path().is_file() || folder.log_path().is_file() {
        return Ok(());
    }
    Err(Error::usage(format!(
        "{} has neither requests.parquet nor requests.arrows: the records of the run are gone",
        folder.path().display()
    )))
}

/// How much of a run of `requests` requests is in its log, as a sentence.
fn summary_line(recovered: &Recovered, requests: usize) -> String {
    let missing = requests.saturating_sub(recovered.logged);
    let end = if recovered.truncated {
        ", whose last part was cut off"
    } else {
        ""
    };
    format!(
        "{} of {requests} requests are in the log{end}; {missing} are missing and count as unfinished",
        recovered.logged
    )
}

/// What is known of a run that was killed.
struct Recovery<'a> {
    folder: &'a RunFolder,
    spec: &'a RunSpec,
    facts: &'a RunFacts,
    schedule: Option<&'a Schedule>,
    records: &'a [Record],
    /// Write the result where the run would have written it, not into the folder.
    outside: bool,
}

impl Recovery<'_> {
    /// Writes every file of the run but its exports; the log stays.
    fn write(&self, mut manifest: Manifest, observer: &dyn Observer) -> Result<(), Error> {
        let Self {
            folder,
            spec,
            facts,
            schedule,
            records,
            outside,
        } = *self;
        let ends = records.iter().filter_map(|record| record.end);
        let end = ends.max().unwrap_or_default();
        manifest.run.duration_ns = end.0;
        manifest.health.wall = end;
        let mut events = records.iter().flat_map(|record| &record.events);
        manifest.health.kernel_stamps = events.any(|event| event.kernel_stamped());
        let intended = vllm::IntendedResult::of(&manifest);
        spec.write(facts, &mut manifest)?;
        let numbers = Numbers::of(&records, spec, facts, &manifest.health);
        manifest.summary = serde_json::to_value(&numbers).or_failure()?;
        manifest.verdict = Some(numbers.verdict.clone());
        folder.store_records(records).or_failure()?;
        manifest.files = folder.hashes().or_failure()?;
        folder.write_manifest(&manifest).or_failure()?;
        if let Some(intended) = intended {
            let arrivals = spec.load.arrivals.as_ref();
            let elsewhere = intended.path().to_owned();
            let inside = (!outside).then(|| folder.path());
            let written =
                intended.write(inside, &manifest, &records, &numbers, arrivals, schedule)?;
            observer.line(&format!(
                "The result, marked partial, is in {}",
                written.display()
            ));
            if !outside {
                observer.line(&format!(
                    "The run would have written it to {}: copy it there if it is needed",
                    elsewhere.display()
                ));
            }
        }
        page::write(folder, &manifest, &records, &numbers, Lang::default())?;
        Ok(())
    }
}

/// The run's tokenizer, if an answer came without usage, so that its tokens are not counted yet.
fn tokenizer_if_needed(
    manifest: &Manifest,
    records: &[Record],
    observer: &dyn Observer,
) -> Option<Tokenizer> {
    let uncounted = |record: &Record| record.is_ok() && record.reported_output_tokens().is_none();
    let spec = manifest
        .target
        .tokenizer
        .as_deref()
        .filter(|_| records.iter().any(uncounted))?;
    match Tokenizer::load(spec, &HubSettings::from_env()) {
        Ok(tokenizer) => Some(tokenizer),
        Err(error) => {
            observer.warning(&format!(
                "answers without usage are counted by events, not tokens: {error}"
            ));
            None
        }
    }
}

/// The schedule of the run, from its file or recomputed from its settings, so that requests which
/// the log lacks are counted as unfinished; `None` if its hash is not the one in the manifest.
fn schedule(
    folder: &RunFolder,
    manifest: &Manifest,
    arrivals: Option<&ArrivalSettings>,
) -> Result<Option<Schedule>, Error> {
    let same = |schedule: &Schedule| ScheduleInfo::of(schedule) == manifest.schedule;
    if let Some(kept) = folder.read_schedule().or_usage()? {
        return Ok(Some(kept).filter(same));
    }
    let Some(arrivals) = arrivals else {
        return Ok(None);
    };
    let schedule =
        inferometer_arrival::schedule(manifest.workload.requests, arrivals).or_usage()?;
    Ok(Some(schedule).filter(same))
}
