//! A gate's question, from its file and its flags, and the file that counts its looks.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use inferometer_decide::{
    Asked, DecisionFile, Gate, GateError, GateFile, Groups, Looks, Values, gate,
};
use inferometer_os::files::{self, SMALL_FILE};
use inferometer_report::chart::{Figure, to_png};
use inferometer_results::write_in_folder;

use crate::error::{Error, OrError};

/// What is judged of two servers unless metrics are named: what users wait, and what the server does for them. E2EL counts
/// from the due instant where there is one.
const CONTRASTED: [&str; 5] = [
    "mean_ttft_ms",
    "mean_tpot_ms",
    "extras.response.e2el_ms.mean",
    "extras.service.e2el_ms.mean",
    "output_throughput",
];

/// The few metrics that stand for the whole, of those that all runs have.
pub fn contrasted(groups: &Groups) -> Vec<String> {
    let shared = groups.metrics();
    let names = CONTRASTED.map(str::to_owned).into_iter();
    names.filter(|name| shared.contains(name)).collect()
}

/// The values of these metrics in all runs. A change up to `margin_percent` does not matter.
///
/// # Errors
///
/// A usage error when a run lacks a metric, or the margin cannot be tested.
pub fn metric_values(
    groups: &Groups,
    metrics: &[String],
    margin_percent: f64,
) -> Result<Vec<Values>, Error> {
    let asked = metrics.iter().map(|name| Asked::new(name, margin_percent));
    groups
        .values(&asked.collect::<Result<Vec<_>, _>>().or_usage()?)
        .or_usage()
}

/// What a gate asks of two groups of runs.
#[derive(Clone, Debug)]
pub struct Question {
    asked: Vec<Asked>,
    /// The runs are pairs.
    pub paired: bool,
    /// Settings that the groups need not share.
    pub may_differ: Vec<String>,
    decisions: Option<PathBuf>,
    max_runs: Option<usize>,
}

impl Question {
    /// The question in the file at `config`, if there is one, and in `max_regression` (METRIC=PERCENT), which wins. With
    /// a file for `decisions`, looks are counted there; the last one is at `max_runs`.
    ///
    /// # Errors
    ///
    /// A usage error when the file or a margin is invalid, or no metric is named.
    pub fn new(
        config: Option<&Path>,
        max_regression: &[String],
        decisions: Option<PathBuf>,
        max_runs: Option<usize>,
    ) -> Result<Self, Error> {
        let file = match config {
            Some(path) => read(path, |text| toml::from_str(text))?,
            None => GateFile::default(),
        };
        let mut asked: Vec<Asked> = Vec::new();
        let of_file = file
            .max_regression
            .iter()
            .map(|(metric, percent)| Asked::new(metric, *percent));
        for one in of_file.chain(max_regression.iter().map(|text| Asked::parse(text))) {
            let one = one.or_usage()?;
            asked.retain(|earlier| earlier.metric != one.metric);
            asked.push(one);
        }
        if asked.is_empty() {
            return Err(GateError::NoMetric).or_usage();
        }
        Ok(Self {
            asked,
            paired: file.paired,
            may_differ: file.may_differ,
            decisions,
            max_runs,
        })
    }

    /// The answer; the look is written into the file of decisions.
    ///
    /// # Errors
    ///
    /// A usage error when a run lacks a metric, or the file of decisions cannot be read or asks something else; a
    /// failure when it cannot be written.
    pub fn judge(&self, groups: &Groups) -> Result<Gate, Error> {
        let values = groups.values(&self.asked).or_usage()?;
        let Some(path) = &self.decisions else {
            return Ok(
                gate(&values, groups.design, &Looks::single(groups.replicates()))
                    .unless_more_fail(groups),
            );
        };
        let earlier = path
            .exists()
            .then(|| read(path, |text| serde_json::from_str(text)))
            .transpose()?;
        let looks =
            DecisionFile::looks(earlier.as_ref(), &self.asked, self.max_runs, groups).or_usage()?;
        let found = gate(&values, groups.design, &looks).unless_more_fail(groups);
        let file = DecisionFile::after(&looks, earlier, &self.asked, groups, found.decision);
        write_in_folder(path, &serde_json::to_vec_pretty(&file).or_failure()?).or_failure()?;
        Ok(found)
    }
}

/// Reads a small file; what is wrong with it is said with its name.
fn read<T, E>(path: &Path, parse: impl Fn(&str) -> Result<T, E>) -> Result<T, Error>
where
    E: std::error::Error + Send + Sync + 'static,
{
    let named = |error: Error| error.context(&path.display().to_string());
    let text = files::text(path, SMALL_FILE).or_usage().map_err(named)?;
    parse(&text).or_usage().map_err(named)
}

/// The files and folders of these names; a name that does not exist is a pattern with `*`, `?`, `[…]` and `**`.
///
/// # Errors
///
/// A usage error when a pattern is invalid, or nothing has such a name.
pub fn named_paths(patterns: &[String]) -> Result<Vec<PathBuf>, Error> {
    let mut paths: Vec<PathBuf> = Vec::new();
    for pattern in patterns {
        let before = paths.len();
        if Path::new(pattern).exists() {
            paths.push(pattern.into());
        } else {
            paths.extend(glob::glob(pattern).or_usage()?.filter_map(Result::ok));
        }
        if paths.len() == before {
            return Err(Error::usage(format!(
                "{pattern}: no file or folder has this name"
            )));
        }
    }
    Ok(paths)
}

/// Draws a figure into `path`, in the form of its ending.
///
/// # Errors
///
/// A usage error for another ending than `.png` and `.svg`; a failure when the file cannot be written.
pub fn draw_figure(figure: &Figure, path: &Path) -> Result<(), Error> {
    let svg = figure.to_svg();
    let bytes = match path.extension().and_then(OsStr::to_str) {
        Some("svg") => svg.into_bytes(),
        Some("png") => to_png(&svg, 1.0).or_failure()?,
        _ => {
            return Err(Error::usage(format!(
                "--figure {}: expected a name that ends in .png or .svg",
                path.display()
            )));
        }
    };
    write_in_folder(path, &bytes).or_failure()
}
