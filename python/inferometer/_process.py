"""Starting the program."""

from __future__ import annotations

import os
import shutil
import subprocess
import sysconfig
from pathlib import Path
from typing import Any, Iterator

from ._results import Run

#: Exit codes with which a run was made: success, a verdict of INVALID with ``strict``, and stopped early.
_RUN_MADE = (0, 3, 130)


class InferometerError(RuntimeError):
    """The program ended without a run.

    Attributes:
        code: Its exit code: 1 for a run that failed, 2 for a wrong flag, file or address.
        output: What it printed on standard error.
    """

    def __init__(self, code: int, output: str) -> None:
        super().__init__(output.strip() or f"inferometer ended with exit code {code}")
        self.code = code
        self.output = output


def binary() -> Path:
    """The path of the program: the one named by ``INFEROMETER``, else the one installed with this package, else the first
    on the path.

    Raises:
        FileNotFoundError: There is none.
    """
    named = os.environ.get("INFEROMETER")
    if named:
        return Path(named)
    user = "nt_user" if os.name == "nt" else "posix_user"
    for folder in (sysconfig.get_path("scripts"), sysconfig.get_path("scripts", user)):
        path = Path(folder) / "inferometer"
        if path.is_file():
            return path
    found = shutil.which("inferometer")
    if found is None:
        raise FileNotFoundError("the program inferometer is neither installed with this package nor on the path")
    return Path(found)


def run(*, runs_dir: str | os.PathLike[str] = "inferometer-runs", **flags: Any) -> Run:
    """Measures a server and returns the run.

    Args:
        runs_dir: Folder in which the run folder is made.
        **flags: The flags of ``inferometer run`` with underscores in place of hyphens: ``num_prompts=100`` is
            ``--num-prompts 100``. ``True`` gives a flag without a value, ``False`` and ``None`` leave it out, and a list
            gives several values.

    Raises:
        InferometerError: Nothing was measured, or every request failed and no run folder is left.
    """
    return _measure("run", Path(runs_dir), {"disable_tqdm": True, **flags})


def simulate(*, runs_dir: str | os.PathLike[str] = "inferometer-runs", **flags: Any) -> Run:
    """Runs a benchmark against an engine model on a virtual clock: ``inferometer simulate``, as :func:`run`."""
    return _measure("simulate", Path(runs_dir), dict(flags))


def _measure(command: str, runs_dir: Path, flags: dict[str, Any]) -> Run:
    before = _folders(runs_dir)
    arguments = [str(binary()), command, "--runs-dir", str(runs_dir), *_arguments(flags)]
    ended = subprocess.run(arguments, capture_output=True, text=True, check=False)
    new = sorted(_folders(runs_dir) - before)
    # Another run may have begun at the same time; the program names its own.
    printed = "".join(ended.stdout.split())
    own = [folder for folder in new if folder in printed] or new
    if own and (ended.returncode in _RUN_MADE or len(own) == 1):
        return Run(runs_dir / own[-1], output=ended.stdout, exit_code=ended.returncode)
    raise InferometerError(ended.returncode, ended.stderr)


def _folders(runs_dir: Path) -> set[str]:
    if not runs_dir.is_dir():
        return set()
    return {entry.name for entry in runs_dir.iterdir() if (entry / "manifest.json").is_file()}


def _arguments(flags: dict[str, Any]) -> Iterator[str]:
    for name, value in flags.items():
        if value is None or value is False:
            continue
        yield "--" + name.replace("_", "-")
        if value is True:
            continue
        values = value if isinstance(value, (list, tuple)) else [value]
        for one in values:
            yield str(one)
