//! SVG text.

use std::fmt::Write as _;

use inferometer_core::turns_direction;

use super::geometry::Rect;
use super::theme;

/// Escapes text for XML and HTML, in content as well as in quoted attributes. Control characters,
/// which XML forbids, and characters that turn the direction of writing become the replacement character.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' | '\t' => out.push(character),
            obeyed if obeyed.is_control() || turns_direction(obeyed) => out.push('\u{fffd}'),
            other => out.push(other),
        }
    }
    out
}

/// A coordinate with at most two decimals.
pub(crate) fn number(value: f64) -> String {
    let rounded = (value * 100.0).round() / 100.0;
    // Negative zero would print as "-0".
    format!("{}", if rounded == 0.0 { 0.0 } else { rounded })
}

/// Where a text is fixed to its point.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Anchor {
    Start,
    Middle,
    End,
}

/// How a text looks.
#[derive(Clone, Copy)]
pub(crate) struct TextStyle<'a> {
    pub(crate) size: f64,
    pub(crate) color: &'a str,
    pub(crate) anchor: Anchor,
    pub(crate) bold: bool,
    /// Degrees, clockwise, about the point.
    pub(crate) rotate: f64,
    /// Outline in the background's colour, for text over marks.
    pub(crate) halo: bool,
}

impl<'a> TextStyle<'a> {
    pub(crate) const fn new(size: f64, color: &'a str, anchor: Anchor) -> Self {
        Self {
            size,
            color,
            anchor,
            bold: false,
            rotate: 0.0,
            halo: false,
        }
    }

    pub(crate) const fn bold(mut self) -> Self {
        self.bold = true;
        self
    }

    pub(crate) const fn halo(mut self) -> Self {
        self.halo = true;
        self
    }
}

/// A growing SVG document body.
#[derive(Default)]
pub(crate) struct Svg {
    pub(crate) body: String,
}

impl Svg {
    pub(crate) fn line(
        &mut self,
        from: (f64, f64),
        to: (f64, f64),
        color: &str,
        width: f64,
        dash: &str,
    ) {
        let dash = if dash.is_empty() {
            String::new()
        } else {
            format!(" stroke-dasharray=\"{dash}\"")
        };
        let _ = writeln!(
            self.body,
            "<line x1=\"{}\" y1=\"{}\" x2=\"{}\" y2=\"{}\" stroke=\"{color}\" stroke-width=\"{}\"{dash}/>",
            number(from.0),
            number(from.1),
            number(to.0),
            number(to.1),
            number(width)
        );
    }

    pub(crate) fn rect(&mut self, area: Rect, fill: &str, extra: &str) {
        let _ = writeln!(
            self.body,
            "<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" fill=\"{fill}\"{}{extra}/>",
            number(area.left),
            number(area.top),
            number(area.width.max(0.0)),
            number(area.height.max(0.0)),
            if extra.is_empty() { "" } else { " " }
        );
    }

    /// A path through `points`; `attributes` as in the file.
    pub(crate) fn path(&mut self, points: &[(f64, f64)], closed: bool, attributes: &str) {
        if points.is_empty() {
            return;
        }
        let mut d = String::new();
        for (position, &(x, y)) in points.iter().enumerate() {
            let _ = write!(
                d,
                "{}{} {}",
                if position == 0 { "M" } else { "L" },
                number(x),
                number(y)
            );
        }
        if closed {
            d.push('Z');
        }
        let _ = writeln!(self.body, "<path d=\"{d}\" {attributes}/>");
    }

    pub(crate) fn text(&mut self, (x, y): (f64, f64), text: &str, style: TextStyle<'_>) {
        let anchor = match style.anchor {
            Anchor::Start => "",
            Anchor::Middle => " text-anchor=\"middle\"",
            Anchor::End => " text-anchor=\"end\"",
        };
        let weight = if style.bold {
            " font-weight=\"600\""
        } else {
            ""
        };
        let rotate = if style.rotate == 0.0 {
            String::new()
        } else {
            format!(
                " transform=\"rotate({} {} {})\"",
                number(style.rotate),
                number(x),
                number(y)
            )
        };
        let halo = if style.halo {
            format!(
                " stroke=\"{}\" stroke-width=\"3\" stroke-linejoin=\"round\" paint-order=\"stroke\"",
                theme::PAPER
            )
        } else {
            String::new()
        };
        let _ = writeln!(
            self.body,
            "<text x=\"{}\" y=\"{}\" font-size=\"{}\" fill=\"{}\"{anchor}{weight}{halo}{rotate}>{}</text>",
            number(x),
            number(y),
            number(style.size),
            style.color,
            escape(text)
        );
    }

    /// Writes the text unless it is empty.
    pub(crate) fn text_if(&mut self, at: (f64, f64), text: &str, style: TextStyle<'_>) {
        if !text.is_empty() {
            self.text(at, text, style);
        }
    }

    /// Starts a group that is clipped to a rectangle; end it with [`Svg::end_group`].
    pub(crate) fn clip_group(&mut self, id: &str, area: Rect) {
        let _ = writeln!(
            self.body,
            "<clipPath id=\"{id}\"><rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\"/></clipPath>\n\
             <g clip-path=\"url(#{id})\">",
            number(area.left),
            number(area.top),
            number(area.width),
            number(area.height)
        );
    }

    pub(crate) fn end_group(&mut self) {
        self.body.push_str("</g>\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_in_text_is_inert() {
        assert_eq!(
            escape("<b a='1'>&\"\u{1}"),
            "&lt;b a=&#39;1&#39;&gt;&amp;&quot;\u{fffd}"
        );
    }

    #[test]
    fn coordinates_are_short() {
        assert_eq!(number(1.0 / 3.0), "0.33");
        assert_eq!(number(-0.001), "0");
        assert_eq!(number(12.0), "12");
    }
}
