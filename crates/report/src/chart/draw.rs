//! Marks as SVG.

use std::fmt::Write as _;

use super::fonts::text_width;
use super::frame::Frame;
use super::geometry::Rect;
use super::marks::{Bar, Heat, Interval, Line, Mark, Marker, Points};
use super::svg::{Anchor, Svg, TextStyle, number};
use super::theme;

/// Draws one mark into the plot; its texts come later, over all marks.
pub(super) fn draw_mark(svg: &mut Svg, frame: &Frame, mark: &Mark) {
    let plot = frame.plot;
    match mark {
        Mark::Line(line) => draw_line(svg, frame, line),
        Mark::Points(points) => draw_points(svg, frame, points),
        Mark::Bars(bars) => bars.iter().for_each(|bar| draw_bar(svg, frame, bar)),
        Mark::Heat(cells) => cells.iter().for_each(|cell| draw_cell(svg, frame, cell)),
        Mark::Vertical(value, _) => {
            if let Some(x) = frame.px(*value) {
                let (from, to) = ((x, plot.top), (x, plot.bottom()));
                svg.line(from, to, theme::SOFT, 1.2, "5 4");
            }
        }
        Mark::Horizontal(value, _) => {
            if let Some(y) = frame.py(*value) {
                let (from, to) = ((plot.left, y), (plot.right(), y));
                svg.line(from, to, theme::SOFT, 1.2, "5 4");
            }
        }
        Mark::Label(_) => {}
    }
}

fn draw_line(svg: &mut Svg, frame: &Frame, line: &Line) {
    let is_placed = |part: &Interval| {
        frame.at(part.x, part.low).is_some() && frame.at(part.x, part.high).is_some()
    };
    for band in line.band.split(|part| !is_placed(part)) {
        let upper = band.iter().filter_map(|part| frame.at(part.x, part.high));
        let lower = band
            .iter()
            .rev()
            .filter_map(|part| frame.at(part.x, part.low));
        let outline: Vec<_> = upper.chain(lower).collect();
        let fill = format!("fill=\"{}\" fill-opacity=\"0.14\"", line.color);
        svg.path(&outline, true, &fill);
    }
    for &Interval { x, low, high } in &line.intervals {
        if let (Some((px, top)), Some((_, bottom))) = (frame.at(x, high), frame.at(x, low)) {
            svg.line((px, top), (px, bottom), &line.color, 1.4, "");
            svg.line((px - 5.0, top), (px + 5.0, top), &line.color, 1.4, "");
            svg.line((px - 5.0, bottom), (px + 5.0, bottom), &line.color, 1.4, "");
        }
    }
    draw_strokes(svg, frame, line);
    for (position, place) in line.points.iter().enumerate() {
        let Some(place) = frame.at(place.0, place.1) else {
            continue;
        };
        if line.suspect.contains(&position) {
            draw_marker(svg, place, Marker::Cross, 6.0, theme::ALARM);
        } else if let Some(marker) = line.marker {
            let open = line.open.contains(&position);
            draw_shape(svg, place, marker, 5.0, &Paint::of(&line.color, open));
        }
    }
}

/// Draws the line itself, in parts between its gaps; a part of one point that has no marker becomes
/// a dot.
fn draw_strokes(svg: &mut Svg, frame: &Frame, line: &Line) {
    if line.width <= 0.0 {
        return;
    }
    let mut attributes = format!(
        "fill=\"none\" stroke=\"{}\" stroke-width=\"{}\" stroke-linejoin=\"round\" stroke-linecap=\"round\"",
        line.color,
        number(line.width)
    );
    if !line.dash.is_empty() {
        let _ = write!(attributes, " stroke-dasharray=\"{}\"", line.dash);
    }
    let places: Vec<Option<(f64, f64)>> = line
        .points
        .iter()
        .enumerate()
        .map(|(position, &(x, y))| {
            let trusted = !line.suspect.contains(&position);
            frame.at(x, y).filter(|_| trusted)
        })
        .collect();
    for part in places.split(Option::is_none) {
        let mut path: Vec<(f64, f64)> = Vec::with_capacity(part.len());
        for &(x, y) in part.iter().flatten() {
            if line.step
                && let Some(&(_, before)) = path.last()
            {
                path.push((x, before));
            }
            path.push((x, y));
        }
        if let ([place], None) = (&path[..], line.marker) {
            let dot = Paint::of(&line.color, false);
            draw_shape(svg, *place, Marker::Circle, line.width * 1.3, &dot);
        } else {
            svg.path(&path, false, &attributes);
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
    let bottom = frame.py(bar.y.0).unwrap_or_else(|| frame.plot.bottom());
    let area = Rect {
        left,
        top,
        width: right - left,
        height: bottom - top,
    };
    svg.rect(area, &bar.color, "");
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
    let (fill, white) = theme::ramp(cell.shade);
    let area = Rect {
        left,
        top,
        width: right - left,
        height: bottom - top,
    };
    svg.rect(area.grown(-1.0), &fill, "rx=\"3\"");
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
    let corner = (right - 11.0, top + 11.0);
    if cell.suspect {
        draw_marker(svg, corner, Marker::Cross, 5.0, color);
    } else if cell.caution {
        let circle = format!("fill=\"none\" stroke=\"{color}\" stroke-width=\"1.8\"");
        let paint = Paint {
            color,
            outline: circle,
        };
        draw_shape(svg, corner, Marker::Circle, 4.0, &paint);
    }
}

/// Draws a filled `marker` of about `radius` around a place.
pub(crate) fn draw_marker(
    svg: &mut Svg,
    (x, y): (f64, f64),
    marker: Marker,
    radius: f64,
    color: &str,
) {
    draw_shape(svg, (x, y), marker, radius, &Paint::of(color, false));
}

/// Fill and outline of a marker.
pub(crate) struct Paint<'a> {
    color: &'a str,
    outline: String,
}

impl<'a> Paint<'a> {
    /// A marker of `color`: filled, or hollow when `open`.
    pub(crate) fn of(color: &'a str, open: bool) -> Self {
        let (fill, stroke, width) = if open {
            (theme::PAPER, color, "2")
        } else {
            (color, theme::PAPER, "1.2")
        };
        Self {
            color,
            outline: format!("fill=\"{fill}\" stroke=\"{stroke}\" stroke-width=\"{width}\""),
        }
    }
}

/// Draws `marker` of about `radius` around a place.
pub(crate) fn draw_shape(
    svg: &mut Svg,
    (x, y): (f64, f64),
    marker: Marker,
    radius: f64,
    paint: &Paint<'_>,
) {
    let r = radius;
    let Paint { color, outline } = paint;
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
                outline,
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
                outline,
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
                outline,
            );
        }
        Marker::Diamond => {
            let s = r * 1.2;
            svg.path(
                &[(x, y - s), (x + s, y), (x, y + s), (x - s, y)],
                true,
                outline,
            );
        }
        Marker::Cross => {
            let s = r * 0.8;
            svg.line((x - s, y - s), (x + s, y + s), color, 2.4, "");
            svg.line((x - s, y + s), (x + s, y - s), color, 2.4, "");
        }
    }
}
