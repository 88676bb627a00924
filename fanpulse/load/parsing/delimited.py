"""CSV and its kin: a header, then rows of as many cells; quoted cells may hold separators and line breaks.

A row that is no row (a quote that is never closed, more or fewer cells than the header) costs one line: it
is reported by its first line, and reading goes on with the line after that. So a stray quote does not swallow
the rows behind it.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from typing import BinaryIO

from fanpulse.load.parsing.lines import Line, Lines, Row
from schemas.reasons import Reason, Rejection

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_SEPARATORS = ",;\t|"
#: Spreadsheets write the separator into a first line of its own.
_SEPARATOR_LINE = re.compile(rb"sep=(.)\s*", re.IGNORECASE)
_QUOTED = re.compile(r'"[^"]*"')


class DelimitedError(ValueError):
    """The file has no header that can be used. The message is one line."""


class Delimited:
    """Reads rows as lists of texts. ``columns`` is the header; raises DelimitedError without one."""

    def __init__(self, stream: BinaryIO) -> None:
        self._lines = Lines(stream)
        self._texts = _Texts(self._lines)
        self.separator = self._find_separator()
        self._reader = csv.reader(self._texts, delimiter=self.separator, strict=True)
        self.columns = self._read_header()
        #: The place of the first row.
        self.start = (self._lines.offset, self._lines.number)

    def go_on(self, offset: int, number: int) -> None:
        """State that the stream has been moved to this place, which was the end of a row."""
        self._lines.offset, self._lines.number = offset, number

    def rows(self) -> Iterator[Row]:
        """Every row from the current place on; blank lines are skipped."""
        texts, lines, width = self._texts, self._lines, len(self.columns)
        while True:
            first = lines.number + 1
            texts.begin()
            try:
                cells = next(self._reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield self._fail(first, str(error))
                continue
            if len(cells) != width:
                if not any(cells) or all(not line.data.strip() for line in texts.given):
                    continue
                # Only as many empty cells more as the header has: any other one hints at a shifted row.
                if len(cells) != self._header_cells or any(cells[width:]):
                    yield self._fail(first, f"{len(cells)} cells where the header has {width}")
                    continue
                del cells[width:]
            if texts.problem:
                raw = b"".join(line.data for line in texts.given).strip()
                yield Row(first, _one_line(raw), lines.offset, lines.number, texts.problem)
            elif any(cells):
                yield Row(first, cells, lines.offset, lines.number)  # type: ignore[arg-type]

    def _fail(self, first: int, detail: str) -> Row:
        """The first line of a malformed row; the other lines of it are read again."""
        line, *more = self._texts.given
        self._lines.take_back(more)
        problem = Rejection("", Reason.NOT_JSON, f"malformed CSV: {detail}")
        if self._texts.problem and not more:
            problem = self._texts.problem
        return Row(first, _one_line(line.data.strip()), self._lines.offset, self._lines.number, problem)

    def _find_separator(self) -> str:
        """The separator that the header uses most, or that a first line `sep=;` names."""
        for line in self._lines:
            data = line.data.removeprefix(_BYTE_ORDER_MARK)
            named = _SEPARATOR_LINE.fullmatch(data)
            if named:
                return named[1].decode("latin-1")
            if data.strip():
                self._lines.take_back([Line(data, line.size)])
                header = _QUOTED.sub("", data.decode(errors="replace"))
                return max(_SEPARATORS, key=header.count)
        raise DelimitedError("is empty")

    def _read_header(self) -> list[str]:
        while True:
            self._texts.begin()
            try:
                names = [name.strip() for name in next(self._reader)]
            except StopIteration:
                raise DelimitedError("has no header") from None
            except csv.Error as error:
                raise DelimitedError(f"has no header that can be read as CSV: {error}") from None
            if self._texts.problem:
                raise DelimitedError(
                    f"has a header that is not UTF-8 ({self._texts.problem.detail}); save it as CSV UTF-8"
                )
            if any(names):
                self._header_cells = len(names)
                while not names[-1]:
                    names.pop()
                return names


class _Texts:
    """Lines as texts for the csv module, keeping those of the current row."""

    def __init__(self, lines: Lines) -> None:
        self._lines = lines
        self.given: list[Line] = []
        self.problem: Rejection | None = None

    def begin(self) -> None:
        """A new row begins."""
        self.given = []
        self.problem = None

    def __iter__(self) -> _Texts:
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        self.given.append(line)
        if line.cut:
            self.problem = Rejection("", Reason.TOO_LARGE, f"a line of {line.size:,} bytes")
        try:
            return line.data.decode()
        except UnicodeDecodeError as error:
            if not line.cut:
                byte, place = line.data[error.start], error.start + 1
                detail = f"byte 0x{byte:02x} at place {place} of line {self._lines.number}"
                self.problem = Rejection("", Reason.NOT_UTF8, detail)
            return line.data.decode(errors="replace")


def _one_line(raw: bytes) -> bytes:
    # Ingest takes one line for one event.
    return raw.replace(b"\r", b" ").replace(b"\n", b" ")
