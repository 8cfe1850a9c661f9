"""The run folder."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ._table import Table


@dataclass(frozen=True)
class Metric:
    """The statistics of one metric over the successful requests.

    Attributes:
        samples: Number of values.
        mean_ms: Mean in milliseconds; ``None`` where nothing was measured.
        median_ms: Median in milliseconds.
        std_ms: Standard deviation in milliseconds.
        percentiles: Milliseconds by percentile (0 to 100), those that the run was asked for.
    """

    samples: int
    mean_ms: float | None
    median_ms: float | None
    std_ms: float | None
    percentiles: dict[float, float]


@dataclass(frozen=True)
class Summary:
    """The numbers of a run.

    Attributes:
        duration_s: From the start of the run to the last instant recorded for any request, in seconds.
        completed: Successful requests.
        failed: Requests that failed.
        total_input_tokens: Prompt tokens of the successful requests.
        total_output_tokens: Output tokens of the successful requests.
        request_throughput: Successful requests per second.
        output_throughput: Output tokens per second.
        total_token_throughput: Input and output tokens per second.
        request_goodput: Successful requests per second within every limit of ``goodput``; ``None`` without limits.
        metrics: Statistics by the name of the metric: ``ttft``, ``tpot``, ``itl``, ``e2el``, those that the run has.
    """

    duration_s: float
    completed: int
    failed: int
    total_input_tokens: int
    total_output_tokens: int
    request_throughput: float
    output_throughput: float
    total_token_throughput: float
    request_goodput: float | None
    metrics: dict[str, Metric]


@dataclass(frozen=True)
class Reason:
    """A reason of a verdict.

    Attributes:
        code: Its stable name, such as ``late_sends``.
        level: ``CAUTION`` or ``INVALID``.
        message: The value, the limit, and what it means.
        remedy: What to do.
    """

    code: str
    level: str
    message: str
    remedy: str


@dataclass(frozen=True)
class Verdict:
    """Whether the numbers may be trusted.

    Attributes:
        level: ``VALID``, ``CAUTION`` or ``INVALID``.
        reasons: Why it is not ``VALID``.
    """

    level: str
    reasons: tuple[Reason, ...]

    @property
    def codes(self) -> list[str]:
        """The codes of the reasons."""
        return [reason.code for reason in self.reasons]


class Run:
    """A run folder.

    Args:
        folder: The folder, as ``inferometer run`` names it at its end.
        output: What the program printed, of a run that was just made.
        exit_code: Its exit code.
    """

    def __init__(self, folder: str | os.PathLike[str], *, output: str = "", exit_code: int | None = None) -> None:
        self.folder = Path(folder)
        self.output = output
        self.exit_code = exit_code
        if not (self.folder / "manifest.json").is_file():
            raise FileNotFoundError(f"{self.folder} is not a run folder: it has no manifest.json")

    def __repr__(self) -> str:
        return f"Run({str(self.folder)!r})"

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """Everything in ``manifest.json``: settings, command, environment, health of the client, numbers, verdict."""
        manifest: dict[str, Any] = json.loads((self.folder / "manifest.json").read_text())
        return manifest

    @cached_property
    def summary(self) -> Summary:
        """The numbers of the run.

        Raises:
            ValueError: The run has not ended (``inferometer recover`` writes what a killed run measured).
        """
        numbers = (self.manifest.get("summary") or {}).get("summary")
        if numbers is None:
            raise ValueError(f"{self.folder} has no numbers yet: inferometer recover writes those of a killed run")
        fields = {name: numbers[name] for name in Summary.__annotations__ if name != "metrics"}
        metrics = {stat["metric"]: _metric(stat) for stat in numbers["stats"]}
        return Summary(**fields, metrics=metrics)

    @cached_property
    def verdict(self) -> Verdict:
        """Whether the numbers may be trusted, and why not."""
        verdict = self.manifest.get("verdict") or {}
        names = Reason.__annotations__
        reasons = ({name: reason[name] for name in names} for reason in verdict.get("reasons", []))
        return Verdict(verdict.get("level", ""), tuple(Reason(**reason) for reason in reasons))

    @property
    def requests(self) -> Table:
        """One row per request: instants in nanoseconds from the start of the run, outcome, tokens, text, and the events as
        lists. ``docs/files.md`` describes the columns."""
        return Table(self.folder / "requests.parquet")

    @property
    def events(self) -> Table:
        """One row per token event: ``index`` of the request, ``ns`` (arrival in nanoseconds from the start of the run),
        ``lag_ns`` (how much later the process read it), ``tokens`` (0 where not known), ``kind`` and ``flags``."""
        return Table(self.folder / "requests.parquet", events=True)


def _metric(stat: dict[str, Any]) -> Metric:
    def known(name: str) -> float | None:
        return stat[name] if stat["samples"] else None

    percentiles = {float(rank): value for rank, value in stat["percentiles"]} if stat["samples"] else {}
    return Metric(stat["samples"], known("mean_ms"), known("median_ms"), known("std_ms"), percentiles)
