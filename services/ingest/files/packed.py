"""Compressed files, recognised by how they begin and unpacked as a stream, in bounded memory."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import threading
import zlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import cramjam

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_CHUNK_BYTES = 256 * 1024
_LONGEST_MAGIC = 6


class DamagedFileError(ValueError):
    """A compressed file is cut short or damaged. The message is one line."""


def unpacked(raw: io.RawIOBase | BinaryIO) -> tuple[str | None, io.BufferedReader]:
    """How a stream is compressed (None: it is plain), and a stream of what is in it.

    Reading raises DamagedFileError where the compressed data ends too early or makes no sense.
    """
    head = _read_head(raw, _LONGEST_MAGIC)
    whole = _Prefixed(head, raw)
    for magic, (name, opener) in _OPENERS.items():
        if head.startswith(magic):
            packed = cast(BinaryIO, io.BufferedReader(whole, _CHUNK_BYTES))
            return name, io.BufferedReader(_Checked(name, opener(packed)), _CHUNK_BYTES)
    return None, io.BufferedReader(whole, _CHUNK_BYTES)


def _read_head(raw: io.RawIOBase | BinaryIO, size: int) -> bytes:
    head = b""
    while len(head) < size and (more := raw.read(size - len(head))):
        head += more
    return head


class _Prefixed(io.RawIOBase):
    """Bytes that were read already, then the rest of the stream."""

    def __init__(self, head: bytes, rest: io.RawIOBase | BinaryIO) -> None:
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

    def __init__(self, name: str, inner: io.IOBase) -> None:
        self._name = name
        self._inner: Any = inner

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        try:
            return int(self._inner.readinto(buffer) or 0)
        except (EOFError, OSError, zlib.error, lzma.LZMAError, cramjam.DecompressionError) as error:
            raise DamagedFileError(f"its {self._name} data is damaged or cut short: {error}") from error

    def close(self) -> None:
        self._inner.close()
        super().close()


class _Zstandard(io.RawIOBase):
    """zstd frames as a stream.

    cramjam unpacks whole buffers or from file to file; between two pipes the latter is a stream. One thread
    feeds the packed bytes in, one unpacks (without the interpreter lock), and the reader takes them out.
    """

    def __init__(self, packed: BinaryIO) -> None:
        self._error: Exception | None = None
        feed_out, feed_in = os.pipe()
        take_out, take_in = os.pipe()
        # Opened here, so that the order of the threads does not matter; our own ends are closed at once.
        source = cramjam.File(f"/dev/fd/{feed_out}", read=True)
        target = cramjam.File(f"/dev/fd/{take_in}", write=True, append=True)
        os.close(feed_out)
        os.close(take_in)
        self._out = os.fdopen(take_out, "rb", buffering=0)
        feeder = os.fdopen(feed_in, "wb", buffering=0)
        files = [source, target]
        del source, target
        threading.Thread(target=self._feed, args=(packed, feeder), daemon=True).start()
        self._unpacker = threading.Thread(target=self._unpack, args=(files,), daemon=True)
        self._unpacker.start()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        count = self._out.readinto(buffer)
        if not count:
            self._unpacker.join()
            if self._error:
                raise self._error
        return count or 0

    def close(self) -> None:
        self._out.close()
        super().close()

    def _feed(self, packed: BinaryIO, feeder: BinaryIO) -> None:
        try:
            with feeder:
                while data := packed.read(_CHUNK_BYTES):
                    view = memoryview(data)
                    while view:
                        view = view[feeder.write(view) :]
        except (OSError, ValueError) as error:  # the other end is closed: it failed, or nobody reads any more
            self._error = self._error or error

    def _unpack(self, files: list[cramjam.File]) -> None:
        target, source = files.pop(), files.pop()
        try:
            cramjam.zstd.decompress_into(source, target)
        except (OSError, ValueError, cramjam.DecompressionError) as error:
            self._error = error
        finally:
            del source, target  # closes both pipes: the reader sees the end, and the feeder stops


_OPENERS: dict[bytes, tuple[str, Callable[[BinaryIO], io.IOBase]]] = {
    b"\x1f\x8b": ("gzip", lambda packed: gzip.GzipFile(fileobj=packed, mode="rb")),
    b"\x28\xb5\x2f\xfd": ("zstd", _Zstandard),
    b"BZh": ("bzip2", bz2.BZ2File),
    b"\xfd7zXZ\x00": ("xz", lzma.LZMAFile),
}
