//! Texts within a panel: at the ends of lines, at reference lines, at places of the data.

use std::fmt::Write as _;

use super::fonts::fitted_apart;
use super::frame::Frame;
use super::marks::Mark;
use super::svg::{Anchor, Svg, TextStyle, number};
use super::theme;

/// Least distance between the baselines of two labels.
const PITCH: f64 = 17.0;

/// The text at the end of a line.
pub(super) struct EndLabel<'a> {
    /// Last point of the line, in data coordinates.
    end: (f64, f64),
    pub(super) text: &'a str,
    color: &'a str,
}

/// The labels of those lines that have one.
pub(super) fn end_labels(marks: &[Mark]) -> impl Iterator<Item = EndLabel<'_>> {
    marks.iter().filter_map(|mark| match mark {
        Mark::Line(line) => Some(EndLabel {
            end: *line.points.iter().rfind(|(_, y)| y.is_finite())?,
            text: line.label.as_deref()?,
            color: &line.color,
        }),
        _ => None,
    })
}

/// Writes the labels at the line ends, moved apart where they would overlap.
pub(super) fn draw_end_labels(svg: &mut Svg, frame: &Frame, marks: &[Mark]) {
    let plot = frame.plot;
    let mut labels: Vec<((f64, f64), EndLabel<'_>)> = end_labels(marks)
        .filter_map(|label| Some((frame.at(label.end.0, label.end.1)?, label)))
        .collect();
    labels.sort_by(|(a, _), (b, _)| a.1.total_cmp(&b.1));
    let mut places: Vec<f64> = labels.iter().map(|(end, _)| end.1).collect();
    spread(&mut places, PITCH, plot.top + 2.0, plot.bottom());
    let edge = plot.right() + 2.0;
    let starts: Vec<f64> = labels
        .iter()
        .map(|((from_x, _), _)| (from_x + 11.0).max(edge))
        .collect();
    let names: Vec<&str> = labels.iter().map(|(_, label)| label.text).collect();
    let rooms: Vec<f64> = starts
        .iter()
        .map(|x| frame.label_room - (x - edge))
        .collect();
    let texts = fitted_apart(&names, theme::LABEL_SIZE, &rooms);
    for (index, (((from_x, from_y), label), y)) in labels.iter().zip(places).enumerate() {
        let color = label.color;
        let x = starts[index];
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
        let style = TextStyle::new(theme::LABEL_SIZE, color, Anchor::Start)
            .bold()
            .halo();
        svg.text((x, y + 5.0), &texts[index], style);
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

/// Writes the text of a reference line or label, over the marks.
pub(super) fn draw_reference_text(svg: &mut Svg, frame: &Frame, mark: &Mark) {
    let style = TextStyle::new(theme::TICK_SIZE, theme::SOFT, Anchor::Start).halo();
    match mark {
        Mark::Vertical(value, text) => {
            if let Some(x) = frame.px(*value) {
                svg.text((x + 5.0, frame.plot.top + 12.0), text, style);
            }
        }
        Mark::Horizontal(value, text) => {
            if let Some(y) = frame.py(*value) {
                svg.text((frame.plot.left + 6.0, y - 6.0), text, style);
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
