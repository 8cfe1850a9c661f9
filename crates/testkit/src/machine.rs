//! What a test finds on the machine that it runs on.

use std::path::{Path, PathBuf};

/// Name of the variable that forbids skipping tests (set in continuous integration).
pub const MUST_RUN: &str = "INFEROMETER_TESTS_MUST_RUN";

/// The value if there is one; otherwise prints one line that names what is missing and returns
/// `None`.
///
/// # Panics
/// When skipping is forbidden by [`MUST_RUN`].
#[expect(clippy::print_stderr, reason = "a skipped test must say so")]
pub fn or_skip<T>(part: Option<T>, what: &str) -> Option<T> {
    if part.is_none() {
        assert!(
            std::env::var_os(MUST_RUN).is_none(),
            "{what} is missing, and {MUST_RUN} is set"
        );
        eprintln!("skipped: {what} is missing on this machine");
    }
    part
}

/// The root of the project.
pub fn project_root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_owned()
}

/// The first of these programs that is on the search path.
pub fn program(names: &[&str]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    names.iter().find_map(|name| {
        std::env::split_paths(&path)
            .map(|dir| dir.join(name))
            .find(|file| file.is_file())
    })
}
