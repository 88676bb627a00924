"""The columnar engine: one DuckDB database in a temporary folder, with bounded memory.

The SQL is in ``sql/``: files of named statements, so that an auditor can read the rules without the code.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from schemas.events import GAUGES, INTERACTIONS, IRREVOCABLE

DEFAULT_MEMORY_MB = 1024
MINUTE_MS = 60_000
#: How long after its end a minute still counts events, by stream time.
GRACE_MS = 5_000
#: A closed minute older than this need not be published any more.
KEPT_MS = 48 * 3_600_000
#: A reading that falls by at least this, to less than half, has been reset.
RESET_LEAST = 100

_VARIABLES: dict[str, Any] = {
    "minute_ms": MINUTE_MS,
    "closing_ms": MINUTE_MS + GRACE_MS,
    "kept_ms": KEPT_MS,
    # More entries than a record can hold: an address is record_offset * entries_bound + entry_index.
    "entries_bound": 2**24,
    "interactions": list(INTERACTIONS),
    "gauges": list(GAUGES),
    "irrevocable": list(IRREVOCABLE),
    "reset_least": RESET_LEAST,
}
_NAME = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)


@cache
def statements(script: str) -> dict[str, str]:
    """The statements of ``sql/<script>.sql`` by name, in the order of the file."""
    text = files(__package__).joinpath("sql", f"{script}.sql").read_text(encoding="utf-8")
    _, *parts = _NAME.split(text)
    return dict(zip(parts[::2], parts[1::2], strict=True))


class Engine:
    """A database for one audit; tables spill to disk, so a log of any length can be audited.

    A statement is named ``script.name``; it is given exactly the parameters in its text.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection
        for name, value in _VARIABLES.items():
            connection.execute(f"set variable {name} = $value", {"value": value})

    def _execute(self, name: str, parameters: dict[str, Any]) -> duckdb.DuckDBPyConnection:
        script, _, statement = name.partition(".")
        return self._connection.execute(statements(script)[statement], parameters)

    def run(self, name: str, **parameters: Any) -> None:
        """Execute a statement that makes or changes a table."""
        self._execute(name, parameters)

    def rows(self, name: str, **parameters: Any) -> list[tuple[Any, ...]]:
        """All rows of a query."""
        return self._execute(name, parameters).fetchall()

    def dicts(self, name: str, **parameters: Any) -> list[dict[str, Any]]:
        """All rows of a query, by name of column."""
        found = self._execute(name, parameters)
        names = [column[0] for column in found.description or ()]
        return [dict(zip(names, row, strict=True)) for row in found.fetchall()]

    def value(self, name: str, **parameters: Any) -> Any:
        """The only value of a query."""
        return self.rows(name, **parameters)[0][0]

    def load(self, table: str, rows: list[dict[str, Any]], schema: pa.Schema) -> None:
        """Make a table of Python rows."""
        self._connection.register("incoming", pa.Table.from_pylist(rows, schema))
        self._connection.table("incoming").create(table)
        self._connection.unregister("incoming")

    def save(self, name: str, target: Path, **parameters: Any) -> None:
        """Write the rows of a query to a Parquet file."""
        script, _, statement = name.partition(".")
        relation = self._connection.sql(statements(script)[statement].rstrip("; \n"), params=parameters)
        relation.write_parquet(str(target), compression="zstd")


@contextmanager
def open_engine(memory_mb: int = DEFAULT_MEMORY_MB) -> Iterator[Engine]:
    """An engine that uses up to ``memory_mb`` MiB, and temporary files beyond, for the time of the block."""
    with tempfile.TemporaryDirectory(prefix="fanpulse-audit-") as folder:
        config: dict[str, str | bool | int | float | list[str]] = {
            "memory_limit": f"{memory_mb}MiB",
            "temp_directory": str(Path(folder) / "spill"),
            "preserve_insertion_order": False,
            # All that is used is built in; an audit must not use the network.
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
        }
        connection = duckdb.connect(str(Path(folder) / "audit.duckdb"), config=config)
        try:
            yield Engine(connection)
        finally:
            connection.close()
