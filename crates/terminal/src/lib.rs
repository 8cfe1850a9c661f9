//! What a terminal shows of a run or a sweep: lines, a progress bar, a live view of the whole
//! screen; and the signals that a terminal sends.
//!
//! Everything here reads snapshots and cannot slow a run. Results go to stdout, messages to stderr.

mod background;
mod live;
mod output;
mod progress;
mod signals;
mod sweep_view;
mod text;
mod tui;

pub use live::{LastUpdate, Live, LivePublisher, LiveSubscriber};
pub use output::{Hold, Output};
pub use progress::{PlainProgress, RunBar, SlowBar};
pub use signals::{Interrupts, count_interrupt, count_interrupts, on_interrupt};
pub use sweep_view::{Sources, SweepView};
pub use text::{align, histogram};
pub use tui::{Head, Tui};

/// How a run or a sweep in progress is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum View {
    /// Lines on stderr.
    #[default]
    Bar,
    /// Curves and percentiles on the whole terminal; without a terminal, the bar.
    FullScreen,
}
