//! The files of an aggregated table.

use std::fs;
use std::path::{Path, PathBuf};

use inferometer_results::{Aggregate, Links, check_outputs};

use crate::error::CampaignError;

/// Where a table goes: as CSV, and beside it as Parquet; the table of folded repeats beside both.
#[derive(Clone, Debug)]
pub struct TableFiles {
    csv: PathBuf,
    links: Links,
}

impl TableFiles {
    /// The files of a table at `csv`, with `links` for what is done where that is a link.
    ///
    /// # Errors
    ///
    /// One of them is a file that `table` was read from or a file of a run.
    pub fn check(
        table: &Aggregate,
        csv: &Path,
        links: Links,
        has_repeats: bool,
    ) -> Result<(Self, Option<String>), CampaignError> {
        let files = Self {
            csv: csv.to_owned(),
            links,
        };
        let mut outputs = vec![csv.to_owned(), csv.with_extension("parquet")];
        if has_repeats {
            let repeats = files.repeats();
            outputs.push(repeats.with_extension("parquet"));
            outputs.push(repeats);
        }
        let note = check_outputs(&outputs, table.inputs())?;
        Ok((files, note))
    }

    /// Writes the table.
    ///
    /// # Errors
    ///
    /// A file that cannot be written.
    pub fn write(&self, table: &Aggregate) -> Result<(), CampaignError> {
        write_both(table, &self.csv, self.links)
    }

    /// Writes the table of folded repeats and returns its path.
    ///
    /// # Errors
    ///
    /// A file that cannot be written.
    pub fn write_repeats(&self, folded: &Aggregate) -> Result<PathBuf, CampaignError> {
        let path = self.repeats();
        write_both(folded, &path, Links::Replace)?;
        Ok(path)
    }

    /// `aggregate_results.csv` → `aggregate_results_repeats.csv`.
    fn repeats(&self) -> PathBuf {
        let stem = self.csv.file_stem().unwrap_or_default();
        let mut name = stem.to_owned();
        name.push("_repeats");
        if let Some(extension) = self.csv.extension() {
            name.push(".");
            name.push(extension);
        }
        self.csv.with_file_name(name)
    }
}

fn write_both(table: &Aggregate, path: &Path, links: Links) -> Result<(), CampaignError> {
    if let Some(folder) = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
    {
        fs::create_dir_all(folder).map_err(CampaignError::io("create", folder))?;
    }
    table.write_csv(path, links)?;
    table.write_parquet(&path.with_extension("parquet"), Links::Replace)?;
    Ok(())
}
