//! `inferometer report` and `inferometer recover`: the numbers again, from what a run left.

use inferometer_arrival::ArrivalSettings;
use inferometer_core::{Record, Records, Schedule};
use inferometer_report::Lang;
use inferometer_results::{Manifest, RunFolder, ScheduleInfo};
use inferometer_workload::{HubSettings, Tokenizer};

use crate::args::ReportArgs;
use crate::exit::{Exit, Failure, OrFail};
use crate::export::Exports;
use crate::kept::count_in_memory;
use crate::numbers::{Look, NumberSettings, Numbers};
use crate::output::Output;
use crate::{page, vllm};

/// Prints the result of a finished run from its records and manifest.
pub(crate) fn report(args: &ReportArgs, output: &Output) -> Result<Exit, Failure> {
    let mut folder = RunFolder::open(&args.run).or_usage()?;
    let manifest = folder.read_manifest().or_usage()?;
    if !folder.records_path().is_file() {
        folder.claim().or_usage()?;
    }
    if !folder.records_path().is_file() {
        return Err(Failure::usage(format!(
            "{} holds no requests.parquet: the run was cut off; write its result with: inferometer recover {}",
            args.run.display(),
            args.run.display()
        )));
    }
    let settings = number_settings(&manifest)?;
    let exports = Exports::resolve(args.export.clone(), settings.metrics.kind, true)?;
    exports.prepare()?;
    let records = folder.stored_records().or_usage()?;
    let exit = show(&folder, &manifest, &records, output)?;
    export(&exports, &folder, &manifest, &records, &settings, output)?;
    records.check().or_usage()?;
    Ok(exit)
}

fn export(
    exports: &Exports,
    folder: &RunFolder,
    manifest: &Manifest,
    records: &dyn Records,
    settings: &NumberSettings,
    output: &Output,
) -> Result<(), Failure> {
    for path in exports.write(Some(folder.path()), manifest, records, settings)? {
        output.say(&format!("Exported: {}", path.display()));
    }
    Ok(())
}

/// Writes the result of a run that was killed, from its log, and prints it.
pub(crate) fn recover(args: &ReportArgs, output: &Output) -> Result<Exit, Failure> {
    let mut folder = RunFolder::open(&args.run).or_usage()?;
    folder.claim().or_usage()?;
    let mut manifest = folder.read_manifest().or_usage()?;
    if folder.records_path().is_file() && manifest.verdict.is_some() && !manifest.run.recovered {
        // It was killed after its result was written, or left the log for another reason.
        let left = folder.log_path().exists();
        folder.remove_log().or_run()?;
        output.say(if left {
            "nothing to recover: the run ended in good order; its log, which was left, is removed"
        } else {
            "nothing to recover: the run ended in good order"
        });
        return report(args, output);
    }
    let schedule = schedule(&folder, &manifest)?;
    let mut recovered = folder.recover(schedule.as_ref()).or_usage()?;
    let missing = manifest.workload.requests.saturating_sub(recovered.logged);
    output.say(&format!(
        "{} of {} requests are in the log{}; {missing} are missing and count as unfinished",
        recovered.logged,
        manifest.workload.requests,
        if recovered.truncated {
            ", whose last part was cut off"
        } else {
            ""
        },
    ));
    let mut settings = number_settings(&manifest)?;
    let exports = Exports::resolve(args.export.clone(), settings.metrics.kind, true)?;
    exports.prepare()?;
    settings.verdict.interrupted = true;
    manifest.run.partial = true;
    manifest.run.recovered = true;
    let tokenizer = tokenizer_if_needed(&manifest, &recovered.records, output);
    count_in_memory(&mut recovered.records, tokenizer.as_ref());
    let end = recovered
        .records
        .iter()
        .filter_map(|record| record.end)
        .max()
        .unwrap_or_default();
    manifest.run.duration_ns = end.0;
    manifest.health.wall = end;
    manifest.settings["numbers"] = serde_json::to_value(&settings).or_run()?;
    let numbers = Numbers::of(&recovered.records, &settings, &manifest.health);
    manifest.summary = serde_json::to_value(&numbers).or_run()?;
    manifest.verdict = Some(numbers.verdict.clone());
    folder.store_records(&recovered.records).or_run()?;
    folder.write_manifest(&manifest).or_run()?;
    if let Some(intended) = vllm::Intended::of(&manifest) {
        let arrivals = arrivals(&manifest)?;
        let load = (arrivals.as_ref(), schedule.as_ref());
        let path = intended.write(&manifest, &recovered.records, &numbers, load)?;
        output.say(&format!(
            "The result, marked partial, is in {}",
            path.display()
        ));
    }
    page::write(
        &folder,
        &manifest,
        &recovered.records,
        &numbers,
        Lang::default(),
    )?;
    // The log goes last, when everything else has been written, so that a recovery that failed can
    // be repeated.
    folder.remove_log().or_run()?;
    let exit = show(&folder, &manifest, &recovered.records, output)?;
    export(
        &exports,
        &folder,
        &manifest,
        &recovered.records,
        &settings,
        output,
    )?;
    Ok(exit)
}

/// The run's tokenizer, if an answer came without usage: its tokens have not been counted yet.
fn tokenizer_if_needed(
    manifest: &Manifest,
    records: &[Record],
    output: &Output,
) -> Option<Tokenizer> {
    let uncounted = |record: &Record| record.is_ok() && record.told_output_tokens().is_none();
    let spec = manifest
        .target
        .tokenizer
        .as_deref()
        .filter(|_| records.iter().any(uncounted))?;
    match Tokenizer::load(spec, &HubSettings::from_env()) {
        Ok(tokenizer) => Some(tokenizer),
        Err(error) => {
            output.warn(&format!(
                "answers without usage are counted by events, not tokens: {error}"
            ));
            None
        }
    }
}

/// The schedule of the run, as it was kept or made again from its settings, so that requests which
/// the log lacks are counted as unfinished; checked against the hash that the run noted.
fn schedule(folder: &RunFolder, manifest: &Manifest) -> Result<Option<Schedule>, Failure> {
    if let Some(kept) = folder.read_schedule().or_usage()? {
        return Ok(Some(kept).filter(|kept| ScheduleInfo::of(kept) == manifest.schedule));
    }
    let Some(arrivals) = arrivals(manifest)? else {
        return Ok(None);
    };
    let schedule =
        inferometer_arrival::schedule(manifest.workload.requests, &arrivals).or_usage()?;
    Ok(Some(schedule).filter(|schedule| ScheduleInfo::of(schedule) == manifest.schedule))
}

/// How requests were to arrive, where the manifest says so.
fn arrivals(manifest: &Manifest) -> Result<Option<ArrivalSettings>, Failure> {
    let kept = manifest.settings.get("arrivals");
    kept.map(|kept| serde_json::from_value(kept.clone()))
        .transpose()
        .or_usage()
}

fn number_settings(manifest: &Manifest) -> Result<NumberSettings, Failure> {
    let kept = manifest
        .settings
        .get("numbers")
        .cloned()
        .unwrap_or_default();
    serde_json::from_value(kept).map_err(|error| {
        Failure::usage(format!(
            "manifest.json has no usable settings.numbers: {error}"
        ))
    })
}

fn show(
    folder: &RunFolder,
    manifest: &Manifest,
    records: &dyn Records,
    output: &Output,
) -> Result<Exit, Failure> {
    let settings = number_settings(manifest)?;
    let numbers = Numbers::of(records, &settings, &manifest.health);
    let look = Look {
        color: output.color(),
        run_folder: Some(folder.path().display().to_string()),
        ..Look::default()
    };
    output.print(&numbers.render(&settings, &manifest.health, &look));
    if manifest.run.simulated {
        output.say("Simulated: no server was measured.");
    }
    Ok(if numbers.summary.completed > 0 {
        Exit::Good
    } else {
        Exit::RunFailed
    })
}
