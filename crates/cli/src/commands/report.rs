//! `inferometer report` and `inferometer recover`: the numbers of a run, from its run folder.

use inferometer_benchmark::{FolderRun, RunSpec, SavedResult};
use inferometer_report::Lang;

use super::run;
use crate::args::{RecoverArgs, ReportArgs};
use crate::exit::{Exit, Failure};
use crate::settings::{ViewSettings, exports_of};
use crate::watch::Watch;
use inferometer_terminal::{Output, View};

/// No progress display.
pub(super) const NO_VIEW: ViewSettings = ViewSettings {
    show_progress: false,
    ui: View::Bar,
    lang: Lang::En,
};

/// Prints the result of a finished run, from its records and manifest, and saves it if asked to.
/// Data that were changed after the run are said to be, and are a failure.
pub(crate) fn report(args: &ReportArgs, output: &Output) -> Result<Exit, Failure> {
    let exports = |spec: &RunSpec| exports_of(args.export.clone(), spec.target.kind, true);
    let view = ViewSettings {
        lang: args.lang,
        ..NO_VIEW
    };
    let watch = Watch::new(output, view);
    let run = inferometer_benchmark::report(&args.run, exports, &watch)?;
    if args.save_result {
        let saved = SavedResult {
            detailed: args.save_detailed,
            dir: args.result_dir.clone(),
            name: args.result_filename.clone(),
        };
        let path = run.save(&saved, &watch)?;
        output.print_line(&format!("Result: {}", path.display()));
    }
    for file in &run.changed {
        output.warn(&format!("{}: {file}", args.run.display()));
    }
    if run.changed.is_empty() {
        Ok(exit(&run))
    } else {
        Ok(Exit::RunFailed)
    }
}

/// Writes and prints the result of a killed run, from its log.
pub(crate) fn recover(args: &RecoverArgs, output: &Output) -> Result<Exit, Failure> {
    let exports = |spec: &RunSpec| exports_of(args.export.clone(), spec.target.kind, true);
    let watch = Watch::new(output, NO_VIEW);
    let run = inferometer_benchmark::recover(&args.run, args.save_result, exports, &watch)?;
    Ok(exit(&run))
}

fn exit(run: &FolderRun) -> Exit {
    run::exit(&run.numbers, false)
}
