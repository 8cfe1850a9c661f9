//! A small chart writer: axes (linear, logarithmic, categories), lines with bands and intervals,
//! points, steps, bars and heat maps, laid out as panels of a figure, written as SVG and drawn to
//! PNG.
//!
//! Coordinates are rounded to a hundredth of a pixel and nothing depends on the machine's fonts, so
//! the same data always gives the same bytes.

mod axis;
mod figure;
mod fonts;
mod marks;
mod panel;
mod png;
mod svg;
pub(crate) mod theme;

pub use axis::{Axis, Scale};
pub use figure::{Figure, Key};
pub use marks::{Bar, Heat, Label, Line, Mark, Marker, Points};
pub use panel::Panel;
pub use png::{PngError, to_png};
pub use svg::escape;
