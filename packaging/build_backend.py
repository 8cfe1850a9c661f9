"""maturin, but a missing or an old Rust is named before the installation begins to compile."""

import re
import subprocess
from pathlib import Path

import maturin
from maturin import *  # noqa: F403  The hooks of PEP 517 and PEP 660.


def _prepare() -> None:
    root = Path(__file__).parent.parent
    # Completions and manual pages; an installation from a checkout has none.
    (root / "target" / "wheel-data").mkdir(parents=True, exist_ok=True)
    manifest = (root / "Cargo.toml").read_text(encoding="utf-8")
    needed = re.search(r'^rust-version = "(.*)"$', manifest, re.MULTILINE)[1]
    try:
        found = subprocess.run(["rustc", "--version"], capture_output=True, text=True, check=True).stdout.split()[1]
    except (OSError, subprocess.CalledProcessError):
        found = ""
    if [int(part) for part in re.findall(r"\d+", found)[:2]] < [int(part) for part in needed.split(".")]:
        raise SystemExit(
            f"error: no wheel of inferometer fits this system, and compiling it needs Rust {needed} or newer: "
            f"found {f'Rust {found}' if found else 'no rustc on the path'}. Install Rust from https://rustup.rs"
        )


def get_requires_for_build_wheel(config_settings=None):
    _prepare()
    return maturin.get_requires_for_build_wheel(config_settings)


def get_requires_for_build_editable(config_settings=None):
    _prepare()
    return maturin.get_requires_for_build_editable(config_settings)
