//! A sweep that is started a second time by somebody who gave no thought to the first one, as
//! scripts do: it goes on where that is the same work, and otherwise puts the old results aside.
//! Nothing is overwritten.

use std::fs;
use std::path::{Path, PathBuf};

use crate::CampaignError;
use crate::execute::{World, identify_all};
use crate::journal::{JOURNAL_NAME, Journal, Start};
use crate::plan::Plan;

/// Folders of a campaign beside its results.
const FOLDERS: [&str; 2] = ["logs", "runs"];

/// Decides what to do about earlier results in the plan's folder, puts them aside if need be, and
/// says so. `stamp` is the present time as a part of a folder's name.
///
/// An unfinished sweep of the same settings on the same servers is gone on with. Anything else in
/// the way is moved to a folder beside the results, once the servers have answered.
///
/// # Errors
///
/// When a server does not answer, or a file cannot be moved.
pub fn begin_again(
    plan: &Plan,
    world: &mut dyn World,
    stamp: &str,
) -> Result<(Start, Option<String>), CampaignError> {
    let there = leftovers(plan);
    if there.is_empty() {
        return Ok((Start::Fresh, None));
    }
    let servers = identify_all(plan, world)?;
    let unfinished = Journal::earlier(plan).filter(|earlier| {
        let done = (0..plan.cells.len())
            .filter(|&index| earlier.is_done(index))
            .count();
        // Files whose origin the journal does not tell must not be taken for results of it.
        done < plan.cells.len()
            && servers
                .iter()
                .all(|(key, identity)| earlier.is_known(key, identity))
            && plan.cells.iter().enumerate().all(|(index, cell)| {
                earlier.cells()[index].attempts > 0 || !plan.result_path(cell).exists()
            })
    });
    if let Some(earlier) = unfinished {
        let note = format!(
            "{} holds an unfinished sweep of the same settings, begun {}: going on with it (to begin anew: \
             --overwrite)",
            plan.output.display(),
            earlier.created()
        );
        return Ok((Start::Resume, Some(note)));
    }
    let aside = set_aside(&plan.output, &there, stamp)?;
    let note = format!(
        "earlier results of the same names in {} were moved to {}",
        plan.output.display(),
        aside.display()
    );
    Ok((Start::Fresh, Some(note)))
}

/// What an earlier sweep has left under the names that this one uses, relative to the folder.
fn leftovers(plan: &Plan) -> Vec<PathBuf> {
    let results = plan.cells.iter().flat_map(|cell| {
        let failure = cell.result.with_extension("failure.json");
        [cell.result.clone(), failure]
    });
    let mut there: Vec<PathBuf> = results
        .filter(|path| plan.output.join(path).exists())
        .collect();
    if !there.is_empty() || Journal::earlier(plan).is_some() {
        let rest = FOLDERS.into_iter().chain([JOURNAL_NAME]).map(PathBuf::from);
        there.extend(rest.filter(|path| plan.output.join(path).exists()));
    }
    there
}

fn set_aside(output: &Path, there: &[PathBuf], stamp: &str) -> Result<PathBuf, CampaignError> {
    let absolute = std::path::absolute(output).map_err(CampaignError::io("find", output))?;
    let name = absolute.file_name().map_or_else(
        || "results".into(),
        |name| name.to_string_lossy().into_owned(),
    );
    // Below the results they would be read as results again.
    let beside = |name: String| match output.file_name() {
        Some(_) => output.with_file_name(name),
        None => output.join("..").join(name),
    };
    let mut folder = beside(format!("{name}-{stamp}"));
    for number in 2.. {
        if !folder.exists() {
            break;
        }
        folder = beside(format!("{name}-{stamp}-{number}"));
    }
    for path in there {
        let (from, to) = (output.join(path), folder.join(path));
        let parent = to.parent().unwrap_or(&folder);
        fs::create_dir_all(parent).map_err(CampaignError::io("create", parent))?;
        fs::rename(&from, &to).map_err(CampaignError::io("move", &from))?;
    }
    Ok(folder)
}
