"""Standard output and standard error that take any text, and end the command when nobody reads it."""

from __future__ import annotations

import codecs
import contextlib
import io
import os
import sys
import unicodedata
from typing import TextIO

#: The exit code of a command whose output nobody reads: what a shell reports of SIGPIPE.
READER_GONE = 141
#: What stands for our own signs where an encoding lacks them; lines and blocks of charts: see _plain_sign.
_PLAIN = {
    "→": "->", "←": "<-", "↑": "^", "↓": "v", "✓": "+", "✗": "x", "·": "-", "…": "...", "◆": "*", "●": "*",
    "▲": "^", "▼": "v", "–": "-", "—": "-", "×": "x", "≥": ">=", "≤": "<=", "“": '"', "”": '"', "’": "'",
}  # fmt: skip
_ERRORS = "fanpulse-plain"


class OutputError(Exception):
    """Standard output cannot be written to. The message says why."""


class Output(io.TextIOWrapper):
    """A text stream over the bytes of another one.

    A character that the encoding lacks is written as ASCII; ``escaped`` then is true if it was not one of our
    own signs. Once nobody reads a pipe, writing raises SystemExit with READER_GONE, or BrokenPipeError if
    ``ends_command`` is false. Raises OutputError if the disk is full.
    """

    escaped = False
    ends_command = True

    def __init__(self, stream: io.TextIOWrapper) -> None:
        super().__init__(
            stream.buffer,
            encoding=stream.encoding,
            errors=_ERRORS,
            line_buffering=stream.line_buffering,
            write_through=stream.write_through,
        )
        self._replaced = stream  # it would close the file when it is collected

    def write(self, text: str, /) -> int:
        """Write text, as a TextIOWrapper does."""
        if text == "":  # click probes with it
            return 0
        try:
            return super().write(text)
        except OSError as error:
            raise self._lost(error) from None

    def flush(self) -> None:
        """Flush, as a TextIOWrapper does."""
        try:
            super().flush()
        except OSError as error:
            raise self._lost(error) from None

    def _lost(self, error: OSError) -> BaseException:
        if not self.ends_command:
            return error
        # Otherwise the interpreter would try again at its end, and complain.
        with contextlib.suppress(OSError, ValueError):
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self.fileno())
            os.close(null)
        if isinstance(error, BrokenPipeError):
            return SystemExit(READER_GONE)
        return OutputError(f"the output cannot be written: {error.strerror or error}")


def install() -> None:
    """Replace ``sys.stdout`` and ``sys.stderr``. A stream that was closed before the start keeps nothing."""
    codecs.register_error(_ERRORS, _plain)
    sys.stdout = _wrapped(sys.stdout)
    sys.stderr = _wrapped(sys.stderr)


def leave_broken_pipes() -> None:
    """For a service: a broken pipe is an error of what writes, and does not end the process."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, Output):
            stream.ends_command = False


def takes_unicode() -> bool:
    """Whether standard output takes every character."""
    return (getattr(sys.stdout, "encoding", None) or "").lower().replace("_", "-").startswith("utf")


def escaped() -> bool:
    """Whether characters of somebody's data were written as escapes."""
    return Output.escaped


def _wrapped(stream: TextIO | None) -> TextIO:
    if stream is None:  # `>&-`
        return open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123 - lives as long as the process
    return (
        Output(stream) if isinstance(stream, io.TextIOWrapper) and not isinstance(stream, Output) else stream
    )


def _plain(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    return "".join(_plain_sign(char) for char in text), error.end


def _plain_sign(char: str) -> str:
    if (known := _PLAIN.get(char)) is not None:
        return known
    if "\u2500" <= char <= "\u257f":  # lines of a box
        name = unicodedata.name(char)
        return "-" if name.endswith("HORIZONTAL") else "|" if name.endswith("VERTICAL") else "+"
    if "\u2580" <= char <= "\u259f":  # blocks of a chart
        return "#"
    Output.escaped = True
    return char.encode("ascii", "backslashreplace").decode()
