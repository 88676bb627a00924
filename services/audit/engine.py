"""The columnar engine: one DuckDB database in a temporary folder, with bounded memory."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

DEFAULT_MEMORY_MB = 1024


class Engine:
    """A database for the time of one audit. Tables spill to disk, so that a log of any length can be audited."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection

    def run(self, sql: str, parameters: dict[str, Any] | None = None) -> None:
        """Execute one statement or several."""
        self._connection.execute(sql, parameters or {})

    def rows(self, sql: str, parameters: dict[str, Any] | None = None) -> list[tuple[Any, ...]]:
        """All rows of a query."""
        return self._connection.execute(sql, parameters or {}).fetchall()

    def dicts(self, sql: str, parameters: dict[str, Any] | None = None) -> list[dict[str, Any]]:
        """All rows of a query, by name of column."""
        found = self._connection.execute(sql, parameters or {})
        names = [column[0] for column in found.description or ()]
        return [dict(zip(names, row, strict=True)) for row in found.fetchall()]

    def value(self, sql: str, parameters: dict[str, Any] | None = None) -> Any:
        """The first column of the first row."""
        row = self._connection.execute(sql, parameters or {}).fetchone()
        return None if row is None else row[0]

    def load(self, table: str, rows: list[dict[str, Any]], schema: pa.Schema) -> None:
        """Make a table of Python rows."""
        self._connection.register("incoming", pa.Table.from_pylist(rows, schema))
        self._connection.execute(f"create or replace table {table} as select * from incoming")
        self._connection.unregister("incoming")


@contextmanager
def open_engine(memory_mb: int = DEFAULT_MEMORY_MB) -> Iterator[Engine]:
    """An engine that uses up to ``memory_mb`` MiB and, beyond that, a temporary folder; both end with the block."""
    with tempfile.TemporaryDirectory(prefix="fanpulse-audit-") as folder:
        config: dict[str, str | bool | int | float | list[str]] = {
            "memory_limit": f"{memory_mb}MiB",
            "temp_directory": str(Path(folder) / "spill"),
            "preserve_insertion_order": False,
            # What is used is built in; an audit must not reach for the network.
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
        }
        connection = duckdb.connect(str(Path(folder) / "audit.duckdb"), config=config)
        try:
            yield Engine(connection)
        finally:
            connection.close()


def quoted(text: str | Path) -> str:
    """A text as an SQL literal, for where DuckDB takes no parameter."""
    return "'" + str(text).replace("'", "''") + "'"
