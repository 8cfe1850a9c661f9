//! A small chart writer: axes (linear, logarithmic, categories), lines with bands and intervals,
//! points, steps, bars and heat maps, laid out as panels of a figure, written as SVG and drawn to
//! PNG.
//!
//! It is our own so that the same data gives the same bytes on every machine: coordinates are
//! rounded to a hundredth of a pixel, label widths come from a table and not from fonts that happen
//! to be installed, and PNG is drawn with the embedded font alone. So the tests compare whole
//! figures with text snapshots (`tests/snapshots/figures__*.snap`), and Chinese texts are drawn on
//! a machine that has no Chinese font. The figures also need what is particular to them: crosses on
//! runs that must not be trusted, intervals and bands at each level, labels at the line ends that
//! make room for one another. All of it needs one dependency, `resvg`, to turn SVG into PNG.

mod axis;
mod axis_lines;
mod draw;
mod figure;
mod fonts;
mod frame;
mod geometry;
mod labels;
mod layout;
mod marks;
mod panel;
mod png;
mod svg;
pub(crate) mod theme;

pub use axis::{Axis, Scale};
pub use figure::{Figure, Key};
pub(crate) use fonts::fitted_apart;
pub use marks::{Bar, Heat, Interval, Label, Line, Mark, Marker, Points};
pub use panel::Panel;
pub use png::{PngError, to_png};
pub use svg::escape;
