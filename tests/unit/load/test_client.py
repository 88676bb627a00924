"""`fanpulse load`: requests to ingest, against a server that answers as it is told."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Iterator
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

import pytest

from fanpulse.load import client as client_module
from fanpulse.load.client import (
    AddressError,
    GivenUpError,
    IngestClient,
    IngestRejectedError,
    IngestUnavailableError,
)


class Said(NamedTuple):
    """An answer to give; a status of 0 closes the connection without one."""

    status: int
    body: Any = None
    headers: dict[str, str] = {}  # noqa: RUF012 - never changed


class Server(ThreadingHTTPServer):
    """Answers requests from a list; when it is used up, accepts everything."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: list[Said] = []
        self.requests: list[tuple[dict[str, str], list[bytes]]] = []

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    """One connection, kept open."""

    protocol_version = "HTTP/1.1"
    server: Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        lines = gzip.decompress(body).split(b"\n")
        self.server.requests.append(({key.lower(): value for key, value in self.headers.items()}, lines))
        said = self.server.answers.pop(0) if self.server.answers else Said(202, accepted(len(lines)))
        if said.status == 0:
            self.close_connection = True
            return
        reply = said.body if isinstance(said.body, bytes) else json.dumps(said.body).encode()
        self.send_response(said.status)
        for name, value in said.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(reply)))
        self.end_headers()
        self.wfile.write(reply)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


def accepted(count: int, *rejected: int) -> dict[str, Any]:
    """The body of an answer."""
    bad = [{"index": index, "field": "action", "reason": "bad_value", "detail": "no"} for index in rejected]
    return {"accepted": count - len(bad), "rejected": bad}


@pytest.fixture
def server() -> Iterator[Server]:
    """A server for one test."""
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def _short_delays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "_FIRST_DELAY_SECONDS", 0.001)


def post(client: IngestClient, *lines: bytes) -> client_module.Answer:
    """Post and close."""
    try:
        return client.post(lines, "file:posts.csv")
    finally:
        client.close()


def test_a_batch_is_one_gzipped_request_that_says_where_it_comes_from(server: Server) -> None:
    """NDJSON, the key as a bearer token, and the file's name for dead letters; the answer is told by line."""
    server.answers = [Said(202, accepted(3, 1))]
    answer = post(IngestClient(server.url + "/", api_key="k"), b"{}", b"[]", b"{}")
    assert answer.accepted == 2
    assert [(item.at, item.field, item.reason) for item in answer.rejected] == [(1, "action", "bad_value")]
    headers, lines = server.requests[0]
    assert lines == [b"{}", b"[]", b"{}"]
    assert headers["content-type"] == "application/x-ndjson"
    assert headers["authorization"] == "Bearer k"
    assert headers["x-fanpulse-source"] == "file:posts.csv"


def test_a_name_in_chinese_travels_percent_encoded_and_cut(server: Server) -> None:
    """A header holds ASCII, and ingest takes 200 characters of it."""
    client = IngestClient(server.url)
    client.post([b"{}"], "file:伏羲.csv")
    client.post([b"{}"], "file:" + "伏" * 80)
    client.close()
    assert server.requests[0][0]["x-fanpulse-source"] == "file:%E4%BC%8F%E7%BE%B2.csv"
    assert len(server.requests[1][0]["x-fanpulse-source"]) == 200


def test_a_batch_of_which_nothing_was_good_is_answered_too(server: Server) -> None:
    """422 has the same body as 202."""
    server.answers = [Said(422, accepted(1, 0))]
    assert post(IngestClient(server.url), b"[]").accepted == 0


@pytest.mark.parametrize("status", [0, 408, 429, 500, 502, 503, 504])
def test_what_may_pass_is_tried_again(server: Server, status: int) -> None:
    """An overloaded or restarting service, and a connection that broke before the answer."""
    server.answers = [Said(status, {"detail": "busy"})] * 3
    waits: list[str] = []
    client = IngestClient(server.url, on_wait=lambda problem, seconds: waits.append(problem))
    assert post(client, b"{}").accepted == 1
    assert len(server.requests) == 4
    assert len(waits) == 3
    assert str(status) in waits[0] if status else "cannot be reached" in waits[0]


def test_a_connection_that_ingest_has_closed_meanwhile_is_no_failure(server: Server) -> None:
    """Between paced rows a server may close an idle connection; the next request opens another at once."""
    waits: list[str] = []
    client = IngestClient(server.url, on_wait=lambda problem, seconds: waits.append(problem))
    client.post([b"{}"], "file:a")
    server.answers = [Said(0)]
    client.post([b"{}"], "file:a")
    client.close()
    assert len(server.requests) == 3
    assert not waits


@pytest.mark.parametrize("after", ["7", formatdate(4_000_000_000, usegmt=True)])
def test_retry_after_is_honoured(server: Server, after: str) -> None:
    """Seconds or a date; the wait is at least as long, and never over a minute."""
    server.answers = [Said(503, {"title": "full"}, {"Retry-After": after})]
    waits: list[float] = []

    def on_wait(problem: str, seconds: float) -> None:
        assert "503 (full)" in problem
        waits.append(seconds)

    client = IngestClient(server.url, on_wait=on_wait, fail=lambda: bool(waits), patience_seconds=100)
    with pytest.raises(GivenUpError):
        post(client, b"{}")
    assert waits == [7.0 if after == "7" else 60.0]


def test_patience_has_an_end() -> None:
    """When nothing gets through for so long, the error says where and why."""
    client = IngestClient("http://127.0.0.1:1", patience_seconds=0.05)
    with pytest.raises(
        IngestUnavailableError, match=r"http://127.0.0.1:1 cannot be reached \(connection refused"
    ):
        post(client, b"{}")


@pytest.mark.parametrize(
    ("said", "says"),
    [
        (Said(401, {"detail": "an API key is needed"}), "answers 401: an API key is needed"),
        (Said(404, b"<html>"), "answers 404: Not Found"),
        (Said(202, b"hello"), "not an answer of ingest: b'hello'"),
        (Said(202, {"status": "ok"}), "not an answer of ingest"),
        (Said(202, accepted(7)), "other events than the 1 sent"),
        (Said(422, accepted(1, 5)), "other events than the 1 sent"),
    ],
)
def test_what_will_not_pass_ends_it_at_once(server: Server, said: Said, says: str) -> None:
    """A wrong key or address is said as such, and so is an answer that does not fit the question."""
    server.answers = [said]
    with pytest.raises(IngestRejectedError) as caught:
        post(IngestClient(server.url), b"{}")
    assert says in str(caught.value)
    assert len(server.requests) == 1


def test_a_batch_that_is_too_large_is_halved(server: Server) -> None:
    """Until it fits; the places in the answer are those of the whole batch."""
    server.answers = [Said(413), Said(202, accepted(2, 1)), Said(413), Said(202, accepted(1)), Said(413)]
    answer = post(IngestClient(server.url), b"0", b"1", b"2", b"33333")
    assert [lines for _, lines in server.requests] == [
        [b"0", b"1", b"2", b"33333"], [b"0", b"1"], [b"2", b"33333"], [b"2"], [b"33333"]
    ]  # fmt: skip
    assert answer.accepted == 2
    assert [(item.at, item.reason) for item in answer.rejected] == [(1, "bad_value"), (3, "too_large")]


@pytest.mark.parametrize("url", ["", "ftp://host", "http://", "http://host:port"])
def test_what_is_no_address_is_rejected(url: str) -> None:
    """Before anything is read."""
    with pytest.raises(AddressError, match="not an address of ingest"):
        IngestClient(url)


def test_an_address_may_leave_out_the_scheme(server: Server) -> None:
    """host:port means http."""
    assert post(IngestClient(server.url.removeprefix("http://")), b"{}").accepted == 1
