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

/// Texts that each fit into their `rooms`. A text is cut at its end, but where that would make texts
/// alike that are not, they are cut where they are alike: what they begin or end with in common.
pub(crate) fn fitted_apart(texts: &[&str], size: f64, rooms: &[f64]) -> Vec<String> {
    let plain: Vec<String> = texts
        .iter()
        .zip(rooms)
        .map(|(text, room)| fitted(text, size, *room))
        .collect();
    (0..texts.len())
        .map(|index| {
            let mut alike: Vec<&str> = (0..texts.len())
                .filter(|other| plain[*other] == plain[index])
                .map(|other| texts[other])
                .collect();
            alike.sort_unstable();
            alike.dedup();
            if alike.len() > 1 {
                cut_alike(texts[index], &alike, size, rooms[index])
            } else {
                plain[index].clone()
            }
        })
        .collect()
}

/// `text` without what all of `texts` begin with and, if need be, end with.
fn cut_alike(text: &str, texts: &[&str], size: f64, room: f64) -> String {
    let front = common(texts, |text| Box::new(text.chars()));
    let back = common(texts, |text| Box::new(text.chars().rev()));
    let letters: Vec<char> = text.chars().collect();
    let back = back.min(letters.len() - front);
    let lead = if front > 0 { "…" } else { "" };
    let rest: String = letters[front..].iter().collect();
    let without_front = format!("{lead}{}", rest.trim_start());
    if text_width(&without_front, size) <= room {
        return without_front;
    }
    let own: String = letters[front..letters.len() - back].iter().collect();
    let end = if back > 0 { "…" } else { "" };
    fitted(&format!("{lead}{}{end}", own.trim()), size, room)
}

/// Number of characters that all of the texts begin with, in the order in which `letters` gives
/// them, back to the last word's start so that no number or name is cut apart.
fn common<'a>(
    texts: &[&'a str],
    letters: impl Fn(&'a str) -> Box<dyn Iterator<Item = char> + 'a>,
) -> usize {
    let Some((first, others)) = texts.split_first() else {
        return 0;
    };
    let shared: Vec<char> = letters(first)
        .enumerate()
        .take_while(|(place, letter)| {
            others
                .iter()
                .all(|text| letters(text).nth(*place) == Some(*letter))
        })
        .map(|(_, letter)| letter)
        .collect();
    shared
        .iter()
        .rposition(|letter| !letter.is_alphanumeric() && *letter != '.')
        .map_or(0, |place| place + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_where_they_are_alike() {
        let cut = |texts: &[&str], room| fitted_apart(texts, 10.0, &vec![room; texts.len()]);
        let names = [
            "meta-llama/Llama-3.1-8B, config=a",
            "meta-llama/Llama-3.1-8B, config=b",
        ];
        assert_eq!(cut(&names, 1000.0), names);
        assert_eq!(cut(&names, 60.0), ["…a", "…b"]);
        // The others are not alike, so they are cut at their ends.
        let some = [
            "256 → 16",
            "512 → 16, config=a",
            "512 → 16, config=b",
            "mixed lengths, unlike",
        ];
        assert_eq!(cut(&some, 60.0), ["256 → 16", "…a", "…b", "mixed len…"]);
        let lengths = ["a long name, 1024, the end", "a long name, 2048, the end"];
        assert_eq!(cut(&lengths, 60.0), ["…1024…", "…2048…"]);
        // One text has nothing to be told apart from.
        assert_eq!(cut(&["abcdefghijklmnop"], 40.0), ["abcde…"]);
    }

    #[test]
    fn widths_follow_the_font() {
        assert!((text_width("00", 10.0) - 11.1).abs() < 1e-9);
        assert!((text_width("并发", 10.0) - 20.0).abs() < 1e-9);
    }
}
