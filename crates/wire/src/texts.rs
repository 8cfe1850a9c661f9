//! Which texts of an answer are kept in its record, and in what form.

/// Longest error text kept, in bytes: a run may hold a million records.
pub(crate) const ERROR_LENGTH: usize = 2 << 10;

/// Whether the answer's text is kept in the record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeepText {
    /// Always.
    Always,
    /// Only where the server gave no usage numbers, so that the tokens can be counted after the
    /// run.
    #[default]
    UntilUsage,
    /// Never: without usage numbers the token events are counted.
    Never,
}

/// At most 2 KiB of `text` on one line, control characters replaced by spaces.
pub fn printable(text: &str) -> String {
    let mut kept = String::with_capacity(text.len().min(ERROR_LENGTH));
    for character in text.chars() {
        if kept.len() + character.len_utf8() > ERROR_LENGTH {
            break;
        }
        let blank = character.is_control()
            || matches!(character, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        kept.push(if blank { ' ' } else { character });
    }
    kept.truncate(kept.trim_end().len());
    kept
}
