//! `--again`: a sweep that is started without saying what to do with earlier results, as scripts
//! do. It resumes an unfinished sweep of the same settings, and otherwise moves the earlier results
//! aside. Nothing is overwritten.

use std::fs;
use std::path::{Path, PathBuf};

use crate::campaign::Campaign;
use crate::claim::{Claim, Start};
use crate::error::CampaignError;
use crate::execute::identify_all;
use crate::journal::{JOURNAL_NAME, Journal};
use crate::world::World;

/// Folders of a campaign beside its results.
const FOLDERS: [&str; 2] = ["logs", "runs"];

/// Decides what to do about earlier results in the campaign's folder, moves them aside if needed, and
/// returns a note that says so. The folder is claimed, so that no other sweep is running in it. `stamp` is the present
/// time as a part of a folder's name.
///
/// An unfinished sweep of the same settings on the same servers is resumed. Anything else in the way
/// is moved to a folder beside the results, once the servers have answered.
///
/// # Errors
///
/// When a server does not answer, or a file cannot be moved.
pub fn prepare_rerun(
    campaign: &Campaign,
    _claim: &Claim,
    world: &mut dyn World,
    stamp: &str,
) -> Result<(Start, Option<String>), CampaignError> {
    let existing = leftovers(campaign);
    if existing.is_empty() {
        return Ok((Start::Fresh, None));
    }
    let servers = identify_all(campaign, world)?;
    let unfinished = Journal::earlier(campaign).filter(|earlier| {
        let done = (0..campaign.cells.len())
            .filter(|&index| earlier.is_done(index))
            .count();
        // Files of unknown origin must not be taken for results of the sweep.
        done < campaign.cells.len()
            && servers
                .iter()
                .all(|(key, identity)| earlier.is_known(key, identity))
            && campaign.cells.iter().enumerate().all(|(index, cell)| {
                earlier.cells()[index].attempts > 0 || !campaign.result_path(cell).exists()
            })
    });
    if let Some(earlier) = unfinished {
        let note = format!(
            "{} holds an unfinished sweep of the same settings, started {}: resuming it (to start over: \
             --overwrite)",
            campaign.output.display(),
            earlier.created()
        );
        return Ok((Start::Resume, Some(note)));
    }
    let moved_to = move_aside(&campaign.output, &existing, stamp)?;
    let note = format!(
        "earlier results of the same names in {} were moved to {}",
        campaign.output.display(),
        moved_to.display()
    );
    Ok((Start::Fresh, Some(note)))
}

/// What an earlier sweep has left under the names that this one uses, relative to the folder.
fn leftovers(campaign: &Campaign) -> Vec<PathBuf> {
    let results = campaign.cells.iter().flat_map(|cell| {
        let failure = cell.result.with_extension("failure.json");
        [cell.result.clone(), failure]
    });
    let mut existing: Vec<PathBuf> = results
        .filter(|path| campaign.output.join(path).exists())
        .collect();
    if !existing.is_empty() || Journal::earlier(campaign).is_some() {
        let rest = FOLDERS.into_iter().chain([JOURNAL_NAME]).map(PathBuf::from);
        existing.extend(rest.filter(|path| campaign.output.join(path).exists()));
    }
    existing
}

fn move_aside(output: &Path, existing: &[PathBuf], stamp: &str) -> Result<PathBuf, CampaignError> {
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
    for path in existing {
        let (from, to) = (output.join(path), folder.join(path));
        let parent = to.parent().unwrap_or(&folder);
        fs::create_dir_all(parent).map_err(CampaignError::io("create", parent))?;
        fs::rename(&from, &to).map_err(CampaignError::io("move", &from))?;
    }
    Ok(folder)
}
