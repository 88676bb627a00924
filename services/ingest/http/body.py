"""Reading a request's body: within its limits, before it is in memory as a whole."""

from __future__ import annotations

import zlib
from collections.abc import Awaitable, Callable, Generator, Mapping, MutableMapping
from functools import lru_cache
from typing import Any, NamedTuple

from services.ingest.http.deadlines import Deadlines
from services.ingest.http.problems import Problem
from services.ingest.kafka.byte_limiter import ByteLimiter

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

MAX_MEMBERS = 1000
_GZIP = 31  # zlib's window bits for a gzip wrapper
#: Unpacked in slices, since what follows a member's end is copied for each member.
_SLICE = 16 * 1024
#: The most that is unpacked at a time. A usual request is unpacked at once.
_UNPACK_BYTES = 512 * 1024
_JSON = frozenset({b"application/json", b"text/json", b"text/plain", b""})
_LINES = frozenset(
    {
        b"application/x-ndjson",
        b"application/ndjson",
        b"application/jsonl",
        b"application/x-jsonlines",
        b"application/jsonlines",
        b"application/json-lines",
    }
)
_RETRY_AFTER_SECONDS = 1
#: A body that has more bytes than this takes room only while so much of the limit is free.
LARGE_BYTES, _LARGE_SHARE = 256 * 1024, 0.5


class BadEncodingError(ValueError):
    """The body is not what its Content-Encoding says."""


class BodyFormat(NamedTuple):
    """How a body is written, by its headers."""

    lines: bool
    gzip: bool


PLAIN = BodyFormat(lines=False, gzip=False)


def body_format_of(headers: Mapping[bytes, bytes]) -> BodyFormat:
    """Raises Problem (415) for a media type, charset or encoding that is not understood."""
    return _body_format(headers.get(b"content-type", b""), headers.get(b"content-encoding", b""))


@lru_cache(maxsize=256)
def _body_format(content_type: bytes, content_encoding: bytes) -> BodyFormat:
    media, _, parameters = content_type.lower().partition(b";")
    media = media.strip()
    lines = media in _LINES
    if not lines and media not in _JSON and not media.endswith(b"+json"):
        raise Problem(
            415,
            "send application/json or application/x-ndjson",
            headers={"accept-post": _ACCEPTED},
        )
    charset = parameters.partition(b"charset=")[2].partition(b";")[0].strip(b' "')
    if charset not in (b"", b"utf-8", b"utf8", b"us-ascii"):
        raise Problem(415, "events are UTF-8")
    encoding = content_encoding.lower().strip()
    if encoding not in (b"gzip", b"x-gzip", b"identity", b""):
        raise Problem(415, "send the body plain or with gzip", headers={"accept-encoding": "gzip"})
    return BodyFormat(lines, encoding in (b"gzip", b"x-gzip"))


_ACCEPTED = "application/json, application/x-ndjson"


class Reservation:
    """Bytes that one request holds of what the byte limiter allows, until ``release``."""

    __slots__ = ("_byte_limiter", "size")

    def __init__(self, byte_limiter: ByteLimiter) -> None:
        self._byte_limiter = byte_limiter
        self.size = 0

    def take(self, size: int, *, share: float = 1.0) -> None:
        """Reserve more; raises Problem (503) if there is no room within this share of the limit."""
        if not self._byte_limiter.take(size, own=self.size, share=share):
            raise overloaded()
        self.size += size

    def release(self) -> None:
        """Give all back."""
        self._byte_limiter.give(self.size)
        self.size = 0


def overloaded() -> Problem:
    """The answer while too much waits for the broker."""
    return Problem(
        503,
        "too much waits for the broker; nothing of this request was stored",
        retry_after=_RETRY_AFTER_SECONDS,
    )


async def read(
    receive: Receive,
    headers: Mapping[bytes, bytes],
    *,
    limit: int,
    deadlines: Deadlines,
    reserved: Reservation,
) -> bytes | None:
    """The body as it came; None if the client went away.

    Raises Problem: 413 over `limit` bytes (by Content-Length, before anything is read), 408 when it takes
    longer than allowed, 503 when `reserved` has no room.
    """
    length = headers.get(b"content-length")
    # The server rejects anything but digits.
    if length is not None and int(length) > limit:
        raise too_large(limit)
    # Reserved is what has come: a client that announces much and sends nothing takes no room from others.
    try:
        return await deadlines.within(_collect(receive, limit, reserved))
    except TimeoutError:
        raise Problem(408, "the body took too long", close=True) from None


async def _collect(receive: Receive, limit: int, reserved: Reservation) -> bytes | None:
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        chunk: bytes = message.get("body", b"")
        size += len(chunk)
        if size > limit:
            raise too_large(limit)
        # The rest of the room is kept for small bodies: a few that are large and slow leave others theirs.
        reserved.take(len(chunk), share=_LARGE_SHARE if size > LARGE_BYTES else 1.0)
        if not message.get("more_body", False):
            return b"".join([*chunks, chunk]) if chunks else chunk
        chunks.append(chunk)


def too_large(limit: int) -> Problem:
    """The answer to a body over the limit."""
    return Problem(413, f"a body has at most {limit} bytes, also once unpacked; send it in parts")


def unpack(body: bytes, *, limit: int, reserved: Reservation) -> Generator[None, None, bytes]:
    """The content of a gzip body of one or more members. Yields now and then, so that others can go on.

    Reserves what it unpacks. Stops at `limit` bytes, however much is packed into it: raises Problem (413).
    Raises BadEncodingError if it is not gzip, ends early, or has more than MAX_MEMBERS members.
    """
    parts: list[bytes] = []
    size = members = unpaused = 0
    member = None
    try:
        for start in range(0, len(body), _SLICE):
            rest = body[start : start + _SLICE]
            while rest:
                if member is None:
                    members += 1
                    member = zlib.decompressobj(_GZIP)
                part = member.decompress(rest, min(limit - size + 1, _UNPACK_BYTES))
                parts.append(part)
                size += len(part)
                unpaused += len(part)
                if size > limit:
                    raise too_large(limit)
                reserved.take(len(part))
                rest = member.unused_data or member.unconsumed_tail
                if member.eof:
                    member = None
                if unpaused >= _UNPACK_BYTES:
                    unpaused = 0
                    yield
            if members > MAX_MEMBERS:
                raise BadEncodingError(f"the gzip body has more than {MAX_MEMBERS} members")
    except zlib.error as error:
        raise BadEncodingError(f"the body is not gzip: {error}") from None
    if member is not None or not members:
        raise BadEncodingError("the gzip body ends early")
    return b"".join(parts)
