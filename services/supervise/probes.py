"""Probes: does a process answer? They need no client library, and each has a deadline."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from urllib.parse import urlsplit

TIMEOUT_SECONDS = 3.0
_API_VERSIONS = 18


async def http_status(url: str, timeout_seconds: float = TIMEOUT_SECONDS) -> int | None:
    """The status of a GET; None if no answer comes in time."""
    parts = urlsplit(url)
    request = (
        f"GET {parts.path or '/'} HTTP/1.1\r\nHost: {parts.netloc}\r\nConnection: close\r\n"
        "User-Agent: fanpulse\r\nAccept: */*\r\n\r\n"
    )
    answer = await _exchange(parts.hostname or "", parts.port or 80, request.encode(), 12, timeout_seconds)
    # HTTP/1.1 200
    return int(answer[9:12]) if answer and answer.startswith(b"HTTP/") and answer[9:12].isdigit() else None


async def kafka_answers(bootstrap: str, timeout_seconds: float = TIMEOUT_SECONDS) -> bool:
    """Whether a plaintext broker answers ApiVersions, the one request that needs no state."""
    host, _, port = bootstrap.split(",")[0].rpartition(":")
    correlation = 1
    request = struct.pack(">hhih", _API_VERSIONS, 0, correlation, -1)
    answer = await _exchange(host, int(port), struct.pack(">i", len(request)) + request, 10, timeout_seconds)
    return answer is not None and struct.unpack(">iih", answer)[1:] == (correlation, 0)


async def _exchange(host: str, port: int, request: bytes, count: int, timeout_seconds: float) -> bytes | None:
    """Send a request and return the first `count` bytes of the answer; None on failure or timeout."""
    with contextlib.suppress(OSError, asyncio.IncompleteReadError, TimeoutError):
        async with asyncio.timeout(timeout_seconds):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                writer.write(request)
                return await reader.readexactly(count)
            finally:
                writer.transport.abort()
    return None
