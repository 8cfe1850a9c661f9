//! `inferometer calibrate`: the engine model fitted to results of a real server.

use std::path::Path;

use inferometer_benchmark::{Calibrated, Calibration, calibrate as fit};
use inferometer_results::check_outputs;

use super::report::NO_VIEW;
use crate::args::CalibrateArgs;
use crate::exit::{Exit, Failure, OrFail};
use crate::watch::Watch;
use inferometer_terminal::Output;

/// Fits the model, prints the quality of the fit, and writes the preset.
pub(crate) fn calibrate(args: &CalibrateArgs, output: &Output) -> Result<Exit, Failure> {
    let calibration = Calibration {
        results: args.results.clone(),
        check: args.check.clone(),
        name: args.name.clone(),
        max_num_seqs: args.max_num_seqs,
        max_num_batched_tokens: args.max_num_batched_tokens,
        num_blocks: args.num_blocks,
        chunked_prefill: !args.no_chunked_prefill,
    };
    let outputs: Vec<_> = std::iter::once(&args.output).chain(&args.plot).collect();
    let inputs = args.results.iter().chain(&args.check);
    output.note_if(check_outputs(&outputs, inputs).or_usage()?);
    let Calibrated {
        preset,
        table,
        figure,
    } = fit(&calibration, &Watch::new(output, NO_VIEW))?;
    output.print(&table);
    write(&args.output, &preset.to_json().or_failure()?)?;
    output.print_line(&format!(
        "Wrote {}. Use it: inferometer simulate --preset {}",
        args.output.display(),
        args.output.display()
    ));
    if let Some(path) = &args.plot {
        write(path, &figure.to_svg())?;
    }
    Ok(Exit::Good)
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    std::fs::write(path, text)
        .map_err(|error| Failure::usage(format!("{}: {error}", path.display())))
}
