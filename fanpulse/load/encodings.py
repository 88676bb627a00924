"""Text files that are not UTF-8 but say what they are, read as UTF-8."""

from __future__ import annotations

import codecs
import io
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_CHUNK_BYTES = 256 * 1024
#: UTF-32 first: its mark begins with that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def as_utf8(stream: io.BufferedReader[Any]) -> tuple[str | None, io.BufferedReader[Any]]:
    """The encoding that a byte order mark names, unless it is UTF-8, and the content in UTF-8.

    What cannot be decoded becomes U+FFFD.
    """
    head = stream.peek(4)[:4]
    for mark, encoding in _MARKS:
        if head.startswith(mark):
            return encoding.upper(), io.BufferedReader(_Recoded(stream, encoding), _CHUNK_BYTES)
    return None, stream


class _Recoded(io.RawIOBase):
    """The bytes of a text in UTF-8."""

    def __init__(self, inner: io.BufferedReader[Any], encoding: str) -> None:
        self._inner = inner
        self._decoder = codecs.getincrementaldecoder(encoding)(errors="replace")
        self._left = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer).cast("B")
        while not self._left:
            data = self._inner.read1(_CHUNK_BYTES)
            # A lone surrogate can be decoded from some of these, and be encoded in none.
            self._left = self._decoder.decode(data, final=not data).encode(errors="replace")
            if not data and not self._left:
                return 0
        some, self._left = self._left[: len(view)], self._left[len(view) :]
        view[: len(some)] = some
        return len(some)
