"""Compressed files, recognised by their first bytes and read as a stream, in bounded memory.

gzip, bzip2, xz and zstd are those of Python's standard library, which has zstd since 3.14; for older versions
the same module comes as the package ``backports.zstd``.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import sys
import zlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, cast

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_CHUNK_BYTES = 256 * 1024
_DAMAGE = (EOFError, OSError, zlib.error, lzma.LZMAError, zstd.ZstdError)
_MAGIC_BYTES = 6
_OPENERS: dict[bytes, tuple[str, Callable[[BinaryIO], Any]]] = {
    b"\x1f\x8b": ("gzip", lambda compressed: gzip.GzipFile(fileobj=compressed, mode="rb")),
    b"BZh": ("bzip2", bz2.BZ2File),
    b"\xfd7zXZ\x00": ("xz", lzma.LZMAFile),
    b"\x28\xb5\x2f\xfd": ("zstd", zstd.ZstdFile),
}


class DamagedFileError(ValueError):
    """A compressed file is cut short or damaged. The message is one line."""


class Unpacked(NamedTuple):
    """How a stream is compressed (None: not at all), and a stream of its content."""

    compression: str | None
    stream: io.BufferedReader[Any]


def unpacked(raw: io.RawIOBase) -> Unpacked:
    """Decompress a stream. Reading raises DamagedFileError where data is damaged or ends too early."""
    head = b""
    while len(head) < _MAGIC_BYTES and (more := raw.read(_MAGIC_BYTES - len(head))):
        head += more
    whole = io.BufferedReader(_Prefixed(head, raw), _CHUNK_BYTES)
    for magic, (name, opener) in _OPENERS.items():
        if head.startswith(magic):
            checked = _Checked(name, opener(cast(BinaryIO, whole)))
            return Unpacked(name, io.BufferedReader(checked, _CHUNK_BYTES))
    if raw.seekable():  # so that who looks at the beginning sees more than the head
        raw.seek(-len(head), io.SEEK_CUR)
        return Unpacked(None, io.BufferedReader(raw, _CHUNK_BYTES))
    return Unpacked(None, whole)


class _Prefixed(io.RawIOBase):
    """Bytes that were read already, then the rest of the stream. A pipe cannot be rewound."""

    def __init__(self, head: bytes, rest: io.RawIOBase) -> None:
        self._head = head
        self._rest = rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer).cast("B")
        data = self._head[: len(view)] if self._head else self._rest.read(len(view)) or b""
        self._head = self._head[len(data) :]
        view[: len(data)] = data
        return len(data)


class _Checked(io.RawIOBase):
    """A decompressor whose errors of many types become one."""

    def __init__(self, name: str, inner: Any) -> None:
        self._name = name
        self._inner = inner

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        try:
            return int(self._inner.readinto(buffer) or 0)
        except _DAMAGE as error:
            raise DamagedFileError(f"its {self._name} data is damaged or cut short: {error}") from error

    def close(self) -> None:
        self._inner.close()
        super().close()
