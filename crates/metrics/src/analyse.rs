//! Summary and extras at once.

use inferometer_core::Records;

use crate::extras::ExtrasCollector;
use crate::passes::run;
use crate::summarise::SummaryCollector;
use crate::{Extras, MetricSettings, Summary};

/// [`summarise`](crate::summarise) and [`extras`](crate::extras) in the same three passes over the
/// records.
pub fn analyse(records: &dyn Records, settings: &MetricSettings) -> (Summary, Extras) {
    let mut summary = SummaryCollector::new(settings);
    let mut extras = ExtrasCollector::new(settings);
    run(records, &mut [&mut summary, &mut extras]);
    (summary.finish(), extras.finish())
}
