//! Unicode character classes as the regex engine knows them.
//!
//! The tables come from the engine's own parser, so that a loop over classes and an expression
//! never differ by the version of Unicode.

use std::sync::LazyLock;

use regex_syntax::hir::{Class as HirClass, HirKind};

/// A set of classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Class(u8);

impl Class {
    /// `\p{L}`
    pub(super) const LETTER: Self = Self(1);
    /// `\p{N}`
    pub(super) const NUMBER: Self = Self(2);
    /// `\s`
    pub(super) const SPACE: Self = Self(4);
    /// `\p{M}`
    const MARK: Self = Self(8);
    /// `[\p{P}\p{S}]`
    pub(super) const SIGN: Self = Self(16);
    /// `[\p{L}\p{M}]`
    pub(super) const LETTER_OR_MARK: Self = Self(Self::LETTER.0 | Self::MARK.0);
    /// `[\p{L}\p{P}\p{S}]`
    pub(super) const LETTER_OR_SIGN: Self = Self(Self::LETTER.0 | Self::SIGN.0);
    /// `[\s\p{L}\p{N}]`
    pub(super) const WORD_OR_SPACE: Self = Self(Self::LETTER.0 | Self::NUMBER.0 | Self::SPACE.0);

    /// True when it is in one of `classes`.
    pub(super) fn has(self, classes: Self) -> bool {
        self.0 & classes.0 != 0
    }
}

/// The classes of a character.
pub(super) fn of(symbol: char) -> Class {
    let code = symbol as usize;
    if code < 128 {
        Class(ASCII[code])
    } else {
        Class(TABLE[code])
    }
}

const ASCII: [u8; 128] = {
    let mut table = [0; 128];
    let mut code = 0;
    while code < 128 {
        let byte = code as u8;
        table[code] = if byte.is_ascii_alphabetic() {
            Class::LETTER.0
        } else if byte.is_ascii_digit() {
            Class::NUMBER.0
        } else if matches!(byte, b' ' | 9..=13) {
            Class::SPACE.0
        } else if byte.is_ascii_punctuation() {
            Class::SIGN.0
        } else {
            0
        };
        code += 1;
    }
    table
};

static TABLE: LazyLock<Box<[u8]>> = LazyLock::new(|| {
    let mut table = vec![0_u8; char::MAX as usize + 1].into_boxed_slice();
    for (pattern, class) in [
        (r"\p{L}", Class::LETTER),
        (r"\p{N}", Class::NUMBER),
        (r"\s", Class::SPACE),
        (r"\p{M}", Class::MARK),
        (r"[\p{P}\p{S}]", Class::SIGN),
    ] {
        for (start, end) in ranges(pattern) {
            for entry in &mut table[start as usize..=end as usize] {
                *entry |= class.0;
            }
        }
    }
    table
});

fn ranges(pattern: &str) -> Vec<(char, char)> {
    let Ok(hir) = regex_syntax::parse(pattern) else {
        return Vec::new();
    };
    match hir.kind() {
        HirKind::Class(HirClass::Unicode(class)) => class
            .ranges()
            .iter()
            .map(|range| (range.start(), range.end()))
            .collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ascii_table_is_the_beginning_of_the_whole() {
        for code in 0..128_u8 {
            assert_eq!(ASCII[code as usize], TABLE[code as usize], "{code}");
        }
        assert!(of('中').has(Class::LETTER) && of('\u{301}').has(Class::LETTER_OR_MARK));
        assert!(
            of('½').has(Class::NUMBER)
                && of('€').has(Class::SIGN)
                && of('\u{a0}').has(Class::SPACE)
        );
    }
}
