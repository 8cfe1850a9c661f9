//! The data files of a dataset: in a local folder or on the hub.

use std::path::{Path, PathBuf};

use super::classes::Class;
use crate::{HfSettings, RepoKind, WorkloadError};

/// The files of the subset and split that the settings name, in order of name.
pub(super) fn find(options: &HfSettings, class: &Class) -> Result<Vec<PathBuf>, WorkloadError> {
    let subset = options.subset.as_deref().or(class.subset);
    let split = options.split.as_deref().unwrap_or(class.split);
    let (all, is_local) = list(options)?;
    let chosen = choose(&all, subset, split);
    if chosen.is_empty() {
        let shown: Vec<&str> = all.iter().map(String::as_str).take(20).collect();
        return Err(WorkloadError::setting(
            "--hf-split",
            format!(
                "the dataset {} has no Parquet, JSON or JSON Lines file for the split {split:?}{}; it holds {}",
                options.path,
                subset
                    .map(|subset| format!(" of the subset {subset:?}"))
                    .unwrap_or_default(),
                if shown.is_empty() {
                    "no data files".to_owned()
                } else {
                    shown.join(", ")
                }
            ),
        ));
    }
    chosen
        .into_iter()
        .map(|name| {
            if is_local {
                return Ok(Path::new(&options.path).join(name));
            }
            Ok(options.hub.file(RepoKind::Dataset, &options.path, &name)?)
        })
        .collect()
}

/// The names of all data files, and whether they are local.
fn list(options: &HfSettings) -> Result<(Vec<String>, bool), WorkloadError> {
    let folder = Path::new(&options.path);
    let (mut names, is_local) = if folder.is_dir() {
        let mut names = Vec::new();
        walk(folder, folder, &mut names);
        (names, true)
    } else {
        (options.hub.list(RepoKind::Dataset, &options.path)?, false)
    };
    names.retain(|name| {
        let hidden = name.split('/').any(|part| part.starts_with('.'));
        let data = [".parquet", ".jsonl", ".json", ".jsonl.gz", ".json.gz"]
            .iter()
            .any(|end| name.ends_with(end));
        let about = [
            "dataset_infos.json",
            "dataset_info.json",
            "state.json",
            "config.json",
        ]
        .iter()
        .any(|other| name.rsplit('/').next() == Some(other));
        data && !hidden && !about
    });
    names.sort_unstable();
    Ok((names, is_local))
}

fn walk(root: &Path, dir: &Path, names: &mut Vec<String>) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            walk(root, &path, names);
        } else if let Ok(name) = path.strip_prefix(root) {
            names.push(name.to_string_lossy().replace('\\', "/"));
        }
    }
}

/// Files by subset (a folder of that name, or in the file's name) and split (a word of the path).
/// Files of one kind only: Parquet before the others.
fn choose(all: &[String], subset: Option<&str>, split: &str) -> Vec<String> {
    let words = |name: &str| -> Vec<String> {
        let name = name.strip_suffix(".gz").unwrap_or(name);
        let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
        stem.split(['/', '-', '.', '_'])
            .map(str::to_lowercase)
            .collect()
    };
    let in_subset = |name: &&String| {
        subset.is_none_or(|subset| {
            name.split('/').any(|part| part == subset) || name.contains(&format!("{subset}-"))
        })
    };
    let mut names: Vec<&String> = all.iter().filter(in_subset).collect();
    if names.is_empty() && subset == Some("default") {
        names = all.iter().collect();
    }
    let wanted: Vec<String> = match split {
        "validation" | "val" | "dev" => ["validation", "val", "dev", "valid"]
            .map(str::to_owned)
            .to_vec(),
        "test" | "eval" => ["test", "eval", "testing"].map(str::to_owned).to_vec(),
        "train" => ["train", "training"].map(str::to_owned).to_vec(),
        other => vec![other.to_lowercase()],
    };
    let mut chosen: Vec<&String> = names
        .iter()
        .filter(|name| words(name).iter().any(|word| wanted.contains(word)))
        .copied()
        .collect();
    if chosen.is_empty() && split == "train" {
        // Files without a split in their names are all training data.
        let others = ["test", "validation", "val", "dev", "eval"];
        chosen = names
            .into_iter()
            .filter(|name| {
                !words(name)
                    .iter()
                    .any(|word| others.contains(&word.as_str()))
            })
            .collect();
    }
    let any_parquet = chosen.iter().any(|name| name.ends_with(".parquet"));
    chosen
        .into_iter()
        .filter(|name| !any_parquet || name.ends_with(".parquet"))
        .cloned()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_chosen_by_subset_and_split() {
        let all: Vec<String> = [
            "main/test-00000-of-00001.parquet",
            "main/train-00000-of-00001.parquet",
            "socratic/test-00000-of-00001.parquet",
            "notes.json",
        ]
        .map(str::to_owned)
        .to_vec();
        assert_eq!(
            choose(&all, Some("main"), "test"),
            ["main/test-00000-of-00001.parquet"]
        );
        assert_eq!(choose(&all, None, "test").len(), 2);
        assert!(choose(&all, Some("main"), "validation").is_empty());
        assert_eq!(
            choose(&["ShareGPT_V3.json".to_owned()], None, "train"),
            ["ShareGPT_V3.json"]
        );
        assert_eq!(choose(&["mmstar.parquet".to_owned()], None, "val").len(), 0);
        assert_eq!(
            choose(&["data/val.parquet".to_owned()], None, "validation").len(),
            1
        );
    }
}
