"""The physical lines of a stream of bytes, each with its number and the offset at which it ends."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import BinaryIO, NamedTuple

from schemas.reasons import Rejection

#: A longer line is no row: it is cut, and what is left of it is passed over.
MAX_LINE_BYTES = 2**20
#: So much of a line that is too long is kept, to show what it was.
_KEPT_BYTES = 10_000


class Row(NamedTuple):
    """One row of a file. ``number`` is its first line (of a Parquet file, its row); counted from 1.

    ``value`` is a list of cells or the bytes of a line; ``end`` is the offset (in unpacked bytes; of a
    Parquet file, in rows) after it, and ``lines`` how many lines end there: a resumed load goes on from that
    place. ``problem`` says why it is no row at all, and ``value`` is then the line as it stands.
    """

    number: int
    value: list[object] | bytes
    end: int
    lines: int
    problem: Rejection | None = None


class Line(NamedTuple):
    """A line with its line break. ``size`` is its true length; ``data`` is its start if it was ``cut``."""

    data: bytes
    size: int
    cut: bool = False


class Lines:
    """Iterator of lines that can take some back. ``number`` and ``offset`` stand after the last one given."""

    def __init__(self, stream: BinaryIO, offset: int = 0, number: int = 0) -> None:
        self._stream = stream
        self._returned: deque[Line] = deque()
        self.offset = offset
        self.number = number

    def __iter__(self) -> Lines:
        return self

    def __next__(self) -> Line:
        if self._returned:
            line = self._returned.popleft()
        else:
            data = self._stream.readline(MAX_LINE_BYTES)
            if not data:
                raise StopIteration
            line = Line(data, len(data))
            if len(data) == MAX_LINE_BYTES and not data.endswith(b"\n"):
                line = self._pass_over(data)
        self.offset += line.size
        self.number += 1
        return line

    def take_back(self, lines: Iterable[Line]) -> None:
        """Give these lines again: the last ones given, in their order."""
        taken = list(lines)
        self._returned.extendleft(reversed(taken))
        self.offset -= sum(line.size for line in taken)
        self.number -= len(taken)

    def drop_to(self, offset: int) -> None:
        """Leave out those of the lines taken back that are before an offset."""
        while self._returned and self.offset < offset:
            next(self)

    def _pass_over(self, start: bytes) -> Line:
        size = len(start)
        while rest := self._stream.readline(MAX_LINE_BYTES):
            size += len(rest)
            if rest.endswith(b"\n"):
                break
        return Line(start[:_KEPT_BYTES], size, cut=True)
