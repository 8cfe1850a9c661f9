//! The place of a panel's plot, and of values in it.

use super::axis::Placed;
use super::geometry::Rect;

/// The plot's rectangle and its axes.
pub(super) struct Frame {
    pub(super) plot: Rect,
    pub(super) x: Placed,
    pub(super) y: Placed,
    /// Room for labels to the right of the plot.
    pub(super) label_room: f64,
}

impl Frame {
    /// The pixel of a value; `None` where an axis has no place for it.
    pub(super) fn at(&self, x: f64, y: f64) -> Option<(f64, f64)> {
        Some((self.px(x)?, self.py(y)?))
    }

    pub(super) fn px(&self, x: f64) -> Option<f64> {
        Some(self.plot.left + self.x.place(x)? * self.plot.width)
    }

    pub(super) fn py(&self, y: f64) -> Option<f64> {
        Some(self.plot.top + (1.0 - self.y.place(y)?) * self.plot.height)
    }
}
