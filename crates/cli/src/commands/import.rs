//! `inferometer import`: results of other tools and older versions, in inferometer's format.

use std::fs;

use inferometer_results::{read_result, write_converted};

use crate::args::ImportArgs;
use crate::exit::{Exit, Failure, OrFail};
use inferometer_terminal::Output;

/// Reads all files, then writes one result per run: nothing is written if a file cannot be read.
pub(crate) fn import(args: &ImportArgs, output: &Output) -> Result<Exit, Failure> {
    let mut runs = Vec::new();
    for file in &args.files {
        runs.extend(read_result(file).or_usage()?);
    }
    fs::create_dir_all(&args.output)
        .map_err(|error| Failure::usage(format!("--output {}: {error}", args.output.display())))?;
    for run in &runs {
        let path = write_converted(run, &args.output, args.detailed).or_usage()?;
        output.print_line(&format!(
            "{}: {} ({})",
            path.display(),
            run.file.display(),
            run.source
        ));
    }
    Ok(Exit::Good)
}
