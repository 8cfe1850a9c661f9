//! One sweep at a time in a folder.

use std::fs;

use inferometer_results::FolderLock;

use crate::campaign::Campaign;
use crate::error::CampaignError;

/// What to do about the results of an earlier campaign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// Refuse to touch them.
    Fresh,
    /// Remove the planned result files and start over.
    Overwrite,
    /// Resume the campaign.
    Resume,
}

/// A campaign's folder, locked for this process from before its earlier results are looked at until
/// the campaign has ended.
#[derive(Debug)]
pub struct Claim(#[expect(dead_code, reason = "held, not read")] FolderLock);

impl Claim {
    /// Creates the folder of `campaign`, except to resume, and locks it.
    ///
    /// # Errors
    ///
    /// [`CampaignError::InUse`] while another sweep runs in it, and a folder that cannot be created.
    pub fn take(campaign: &Campaign, start: Start) -> Result<Self, CampaignError> {
        let path = &campaign.output;
        if start != Start::Resume {
            fs::create_dir_all(path).map_err(CampaignError::io("create", path))?;
        }
        let lock = FolderLock::take(path);
        lock.map(Self).map_err(|by| CampaignError::InUse {
            path: path.clone(),
            process: by.process,
        })
    }
}
