//! The command that resumes a sweep.

use inferometer_campaign::SELF_PROGRAM;
use inferometer_campaign::words::shell_line;

/// The command line of this process, with `--resume`.
pub(super) fn resume_command() -> String {
    let mut words: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| word != "--overwrite" && word != "--again")
        .collect();
    if !words.iter().any(|word| word == "--resume") {
        let end = words
            .iter()
            .position(|word| word == "--")
            .unwrap_or(words.len());
        words.insert(end, "--resume".to_owned());
    }
    words.insert(0, SELF_PROGRAM.to_owned());
    shell_line(&words)
}
