"""What a file is, by its content, and a reader of its rows."""

from __future__ import annotations

import io
import os
import select
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, BinaryIO, Literal, Protocol, cast

from fanpulse.load.compressed import unpacked
from fanpulse.load.encodings import as_utf8
from fanpulse.load.parsing.delimited import Delimited
from fanpulse.load.parsing.jsonlines import JsonLines
from fanpulse.load.parsing.jsonvalues import JsonValues, JsonValuesError, spans_lines
from fanpulse.load.parsing.lines import Row

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

Format = Literal["jsonl", "json", "csv", "parquet"]

STANDARD_INPUT = "-"
_POLL_SECONDS = 0.2
_LINES = {".jsonl", ".ndjson"}
_SKIP_BYTES = 2**20


class OpeningError(ValueError):
    """The file cannot be read as rows. The message is one line, without the file's name."""


class StoppedError(Exception):
    """Reading ended because a stop was asked for."""


class Reader(Protocol):
    """Rows of a file; ``columns`` is None where each row names its own values."""

    @property
    def columns(self) -> list[str] | None: ...

    def rows(self) -> Iterator[Row]: ...


class Waiting(Protocol):
    """Called while an input without an end, such as a pipe, has nothing to read."""

    def idle(self) -> None:
        """Nothing has come for a moment. Raises StoppedError to end reading."""


class OpenFile:
    """An open file: ``reader`` has its rows. Close it, or use it as ``with``."""

    def __init__(self, path: str, waiting: Waiting, place: tuple[int, int] | None = None) -> None:
        """Open a path, or `-`; ``place`` is (end, lines) of the last row to skip.

        Raises OpeningError, DelimitedError and DamagedFileError, and StoppedError out of ``waiting``.
        """
        self._stack = ExitStack()
        self.path = path
        self.name = "standard input" if path == STANDARD_INPUT else Path(path).name
        try:
            self._raw = self._stack.enter_context(_open_raw(path))
            mode = os.fstat(self._raw.fileno())
            self.size: int | None = mode.st_size if stat.S_ISREG(mode.st_mode) else None
            source: io.RawIOBase = self._raw if self.size is not None else _Patient(self._raw, waiting)
            self.compression, self._stream = unpacked(source)
            self._progress: Callable[[], tuple[int, int | None]] = self._bytes_read
            self._stack.callback(self._stream.close)
            self.encoding, self._stream = as_utf8(self._stream)
            self.format: Format = detect_format(self._stream.peek(1), self.name)
            self.reader: Reader = self._open_reader(place)
        except BaseException:
            self._stack.close()
            raise

    def progress(self) -> tuple[int, int | None]:
        """How far reading is, of how much (None: not known): bytes of the file on disk; rows of Parquet."""
        return self._progress()

    def close(self) -> None:
        """Close what was opened."""
        self._stack.close()

    def __enter__(self) -> OpenFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _bytes_read(self) -> tuple[int, int | None]:
        return (self._raw.tell() if self.size is not None else 0), self.size

    def _open_reader(self, place: tuple[int, int] | None) -> Reader:
        if self.format == "parquet":
            return self._open_parquet(place)
        if self.format in ("jsonl", "json"):
            if place:
                self._move_to(0, place[0])
            if self.format == "json":
                return _Whole(JsonValues(self._stream, *(place or (0, 0))))
            return JsonLines(self._stream, *(place or (0, 0)))
        table = Delimited(self._stream)
        if place:
            table.go_on(*place, self._move_to)
        return table

    def _move_to(self, here: int, there: int) -> None:
        """Skip what was loaded before; compressed data has to be decompressed for that."""
        while here < there:
            data = self._stream.read(min(_SKIP_BYTES, there - here))
            if not data:
                raise OpeningError("is shorter than it was when loading it was interrupted; use --restart")
            here += len(data)

    def _open_parquet(self, place: tuple[int, int] | None) -> Reader:
        try:
            from fanpulse.load.parquet import ParquetRows
        except ModuleNotFoundError:
            raise OpeningError("is Parquet, which needs pyarrow: pip install 'fanpulse[audit]'") from None
        seekable: BinaryIO = self._raw
        if self.size is None or self.compression:
            # Parquet is read from its end, so a pipe or a compressed file has to be on the disk first.
            seekable = cast(BinaryIO, self._stack.enter_context(tempfile.TemporaryFile()))  # noqa: SIM115
            shutil.copyfileobj(self._stream, seekable, _SKIP_BYTES)
        seekable.seek(0)
        try:
            rows = ParquetRows(seekable, place[0] if place else 0)
        except (OSError, ValueError) as error:  # pyarrow's own errors are ValueErrors
            raise OpeningError(f"is damaged Parquet: {_first_line(error)}") from error
        counted = _Counted(rows)
        self._progress = lambda: (counted.number, rows.count)
        return counted


class _Counted:
    """Parquet rows, with the number of the last one read."""

    def __init__(self, inner: Reader) -> None:
        self._inner = inner
        self.columns = inner.columns
        self.number = 0

    def rows(self) -> Iterator[Row]:
        try:
            for row in self._inner.rows():
                self.number = row.number
                yield row
        except (OSError, ValueError) as error:
            raise OpeningError(f"is damaged Parquet after row {self.number}: {_first_line(error)}") from error


class _Whole:
    """JSON values; where they break off, the file cannot be read on."""

    columns: None = None

    def __init__(self, inner: JsonValues) -> None:
        self._inner = inner

    def rows(self) -> Iterator[Row]:
        try:
            yield from self._inner.rows()
        except JsonValuesError as error:
            raise OpeningError(str(error)) from error


class _Patient(io.RawIOBase):
    """A pipe or terminal; reading it can be stopped while it has nothing to read."""

    def __init__(self, raw: io.FileIO, waiting: Waiting) -> None:
        self._raw = raw
        self._waiting = waiting

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int | None:
        while not select.select([self._raw], [], [], _POLL_SECONDS)[0]:
            self._waiting.idle()
        return self._raw.readinto(buffer)


def detect_format(head: bytes, name: str) -> Format:
    """The format of decompressed content by its first bytes; the name counts only where those say nothing.

    Raises OpeningError for formats that are recognised but not supported.
    """
    if head.startswith(b"PAR1"):
        return "parquet"
    if head.startswith(b"PK\x03\x04"):
        raise OpeningError("is a zip archive or an Excel workbook; save the sheet as CSV UTF-8 and load that")
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    suffixes = {suffix.lower() for suffix in Path(name).suffixes}
    if not suffixes & {".csv", ".tsv"} and spans_lines(head, is_named_lines=bool(suffixes & _LINES)):
        return "json"
    return "jsonl" if start.startswith(b"{") or suffixes & _LINES else "csv"


def _open_raw(path: str) -> io.FileIO:
    try:
        if path == STANDARD_INPUT:
            return io.FileIO(os.dup(0), "rb")
        return io.FileIO(path, "rb")
    except OSError as error:
        raise OpeningError(f"cannot be opened: {(error.strerror or str(error)).lower()}") from error


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0]
