//! `inferometer report` and `inferometer recover`: the numbers of a run, from its run folder.

use inferometer_benchmark::{FolderRun, RunSpec};

use super::run;
use crate::args::ReportArgs;
use crate::exit::{Exit, Failure};
use crate::settings::{ViewSettings, exports_of};
use crate::watch::Watch;
use inferometer_terminal::{Output, View};

/// No progress display.
pub(super) const NO_VIEW: ViewSettings = ViewSettings {
    show_progress: false,
    ui: View::Bar,
};

/// Prints the result of a finished run, from its records and manifest.
pub(crate) fn report(args: &ReportArgs, output: &Output) -> Result<Exit, Failure> {
    let exports = |spec: &RunSpec| exports_of(args.export.clone(), spec.target.kind, true);
    let run = inferometer_benchmark::report(&args.run, exports, &Watch::new(output, NO_VIEW))?;
    Ok(exit(&run))
}

/// Writes and prints the result of a killed run, from its log.
pub(crate) fn recover(args: &ReportArgs, output: &Output) -> Result<Exit, Failure> {
    let exports = |spec: &RunSpec| exports_of(args.export.clone(), spec.target.kind, true);
    let run = inferometer_benchmark::recover(&args.run, exports, &Watch::new(output, NO_VIEW))?;
    Ok(exit(&run))
}

fn exit(run: &FolderRun) -> Exit {
    run::exit(&run.numbers, false)
}
