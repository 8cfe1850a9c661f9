//! Line breaking that knows wide characters.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Joins the characters around it to one, as in emoji of several people.
const ZERO_WIDTH_JOINER: char = '\u{200d}';

/// Columns that `text` takes on a terminal: two for Chinese, Japanese, Korean and full-width
/// characters and for emoji, none for combining marks.
pub(crate) fn display_width(text: &str) -> usize {
    text.width()
}

/// Breaks `text` into lines of at most `width` columns, at spaces and after wide characters.
/// A word longer than a line is not broken, so that paths stay whole.
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

/// The unbreakable pieces of a text, and whether there was a space before each. Punctuation,
/// combining marks and joined characters stay with the wide character before them.
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
        let mut before = None;
        let mut after_wide = false;
        for character in word.chars() {
            let width = character.width().unwrap_or(0);
            let wide = width == 2;
            let glued =
                width == 0 || before == Some(ZERO_WIDTH_JOINER) || NEVER_FIRST.contains(character);
            if before.is_none() || ((wide || after_wide) && !glued) {
                pieces.push((String::new(), before.is_none()));
            }
            if let Some((piece, _)) = pieces.last_mut() {
                piece.push(character);
            }
            before = Some(character);
            if width > 0 {
                after_wide = wide;
            }
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

    #[test]
    fn emoji_are_wide_wherever_their_block_is() {
        // A rocket, a robot and a melting face, beyond the first block of emoji, which ends at
        // U+1F64F. As escapes, because the embedded font has to have each character of this source.
        for emoji in ["\u{1f680}", "\u{1f916}", "\u{1fae0}"] {
            assert_eq!(display_width(emoji), 2, "{emoji}");
        }
        assert_eq!(
            wrap("\u{1f680}\u{1f916}\u{1fae0}", 4),
            ["\u{1f680}\u{1f916}", "\u{1fae0}"]
        );
        // Three people, joined to one emoji, are not taken apart.
        let family = "\u{1f468}\u{200d}\u{1f469}\u{200d}\u{1f467}";
        assert_eq!(wrap(&format!("{family}{family}"), 2), [family, family]);
    }

    #[test]
    fn combining_marks_take_no_column_and_stay_with_their_letter() {
        assert_eq!(display_width("e\u{301}"), 1);
        assert_eq!(display_width("\u{304b}\u{3099}"), 2);
        assert_eq!(
            wrap("\u{304b}\u{3099}\u{304b}\u{3099}", 2),
            ["\u{304b}\u{3099}", "\u{304b}\u{3099}"]
        );
    }
}
