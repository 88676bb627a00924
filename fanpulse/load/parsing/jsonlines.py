"""JSON lines: every line that is not blank is a row."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from fanpulse.load.parsing.lines import Lines, Row
from schemas.reasons import Reason, Rejection

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class JsonLines:
    """Reads rows as bytes, without looking into them. ``columns`` is None: each row names its own values."""

    columns: None = None

    def __init__(self, stream: BinaryIO, offset: int = 0, number: int = 0) -> None:
        self._lines = Lines(stream, offset, number)

    def rows(self) -> Iterator[Row]:
        """Every row, from the place at which the reader was opened."""
        lines = self._lines
        for line in lines:
            data = line.data.removeprefix(_BYTE_ORDER_MARK) if lines.number == 1 else line.data
            data = data.strip()
            if line.cut:
                problem = Rejection("", Reason.TOO_LARGE, f"a line of {line.size:,} bytes")
                yield Row(lines.number, _one_line(data), lines.offset, lines.number, problem)
            elif data:
                yield Row(lines.number, _one_line(data), lines.offset, lines.number)


def _one_line(data: bytes) -> bytes:
    # A bare carriage return is white space in JSON, and a line break to some readers of lines.
    return data.replace(b"\r", b" ") if b"\r" in data else data
