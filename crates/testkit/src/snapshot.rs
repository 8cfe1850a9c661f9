//! Snapshots of everything that a command prints.

use std::ffi::OsStr;
use std::process::{Command, Output, Stdio};

use crate::{stderr, stdout};

/// A pattern and what a snapshot shows in its place.
pub type Redaction = (&'static str, &'static str);

/// What differs between two calls of the same command in any output.
const ALWAYS: &[Redaction] = &[
    (r"(/[\w.-]+)*/\.tmp\w{6}", "[folder]"),
    (r"127\.0\.0\.1:\d{2,5}", "127.0.0.1:[port]"),
    (r"\b20\d{6}-\d{6}(-\d)?\b", "[start]"),
    (r"\b20\d\d-\d\d-\d\d[ T]\d\d:\d\d:\d\d", "[date]"),
    (r"\b[0-9a-f]{64}\b", "[hash]"),
    (r"\(os error \d+\)", "(os error [n])"),
    (r"bench-[0-9a-f]{8}-", "bench-[id]-"),
    (
        concat!(r"(inferometer:?|version) ", env!("CARGO_PKG_VERSION")),
        "$1 [version]",
    ),
];

/// What depends on the machine in the output of a run against a real clock: numbers, and the
/// verdict with its reasons. Wrapped lines are joined, since their breaks depend on the numbers.
pub const MEASURED: &[Redaction] = &[
    // Shown only where events came together, which depends on the machine's load.
    (r" \(of which ≤ [^)]*\)", ""),
    (
        r"(?s)Verdict: .*?\nClient error:",
        "Verdict: [verdict]\nClient error:",
    ),
    (r"\n {18}", " "),
    (r"\b\d+(\.\d+)? (ms|µs|ns|s)\b", "[time]"),
    (r"\b\d+(\.\d+)? (%|req/s|tok/s)", "[n] $2"),
    (r"\b\d+\.\d+ *\n", "[n]\n"),
    (r"(?m)\b(VALID|CAUTION|INVALID)\b.*$", "[verdict]"),
];

/// Runs a command and returns its arguments, exit code, standard output and standard error in one
/// text; streams that stay empty are left out.
pub fn transcript(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap();
    // The first two are those of `env`.
    let arguments = command.get_args().skip(2);
    let arguments: Vec<_> = arguments.map(OsStr::to_string_lossy).collect();
    transcript_of(&arguments, &output)
}

/// The [`transcript`] of a command that has ended, with these arguments shown.
pub fn transcript_of<S: AsRef<str>>(arguments: &[S], output: &Output) -> String {
    let mut text = "$ inferometer".to_owned();
    for argument in arguments {
        text.push(' ');
        text.push_str(argument.as_ref());
    }
    let code = output.status.code();
    text += &code.map_or_else(
        || format!("\nended by {}\n", output.status),
        |code| format!("\nexit code {code}\n"),
    );
    for (name, stream) in [("stdout", stdout(output)), ("stderr", stderr(output))] {
        if !stream.is_empty() {
            text.extend([
                "---- ",
                name,
                " ----\n",
                stream.trim_end_matches('\n'),
                "\n",
            ]);
        }
    }
    text
}

/// The settings of [`snapshot!`](crate::snapshot).
pub fn snapshot_settings(more: &[Redaction]) -> insta::Settings {
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    for &(pattern, shown) in ALWAYS.iter().chain(more) {
        settings.add_filter(pattern, shown);
    }
    settings
}

/// Compares a text, usually a [`transcript`], with `snapshots/NAME.snap` beside the test, after
/// redaction of what differs between two calls, and of the [`Redaction`]s given.
///
/// `INSTA_UPDATE=always cargo test` writes the files anew.
#[macro_export]
macro_rules! snapshot {
    ($name:expr, $text:expr) => {
        $crate::snapshot!($name, $text, &[])
    };
    ($name:expr, $text:expr, $redactions:expr) => {{
        let text: String = $text;
        $crate::snapshot_settings($redactions)
            .bind(|| $crate::insta::assert_snapshot!($name, text));
    }};
}
