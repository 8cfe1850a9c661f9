//! `inferometer run`: one benchmark, from arguments to files.

use inferometer_benchmark::{Numbers, Run, run as run_benchmark};
use inferometer_core::Level;

use crate::args::RunArgs;
use crate::compat;
use crate::exit::{Exit, Failure};
use crate::settings::RunSettings;
use crate::watch::Watch;
use inferometer_terminal::Output;

/// Runs the benchmark that `args` describe.
pub(crate) fn run(args: RunArgs, output: &Output) -> Result<Exit, Failure> {
    let RunSettings {
        benchmark,
        view,
        strict,
        notes,
    } = RunSettings::resolve(args)?;
    if benchmark.compat.is_vllm() {
        output.print_line(&compat::namespace_line(&benchmark.saving.vllm_arguments));
    }
    for note in &notes {
        output.note(note);
    }
    let Run {
        numbers,
        interrupted,
        ..
    } = run_benchmark(&benchmark, &Watch::new(output, view))?;
    Ok(if interrupted {
        Exit::Interrupted
    } else {
        exit(&numbers, strict)
    })
}

/// The exit code of a run with these numbers, which was not stopped.
pub(super) fn exit(numbers: &Numbers, strict: bool) -> Exit {
    if numbers.summary.completed == 0 {
        Exit::RunFailed
    } else if strict && numbers.verdict.level == Level::Invalid {
        Exit::Invalid
    } else {
        Exit::Good
    }
}
