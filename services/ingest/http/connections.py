"""What ingest adds to uvicorn's HTTP protocol: limits of a request's head, no upgrades, fewer writes, and an
end to connections that say nothing."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Any, cast

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from services.ingest.http.problems import MEDIA_TYPE, Problem

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


#: Bytes of a request's line and headers. nginx allows 8 KB a line, Apache 8 KB a line and 100 lines.
MAX_HEAD_BYTES = 32 * 1024
MAX_HEADERS = 128
#: Requests that wait for the answers before them, on one connection.
MAX_PIPELINED = 64
#: What a chunked body may have besides its content: this, and so many bytes for each of its content.
_CHUNKING_BYTES, _CHUNKING_FACTOR = 16 * 1024, 8
#: How long a connection is read, and what comes thrown away, before it is closed.
LINGER_SECONDS = 1.0
#: Headers that ask for another protocol, and what goes with it.
_UPGRADE = frozenset({b"upgrade", b"http2-settings"})


class Protocol(HttpToolsProtocol):
    """uvicorn's protocol over such a transport, with limits, and without upgrades.

    A client that offers to go on with another protocol (h2c, as Java's HttpClient and ``curl --http2`` do) is
    served with HTTP/1.1, as RFC 9110 allows. The parser takes the end of the head for the end of the request
    then, so it is given the head again without the offer.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._in_head = True  # or before it
        self._upgrading = self._rejected = False
        self._head_bytes = 0  # of a head that has not ended
        self._body_bytes = self._sent_bytes = 0  # of a body: its content, and what was sent for it

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has connected."""
        super().connection_made(_Transport(cast("asyncio.Transport", transport)))  # type: ignore[arg-type]

    def data_received(self, data: bytes) -> None:
        """Some bytes have come. Ends the connection if they are no HTTP, or too many."""
        self._unset_keepalive_if_required()
        if self._rejected:
            return
        if self._in_head:
            self._head_bytes += len(data)
        else:
            self._sent_bytes += len(data)
        try:
            rest: bytes | None = data
            while rest is not None:
                rest = self._feed(rest)
        except httptools.HttpParserError as error:
            self._reject(_status_of(error), str(error.__context__ or error))
            return
        if self._in_head and self._head_bytes > MAX_HEAD_BYTES:
            self._reject(431, f"the request line and headers have at most {MAX_HEAD_BYTES} bytes")
        elif self._sent_bytes - self._body_bytes > _CHUNKING_BYTES + _CHUNKING_FACTOR * self._body_bytes:
            self._reject(400, "the body has more chunk extensions or trailers than content")

    def _feed(self, data: bytes) -> bytes | None:
        """Parse; returns what has to be parsed after it, which is a request again without its upgrade."""
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            if not self._upgrading:  # CONNECT
                raise httptools.HttpParserInvalidMethodError("not a method of this server") from None
            head = self._head_without_upgrade()
            self._upgrading = False
            self.parser = httptools.HttpRequestParser(self)
            self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does
            return head + data[upgrade.args[0] :]
        return None

    def _head_without_upgrade(self) -> bytes:
        version = self.parser.get_http_version().encode()
        lines = [self.parser.get_method() + b" " + self.url + b" HTTP/" + version]
        for name, value in self.headers:
            if name == b"connection":
                tokens = [token.strip() for token in value.split(b",")]
                value = b", ".join(token for token in tokens if token.lower() not in _UPGRADE)
            if name not in _UPGRADE and (value or name != b"connection"):
                lines.append(name + b": " + value)
        return b"\r\n".join([*lines, b"", b""])

    def on_message_begin(self) -> None:
        """The first byte of a request has come."""
        super().on_message_begin()
        self._in_head = True
        self._body_bytes = self._sent_bytes = 0

    def on_url(self, url: bytes) -> None:
        """A part of the request's target has come."""
        super().on_url(url)
        if len(self.url) > MAX_HEAD_BYTES:
            raise _LimitError(414, f"the target of a request has at most {MAX_HEAD_BYTES} bytes")

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header has come as a whole, or a trailer, which is left out."""
        if self._in_head:
            if len(self.headers) >= MAX_HEADERS:
                raise _LimitError(431, f"a request has at most {MAX_HEADERS} headers")
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head is complete: serve the request, unless it has to be parsed again."""
        self._in_head = False
        self._head_bytes = 0
        if len(self.pipeline) >= MAX_PIPELINED:
            raise _LimitError(400, f"at most {MAX_PIPELINED} requests may wait for their answers")
        if self.parser.should_upgrade():
            if self.parser.get_method() == b"CONNECT":
                raise _LimitError(405, "this server is no proxy")
            self._upgrading = True
            return
        try:
            super().on_headers_complete()
        except (ValueError, httptools.HttpParserError):
            raise _LimitError(400, "the target of the request is not a path") from None

    def on_body(self, body: bytes) -> None:
        """Some of the body has come."""
        self._body_bytes += len(body)
        if not self._upgrading:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The request has ended."""
        if not self._upgrading:
            super().on_message_complete()
            self._in_head = True
            self._head_bytes = self._body_bytes = self._sent_bytes = 0

    def _reject(self, status: int, detail: str) -> None:
        """Answer, if no other answer is under way, and close a little later.

        A connection that is closed while data comes in is reset, and the client may never see the answer.
        """
        self._rejected = True
        cycle = self.cycle
        if cycle is None or cycle.response_complete or not (cycle.response_started or self.pipeline):
            problem = Problem(status, detail)
            body = problem.body()
            head = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\ncontent-type: {MEDIA_TYPE}\r\n"
            head += f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
            self.transport.write(head.encode() + body)
        if cycle is not None:
            cycle.disconnected = True  # what the application still says is left out
            cycle.message_event.set()
        self.flow.resume_reading()
        self.loop.call_later(LINGER_SECONDS, self.transport.close)

    def eof_received(self) -> None:
        """The client sends no more."""
        if self._rejected:
            self.transport.close()


class _LimitError(Exception):
    """Raised in a callback of the parser, which wraps it."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status


def _status_of(error: httptools.HttpParserError) -> int:
    cause = error.__context__
    return cause.status if isinstance(cause, _LimitError) else 400


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
