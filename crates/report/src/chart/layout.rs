//! How a panel is laid out and drawn: title, axes, marks and their labels.

use super::axis::{Placed, Scale};
use super::axis_lines::{draw_axes, room_below, room_left};
use super::draw::draw_mark;
use super::fonts::text_width;
use super::frame::Frame;
use super::geometry::Rect;
use super::labels::{draw_end_labels, draw_reference_text, end_labels};
use super::marks::Mark;
use super::panel::Panel;
use super::svg::{Anchor, Svg, TextStyle};
use super::theme;

/// Height of the title above the plot.
const TITLE_BAND: f64 = 36.0;
/// Room for labels at the ends of lines, at most, as a fraction of the panel's width.
const MAX_LABEL_ROOM: f64 = 0.34;

impl Panel {
    /// Draws the panel into `area`; `id` names its clip path and must be unique in the document.
    pub(crate) fn draw(&self, svg: &mut Svg, area: Rect, id: &str) {
        let title = TextStyle::new(theme::PANEL_TITLE_SIZE, theme::INK, Anchor::Start).bold();
        svg.text((area.left, area.top + 14.0), &self.title, title);
        if self.is_empty() {
            self.draw_empty(svg, area);
            return;
        }
        let frame = self.frame(area);
        draw_axes(svg, self, &frame, area.left, self.has_heat());
        svg.clip_group(id, frame.plot.grown(8.0));
        for mark in &self.marks {
            draw_mark(svg, &frame, mark);
        }
        svg.end_group();
        draw_end_labels(svg, &frame, &self.marks);
        for mark in &self.marks {
            draw_reference_text(svg, &frame, mark);
        }
    }

    fn draw_empty(&self, svg: &mut Svg, area: Rect) {
        let below_title = Rect {
            top: area.top + TITLE_BAND,
            height: area.height - TITLE_BAND,
            ..area
        };
        svg.rect(below_title, "#f7f8fa", "rx=\"6\"");
        svg.text(
            (area.left + area.width / 2.0, area.top + area.height / 2.0),
            &self.empty,
            TextStyle::new(theme::LABEL_SIZE, theme::SOFT, Anchor::Middle),
        );
    }

    fn frame(&self, area: Rect) -> Frame {
        let (mut xs, mut ys) = (Vec::new(), Vec::new());
        self.marks
            .iter()
            .for_each(|mark| mark.extents(&mut xs, &mut ys));
        let bars = self.marks.iter().any(|mark| matches!(mark, Mark::Bars(_)));
        let x_pad = if bars || self.x.scale == Scale::Linear {
            0.0
        } else {
            0.04
        };
        let x = Placed::new(&self.x, &xs, x_pad);
        let y = Placed::new(&self.y, &ys, 0.04);
        let left = room_left(&self.y, &y);
        // Labels are semi-bold, which is about 4 % wider than the regular weight.
        let right = end_labels(&self.marks)
            .map(|label| text_width(label.text, theme::LABEL_SIZE) * 1.04 + 16.0)
            .fold(10.0, f64::max)
            .min(area.width * MAX_LABEL_ROOM);
        Frame {
            plot: Rect {
                left: area.left + left,
                top: area.top + TITLE_BAND,
                width: area.width - left - right,
                height: area.height - TITLE_BAND - room_below(&self.x, &x),
            },
            x,
            y,
            label_room: right,
        }
    }
}
