"""Runs inferometer and reads what it measured.

>>> import inferometer
>>> run = inferometer.run(base_url="http://127.0.0.1:8000", num_prompts=100, request_rate=10)
>>> run.verdict.level, run.summary.metrics["ttft"].median_ms
('VALID', 48.1)
>>> run.requests.to_pandas()

The package has no code that measures: :func:`run` starts the program ``inferometer``, which is installed with it, and
:class:`Run` reads the files that it wrote.
"""

from ._process import InferometerError, binary, run, simulate
from ._results import Metric, Reason, Run, Summary, Verdict
from ._table import Table

__all__ = [
    "InferometerError",
    "Metric",
    "Reason",
    "Run",
    "Summary",
    "Table",
    "Verdict",
    "binary",
    "run",
    "simulate",
]
