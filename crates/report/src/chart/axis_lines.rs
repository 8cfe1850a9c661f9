//! Axis lines, grid, tick labels and axis titles of a panel.

use super::axis::{Axis, Placed, Scale};
use super::fonts::text_width;
use super::frame::Frame;
use super::panel::Panel;
use super::svg::{Anchor, Svg, TextStyle};
use super::theme;

/// Height of a second line of tick labels.
const SECOND_LINE: f64 = 17.0;
/// Room for the title of an axis.
const TITLE_BAND: f64 = 26.0;

/// Room for the vertical axis to the left of the plot.
pub(super) fn room_left(axis: &Axis, placed: &Placed) -> f64 {
    let widest = placed
        .ticks
        .iter()
        .map(|(_, label)| text_width(label, theme::TICK_SIZE))
        .fold(0.0, f64::max);
    title_band(axis) + widest + 12.0
}

/// Room for the horizontal axis below the plot.
pub(super) fn room_below(axis: &Axis, placed: &Placed) -> f64 {
    24.0 + second_line(placed) + title_band(axis)
}

fn title_band(axis: &Axis) -> f64 {
    if axis.title.is_empty() {
        0.0
    } else {
        TITLE_BAND
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

/// Draws both axes; `left` is the panel's edge, and a heat map has neither grid nor base line.
pub(super) fn draw_axes(svg: &mut Svg, panel: &Panel, frame: &Frame, left: f64, heat: bool) {
    let grid = !heat && !matches!(panel.y.scale, Scale::Categories(_));
    draw_vertical(svg, frame, grid);
    draw_horizontal(svg, frame, !matches!(panel.x.scale, Scale::Categories(_)));
    let plot = frame.plot;
    if !heat {
        let (from, to) = ((plot.left, plot.bottom()), (plot.right(), plot.bottom()));
        svg.line(from, to, theme::AXIS, 1.2, "");
    }
    let label = TextStyle::new(theme::LABEL_SIZE, theme::INK, Anchor::Middle);
    let below = plot.bottom() + 44.0 + second_line(&frame.x);
    let middle = plot.left + plot.width / 2.0;
    svg.text((middle, below), &panel.x.title, label);
    let upright = TextStyle {
        rotate: -90.0,
        ..label
    };
    let at = (left + 12.0, plot.top + plot.height / 2.0);
    svg.text_if(at, &panel.y.title, upright);
}

const fn tick_style(anchor: Anchor) -> TextStyle<'static> {
    TextStyle::new(theme::TICK_SIZE, theme::SOFT, anchor)
}

fn draw_vertical(svg: &mut Svg, frame: &Frame, grid: bool) {
    let plot = frame.plot;
    for (value, label) in &frame.y.ticks {
        let inside = |y: &f64| *y > plot.top - 1.0 && *y < plot.bottom() + 1.0;
        let Some(y) = frame.py(*value).filter(inside) else {
            continue;
        };
        if grid {
            svg.line((plot.left, y), (plot.right(), y), theme::GRID, 1.0, "");
        }
        let at = (plot.left - 9.0, y + 4.5);
        svg.text(at, label, tick_style(Anchor::End));
    }
}

fn draw_horizontal(svg: &mut Svg, frame: &Frame, ticks: bool) {
    let plot = frame.plot;
    let style = tick_style(Anchor::Middle);
    let mut free_from = f64::NEG_INFINITY;
    for (value, label) in &frame.x.ticks {
        let inside = |x: &f64| *x > plot.left - 1.0 && *x < plot.right() + 1.0;
        let Some(x) = frame.px(*value).filter(inside) else {
            continue;
        };
        let (label, second) = label.split_once('\n').unwrap_or((label, ""));
        let half = text_width(label, theme::TICK_SIZE) / 2.0;
        let below = TextStyle {
            color: theme::INK,
            ..style
        };
        svg.text_if((x, plot.bottom() + 20.0 + SECOND_LINE), second, below);
        if ticks {
            let (from, to) = ((x, plot.bottom()), (x, plot.bottom() + 5.0));
            svg.line(from, to, theme::AXIS, 1.0, "");
        }
        // A label that would run into its neighbour is left out; its tick stays.
        if x - half < free_from {
            continue;
        }
        free_from = x + half + 8.0;
        svg.text((x, plot.bottom() + 20.0), label, style);
    }
}
