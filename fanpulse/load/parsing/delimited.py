"""CSV and its kin: a header, then rows of as many cells; quoted cells may hold separators and line breaks.

A row that is no row (a quote that is never closed, more or fewer cells than the header) costs one line: it
is reported by its first line, and reading goes on with the line after that. So a stray quote does not swallow
the rows behind it.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator
from typing import BinaryIO

from fanpulse.load.parsing.lines import Line, Lines, Row
from schemas.reasons import Reason, Rejection

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_SEPARATORS = ",;\t|"
#: Spreadsheets write the separator into a first line of its own.
_SEPARATOR_LINE = re.compile(rb"sep=(.)\s*", re.IGNORECASE)
_QUOTED = re.compile(r'"[^"]*"')
#: The header is looked for in so many lines.
_MOST_TITLES = 12


class DelimitedError(ValueError):
    """The file has no header that can be used. The message is one line."""


class Delimited:
    """Reads rows as lists of texts. ``columns`` is the header; raises DelimitedError without one."""

    def __init__(self, stream: BinaryIO) -> None:
        self._lines = Lines(stream)
        self._texts = _Texts(self._lines)
        #: Lines before the header that hold one text and no more, such as the title of a report.
        self.titles: list[str] = []
        self.separator = self._find_separator()
        self._reader = csv.reader(self._texts, delimiter=self.separator, strict=True)
        self.columns = self._read_header()
        #: The place of the first row.
        self.start = (self._lines.offset, self._lines.number)

    def go_on(self, offset: int, number: int, move: Callable[[int, int], None]) -> None:
        """Go on at a place that was the end of a row; ``move`` moves the stream from an offset to another."""
        self._lines.drop_to(offset)
        move(self._lines.offset, offset)
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
        """The separator that the header uses most, or that a first line `sep=;` names.

        Passes over titles, and stands before the header then.
        """
        named: str | None = None
        begun: list[Line] = []
        for line in self._lines:
            data = line.data if begun or named else line.data.removeprefix(_BYTE_ORDER_MARK)
            if not begun and not named and (match := _SEPARATOR_LINE.fullmatch(data)):
                named = match[1].decode("latin-1")
            elif begun or data.strip():
                begun.append(Line(data, line.size, line.cut))
            # A usual header is known by itself, and a pipe may send no more for now.
            if len(begun) > _MOST_TITLES or (begun and _has_cells(begun[0].data, named or _SEPARATORS)):
                break
        if not begun:
            raise DelimitedError("is empty")
        texts = [line.data.decode(errors="replace") for line in begun]
        separator, header = _find_header(texts, named or _SEPARATORS)
        self.titles = [text for each in texts[:header] if (text := each.strip().strip('"'))]
        self._lines.take_back(begun[header:])
        return named or separator

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


def _has_cells(line: bytes, separators: str) -> bool:
    """Whether a line has a separator that is in no quotes."""
    unquoted = _QUOTED.sub("", line.decode(errors="replace"))
    return any(separator in unquoted for separator in separators)


def _find_header(texts: list[str], separators: str) -> tuple[str, int]:
    """The separator, and the line on which the header is.

    That is the first line, unless lines of one cell, which are titles, are followed by two rows of as many
    cells, two or more.
    """
    for separator in separators:
        rows = _rows(texts, separator)
        begin = next((number for number, (_, cells) in enumerate(rows) if len(cells) > 1), 0)
        width = len(rows[begin][1]) if rows else 0
        if begin and begin + 1 < len(rows) and width == len(rows[begin + 1][1]):
            return separator, rows[begin][0]
    first = _QUOTED.sub("", texts[0])
    return max(separators, key=first.count), 0


def _rows(texts: list[str], separator: str) -> list[tuple[int, list[str]]]:
    """(number of its first line, cells) of the rows that are not blank, as far as they can be read."""
    found: list[tuple[int, list[str]]] = []
    reader = csv.reader(texts, delimiter=separator, strict=True)
    begin = 0
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                found.append((begin, cells))
            begin = reader.line_num
    except csv.Error:
        pass
    return found


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
