//! What `inferometer --version` says of a build: commit, target and profile.

use std::path::Path;
use std::process::Command;

fn main() {
    let of_build = |name: &str| std::env::var(name).unwrap_or_default();
    println!("cargo::rustc-env=INFEROMETER_TARGET={}", of_build("TARGET"));
    println!(
        "cargo::rustc-env=INFEROMETER_PROFILE={}",
        of_build("PROFILE")
    );
    println!("cargo::rustc-env=INFEROMETER_COMMIT={}", commit());
    println!("cargo::rerun-if-env-changed=INFEROMETER_COMMIT");
    // Written at each commit and at each change of the branch.
    let log = Path::new("../../.git/logs/HEAD");
    if log.exists() {
        println!("cargo::rerun-if-changed={}", log.display());
    }
}

/// The commit of the sources: INFEROMETER_COMMIT where a package is built without the repository,
/// else what git says.
fn commit() -> String {
    if let Ok(given) = std::env::var("INFEROMETER_COMMIT") {
        return given;
    }
    let git = Command::new("git")
        .args(["rev-parse", "--short=12", "HEAD"])
        .output();
    match git {
        Ok(output) if output.status.success() => {
            String::from_utf8_lossy(&output.stdout).trim().to_owned()
        }
        _ => "unknown commit".to_owned(),
    }
}
