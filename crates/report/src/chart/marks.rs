//! What a panel can show.

/// The shape of a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Marker {
    /// ●
    Circle,
    /// ■
    Square,
    /// ▲
    Triangle,
    /// ◆
    Diamond,
    /// ▼
    Down,
    /// A cross, for what must not be trusted.
    Cross,
}

impl Marker {
    /// A shape for series number `index`, so that series differ in more than colour.
    pub const fn of(index: usize) -> Self {
        match index % 5 {
            0 => Self::Circle,
            1 => Self::Square,
            2 => Self::Triangle,
            3 => Self::Diamond,
            _ => Self::Down,
        }
    }
}

/// A vertical interval, in data coordinates.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// Horizontal position.
    pub x: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// Points joined by a line, with an optional band and intervals.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Line {
    /// (x, y) in drawing order. The line has a gap at a point without a place on the axes, such as
    /// one that is not a number.
    pub points: Vec<(f64, f64)>,
    /// A shaded band, in drawing order, with a gap where an interval has no place on the axes.
    pub band: Vec<Interval>,
    /// Error bars.
    pub intervals: Vec<Interval>,
    /// Colour.
    pub color: String,
    /// Stroke width; 0 draws no line.
    pub width: f64,
    /// SVG dash pattern, empty for a solid line.
    pub dash: String,
    /// Shape at each point.
    pub marker: Option<Marker>,
    /// Positions in `points` that must not be trusted: marked by a cross, and joined to nothing.
    pub suspect: Vec<usize>,
    /// Positions in `points` to be read with care: their markers are hollow.
    pub open: Vec<usize>,
    /// Text at the line's end.
    pub label: Option<String>,
    /// Join points by steps (for cumulative distributions) instead of straight lines.
    pub step: bool,
}

/// Loose points.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Points {
    /// (x, y)
    pub points: Vec<(f64, f64)>,
    /// Colour.
    pub color: String,
    /// Radius in pixels.
    pub radius: f64,
    /// Opacity, 0 to 1.
    pub opacity: f64,
}

/// One rectangle of a bar chart or histogram, in data coordinates.
#[derive(Clone, Debug, PartialEq)]
pub struct Bar {
    /// Left and right end.
    pub x: (f64, f64),
    /// Lower and upper end.
    pub y: (f64, f64),
    /// Colour.
    pub color: String,
    /// Text on top.
    pub label: Option<String>,
}

/// One cell of a heat map on two category axes.
#[derive(Clone, Debug, PartialEq)]
pub struct Heat {
    /// Column and row.
    pub at: (usize, usize),
    /// Position on the colour scale, 0 to 1.
    pub shade: f64,
    /// Text in the cell.
    pub text: String,
    /// The run must not be trusted: marked by a cross.
    pub suspect: bool,
    /// The run is to be read with care: marked by a hollow circle.
    pub caution: bool,
}

/// A text at a place of the data.
#[derive(Clone, Debug, PartialEq)]
pub struct Label {
    /// Place.
    pub at: (f64, f64),
    /// Text.
    pub text: String,
    /// Colour.
    pub color: String,
}

/// One thing that a panel shows.
#[derive(Clone, Debug, PartialEq)]
pub enum Mark {
    /// A line with what belongs to it.
    Line(Line),
    /// Loose points.
    Points(Points),
    /// Bars.
    Bars(Vec<Bar>),
    /// A heat map.
    Heat(Vec<Heat>),
    /// A vertical reference line with its text.
    Vertical(f64, String),
    /// A horizontal reference line with its text.
    Horizontal(f64, String),
    /// A text.
    Label(Label),
}

impl Mark {
    /// All x and y values, to determine the axes. Reference lines and labels do not widen an axis.
    pub(crate) fn extents(&self, xs: &mut Vec<f64>, ys: &mut Vec<f64>) {
        match self {
            Self::Line(line) => {
                for &(x, y) in &line.points {
                    xs.push(x);
                    ys.push(y);
                }
                for &Interval { x, low, high } in line.band.iter().chain(&line.intervals) {
                    xs.push(x);
                    ys.extend([low, high]);
                }
            }
            Self::Points(points) => {
                for &(x, y) in &points.points {
                    xs.push(x);
                    ys.push(y);
                }
            }
            Self::Bars(bars) => {
                for bar in bars {
                    xs.extend([bar.x.0, bar.x.1]);
                    ys.extend([bar.y.0, bar.y.1]);
                }
            }
            Self::Heat(_) | Self::Vertical(..) | Self::Horizontal(..) | Self::Label(_) => {}
        }
    }
}
