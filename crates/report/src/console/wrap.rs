//! Line breaking that knows wide characters.

/// Columns that `text` takes on a terminal: two for Chinese, Japanese, Korean and full-width
/// characters.
pub(crate) fn display_width(text: &str) -> usize {
    text.chars().map(char_width).sum()
}

fn char_width(character: char) -> usize {
    match u32::from(character) {
        0x0300..=0x036f | 0x200b..=0x200f => 0,
        0x1100..=0x115f
        | 0x2e80..=0xa4cf
        | 0xac00..=0xd7a3
        | 0xf900..=0xfaff
        | 0xfe30..=0xfe6f
        | 0xff00..=0xff60
        | 0xffe0..=0xffe6
        | 0x1_f300..=0x1_f64f
        | 0x2_0000..=0x3_fffd => 2,
        _ => 1,
    }
}

/// Breaks `text` into lines of at most `width` columns, at spaces and after wide characters.
/// A word that is longer than a line stands alone, unbroken, so that paths stay whole.
pub(crate) fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    let mut used = 0;
    for (piece, space_before) in pieces(text) {
        let piece_width = display_width(&piece);
        let gap = usize::from(space_before && used > 0);
        if used > 0 && used + gap + piece_width > width {
            lines.push(std::mem::take(&mut line));
            used = 0;
        } else if gap == 1 {
            line.push(' ');
            used += 1;
        }
        line.push_str(&piece);
        used += piece_width;
    }
    if !line.is_empty() || lines.is_empty() {
        lines.push(line);
    }
    lines
}

/// The unbreakable pieces of a text, and whether a space stood before each. Punctuation stays with
/// the wide character before it.
fn pieces(text: &str) -> Vec<(String, bool)> {
    const NEVER_FIRST: &str = "，。；：！？、）》」』”’％";
    let mut pieces: Vec<(String, bool)> = Vec::new();
    for word in text.split_whitespace() {
        // A dot between items ends a line rather than beginning one, and a number keeps its unit.
        if matches!(word, "·" | "%" | "%," | "%:" | "ms" | "ms," | "µs" | "µs,")
            && let Some((before, _)) = pieces.last_mut()
        {
            before.push(' ');
            before.push_str(word);
            continue;
        }
        let mut fresh = true;
        let mut after_wide = false;
        for character in word.chars() {
            let wide = char_width(character) == 2;
            let glued = NEVER_FIRST.contains(character);
            if fresh || ((wide || after_wide) && !glued) {
                pieces.push((String::new(), fresh));
            }
            if let Some((piece, _)) = pieces.last_mut() {
                piece.push(character);
            }
            fresh = false;
            after_wide = wide;
        }
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_text_breaks_at_spaces_and_between_wide_characters() {
        assert_eq!(wrap("one two three", 8), ["one two", "three"]);
        assert_eq!(
            wrap("客户端迟到，结果无效", 8),
            ["客户端迟", "到，结果", "无效"]
        );
        assert_eq!(wrap("a/very/long/path x", 4), ["a/very/long/path", "x"]);
        assert_eq!(wrap("", 10), [""]);
    }
}
