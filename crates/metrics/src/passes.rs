//! Several passes over the same records.

use inferometer_core::{Record, Records};

use crate::quantiles::PASSES;

/// Something that sees every record [`PASSES`] times.
pub(crate) trait Collector {
    /// Shows one record in pass `pass`, counted from 0.
    fn visit(&mut self, pass: usize, record: &Record);
    /// Ends pass `pass`.
    fn end_pass(&mut self, pass: usize);
}

/// Shows all records to all collectors, so that a log on disk is read once per pass, however many
/// results are wanted.
pub(crate) fn run(records: &dyn Records, collectors: &mut [&mut dyn Collector]) {
    for pass in 0..PASSES {
        records.visit(&mut |record| {
            for collector in &mut *collectors {
                collector.visit(pass, record);
            }
        });
        for collector in &mut *collectors {
            collector.end_pass(pass);
        }
    }
}
