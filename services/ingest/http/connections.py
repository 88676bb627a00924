"""What ingest adds to uvicorn's HTTP protocol: fewer writes, and an end to connections that say nothing."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

SWEEP_SECONDS = 1.0


class _Transport:
    """A transport that writes once a turn of the event loop.

    uvicorn writes the head and the body of an answer apart: two system calls and two packets, which is a
    sixth of what a request of one event costs.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._call_soon = asyncio.get_running_loop().call_soon
        self._parts: list[bytes] = []
        # What uvicorn asks for with each request.
        self.is_closing = transport.is_closing
        self.pause_reading = transport.pause_reading
        self.resume_reading = transport.resume_reading

    def write(self, data: bytes) -> None:
        if not self._parts:
            self._call_soon(self._flush)
        self._parts.append(data)

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        parts, self._parts = self._parts, []
        if parts and not self._transport.is_closing():
            self._transport.write(b"".join(parts))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class Protocol(HttpToolsProtocol):
    """uvicorn's protocol over such a transport."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has connected."""
        super().connection_made(_Transport(cast("asyncio.Transport", transport)))  # type: ignore[arg-type]


class SilentConnections:
    """Closes connections that take longer than ``seconds`` to send the head of a request.

    uvicorn closes idle connections after an answer, but not those that send nothing at first, or half a head.
    """

    def __init__(self, connections: set[Any], seconds: float) -> None:
        """`connections`: uvicorn's set of protocols, of which others than ours are left alone."""
        self._connections = connections
        self._seconds = seconds
        #: The request that a connection had served when it was found to owe the next one, and since when.
        self._owing: dict[Protocol, tuple[object, float]] = {}

    async def run(self) -> None:
        """Look for silent connections until cancelled."""
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            self.sweep(asyncio.get_running_loop().time())

    def sweep(self, now: float) -> None:
        """Close the connections that have been silent for too long at this time of the event loop."""
        owing: dict[Protocol, tuple[object, float]] = {}
        for connection in self._connections:
            if not isinstance(connection, Protocol) or not _owes_a_head(connection):
                continue
            cycle, since = self._owing.get(connection, (connection.cycle, now))
            if cycle is not connection.cycle:
                since = now
            owing[connection] = (connection.cycle, since)
            if now - since > self._seconds:
                connection.transport.close()
        self._owing = owing


def _owes_a_head(connection: Protocol) -> bool:
    """Whether no request is under way, nor the connection idle under uvicorn's own keep-alive limit."""
    served = connection.cycle is None or connection.cycle.response_complete
    return served and connection.timeout_keep_alive_task is None
