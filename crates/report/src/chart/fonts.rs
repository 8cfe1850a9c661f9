//! The embedded font: its two weights, and the widths of its letters for layout.

/// Noto Sans SC, regular: Latin, symbols, and the Chinese characters of our own texts.
pub(crate) const REGULAR: &[u8] =
    include_bytes!("../../assets/fonts/NotoSansSC-Regular.subset.ttf");
/// The same, semi-bold.
pub(crate) const SEMIBOLD: &[u8] =
    include_bytes!("../../assets/fonts/NotoSansSC-SemiBold.subset.ttf");

/// Family list for SVG: the embedded family first, so that PNG and browsers that have it agree.
pub(crate) const FAMILY: &str = "'Noto Sans SC','Noto Sans','Source Sans 3','Segoe UI',Roboto,'Helvetica Neue',\
                                 Arial,'PingFang SC','Microsoft YaHei',sans-serif";

/// Advance widths of U+0020 to U+007E in thousandths of the size, from the regular weight.
#[rustfmt::skip]
const ADVANCES: [u16; 95] = [
    224, 323, 474, 555, 555, 921, 680, 278, 338, 338, 467, 555, 278, 347, 278, 392,
    555, 555, 555, 555, 555, 555, 555, 555, 555, 555, 278, 278, 555, 555, 555, 474,
    946, 608, 657, 638, 688, 589, 552, 689, 728, 293, 535, 646, 543, 812, 723, 742,
    633, 742, 635, 596, 599, 721, 575, 878, 573, 531, 603, 338, 392, 338, 555, 559,
    606, 563, 618, 510, 620, 554, 325, 564, 607, 275, 275, 552, 284, 926, 610, 606,
    620, 620, 388, 468, 377, 607, 521, 802, 498, 521, 475, 338, 270, 338, 555,
];

/// Width of `text` at `size` pixels. Semi-bold is about 4 % wider, which callers' paddings absorb.
pub(crate) fn text_width(text: &str, size: f64) -> f64 {
    let thousandths: f64 = text
        .chars()
        .map(|character| match u32::from(character) {
            code @ 0x20..=0x7e => f64::from(ADVANCES[(code - 0x20) as usize]),
            // Latin letters beyond ASCII, except for symbols that Chinese fonts draw full width.
            0x80..=0x2dff if !"·×±…→≥≤•∞’“”".contains(character) => 560.0,
            _ => 1000.0,
        })
        .sum();
    thousandths * size / 1000.0
}

/// `text`, cut with an ellipsis where it is wider than `room`.
pub(crate) fn fitted(text: &str, size: f64, room: f64) -> String {
    if text_width(text, size) <= room {
        return text.to_owned();
    }
    let mut kept = String::new();
    for character in text.chars() {
        kept.push(character);
        if text_width(&kept, size) + size > room {
            kept.pop();
            break;
        }
    }
    format!("{}…", kept.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn widths_follow_the_font() {
        assert!((text_width("00", 10.0) - 11.1).abs() < 1e-9);
        assert!((text_width("并发", 10.0) - 20.0).abs() < 1e-9);
    }
}
