"""JSON values one after the other: an array, objects without line breaks between them, or over many lines.

The archive that X lets people download is an array behind `window.YTD.tweets.part0 =`.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from typing import Any, BinaryIO

from fanpulse.load.parsing.lines import MAX_LINE_BYTES, Row

_CHUNK_BYTES = 64 * 1024
#: What may stand before the first value, and what stands between values.
_ASSIGNMENT = re.compile(r"\s*(?:(?:var|let|const)\s+)?[A-Za-z_$][\w.$]*\s*=\s*")
_BETWEEN = re.compile(r"[\s,;\[\]]*")
_decode = json.JSONDecoder().raw_decode


class JsonValuesError(ValueError):
    """The file breaks off, or holds something that is no JSON. The message is one line."""


class JsonValues:
    """Reads objects as lines of JSON. ``columns`` is None: each names its own values."""

    columns: None = None

    def __init__(self, stream: BinaryIO, offset: int = 0, number: int = 0) -> None:
        """``offset`` and ``number``: bytes and lines that the stream has been moved on by, to the end of a
        value."""
        self._stream = stream
        self._bytes = codecs.getincrementaldecoder("utf-8")(errors="strict")
        self._text = ""
        self._at = 0
        self._ended = False
        self._offset = offset
        self._lines = number
        self._is_first = offset == 0
        self._number = 0

    def rows(self) -> Iterator[Row]:
        """Every object, from the place at which the reader was opened. Raises JsonValuesError."""
        while self._find_value():
            begun = self._lines + 1
            self._number += 1
            value = self._next_value()
            line = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
            yield Row(begun, line, self._offset, self._lines)

    def _find_value(self) -> bool:
        """Move on to the next value; whether there is one."""
        if self._is_first:
            self._read_more()
            self._consume(match.end() if (match := _ASSIGNMENT.match(self._text)) else 0)
            self._is_first = False
        while True:
            match = _BETWEEN.match(self._text, self._at)
            assert match is not None
            self._consume(match.end())
            if self._at < len(self._text):
                return True
            if not self._read_more():
                return False

    def _next_value(self) -> Any:
        while True:
            try:
                value, end = _decode(self._text, self._at)
            except (ValueError, RecursionError) as error:
                # It may be cut off where the text read so far ends.
                if len(self._text) - self._at <= MAX_LINE_BYTES and self._read_more():
                    continue
                detail = getattr(error, "msg", "it is nested too deeply")
                raise JsonValuesError(
                    f"is no JSON from line {self._lines + 1:,} on (value {self._number:,}): {detail}"
                ) from error
            if end == len(self._text) and self._read_more():  # a number may go on
                continue
            self._consume(end)
            return value

    def _consume(self, end: int) -> None:
        passed = self._text[self._at : end]
        self._offset += len(passed.encode())
        self._lines += passed.count("\n")
        self._at = end

    def _read_more(self) -> bool:
        """Read on; whether there was something."""
        while not self._ended:
            data = self._stream.read(_CHUNK_BYTES)
            self._ended = not data
            if not self._offset and data.startswith(codecs.BOM_UTF8):
                data = data.removeprefix(codecs.BOM_UTF8)
                self._offset = len(codecs.BOM_UTF8)
            try:
                text = self._bytes.decode(data, final=self._ended)
            except UnicodeDecodeError:
                raise JsonValuesError(f"is not UTF-8 behind line {self._lines + 1:,}") from None
            if text:
                self._text, self._at = self._text[self._at :] + text, 0
                return True
        return False


def spans_lines(head: bytes, *, is_named_lines: bool = False) -> bool:
    """Whether the content begins with an array, an assignment, or an object that its first line does not end.

    A line that is one whole object, or that only looks broken, begins JSON lines. ``is_named_lines``: so says
    the name of the file, and an array on one line is a row.
    """
    text = head.removeprefix(codecs.BOM_UTF8).decode(errors="replace").lstrip()
    if text == "window" or re.match(r"window\.[\w.$]*\s*(=|$)", text):  # the head may be cut short
        return True
    if not text.startswith(("{", "[")):
        return False
    first, line_break, _ = text.partition("\n")
    try:
        _, end = _decode(first.rstrip())
    except (ValueError, RecursionError):
        return text.startswith("[") or (bool(line_break) and first.rstrip().endswith(("{", "[", ",")))
    if text.startswith("["):
        return not is_named_lines
    return first[end:].lstrip().startswith(("{", ","))
