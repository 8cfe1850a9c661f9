//! Words of commands that people copy.

/// A word for a POSIX shell, in quotes where it needs them.
pub fn shell_word(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_for_a_shell() {
        for (word, shown) in [
            ("--seed", "--seed"),
            ("http://h:1/v1", "http://h:1/v1"),
            ("it's", "'it'\\''s'"),
            ("{\"a\": 1}", "'{\"a\": 1}'"),
            ("", "''"),
        ] {
            assert_eq!(shell_word(word), shown);
        }
    }
}
