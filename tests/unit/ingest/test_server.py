"""What arrives on the wire, on the real server: odd, hostile and foreign requests over raw sockets."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator

import pytest

from services.ingest.http import body as bodies
from services.ingest.http.connections import MAX_HEAD_BYTES, MAX_HEADERS, MAX_PIPELINED
from services.ingest.http.server import listen, make_server, with_origins
from tests.unit.ingest.test_http import EVENT, LIMIT, Ingest

BODY = json.dumps(EVENT).encode()
JSON = b"content-type: application/json\r\n"


class Server:
    """Ingest behind the real server, with a publisher in memory."""

    def __init__(self, ingest: Ingest, address: tuple[str, int]) -> None:
        self.ingest = ingest
        self.address = address

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(*self.address, limit=2**22)

    async def ask(self, request: bytes) -> tuple[int, dict[str, str], bytes]:
        """The answer to raw bytes; the connection is closed afterwards."""
        reader, writer = await self.connect()
        try:
            writer.write(request)
            return await answer(reader)
        finally:
            writer.close()


async def answer(reader: asyncio.StreamReader, *, body: bool = True) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of the next answer."""
    async with asyncio.timeout(60):
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
        content = await reader.readexactly(int(headers.get("content-length", 0))) if body else b""
    return int(head[0].split()[1]), headers, content


@pytest.fixture
async def server(request: pytest.FixtureRequest) -> AsyncIterator[Server]:
    """The server; a test may name the origins of pages that it serves."""
    ingest = Ingest()
    listener = listen("127.0.0.1", 0)
    running = make_server(with_origins(ingest.app, getattr(request, "param", ())))
    serving = asyncio.create_task(running.serve(sockets=[listener]))
    yield Server(ingest, listener.getsockname()[:2])
    running.should_exit = True
    await serving
    listener.close()
    assert ingest.byte_limiter.reserved == 0


def post(body: bytes, headers: bytes = b"", path: bytes = b"/v1/events") -> bytes:
    length = b"content-length: %d\r\n" % len(body)
    return b"POST " + path + b" HTTP/1.1\r\nhost: x\r\n" + JSON + headers + length + b"\r\n" + body


@pytest.mark.parametrize(
    ("request_bytes", "statuses"),
    [
        (b"GET /a%0Ab HTTP/1.1\r\nhost: x\r\n\r\n", {404}),
        (b"GET /a%0D%0Aset-cookie:%20a HTTP/1.1\r\nhost: x\r\n\r\n", {404}),
        (b"GET /%00 HTTP/1.1\r\nhost: x\r\n\r\n", {404}),
        (b"GET /%zz%f HTTP/1.1\r\nhost: x\r\n\r\n", {404}),
        (b"GET /\xff HTTP/1.1\r\nhost: x\r\n\r\n", {400, 404}),
        (b"GET /docs/ HTTP/1.1\r\nhost: evil.example\r\n\r\n", {404}),
        (b"GET //evil.example/ HTTP/1.1\r\nhost: x\r\n\r\n", {400, 404}),
        (b"POST /v1/events/ HTTP/1.1\r\nhost: evil.example\r\ncontent-length: 0\r\n\r\n", {404}),
        (b"GET * HTTP/1.1\r\nhost: x\r\n\r\n", {400, 404}),
        (b"OPTIONS * HTTP/1.1\r\nhost: x\r\n\r\n", {400, 404, 405}),
        (b"GET http://[ HTTP/1.1\r\nhost: x\r\n\r\n", {400}),
        (b"CONNECT evil.example:443 HTTP/1.1\r\nhost: x\r\n\r\n", {400, 405}),
        (b"BREW /coffee HTTP/1.1\r\nhost: x\r\n\r\n", {400}),
        (b"GET /healthz HTTP/9.9\r\nhost: x\r\n\r\n", {400}),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", {400}),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", {400}),
        (b"GET /healthz HTTP/1.1\r\nhost: x\r\nbad header\r\n\r\n", {400}),
        (b"GET /healthz HTTP/1.1\r\nhost: x\r\na: b\x00c\r\n\r\n", {400}),
        (b"POST /v1/events HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n{}", {400}),
        (b"POST /v1/events HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n", {400}),
        (
            b"POST /v1/events HTTP/1.1\r\nhost: x\r\ncontent-length: 9999999999999999999999\r\n\r\n",
            {400, 413},
        ),
        (
            b"POST /v1/events HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n"
            b"transfer-encoding: chunked\r\n\r\n0\r\n\r\n",
            {400},
        ),
        (b"POST /v1/events HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", {400}),
        (b"DELETE /v1/events HTTP/1.1\r\nhost: x\r\n\r\n", {405}),
        (b"TRACE /healthz HTTP/1.1\r\nhost: x\r\n\r\n", {405}),
    ],
)
async def test_a_malformed_request_is_the_clients_error(
    request_bytes: bytes, statuses: set[int], server: Server
) -> None:
    """Never a 500 and never a redirect; always a problem that says what is wrong."""
    status, headers, body = await server.ask(request_bytes)
    assert status in statuses, (status, body)
    assert "location" not in headers
    assert "set-cookie" not in headers
    assert headers["content-type"] == "application/problem+json"
    assert json.loads(body)["detail"]
    assert (await server.ask(post(BODY)))[0] == 202, "others are served"


@pytest.mark.parametrize(
    "head",
    [
        b"GET /" + b"a" * 10 * MAX_HEAD_BYTES,
        b"GET /healthz HTTP/1.1\r\nhost: x\r\na: " + b"b" * 10 * MAX_HEAD_BYTES,
        b"GET /healthz HTTP/1.1\r\nhost: x\r\n" + b"a" * 10 * MAX_HEAD_BYTES,
        b"GET /healthz HTTP/1.1\r\nhost: x\r\n" + b"a: b\r\n" * 10 * MAX_HEADERS,
    ],
    ids=["target", "value", "name", "number"],
)
async def test_a_head_without_an_end_is_cut_early(head: bytes, server: Server) -> None:
    """At the bound, wherever it grows: the rest is not even read."""
    reader, writer = await server.connect()
    for start in range(0, len(head), 4096):
        writer.write(head[start : start + 4096])
    status, _, body = await answer(reader)
    assert status in (414, 431)
    assert json.loads(body)["status"] == status
    writer.close()


@pytest.mark.parametrize(
    "filler", [b"1;" + b"a" * 4096, b"0\r\n" + b"a: b\r\n" * 1000, b"0\r\na: " + b"b" * 4096]
)
async def test_what_surrounds_the_chunks_of_a_body_is_bounded(filler: bytes, server: Server) -> None:
    """Chunk extensions and trailers without an end close the connection."""
    reader, writer = await server.connect()
    writer.write(b"POST /v1/events HTTP/1.1\r\nhost: x\r\n" + JSON + b"transfer-encoding: chunked\r\n\r\n")
    writer.write(filler)
    for _ in range(100):
        writer.write(filler[-1:] * 4096 if filler[-1:] != b"\n" else b"c: d\r\n" * 700)
    async with asyncio.timeout(60):
        status, *_ = await answer(reader)
        assert 400 <= status < 500
        assert await reader.read() == b""
    writer.close()


async def test_trailers_are_no_headers(server: Server) -> None:
    """A body in chunks with a few trailers is served, and so is the next request of the connection."""
    reader, writer = await server.connect()
    chunked = b"POST /v1/events HTTP/1.1\r\nhost: x\r\n" + JSON + b"transfer-encoding: chunked\r\n\r\n"
    chunked += b"%x;name=value\r\n" % len(BODY) + BODY + b"\r\n0\r\nx-api-key: k\r\n\r\n"
    for request in (chunked, chunked, post(BODY)):
        writer.write(request)
        assert (await answer(reader))[0] == 202
    writer.close()


@pytest.mark.parametrize(
    "offer",
    [
        b"connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAEAAEAAAAIAAAAA\r\n",
        b"upgrade: h2c\r\nconnection: keep-alive, upgrade\r\n",
        b"connection: upgrade\r\nupgrade: websocket\r\n",
    ],
    ids=["h2c", "keep-alive", "websocket"],
)
@pytest.mark.parametrize("split", [0, 30, -10, None], ids=["at once", "in the head", "in the body", "bytes"])
async def test_an_offer_to_upgrade_is_not_taken_and_the_body_counts(
    offer: bytes, split: int | None, server: Server
) -> None:
    """As Java's HttpClient and `curl --http2` send it with their first request, in any number of packets."""
    request = post(BODY, offer)
    reader, writer = await server.connect()
    parts = [bytes([each]) for each in request] if split is None else [request[:split], request[split:]]
    for part in parts:
        writer.write(part)
        await writer.drain()
        await asyncio.sleep(0)
    status, headers, body = await answer(reader)
    assert (status, json.loads(body)) == (202, {"accepted": 1, "rejected": []})
    assert "upgrade" not in headers
    writer.write(post(BODY))
    assert (await answer(reader))[0] == 202, "the connection goes on with HTTP/1.1"
    assert [each["event_id"] for each in server.ingest.publisher.entries()] == ["e", "e"]
    writer.close()


@pytest.mark.parametrize("path", [b"/healthz", b"/readyz", b"/metrics", b"/openapi.json", b"/docs"])
async def test_head_is_where_get_is(path: bytes, server: Server) -> None:
    """The same headers, and no body."""
    get, get_headers, _ = await server.ask(b"GET " + path + b" HTTP/1.1\r\nhost: x\r\n\r\n")
    reader, writer = await server.connect()
    writer.write(b"HEAD " + path + b" HTTP/1.1\r\nhost: x\r\n\r\n" + post(BODY))
    status, headers, _ = await answer(reader, body=False)
    assert (status, headers["content-type"]) == (get, get_headers["content-type"])
    assert (await answer(reader))[0] == 202, "no byte of a body came in between"
    writer.close()


async def test_clients_that_announce_much_and_send_nothing_take_no_room(server: Server) -> None:
    """Room is taken by the bytes that come, not by those that are announced."""
    head = b"POST /v1/events HTTP/1.1\r\nhost: x\r\n" + JSON + b"content-length: %d\r\n\r\n[" % LIMIT
    idle = [await server.connect() for _ in range(40)]  # four times what may be reserved
    for _, writer in idle:
        writer.write(head)
        await writer.drain()
    for _ in range(20):
        assert (await server.ask(post(BODY)))[0] == 202
    for _, writer in idle:
        writer.close()


async def test_large_bodies_that_do_not_end_leave_room_for_small_ones(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They fill half of what may be reserved, and the others of them are told to come again."""
    monkeypatch.setattr(bodies, "LARGE_BYTES", LIMIT // 4)
    head = b"POST /v1/events HTTP/1.1\r\nhost: x\r\n" + JSON + b"content-length: %d\r\n\r\n" % LIMIT
    idle = [await server.connect() for _ in range(20)]  # twice what may be reserved
    for _, writer in idle:
        writer.write(head + b" " * (LIMIT - 1))
        await writer.drain()
    for _ in range(20):
        assert (await server.ask(post(BODY)))[0] == 202
    assert server.ingest.byte_limiter.reserved <= 5 * LIMIT
    for _, writer in idle:
        writer.close()


async def test_requests_sent_without_waiting_for_answers_are_few(server: Server) -> None:
    """A hundred thousand requests in one packet are not all taken up; some are."""
    request = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"
    reader, writer = await server.connect()
    writer.write(request * (MAX_PIPELINED // 2))
    for _ in range(MAX_PIPELINED // 2):
        assert (await answer(reader))[0] == 200
    writer.write(request * 100_000)
    async with asyncio.timeout(60):
        got = await reader.read()
    assert got.count(b"HTTP/1.1 200") <= MAX_PIPELINED + 1
    writer.close()


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (gzip.compress(BODY), "Content-Encoding: gzip"),
        (b"\x28\xb5\x2f\xfd" + BODY, "zstd"),
        (b"PK\x03\x04" + BODY, "zip"),
        (BODY.decode().encode("utf-16"), "UTF-16"),
        (BODY + BODY, "put events into an array"),
        (BODY + b" " + BODY, "put events into an array"),
    ],
    ids=["gzip", "zstd", "zip", "utf-16", "joined", "joined by a space"],
)
async def test_a_body_that_is_something_else_is_told_what_it_is(
    body: bytes, says: str, server: Server
) -> None:
    """400, with what to do about it."""
    status, _, answered = await server.ask(post(body))
    assert status == 400
    assert says in json.loads(answered)["detail"]


async def test_others_are_served_while_a_bad_request_is_validated(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request of many bad events has a slice validated, then others get their turn."""
    slices: list[int] = []
    pipeline = server.ingest.app._pipeline
    add = pipeline._add

    def counted(*arguments: object) -> None:
        slices.append(len(server.ingest.publisher.requests))
        add(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(pipeline, "_add", counted)
    monkeypatch.setattr(pipeline, "_max_events", 20_000)
    bad = b"[" + b",".join([b"{}"] * 1300) + b"]"
    assert len(bad) < LIMIT
    slow = asyncio.create_task(server.ask(post(bad)))
    good = 0
    while not slow.done():
        assert (await server.ask(post(BODY)))[0] == 202
        good += 1
    status, _, answered = await slow
    assert (status, len(json.loads(answered)["rejected"])) == (422, 1300)
    assert good > 1
    assert slices[-1] > slices[0], "good requests were published between two slices"


@pytest.mark.parametrize("server", [("https://studio.example",)], indirect=True)
async def test_pages_of_named_origins_may_send_events(server: Server) -> None:
    """The browser's question is answered with yes, and its request with the headers that it wants."""
    origin = b"origin: https://studio.example\r\n"
    wanted = b"access-control-request-method: POST\r\naccess-control-request-headers: content-type\r\n"
    status, headers, _ = await server.ask(b"OPTIONS /v1/events HTTP/1.1\r\n" + origin + wanted + b"\r\n")
    assert (status, headers["access-control-allow-origin"]) == (200, "https://studio.example")
    status, headers, _ = await server.ask(post(BODY, origin))
    assert (status, headers["access-control-allow-origin"]) == (202, "https://studio.example")
    status, headers, _ = await server.ask(post(BODY, b"origin: https://evil.example\r\n"))
    assert "access-control-allow-origin" not in headers


async def test_without_a_setting_no_page_may(server: Server) -> None:
    """The question is answered as any other request with an unknown method."""
    question = b"OPTIONS /v1/events HTTP/1.1\r\norigin: https://a.example\r\n"
    status, headers, _ = await server.ask(question + b"access-control-request-method: POST\r\n\r\n")
    assert (status, "access-control-allow-origin" in headers) == (405, False)


async def test_a_short_bad_request_does_not_wait_for_long_ones(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eight clients send many bad events each; one who sends a single bad one is answered first."""
    monkeypatch.setattr(server.ingest.app._pipeline, "_max_events", 20_000)
    bad = b"[" + b",".join([b"{}"] * 1300) + b"]"
    begun = asyncio.Semaphore(0)
    add = server.ingest.app._pipeline._add

    def counted(*arguments: object) -> None:
        begun.release()
        add(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(server.ingest.app._pipeline, "_add", counted)
    long = [asyncio.create_task(server.ask(post(bad))) for _ in range(8)]
    await begun.acquire()
    status, _, answered = await server.ask(post(b"{}"))
    assert (status, len(json.loads(answered)["rejected"])) == (422, 1)
    assert not any(each.done() for each in long)
    assert {each[0] for each in await asyncio.gather(*long)} == {422}
