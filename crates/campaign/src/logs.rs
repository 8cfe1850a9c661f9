//! The logs of runs and servers: their last line, and the reason of a failure.

use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use inferometer_core::redact::without_secrets;
use inferometer_os::files::{self, SMALL_FILE};
use inferometer_results::write_in_folder;

/// Bytes at the end of a log in which the reason of a failure is looked for.
const TAIL: u64 = 16 << 10;

/// The last line of a log, for messages.
pub(crate) fn last_words(log: &Path) -> String {
    last_line(&tail(log)).unwrap_or_else(|| format!("see {}", log.display()))
}

/// The last line that is not empty, as a screen shows it: progress bars overwrite their line, and
/// colours are not text.
pub(crate) fn last_line(log: &str) -> Option<String> {
    log.rsplit(['\n', '\r'])
        .map(|line| plain(line).trim().to_owned())
        .find(|line| !line.is_empty())
}

/// `line` without the control sequences of terminals.
fn plain(line: &str) -> String {
    let mut text = String::new();
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        match letter {
            // A sequence ends with a letter.
            '\u{1b}' => drop(letters.find(char::is_ascii_alphabetic)),
            '\t' => text.push(' '),
            letter if letter.is_control() => {}
            letter => text.push(letter),
        }
    }
    text
}

/// Takes the secrets of this process out of a log that its command no longer writes: servers print
/// the arguments that they got, and some the requests as well.
pub(crate) fn leave_out_secrets(log: &Path) {
    let Ok(bytes) = files::bytes(log, SMALL_FILE) else {
        return;
    };
    if let Some(plain) = without_secrets(&String::from_utf8_lossy(&bytes)) {
        drop(write_in_folder(log, plain.as_bytes()));
    }
}

/// The end of a log.
pub(crate) fn tail(log: &Path) -> String {
    let read = || -> std::io::Result<String> {
        let mut file = files::open(log)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    read().unwrap_or_default()
}

/// Why a run failed, from the end of its log: our own error line, else the first failed request,
/// else the last line.
pub(crate) fn reason(log: &str, status: &str) -> String {
    let lines = || log.lines().map(str::trim).filter(|line| !line.is_empty());
    let line = lines()
        .rev()
        .find_map(|line| line.strip_prefix("error: ").map(str::to_owned))
        .or_else(|| {
            lines()
                .find(|line| line.starts_with("Error 0: "))
                .map(|line| format!("requests failed: {}", &line[9..]))
        })
        .or_else(|| lines().next_back().map(str::to_owned));
    match line {
        Some(line) => format!("{line} ({status})"),
        None => status.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_is_the_one_that_a_screen_shows() {
        for (log, expected) in [
            ("", None),
            ("\n \n", None),
            ("a\nb\n\n", Some("b")),
            ("loading\n  1%|\r 50%|==  |\r", Some("50%|==  |")),
            (
                "\u{1b}[32mINFO\u{1b}[0m ready\u{1b}[K\n\u{1b}[0m\n",
                Some("INFO ready"),
            ),
        ] {
            assert_eq!(last_line(log).as_deref(), expected, "{log:?}");
        }
    }

    #[test]
    fn the_reason_of_a_failure_is_the_reported_error() {
        for (log, expected) in [
            (
                "table\nwarning: x\nerror: no server (--base-url)\n\n",
                "no server (--base-url) (exit status: 2)",
            ),
            (
                "Error 0: http_error: 500\nError 1: b\ntable",
                "requests failed: http_error: 500 (exit status: 2)",
            ),
            (
                "Traceback\nValueError: x\n",
                "ValueError: x (exit status: 2)",
            ),
            ("", "exit status: 2"),
        ] {
            assert_eq!(reason(log, "exit status: 2"), expected);
        }
    }
}
