//! All numbers of a run at once.

use inferometer_core::Records;

use crate::extras::ExtrasCollector;
use crate::intervals::IntervalCollector;
use crate::passes::run;
use crate::summarise::SummaryCollector;
use crate::{Extras, Intervals, MetricSettings, Summary};

/// The numbers of a run and how precise they are.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Analysis {
    /// vLLM's numbers.
    pub summary: Summary,
    /// Those that vLLM does not have.
    pub extras: Extras,
    /// The intervals of both.
    pub intervals: Intervals,
}

/// [`summarise`](crate::summarise), [`extras`](crate::extras) and the intervals of their numbers, in the same three passes
/// over the records.
pub fn analyse(records: &dyn Records, settings: &MetricSettings) -> Analysis {
    let mut summary = SummaryCollector::new(settings);
    let mut extras = ExtrasCollector::new(settings);
    let mut intervals = IntervalCollector::new(settings);
    run(records, &mut [&mut summary, &mut extras, &mut intervals]);
    let (summary, extras) = (summary.finish(), extras.finish());
    let intervals = intervals.finish(&summary, &extras);
    Analysis {
        summary,
        extras,
        intervals,
    }
}
