//! The version of what numbers mean.

/// Raised whenever the definition of a number changes, so that runs of different definitions are not
/// compared unawares. `CHANGELOG.md` says what each changed; files without the number have meaning 1.
///
/// 2: closing events, answers in one piece, choices, hidden reasoning, cached tokens.
pub const MEANING: u32 = 2;

/// The meaning of files that do not name one.
pub const FIRST_MEANING: u32 = 1;
