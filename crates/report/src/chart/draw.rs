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
    let upper = line
        .band
        .iter()
        .filter_map(|part| frame.at(part.x, part.high));
    let lower = line
        .band
        .iter()
        .rev()
        .filter_map(|part| frame.at(part.x, part.low));
    let outline: Vec<_> = upper.chain(lower).collect();
    svg.path(
        &outline,
        true,
        &format!("fill=\"{}\" fill-opacity=\"0.14\"", line.color),
    );
    for &Interval { x, low, high } in &line.intervals {
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
