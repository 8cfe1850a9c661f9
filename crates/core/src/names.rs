//! The program's name where files hold it, and its name before November 2026.
//!
//! Files and scripts of that time stay readable: readers replace the old name with the current one
//! ([`current`]), and writers use only the current one.

use std::borrow::Cow;

/// The program: its command, and the key of its additions in result files.
pub const NAME: &str = "inferometer";
/// What the program was called before.
pub const OLD_NAME: &str = "servebench";

/// `key` under the current name: `servebench` and `servebench.verdict.level` begin with `inferometer`
/// now; every other text stays as it is.
pub fn current(key: &str) -> Cow<'_, str> {
    match key.strip_prefix(OLD_NAME) {
        Some(rest) if rest.is_empty() || rest.starts_with(['.', '-']) => {
            Cow::Owned(format!("{NAME}{rest}"))
        }
        _ => Cow::Borrowed(key),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_old_name_itself_is_replaced() {
        for (key, expected) in [
            ("servebench", "inferometer"),
            ("servebench.verdict.level", "inferometer.verdict.level"),
            ("servebench-workload", "inferometer-workload"),
            ("servebenchmark", "servebenchmark"),
            ("tool.servebench", "tool.servebench"),
            ("p99_ttft_ms", "p99_ttft_ms"),
        ] {
            assert_eq!(current(key), expected);
        }
    }
}
