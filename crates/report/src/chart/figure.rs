//! A figure: title, keys, a grid of panels, notes.

use std::fmt::Write as _;

use super::draw::{Paint, draw_marker, draw_shape};
use super::fonts::{FAMILY, text_width};
use super::geometry::Rect;
use super::marks::Marker;
use super::panel::Panel;
use super::svg::{Anchor, Svg, TextStyle, escape, number};
use super::theme;

/// An entry of the legend below the title.
#[derive(Clone, Debug, PartialEq)]
pub enum Key {
    /// A line, with its dash pattern and marker.
    Line {
        /// Colour.
        color: String,
        /// Dash pattern.
        dash: String,
        /// Shape.
        marker: Option<Marker>,
        /// Text.
        text: String,
    },
    /// A point on its own.
    Shape {
        /// Colour.
        color: String,
        /// Shape.
        marker: Marker,
        /// Hollow.
        open: bool,
        /// Text.
        text: String,
    },
    /// A filled area.
    Area {
        /// Colour.
        color: String,
        /// Opacity.
        opacity: f64,
        /// Text.
        text: String,
    },
}

/// A figure of panels in rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    /// Width in pixels.
    pub width: f64,
    /// Height of each row of panels in pixels.
    pub row_height: f64,
    /// Title.
    pub title: String,
    /// One line below the title.
    pub subtitle: String,
    /// Legend below the subtitle.
    pub keys: Vec<Key>,
    /// Panels, row by row.
    pub rows: Vec<Vec<Panel>>,
    /// Notes at the foot, one per line.
    pub notes: Vec<String>,
}

const MARGIN: f64 = 36.0;
const GAP: f64 = 44.0;

impl Figure {
    /// Arranges panels in rows of two. Empty ones are left out, and a note says which and why.
    #[must_use]
    pub fn arranged(mut self, panels: Vec<Panel>) -> Self {
        let all_empty = panels.iter().all(Panel::is_empty);
        let mut kept: Vec<Panel> = Vec::new();
        for panel in panels {
            if panel.is_empty() && !(all_empty && kept.is_empty()) {
                let end = if panel.empty.is_ascii() { "." } else { "。" };
                self.notes
                    .push(format!("{} – {}{end}", panel.title, panel.empty));
            } else {
                kept.push(panel);
            }
        }
        while !kept.is_empty() {
            let rest = kept.split_off(kept.len().min(2));
            self.rows.push(std::mem::replace(&mut kept, rest));
        }
        self
    }

    /// The figure as an SVG document.
    pub fn to_svg(&self) -> String {
        let mut svg = Svg::default();
        let mut y = MARGIN + theme::TITLE_SIZE * 0.8;
        svg.text(
            (MARGIN, y),
            &self.title,
            TextStyle::new(theme::TITLE_SIZE, theme::INK, Anchor::Start).bold(),
        );
        y += 26.0;
        if !self.subtitle.is_empty() {
            svg.text(
                (MARGIN, y),
                &self.subtitle,
                TextStyle::new(15.0, theme::SOFT, Anchor::Start),
            );
            y += 12.0;
        }
        if !self.keys.is_empty() {
            y = self.draw_keys(&mut svg, y + 22.0);
        }
        y += 26.0;
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(1).max(1) as f64;
        for (row_number, row) in self.rows.iter().enumerate() {
            let width = (self.width - 2.0 * MARGIN - GAP * (columns - 1.0)) / columns;
            for (column, panel) in row.iter().enumerate() {
                let x = MARGIN + column as f64 * (width + GAP);
                let id = format!("c{row_number}-{column}");
                let area = Rect {
                    left: x,
                    top: y,
                    width,
                    height: self.row_height,
                };
                panel.draw(&mut svg, area, &id);
            }
            y += self.row_height + 34.0;
        }
        y -= 4.0;
        for note in &self.notes {
            svg.text(
                (MARGIN, y),
                note,
                TextStyle::new(13.0, theme::SOFT, Anchor::Start),
            );
            y += 19.0;
        }
        let height = y + MARGIN * 0.5;
        self.document(&svg.body, height)
    }

    fn document(&self, body: &str, height: f64) -> String {
        let (width, height) = (number(self.width), number(height.ceil()));
        let mut out = String::with_capacity(body.len() + 512);
        let _ = write!(
            out,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
             viewBox=\"0 0 {width} {height}\" font-family=\"{FAMILY}\" role=\"img\">\n<title>{}</title>\n\
             <rect width=\"{width}\" height=\"{height}\" fill=\"{}\"/>\n{body}</svg>\n",
            escape(&self.title),
            theme::PAPER
        );
        out
    }

    /// Draws the legend, wrapped at the right margin; returns the last baseline.
    fn draw_keys(&self, svg: &mut Svg, mut y: f64) -> f64 {
        let mut x = MARGIN;
        for key in &self.keys {
            let text = match key {
                Key::Line { text, .. } | Key::Shape { text, .. } | Key::Area { text, .. } => text,
            };
            let width = 38.0 + text_width(text, theme::LABEL_SIZE) + 26.0;
            if x + width > self.width - MARGIN && x > MARGIN {
                x = MARGIN;
                y += 23.0;
            }
            let middle = y - 5.0;
            match key {
                Key::Line {
                    color,
                    dash,
                    marker,
                    ..
                } => {
                    svg.line((x, middle), (x + 30.0, middle), color, 2.4, dash);
                    if let Some(marker) = marker {
                        draw_marker(svg, (x + 15.0, middle), *marker, 5.0, color);
                    }
                }
                Key::Shape {
                    color,
                    marker,
                    open,
                    ..
                } => {
                    let paint = Paint::of(color, *open);
                    draw_shape(svg, (x + 15.0, middle), *marker, 5.5, &paint);
                }
                Key::Area { color, opacity, .. } => {
                    let extra = format!("fill-opacity=\"{}\" rx=\"2\"", number(*opacity));
                    let area = Rect {
                        left: x,
                        top: middle - 7.0,
                        width: 30.0,
                        height: 14.0,
                    };
                    svg.rect(area, color, &extra);
                }
            }
            svg.text(
                (x + 38.0, y),
                text,
                TextStyle::new(theme::LABEL_SIZE, theme::INK, Anchor::Start),
            );
            x += width;
        }
        y
    }
}
