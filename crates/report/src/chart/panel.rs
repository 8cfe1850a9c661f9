//! One panel: axes, grid, marks, direct labels.

use std::fmt::Write as _;

use super::axis::{Axis, Placed, Scale};
use super::fonts::{fitted, text_width};
use super::marks::{Bar, Heat, Line, Mark, Marker, Points};
use super::svg::{Anchor, Svg, TextStyle, number};
use super::theme;

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

/// The plot's rectangle and its axes.
struct Frame {
    left: f64,
    top: f64,
    width: f64,
    height: f64,
    x: Placed,
    y: Placed,
    /// Room for labels to the right of the plot.
    label_room: f64,
}

impl Frame {
    fn at(&self, x: f64, y: f64) -> Option<(f64, f64)> {
        Some((self.px(x)?, self.py(y)?))
    }

    fn px(&self, x: f64) -> Option<f64> {
        Some(self.left + self.x.place(x)? * self.width)
    }

    fn py(&self, y: f64) -> Option<f64> {
        Some(self.top + (1.0 - self.y.place(y)?) * self.height)
    }

    fn bottom(&self) -> f64 {
        self.top + self.height
    }
}

const TITLE_BAND: f64 = 36.0;
const SECOND_LINE: f64 = 17.0;
const AXIS_TITLE_BAND: f64 = 26.0;

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
        xs.is_empty()
            && !self
                .marks
                .iter()
                .any(|mark| matches!(mark, Mark::Heat(cells) if !cells.is_empty()))
    }

    pub(crate) fn draw(
        &self,
        svg: &mut Svg,
        (left, top, width, height): (f64, f64, f64, f64),
        id: &str,
    ) {
        let title = TextStyle::new(theme::PANEL_TITLE_SIZE, theme::INK, Anchor::Start).bold();
        svg.text((left, top + 14.0), &self.title, title);
        let (mut xs, mut ys) = (Vec::new(), Vec::new());
        self.marks
            .iter()
            .for_each(|mark| mark.extents(&mut xs, &mut ys));
        let heat = self
            .marks
            .iter()
            .any(|mark| matches!(mark, Mark::Heat(cells) if !cells.is_empty()));
        if xs.is_empty() && !heat {
            let middle = (left + width / 2.0, top + height / 2.0);
            svg.rect(
                (left, top + TITLE_BAND, width, height - TITLE_BAND),
                "#f7f8fa",
                "rx=\"6\"",
            );
            svg.text(
                middle,
                &self.empty,
                TextStyle::new(theme::LABEL_SIZE, theme::SOFT, Anchor::Middle),
            );
            return;
        }
        let frame = self.frame((left, top, width, height), &xs, &ys);
        self.draw_axes(svg, &frame, left, heat);
        svg.clip_group(
            id,
            (
                frame.left - 8.0,
                frame.top - 8.0,
                frame.width + 16.0,
                frame.height + 16.0,
            ),
        );
        for mark in &self.marks {
            draw_mark(svg, &frame, mark);
        }
        svg.end_group();
        self.draw_end_labels(svg, &frame);
        for mark in &self.marks {
            draw_reference_text(svg, &frame, mark);
        }
    }

    fn frame(
        &self,
        (left, top, width, height): (f64, f64, f64, f64),
        xs: &[f64],
        ys: &[f64],
    ) -> Frame {
        let bars = self.marks.iter().any(|mark| matches!(mark, Mark::Bars(_)));
        let x_pad = if bars || self.x.scale == Scale::Linear {
            0.0
        } else {
            0.04
        };
        let x = Placed::new(&self.x, xs, x_pad);
        let y = Placed::new(&self.y, ys, 0.04);
        let widest = |placed: &Placed| {
            placed
                .ticks
                .iter()
                .map(|(_, label)| text_width(label, theme::TICK_SIZE))
                .fold(0.0, f64::max)
        };
        let y_title = if self.y.title.is_empty() {
            0.0
        } else {
            AXIS_TITLE_BAND
        };
        let margin_left = y_title + widest(&y) + 12.0;
        let margin_right = self
            .end_labels()
            .map(|(_, label, _)| text_width(label, theme::LABEL_SIZE) * 1.04 + 16.0)
            .fold(10.0, f64::max)
            .min(width * 0.34);
        let margin_bottom = 24.0
            + second_line(&x)
            + if self.x.title.is_empty() {
                0.0
            } else {
                AXIS_TITLE_BAND
            };
        Frame {
            left: left + margin_left,
            top: top + TITLE_BAND,
            width: width - margin_left - margin_right,
            height: height - TITLE_BAND - margin_bottom,
            x,
            y,
            label_room: margin_right,
        }
    }

    fn draw_axes(&self, svg: &mut Svg, frame: &Frame, left: f64, heat: bool) {
        let tick = TextStyle::new(theme::TICK_SIZE, theme::SOFT, Anchor::End);
        let right = frame.left + frame.width;
        let y_categories = matches!(self.y.scale, Scale::Categories(_));
        for (value, label) in &frame.y.ticks {
            let Some(y) = frame
                .py(*value)
                .filter(|y| *y > frame.top - 1.0 && *y < frame.bottom() + 1.0)
            else {
                continue;
            };
            if !heat && !y_categories {
                svg.line((frame.left, y), (right, y), theme::GRID, 1.0, "");
            }
            svg.text((frame.left - 9.0, y + 4.5), label, tick);
        }
        let x_categories = matches!(self.x.scale, Scale::Categories(_));
        let mut free_from = f64::NEG_INFINITY;
        for (value, label) in &frame.x.ticks {
            let Some(x) = frame
                .px(*value)
                .filter(|x| *x > frame.left - 1.0 && *x < right + 1.0)
            else {
                continue;
            };
            let (label, second) = label.split_once('\n').unwrap_or((label, ""));
            let half = text_width(label, theme::TICK_SIZE) / 2.0;
            let style = TextStyle {
                anchor: Anchor::Middle,
                ..tick
            };
            svg.text_if(
                (x, frame.bottom() + 20.0 + SECOND_LINE),
                second,
                TextStyle {
                    color: theme::INK,
                    ..style
                },
            );
            if !x_categories {
                svg.line(
                    (x, frame.bottom()),
                    (x, frame.bottom() + 5.0),
                    theme::AXIS,
                    1.0,
                    "",
                );
            }
            // A label that would run into its neighbour is left out; its tick stays.
            if x - half < free_from {
                continue;
            }
            free_from = x + half + 8.0;
            svg.text((x, frame.bottom() + 20.0), label, style);
        }
        if !heat {
            svg.line(
                (frame.left, frame.bottom()),
                (right, frame.bottom()),
                theme::AXIS,
                1.2,
                "",
            );
        }
        let label = TextStyle::new(theme::LABEL_SIZE, theme::INK, Anchor::Middle);
        let below = frame.bottom() + 44.0 + second_line(&frame.x);
        svg.text(
            (frame.left + frame.width / 2.0, below),
            &self.x.title,
            label,
        );
        if !self.y.title.is_empty() {
            let style = TextStyle {
                rotate: -90.0,
                ..label
            };
            svg.text(
                (left + 12.0, frame.top + frame.height / 2.0),
                &self.y.title,
                style,
            );
        }
    }

    /// Lines with a text at their end: (last point, text, colour).
    fn end_labels(&self) -> impl Iterator<Item = ((f64, f64), &str, &str)> {
        self.marks.iter().filter_map(|mark| match mark {
            Mark::Line(line) => Some((
                *line.points.last()?,
                line.label.as_deref()?,
                line.color.as_str(),
            )),
            _ => None,
        })
    }

    /// Writes the labels at the line ends, moved apart where they would overlap.
    fn draw_end_labels(&self, svg: &mut Svg, frame: &Frame) {
        const PITCH: f64 = 17.0;
        let mut labels: Vec<(f64, f64, &str, &str)> = self
            .end_labels()
            .filter_map(|((x, y), text, color)| {
                frame.at(x, y).map(|(px, py)| (py, px, text, color))
            })
            .collect();
        labels.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut places: Vec<f64> = labels.iter().map(|label| label.0).collect();
        spread(&mut places, PITCH, frame.top + 2.0, frame.bottom());
        let edge = frame.left + frame.width + 2.0;
        for ((from_y, from_x, text, color), y) in labels.iter().zip(places) {
            let x = (from_x + 11.0).max(edge);
            // A line that ends early is joined to its label.
            if x - from_x > 30.0 {
                let _ = writeln!(
                    svg.body,
                    "<path d=\"M{} {}L{} {}\" stroke=\"{color}\" stroke-opacity=\"0.35\" stroke-width=\"1\" fill=\"none\"/>",
                    number(from_x + 8.0),
                    number(*from_y),
                    number(x - 3.0),
                    number(y)
                );
            }
            let text = fitted(text, theme::LABEL_SIZE, frame.label_room - (x - edge));
            let style = TextStyle::new(theme::LABEL_SIZE, color, Anchor::Start)
                .bold()
                .halo();
            svg.text((x, y + 5.0), &text, style);
        }
    }
}

/// Room for a second line of tick labels.
fn second_line(placed: &Placed) -> f64 {
    if placed.ticks.iter().any(|(_, label)| label.contains('\n')) {
        SECOND_LINE
    } else {
        0.0
    }
}

/// Moves ascending places apart to at least `pitch`, within `low` and `high`.
fn spread(places: &mut [f64], pitch: f64, low: f64, high: f64) {
    // Pushing down, then up, settles after few rounds for the handful of labels of a panel.
    for _ in 0..8 {
        for i in 1..places.len() {
            let overlap = pitch - (places[i] - places[i - 1]);
            if overlap > 0.0 {
                places[i - 1] -= overlap / 2.0;
                places[i] += overlap / 2.0;
            }
        }
        if let Some(first) = places.first_mut() {
            *first = first.max(low);
        }
        for i in 1..places.len() {
            places[i] = places[i].max(places[i - 1] + pitch);
        }
        let count = places.len();
        if let Some(last) = places.last_mut() {
            *last = last.min(high);
        }
        for i in (1..count).rev() {
            places[i - 1] = places[i - 1].min(places[i] - pitch);
        }
    }
}

fn draw_mark(svg: &mut Svg, frame: &Frame, mark: &Mark) {
    match mark {
        Mark::Line(line) => draw_line(svg, frame, line),
        Mark::Points(points) => draw_points(svg, frame, points),
        Mark::Bars(bars) => bars.iter().for_each(|bar| draw_bar(svg, frame, bar)),
        Mark::Heat(cells) => cells.iter().for_each(|cell| draw_cell(svg, frame, cell)),
        Mark::Vertical(value, _) => {
            if let Some(x) = frame.px(*value) {
                svg.line((x, frame.top), (x, frame.bottom()), theme::SOFT, 1.2, "5 4");
            }
        }
        Mark::Horizontal(value, _) => {
            if let Some(y) = frame.py(*value) {
                svg.line(
                    (frame.left, y),
                    (frame.left + frame.width, y),
                    theme::SOFT,
                    1.2,
                    "5 4",
                );
            }
        }
        Mark::Label(_) => {}
    }
}

fn draw_reference_text(svg: &mut Svg, frame: &Frame, mark: &Mark) {
    let style = TextStyle::new(theme::TICK_SIZE, theme::SOFT, Anchor::Start).halo();
    match mark {
        Mark::Vertical(value, text) => {
            if let Some(x) = frame.px(*value) {
                svg.text((x + 5.0, frame.top + 12.0), text, style);
            }
        }
        Mark::Horizontal(value, text) => {
            if let Some(y) = frame.py(*value) {
                svg.text((frame.left + 6.0, y - 6.0), text, style);
            }
        }
        Mark::Label(label) => {
            if let Some((x, y)) = frame.at(label.at.0, label.at.1) {
                svg.text(
                    (x + 9.0, y - 9.0),
                    &label.text,
                    TextStyle {
                        color: &label.color,
                        ..style
                    },
                );
            }
        }
        _ => {}
    }
}

fn draw_line(svg: &mut Svg, frame: &Frame, line: &Line) {
    let upper = line
        .band
        .iter()
        .filter_map(|&(x, _, high)| frame.at(x, high));
    let lower = line
        .band
        .iter()
        .rev()
        .filter_map(|&(x, low, _)| frame.at(x, low));
    let outline: Vec<_> = upper.chain(lower).collect();
    svg.path(
        &outline,
        true,
        &format!("fill=\"{}\" fill-opacity=\"0.14\"", line.color),
    );
    for &(x, low, high) in &line.intervals {
        if let (Some((px, top)), Some((_, bottom))) = (frame.at(x, high), frame.at(x, low)) {
            svg.line((px, top), (px, bottom), &line.color, 1.4, "");
            svg.line((px - 5.0, top), (px + 5.0, top), &line.color, 1.4, "");
            svg.line((px - 5.0, bottom), (px + 5.0, bottom), &line.color, 1.4, "");
        }
    }
    let mut path: Vec<(f64, f64)> = Vec::with_capacity(line.points.len());
    for (x, y) in line.points.iter().filter_map(|&(x, y)| frame.at(x, y)) {
        if line.step
            && let Some(&(_, before)) = path.last()
        {
            path.push((x, before));
        }
        path.push((x, y));
    }
    if line.width > 0.0 {
        let mut attributes = format!(
            "fill=\"none\" stroke=\"{}\" stroke-width=\"{}\" stroke-linejoin=\"round\" stroke-linecap=\"round\"",
            line.color,
            number(line.width)
        );
        if !line.dash.is_empty() {
            let _ = write!(attributes, " stroke-dasharray=\"{}\"", line.dash);
        }
        svg.path(&path, false, &attributes);
    }
    for (position, place) in line.points.iter().enumerate() {
        let Some(place) = frame.at(place.0, place.1) else {
            continue;
        };
        if line.suspect.contains(&position) {
            draw_marker(svg, place, Marker::Cross, 6.0, theme::ALARM);
        } else if let Some(marker) = line.marker {
            draw_marker(svg, place, marker, 5.0, &line.color);
        }
    }
}

fn draw_points(svg: &mut Svg, frame: &Frame, points: &Points) {
    for (x, y) in points.points.iter().filter_map(|&(x, y)| frame.at(x, y)) {
        let _ = writeln!(
            svg.body,
            "<circle cx=\"{}\" cy=\"{}\" r=\"{}\" fill=\"{}\" fill-opacity=\"{}\"/>",
            number(x),
            number(y),
            number(points.radius),
            points.color,
            number(points.opacity)
        );
    }
}

fn draw_bar(svg: &mut Svg, frame: &Frame, bar: &Bar) {
    let (Some(left), Some(right)) = (frame.px(bar.x.0), frame.px(bar.x.1)) else {
        return;
    };
    let Some(top) = frame.py(bar.y.1) else { return };
    // On a logarithmic axis a bar from zero starts at the frame.
    let bottom = frame.py(bar.y.0).unwrap_or_else(|| frame.bottom());
    svg.rect((left, top, right - left, bottom - top), &bar.color, "");
    if let Some(label) = &bar.label {
        let style = TextStyle::new(12.0, theme::SOFT, Anchor::Middle);
        svg.text((f64::midpoint(left, right), top - 5.0), label, style);
    }
}

fn draw_cell(svg: &mut Svg, frame: &Frame, cell: &Heat) {
    let (column, row) = (cell.at.0 as f64, cell.at.1 as f64);
    let (Some((left, bottom)), Some((right, top))) = (
        frame.at(column - 0.5, row - 0.5),
        frame.at(column + 0.5, row + 0.5),
    ) else {
        return;
    };
    let (fill, white) = theme::ramp(cell.share);
    svg.rect(
        (
            left + 1.0,
            top + 1.0,
            right - left - 2.0,
            bottom - top - 2.0,
        ),
        &fill,
        "rx=\"3\"",
    );
    let color = if white { "#ffffff" } else { theme::INK };
    let middle = (f64::midpoint(left, right), f64::midpoint(top, bottom));
    let size = theme::LABEL_SIZE
        .min((right - left - 6.0) * theme::LABEL_SIZE / text_width(&cell.text, theme::LABEL_SIZE));
    if size >= 8.0 {
        svg.text(
            (middle.0, middle.1 + size * 0.36),
            &cell.text,
            TextStyle::new(size, color, Anchor::Middle),
        );
    }
    if cell.suspect {
        draw_marker(svg, (right - 11.0, top + 11.0), Marker::Cross, 5.0, color);
    }
}

/// Draws `marker` of about `radius` around a place.
pub(crate) fn draw_marker(
    svg: &mut Svg,
    (x, y): (f64, f64),
    marker: Marker,
    radius: f64,
    color: &str,
) {
    let r = radius;
    let outline = format!(
        "fill=\"{color}\" stroke=\"{}\" stroke-width=\"1.2\"",
        theme::PAPER
    );
    match marker {
        Marker::Circle => {
            let _ = writeln!(
                svg.body,
                "<circle cx=\"{}\" cy=\"{}\" r=\"{}\" {outline}/>",
                number(x),
                number(y),
                number(r)
            );
        }
        Marker::Square => {
            let s = r * 0.9;
            svg.path(
                &[
                    (x - s, y - s),
                    (x + s, y - s),
                    (x + s, y + s),
                    (x - s, y + s),
                ],
                true,
                &outline,
            );
        }
        Marker::Triangle => {
            svg.path(
                &[
                    (x, y - r * 1.15),
                    (x + r, y + r * 0.8),
                    (x - r, y + r * 0.8),
                ],
                true,
                &outline,
            );
        }
        Marker::Down => {
            svg.path(
                &[
                    (x, y + r * 1.15),
                    (x + r, y - r * 0.8),
                    (x - r, y - r * 0.8),
                ],
                true,
                &outline,
            );
        }
        Marker::Diamond => {
            let s = r * 1.2;
            svg.path(
                &[(x, y - s), (x + s, y), (x, y + s), (x - s, y)],
                true,
                &outline,
            );
        }
        Marker::Cross => {
            let s = r * 0.8;
            svg.line((x - s, y - s), (x + s, y + s), color, 2.4, "");
            svg.line((x - s, y + s), (x + s, y - s), color, 2.4, "");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_move_apart_but_stay_inside() {
        let mut places = vec![10.0, 11.0, 12.0, 100.0];
        spread(&mut places, 17.0, 0.0, 105.0);
        assert!(
            places.windows(2).all(|pair| pair[1] - pair[0] >= 16.9),
            "{places:?}"
        );
        assert!(places[0] >= -0.1 && places[3] <= 105.1, "{places:?}");
    }
}
