//! Scripts with the names of the tools that inferometer replaces: each passes its command line on.

use std::path::Path;

use serde_json::Value;

/// Text in every script that this command writes, so that it never overwrites another file.
const MARK: &str = "runs inferometer in place of";
/// The text in scripts from before November 2026, which are replaced as well.
const OLD_MARK: &str = "runs servebench in place of";
/// Name of a script, what it replaces, and our command.
const SCRIPTS: [(&str, &str, &[&str]); 4] = [
    // The last version of vLLM with this script is 0.10: from 0.11 on it prints a hint and ends. The
    // scripts that call it read its labels and rely on its defaults.
    (
        "benchmark_serving.py",
        "vLLM's script of this name (rules of vLLM 0.10; --compat vllm for the newest)",
        &["bench", "serve", "--compat=vllm-0.10"],
    ),
    (
        "run_sweep.py",
        "the script of this name",
        &["sweep", "--again"],
    ),
    (
        "aggregate_result.py",
        "the script of this name",
        &["aggregate"],
    ),
    ("visualize.py", "the script of this name", &["visualize"]),
];

/// A script that runs inferometer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shim {
    /// Its file name.
    pub name: &'static str,
    /// The script.
    pub text: String,
}

impl Shim {
    /// The scripts that run `binary`; the one named `vllm` too, if it is wanted.
    pub fn all(binary: &Path, with_vllm: bool) -> Vec<Self> {
        let scripts = SCRIPTS.iter().map(|&(name, of, command)| Self {
            name,
            text: script(name, of, command, binary),
        });
        let vllm = with_vllm.then(|| Self {
            name: "vllm",
            text: vllm_script(binary),
        });
        scripts.chain(vllm).collect()
    }

    /// True for the text of a script that an installation of any version wrote.
    pub fn is_ours(text: &str) -> bool {
        text.contains(MARK) || text.contains(OLD_MARK)
    }
}

fn script(name: &str, of: &str, command: &[&str], binary: &Path) -> String {
    let command = command
        .iter()
        .map(|word| format!("{word:?}"))
        .collect::<Vec<_>>()
        .join(", ");
    format!(
        "#!/usr/bin/env python3\n\
         \"\"\"{name}: {MARK} {of}.\"\"\"\n\
         import os\n\
         import sys\n\n\
         BINARY = os.environ.get(\"INFEROMETER\") or os.environ.get(\"SERVEBENCH\") or {}\n\
         try:\n    os.execv(BINARY, [BINARY, {command}, *sys.argv[1:]])\n\
         except OSError as error:\n    {CANNOT_RUN}\n",
        literal(binary)
    )
}

/// What a script says where the binary was moved.
const CANNOT_RUN: &str = r#"sys.exit(f"error: cannot run {BINARY}: {error.strerror}; set the variable INFEROMETER to the path of inferometer")"#;

/// What `vllm` does: our commands, and everything else by the real one.
const VLLM_SCRIPT: &str = r#"#!/usr/bin/env python3
"""vllm: MARK the real one for `vllm bench serve` and `vllm bench sweep serve`, and passes on the rest."""
import os
import sys

BINARY = os.environ.get("INFEROMETER") or os.environ.get("SERVEBENCH") or PATH_OF_BINARY
WORDS = sys.argv[1:]


def run_ours():
    try:
        os.execv(BINARY, [BINARY, *WORDS])
    except OSError as error:
        CANNOT_RUN


if WORDS[:2] == ["bench", "serve"] or WORDS[:3] == ["bench", "sweep", "serve"]:
    run_ours()


def is_shim(path):
    try:
        with open(path, "rb") as file:
            start = file.read(500)
    except OSError:
        return False
    return b"MARK" in start or b"FORMER" in start


for folder in os.environ.get("PATH", os.defpath).split(os.pathsep):
    real = os.path.join(folder or ".", "vllm")
    if os.path.isfile(real) and os.access(real, os.X_OK) and not is_shim(real):
        os.execv(real, [real, *WORDS])
if WORDS[:2] == ["bench", "sweep"]:
    # It names what to use instead.
    run_ours()
sys.exit("vllm: only `bench serve` and `bench sweep serve` run without vLLM, and no other vllm is in PATH")
"#;

fn vllm_script(binary: &Path) -> String {
    VLLM_SCRIPT
        .replace("MARK", MARK)
        .replace("FORMER", OLD_MARK)
        .replace("PATH_OF_BINARY", &literal(binary))
        .replace("CANNOT_RUN", CANNOT_RUN)
}

/// A path as a Python literal, which a JSON string also is.
fn literal(path: &Path) -> String {
    Value::from(path.display().to_string()).to_string()
}
