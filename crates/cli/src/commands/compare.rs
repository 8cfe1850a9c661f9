//! `inferometer compare`: runs side by side.

use std::path::Path;

use inferometer_benchmark::{FolderRun, file_rows};
use inferometer_campaign::{fold, result_files};
use inferometer_report::{Comparison, Side};
use inferometer_results::{find_run_folders, is_run_folder};

use super::collect::collect;
use super::groups;
use crate::args::CompareArgs;
use crate::exit::{Exit, Failure, OrFail};
use inferometer_terminal::Output;

/// Prints the comparison of the runs in `args`.
pub(crate) fn compare(args: &CompareArgs, output: &Output) -> Result<Exit, Failure> {
    if !args.groups.baseline.is_empty() {
        return groups::compare(args, output);
    }
    let (mut sides, mut exit) = (Vec::<Side>::new(), Exit::Good);
    for path in &args.runs {
        if path.is_dir() {
            sides.push(folder_side(path, output, &mut exit)?);
        } else {
            sides.extend(file_rows(path).or_usage()?.into_iter().map(Side::from));
        }
    }
    let comparison = Comparison::new(&sides, args.form.lang).or_usage()?;
    if args.form.json {
        output.print_line(&serde_json::to_string_pretty(&comparison.to_json()).or_failure()?);
    } else if args.form.markdown {
        output.print(&comparison.to_markdown());
    } else {
        output.print(&comparison.to_text());
    }
    Ok(exit)
}

/// A run folder, or a folder with the repeats of one setting.
fn folder_side(path: &Path, output: &Output, exit: &mut Exit) -> Result<Side, Failure> {
    let name = path.display().to_string();
    let holds_runs = !is_run_folder(path)
        && (!result_files(path).or_usage()?.is_empty()
            || !find_run_folders(path).or_usage()?.is_empty());
    if !holds_runs {
        let rows = vec![FolderRun::open(path)?.row()?.collect()];
        return Ok(Side { name, rows });
    }
    let table = collect(&[path.to_owned()], output)?.0;
    if !table.broken.is_empty() {
        *exit = Exit::RunFailed;
    }
    // Names of files that are repeats of one another by their settings may be anything here: the
    // user says that the folder holds repeats, and only different settings contradict that.
    let settings = fold(&table).into_iter().map(|mut group| {
        group.settings.shift_remove("filename");
        group.settings
    });
    let distinct: Vec<_> = settings.fold(Vec::new(), |mut all, one| {
        if !all.contains(&one) {
            all.push(one);
        }
        all
    });
    if distinct.len() > 1 {
        return Err(Failure::usage(format!(
            "{name}: holds runs of {} different settings: expected the repeats of one; name the runs instead",
            distinct.len()
        )));
    }
    let rows = table.rows.into_iter().map(|row| row.values).collect();
    Ok(Side { name, rows })
}
