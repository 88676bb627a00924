"""Compressed files, recognised by how they begin and unpacked as a stream, in bounded memory."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import mmap
import os
import shutil
import stat
import tempfile
import threading
import zlib
from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, cast

import cramjam

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_CHUNK_BYTES = 256 * 1024
_MAGIC_BYTES = 6
_ZSTANDARD_HEAD_BYTES = 18


class DamagedFileError(ValueError):
    """A compressed file is cut short or damaged. The message is one line."""


class Unpacked(NamedTuple):
    """How a stream is compressed (None: it is plain), and a stream of what is in it.

    ``progress`` gives bytes read and all bytes (None: not known), where that cannot be told from the position
    in the packed file.
    """

    compression: str | None
    stream: io.BufferedReader[Any]
    progress: Callable[[], tuple[int, int | None]] | None = None


def unpacked(raw: io.RawIOBase) -> Unpacked:
    """Unpack a stream. Reading raises DamagedFileError where packed data ends too early or makes no sense."""
    head = _read_head(raw, _MAGIC_BYTES)
    if head.startswith(_ZSTANDARD):
        head += _read_head(raw, _ZSTANDARD_HEAD_BYTES - _MAGIC_BYTES)
    whole = io.BufferedReader(_Prefixed(head, raw), _CHUNK_BYTES)
    for magic, (name, opener) in _OPENERS.items():
        if head.startswith(magic):
            checked = _Checked(name, opener(cast(BinaryIO, whole)))
            return Unpacked(name, io.BufferedReader(checked, _CHUNK_BYTES))
    if head.startswith(_ZSTANDARD):
        checked = _Checked("zstd", _Zstandard(raw, cast(BinaryIO, whole)))
        total = content_size(head)
        return Unpacked("zstd", io.BufferedReader(checked, _CHUNK_BYTES), lambda: (checked.given, total))
    return Unpacked(None, whole)


def content_size(head: bytes) -> int | None:
    """The unpacked size that the head of a zstd frame states, if it does (RFC 8878, 3.1.1.1)."""
    descriptor = head[4] if len(head) > 4 else 0
    flag, single = descriptor >> 6, descriptor >> 5 & 1
    width = (single, 2, 4, 8)[flag]
    start = 5 + (not single) + (0, 1, 2, 4)[descriptor & 3]
    if not width or len(head) < start + width:
        return None
    return int.from_bytes(head[start : start + width], "little") + (256 if width == 2 else 0)


def _read_head(raw: io.RawIOBase, size: int) -> bytes:
    head = b""
    while len(head) < size and (more := raw.read(size - len(head))):
        head += more
    return head


class _Prefixed(io.RawIOBase):
    """Bytes that were read already, then the rest of the stream."""

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
    """A decompressor whose errors of many types become one. ``given``: bytes that it has unpacked."""

    def __init__(self, name: str, inner: io.IOBase) -> None:
        self._name = name
        self._inner: Any = inner
        self.given = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        try:
            count = int(self._inner.readinto(buffer) or 0)
        except (EOFError, OSError, zlib.error, lzma.LZMAError, cramjam.DecompressionError) as error:
            raise DamagedFileError(f"its {self._name} data is damaged or cut short: {error}") from error
        self.given += count
        return count

    def close(self) -> None:
        self._inner.close()
        super().close()


class _Zstandard(io.RawIOBase):
    """zstd frames as a stream.

    cramjam unpacks a whole buffer to a file. Here the buffer is the file mapped into memory, which the system
    reads as it goes on, and the file is a pipe, whose other end is read: so memory stays bounded. What is no
    file (a pipe) is put onto the disk first, as packed as it is.
    """

    def __init__(self, raw: io.RawIOBase, compressed: BinaryIO) -> None:
        self._error: Exception | None = None
        with ExitStack() as stack:
            if isinstance(raw, io.FileIO) and stat.S_ISREG(os.fstat(raw.fileno()).st_mode):
                number = raw.fileno()
            else:
                file = stack.enter_context(tempfile.TemporaryFile())
                shutil.copyfileobj(compressed, file, _CHUNK_BYTES)
                file.flush()
                number = file.fileno()
            self._map = mmap.mmap(number, 0, access=mmap.ACCESS_READ)
        out, into = os.pipe()
        # By name, since cramjam opens files itself; our own end is closed, so that its end is the only one.
        target = [cramjam.File(f"/dev/fd/{into}", read=False, write=True, append=True)]
        os.close(into)
        self._out = os.fdopen(out, "rb", buffering=0)
        self._thread = threading.Thread(target=self._unpack, args=(target,), daemon=True)
        self._thread.start()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        count = self._out.readinto(buffer)
        if not count:
            self._thread.join()
            if self._error:
                raise self._error
        return count or 0

    def close(self) -> None:
        if not self.closed:
            self._out.close()
            self._thread.join()  # it ends at its next write
            self._map.close()
        super().close()

    def _unpack(self, target: list[cramjam.File]) -> None:
        try:
            cramjam.zstd.decompress_into(self._map, target[0])
        except (OSError, ValueError, cramjam.DecompressionError) as error:
            self._error = error
        finally:
            target.clear()  # closes the pipe, and the reader sees the end


_ZSTANDARD = b"\x28\xb5\x2f\xfd"
_OPENERS: dict[bytes, tuple[str, Callable[[BinaryIO], io.IOBase]]] = {
    b"\x1f\x8b": ("gzip", lambda compressed: gzip.GzipFile(fileobj=compressed, mode="rb")),
    b"BZh": ("bzip2", bz2.BZ2File),
    b"\xfd7zXZ\x00": ("xz", lzma.LZMAFile),
}
