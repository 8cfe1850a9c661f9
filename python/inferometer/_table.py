"""Rows of a Parquet file, for the library that the user has."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas
    import polars
    import pyarrow

#: The columns of single events, which are lists in a request's row.
_EVENTS = {
    "event_ns": "ns",
    "event_lag_ns": "lag_ns",
    "event_tokens": "tokens",
    "event_kind": "kind",
    "event_flags": "flags",
}


class Table:
    """Rows of a Parquet file, read when they are asked for.

    Args:
        path: The file.
        events: One row per event in place of one per request.
    """

    def __init__(self, path: Path, *, events: bool = False) -> None:
        self.path = path
        self._events = events

    def __repr__(self) -> str:
        rows = "events" if self._events else "requests"
        return f"Table({str(self.path)!r}, {rows})"

    def to_arrow(self) -> pyarrow.Table:
        """The rows as an Arrow table (needs ``pip install 'inferometer[arrow]'``)."""
        import pyarrow
        import pyarrow.compute
        import pyarrow.parquet

        if not self._events:
            return pyarrow.parquet.read_table(self.path)
        table = pyarrow.parquet.read_table(self.path, columns=["index", *_EVENTS])
        first = table["event_ns"]
        parents = pyarrow.compute.list_parent_indices(first)
        columns: dict[str, Any] = {"index": table["index"].take(parents)}
        for name, short in _EVENTS.items():
            columns[short] = pyarrow.compute.list_flatten(table[name])
        return pyarrow.table(columns)

    def to_pandas(self) -> pandas.DataFrame:
        """The rows as a pandas frame (needs ``pip install 'inferometer[pandas]'``)."""
        return self.to_arrow().to_pandas()

    def to_polars(self) -> polars.DataFrame:
        """The rows as a polars frame (needs ``pip install 'inferometer[polars]'``)."""
        import polars

        if not self._events:
            return polars.read_parquet(self.path)
        frame = polars.read_parquet(self.path, columns=["index", *_EVENTS])
        # A request without events would be one row of nulls.
        frame = frame.filter(polars.col("event_ns").list.len() > 0)
        return frame.explode(list(_EVENTS)).rename(_EVENTS)

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """Arrow's stream protocol, by which DuckDB and others read the rows."""
        return self.to_arrow().__arrow_c_stream__(requested_schema)
