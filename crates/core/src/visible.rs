//! Text from outside, made safe to show.

use std::borrow::Cow;
use std::fmt::Write as _;

/// `text` with what a terminal would obey instead of showing written out: control characters other
/// than line breaks and tabs, such as ESC, as `\x1b`, and characters that turn the direction of
/// writing as `\u202e`.
///
/// A server's error message, a model's name or a file's content may hold such characters; shown raw
/// they could recolour, overwrite or hide what stands around them.
pub fn visible(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_obeyed) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 8);
    let mut rest = text.chars().peekable();
    while let Some(character) = rest.next() {
        match character {
            // A line break of another system.
            '\r' if rest.peek() == Some(&'\n') => {}
            // Writing to a string cannot fail.
            obeyed if is_obeyed(obeyed) => {
                let code = u32::from(obeyed);
                let _ = if code < 0x100 {
                    write!(shown, "\\x{code:02x}")
                } else {
                    write!(shown, "\\u{code:04x}")
                };
            }
            other => shown.push(other),
        }
    }
    Cow::Owned(shown)
}

/// True for what changes a terminal's state instead of being shown.
fn is_obeyed(character: char) -> bool {
    turns_direction(character) || (character.is_control() && !matches!(character, '\n' | '\t'))
}

/// True for the invisible characters that turn the direction of the text after them.
pub fn turns_direction(character: char) -> bool {
    matches!(
        character,
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_obeys_is_written_out() {
        for (text, shown) in [
            ("plain, 中文\n\ttext", "plain, 中文\n\ttext"),
            ("\u{1b}[2J\u{1b}]0;title\u{7}", "\\x1b[2J\\x1b]0;title\\x07"),
            ("a\rb", "a\\x0db"),
            ("a\r\nb", "a\nb"),
            ("\u{9b}31m", "\\x9b31m"),
            ("user\u{202e}gpj.exe", "user\\u202egpj.exe"),
        ] {
            assert_eq!(visible(text), shown);
        }
    }
}
