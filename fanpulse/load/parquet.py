"""Parquet files: rows in order, nested values by dotted names. Needs pyarrow, of the extra `audit`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from fanpulse.load.parsing.lines import Row

_BATCH_ROWS = 2000
#: Column chunks are read in such pieces, and not whole: a row group may be large.
_PAGE_BYTES = 2**20


class ParquetRows:
    """Reads rows as lists of Python values, counted from 1; the place after a row is its number."""

    def __init__(self, stream: BinaryIO, skip: int = 0) -> None:
        self._file = pq.ParquetFile(stream, buffer_size=_PAGE_BYTES)
        self._skip = skip
        self.count: int = self._file.metadata.num_rows
        self.columns = _flat(pa.Table.from_batches([], self._file.schema_arrow)).column_names

    def rows(self) -> Iterator[Row]:
        """Every row after the first ``skip`` ones."""
        groups, number = self._groups_after_skip()
        for batch in self._file.iter_batches(batch_size=_BATCH_ROWS, row_groups=groups):
            columns = [_values(column) for column in _flat(pa.Table.from_batches([batch])).columns]
            for cells in zip(*columns, strict=True):
                number += 1
                if number > self._skip:
                    yield Row(number, list(cells), number, number)

    def _groups_after_skip(self) -> tuple[list[int], int]:
        """The row groups that hold rows not skipped, and how many rows come before them."""
        before = 0
        for group in range(self._file.num_row_groups):
            size = self._file.metadata.row_group(group).num_rows
            if before + size > self._skip:
                return list(range(group, self._file.num_row_groups)), before
            before += size
        return [], before


def _flat(table: Any) -> Any:
    """Nested columns as columns of their own, named actor.id."""
    while any(pa.types.is_struct(field.type) for field in table.schema):
        table = table.flatten()
    return table


def _values(column: Any) -> list[Any]:
    if pa.types.is_timestamp(column.type):
        # Finer than Python's datetime; events have milliseconds.
        column = column.cast(pa.timestamp("us", column.type.tz), safe=False)
    values: list[Any] = column.to_pylist()
    return values
