//! Runs sorted into series of levels, each with its repeats.

use inferometer_metrics::{Estimate, Metric};

use super::rows::{Run, Stat};
use crate::Lang;

/// Lines of a distribution or of a length panel that can still be distinguished.
pub(super) const MAX_LINES: usize = 6;

/// What varies from run to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Load {
    /// The concurrency cap.
    Concurrency,
    /// The request rate.
    Rate,
}

impl Load {
    /// The load that most of the runs vary; the cap wins a tie.
    pub(crate) fn of(runs: &[Run]) -> Self {
        let levels = |load: Self| {
            let mut values: Vec<u64> = runs
                .iter()
                .filter_map(|r| load.value(r))
                .map(f64::to_bits)
                .collect();
            values.sort_unstable();
            values.dedup();
            values.len()
        };
        if levels(Self::Rate) > levels(Self::Concurrency) {
            Self::Rate
        } else {
            Self::Concurrency
        }
    }

    pub(crate) fn value(self, run: &Run) -> Option<f64> {
        match self {
            Self::Concurrency => run.concurrency,
            Self::Rate => run.rate,
        }
    }

    pub(crate) fn title(self, lang: Lang) -> &'static str {
        match self {
            Self::Concurrency => lang.pick("Concurrency cap (requests)", "并发上限（请求数）"),
            Self::Rate => lang.pick("Request rate (requests/s)", "请求速率（请求/秒）"),
        }
    }

    pub(crate) fn short(self, lang: Lang) -> &'static str {
        match self {
            Self::Concurrency => lang.pick("concurrency", "并发"),
            Self::Rate => lang.pick("rate", "速率"),
        }
    }
}

/// Repeats of one setting.
#[derive(Clone, Debug)]
pub(crate) struct Level<'a> {
    /// The load.
    pub(crate) load: f64,
    /// The runs at it.
    pub(crate) runs: Vec<&'a Run>,
}

/// One setting (without the load), with its levels in ascending order.
#[derive(Clone, Debug)]
pub(crate) struct Series<'a> {
    /// What distinguishes it from the others.
    pub(crate) name: String,
    /// Input and output tokens, where fixed.
    pub(crate) lens: (Option<f64>, Option<f64>),
    /// Levels by load.
    pub(crate) levels: Vec<Level<'a>>,
}

/// Mean and interval of a value over the runs that are data: with answers, and not INVALID; of runs
/// none of which is, over all.
pub(crate) fn fold<'r>(
    runs: impl Iterator<Item = &'r Run> + Clone,
    value: impl Fn(&Run) -> Option<f64>,
) -> Option<Estimate> {
    let any = runs.clone().any(Run::is_sound);
    let used = runs.filter(|run| !any || run.is_sound());
    let values: Vec<f64> = used.filter_map(value).collect();
    Estimate::of(&values)
}

/// How far a level can be trusted, for its mark in a figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Trust {
    /// Nothing speaks against its runs.
    Sound,
    /// A run among those that are used is CAUTION.
    Caution,
    /// Every run with answers is INVALID: shown with a cross, joined to nothing, used for nothing.
    Suspect,
}

impl Level<'_> {
    /// The runs that means and ratings use: with answers, and not INVALID.
    pub(crate) fn sound(&self) -> impl Iterator<Item = &Run> {
        self.runs.iter().copied().filter(|run| run.is_sound())
    }

    /// Mean and interval of a value over the repeats: over the sound ones, or, of a level without
    /// any, over the INVALID ones.
    pub(crate) fn fold(&self, value: impl Fn(&Run) -> Option<f64>) -> Option<Estimate> {
        fold(self.runs.iter().copied(), value)
    }

    pub(crate) fn latency(&self, metric: Metric, stat: Stat) -> Option<Estimate> {
        self.fold(|run| run.latency(metric, stat))
    }

    pub(crate) fn number(&self, key: &str) -> Option<Estimate> {
        self.fold(|run| run.measured(key))
    }

    /// True when no run is data.
    pub(crate) fn is_suspect(&self) -> bool {
        self.sound().next().is_none()
    }

    pub(crate) fn trust(&self) -> Trust {
        if self.is_suspect() {
            Trust::Suspect
        } else if self.sound().any(Run::is_caution) {
            Trust::Caution
        } else {
            Trust::Sound
        }
    }

    /// True when a sound run has fewer answers than `percentile` needs.
    pub(crate) fn is_below_floor(&self, percentile: f64) -> bool {
        self.sound().any(|run| run.is_below_floor(percentile))
    }
}

/// Sorts runs with a load into series. Order is by lengths, then name, so that it does not depend
/// on the order of files.
pub(crate) fn series(runs: &[Run], load: Load, lang: Lang) -> Vec<Series<'_>> {
    let about = metadata_keys(runs);
    let mut keyed: Vec<(Vec<String>, &Run, f64)> = runs
        .iter()
        .filter_map(|run| Some((identity(run, load, &about, lang), run, load.value(run)?)))
        .collect();
    keyed.sort_by(|a, b| {
        let lens = |run: &Run| {
            (
                run.input_len.unwrap_or(f64::MAX),
                run.output_len.unwrap_or(f64::MAX),
            )
        };
        let ((ai, ao), (bi, bo)) = (lens(a.1), lens(b.1));
        ai.total_cmp(&bi)
            .then(ao.total_cmp(&bo))
            .then_with(|| a.0.cmp(&b.0))
            .then(a.2.total_cmp(&b.2))
            .then_with(|| a.1.name.cmp(&b.1.name))
    });
    let varying: Vec<bool> = (0..keyed.first().map_or(0, |key| key.0.len()))
        .map(|part| keyed.iter().any(|key| key.0[part] != keyed[0].0[part]))
        .collect();
    let mut found: Vec<(Vec<String>, Series<'_>)> = Vec::new();
    for (key, run, at) in keyed {
        if found.last().is_none_or(|(last, _)| *last != key) {
            let parts: Vec<&str> = key
                .iter()
                .zip(&varying)
                .filter(|(part, varies)| **varies && !part.is_empty())
                .map(|(part, _)| part.as_str())
                .collect();
            let name = if parts.is_empty() {
                key[0].clone()
            } else {
                parts.join(", ")
            };
            found.push((
                key,
                Series {
                    name,
                    lens: (run.input_len, run.output_len),
                    levels: Vec::new(),
                },
            ));
        }
        let Some((_, current)) = found.last_mut() else {
            continue;
        };
        match current.levels.last_mut().filter(|level| level.load == at) {
            Some(level) => level.runs.push(run),
            None => current.levels.push(Level {
                load: at,
                runs: vec![run],
            }),
        }
    }
    found.into_iter().map(|(_, series)| series).collect()
}

/// Series that a static figure draws at most: there are eight colours and five shapes.
pub(crate) const DRAWN: usize = 8;

/// The series that a static figure draws: those with the most levels, in their order.
pub(crate) fn drawn(mut all: Vec<Series<'_>>) -> Vec<Series<'_>> {
    if all.len() > DRAWN {
        let mut sizes: Vec<(usize, usize)> = all
            .iter()
            .enumerate()
            .map(|(i, one)| (one.levels.len(), i))
            .collect();
        sizes.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
        sizes.truncate(DRAWN);
        let mut position = 0;
        all.retain(|_| {
            position += 1;
            sizes.iter().any(|(_, kept)| *kept == position - 1)
        });
    }
    all
}

/// At most `most` of the items, evenly spaced, the first and the last among them.
pub(crate) fn thinned<T>(items: Vec<T>, most: usize) -> Vec<T> {
    if items.len() <= most {
        return items;
    }
    let last = items.len() - 1;
    let kept: Vec<usize> = (0..most).map(|i| i * last / (most - 1)).collect();
    let numbered = items.into_iter().enumerate();
    numbered
        .filter(|(position, _)| kept.contains(position))
        .map(|(_, item)| item)
        .collect()
}

/// Runs of one setting that differ in nothing but the input length.
pub(crate) struct Lengths<'a> {
    pub(crate) name: String,
    /// Levels by input length.
    pub(crate) levels: Vec<Level<'a>>,
}

/// Runs sorted by everything but the input length, with at least two input lengths each; by load,
/// then name.
pub(crate) fn by_input_length(runs: &[Run], lang: Lang) -> Vec<Lengths<'_>> {
    let about = metadata_keys(runs);
    let mut keyed: Vec<(f64, Vec<String>, f64, &Run)> = runs
        .iter()
        .filter_map(|run| {
            let mut key = identity(run, Load::Rate, &about, lang);
            key[0] = run
                .output_len
                .map(|output| format!("* → {output}"))
                .unwrap_or_default();
            key.push(
                run.rate
                    .map(|rate| format!("{rate} req/s"))
                    .unwrap_or_default(),
            );
            Some((
                run.concurrency.or(run.rate).unwrap_or(f64::MAX),
                key,
                run.input_len?,
                run,
            ))
        })
        .collect();
    keyed.sort_by(|a, b| {
        let names = || {
            a.1.cmp(&b.1)
                .then(a.2.total_cmp(&b.2))
                .then_with(|| a.3.name.cmp(&b.3.name))
        };
        a.0.total_cmp(&b.0).then_with(names)
    });
    let mut found: Vec<(Vec<String>, Vec<Level<'_>>)> = Vec::new();
    for (_, key, input, run) in keyed {
        if found.last().is_none_or(|(last, _)| *last != key) {
            found.push((key, Vec::new()));
        }
        let Some((_, levels)) = found.last_mut() else {
            continue;
        };
        match levels.last_mut().filter(|level| level.load == input) {
            Some(level) => level.runs.push(run),
            None => levels.push(Level {
                load: input,
                runs: vec![run],
            }),
        }
    }
    found.retain(|(_, levels)| levels.len() > 1);
    let varying: Vec<bool> = (0..found.first().map_or(0, |group| group.0.len()))
        .map(|part| found.iter().any(|group| group.0[part] != found[0].0[part]))
        .collect();
    found
        .into_iter()
        .map(|(key, levels)| {
            let parts = key
                .iter()
                .zip(&varying)
                .filter(|(part, varies)| **varies && !part.is_empty());
            Lengths {
                name: parts
                    .map(|(part, _)| part.as_str())
                    .collect::<Vec<_>>()
                    .join(", "),
                levels,
            }
        })
        .collect()
}

/// The metadata keys of any run, in order.
fn metadata_keys(runs: &[Run]) -> Vec<&str> {
    let mut keys: Vec<&str> = runs
        .iter()
        .flat_map(|run| run.metadata.keys().map(String::as_str))
        .collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}

/// The parts that distinguish a series: lengths, model, backend, label, the other load, and the
/// metadata, one part for each key of `about`.
fn identity(run: &Run, load: Load, about: &[&str], lang: Lang) -> Vec<String> {
    let other = match load {
        Load::Concurrency => run.rate.map(|rate| format!("{rate} req/s")),
        Load::Rate => run
            .concurrency
            .map(|cap| format!("{} {cap}", lang.pick("cap", "上限"))),
    };
    let metadata = about.iter().map(|key| {
        let value = run.metadata.get(*key);
        value.map_or_else(String::new, |value| format!("{key}={value}"))
    });
    [
        lens_name((run.input_len, run.output_len), lang),
        short_model(&run.model).to_owned(),
        run.backend.clone(),
        run.label.clone().unwrap_or_default(),
        run.place().unwrap_or_default().to_owned(),
        other.unwrap_or_default(),
    ]
    .into_iter()
    .chain(metadata)
    .collect()
}

/// "512 → 128", or words where lengths are not fixed.
pub(crate) fn lens_name(lens: (Option<f64>, Option<f64>), lang: Lang) -> String {
    match lens {
        (Some(input), Some(output)) => format!("{input} → {output}"),
        (Some(input), None) => format!("{input} → *"),
        (None, Some(output)) => format!("* → {output}"),
        (None, None) => lang.pick("mixed lengths", "混合长度").to_owned(),
    }
}

/// The last part of a model's name.
pub(crate) fn short_model(model: &str) -> &str {
    model
        .trim_end_matches('/')
        .rsplit('/')
        .next()
        .unwrap_or(model)
}

/// The distinct loads of all series, ascending.
pub(crate) fn loads(series: &[Series<'_>]) -> Vec<f64> {
    let mut values: Vec<f64> = series
        .iter()
        .flat_map(|s| s.levels.iter().map(|level| level.load))
        .collect();
    values.sort_by(f64::total_cmp);
    values.dedup();
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(level: &str, completed: u32, ttft: f64) -> Run {
        let row = serde_json::json!({
            "max_concurrency": 4, "completed": completed, "median_ttft_ms": ttft, "mean_ttft_ms": ttft,
            "inferometer": {"verdict": {"level": level, "reasons": []}},
        });
        crate::visualize::parse_rows(&[serde_json::from_value(row).unwrap()]).remove(0)
    }

    #[test]
    fn only_sound_runs_are_data() {
        let ttft = |runs: &[Run]| {
            let all = series(runs, Load::Concurrency, Lang::En);
            let level = &all[0].levels[0];
            let found = level.latency(Metric::Ttft, Stat::Median);
            (found.map(|found| (found.mean, found.n)), level.trust())
        };
        let invalid = run("INVALID", 9, 3358.0);
        let unanswered = run("VALID", 0, 0.0);
        let mixed = [
            run("VALID", 10, 20.0),
            run("CAUTION", 10, 22.0),
            invalid.clone(),
            unanswered.clone(),
        ];
        assert_eq!(ttft(&mixed), (Some((21.0, 2)), Trust::Caution));
        assert_eq!(
            ttft(&[invalid, unanswered.clone()]),
            (Some((3358.0, 1)), Trust::Suspect)
        );
        assert_eq!(ttft(&[unanswered]), (None, Trust::Suspect));
    }

    #[test]
    fn thinning_keeps_both_ends() {
        assert_eq!(thinned(vec![1, 2, 3], 6), [1, 2, 3]);
        assert_eq!(thinned((0..=10).collect(), 6), [0, 2, 4, 6, 8, 10]);
        assert_eq!(thinned((0..100).collect(), 6).last(), Some(&99));
    }
}
