//! One panel: title, axes and marks.

use super::axis::Axis;
use super::marks::Mark;

/// One chart of a figure.
#[derive(Clone, Debug, PartialEq)]
pub struct Panel {
    /// Title.
    pub title: String,
    /// Horizontal axis.
    pub x: Axis,
    /// Vertical axis.
    pub y: Axis,
    /// What is shown, the first at the bottom.
    pub marks: Vec<Mark>,
    /// Said instead of a chart when there is nothing to draw.
    pub empty: String,
}

impl Panel {
    /// A panel without marks yet.
    pub fn new(title: impl Into<String>, x: Axis, y: Axis) -> Self {
        Self {
            title: title.into(),
            x,
            y,
            marks: Vec::new(),
            empty: String::new(),
        }
    }

    /// True when there is nothing to draw.
    pub fn is_empty(&self) -> bool {
        let (mut xs, mut ys) = (Vec::new(), Vec::new());
        self.marks
            .iter()
            .for_each(|mark| mark.extents(&mut xs, &mut ys));
        xs.is_empty() && !self.has_heat()
    }

    /// True when a mark is a heat map with cells.
    pub(super) fn has_heat(&self) -> bool {
        self.marks
            .iter()
            .any(|mark| matches!(mark, Mark::Heat(cells) if !cells.is_empty()))
    }
}
