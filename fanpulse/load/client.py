"""Posts batches of events to ingest, and keeps trying while ingest cannot take them."""

from __future__ import annotations

import contextlib
import email.utils
import gzip
import http.client
import random
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

import msgspec

from schemas.reasons import Reason

PATH = "/v1/events"
#: Answers after which the same request may well succeed.
_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})
_FIRST_DELAY_SECONDS = 0.2
_LONGEST_DELAY_SECONDS = 5.0
_LONGEST_RETRY_AFTER_SECONDS = 60.0
#: Longer than ingest itself waits for the broker.
_SOCKET_TIMEOUT_SECONDS = 90.0
_SLICE_SECONDS = 0.1
#: Of a longer name, ingest takes no notice.
_SOURCE_LENGTH = 200


class IngestUnavailableError(RuntimeError):
    """Ingest did not take the events within the patience given. The message is one line."""


class IngestRejectedError(RuntimeError):
    """Ingest does not take requests of ours at all: a wrong address or key. The message is one line."""


class AddressError(ValueError):
    """The text is no address of ingest. The message is one line."""


class GivenUpError(RuntimeError):
    """The caller asked to stop trying."""


class Rejected(NamedTuple):
    """An event of a batch that ingest refused; ``at`` counts from 0."""

    at: int
    field: str
    reason: str
    detail: str


class Answer(NamedTuple):
    """What became of a batch."""

    accepted: int
    rejected: tuple[Rejected, ...]


class IngestClient:
    """A client of one ingest service, for several threads: each has a connection of its own.

    ``patience_seconds`` is how long a batch is tried again when nothing gets through; ``on_wait(problem,
    seconds)`` hears of each wait; ``fail()`` is asked while it waits, and may be set later. Events with an
    event_id may be sent again without harm: an answer that was lost does not count them twice.
    """

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None = None,
        patience_seconds: float = 60.0,
        on_wait: Callable[[str, float], None] = lambda problem, seconds: None,
        fail: Callable[[], bool] = lambda: False,
    ) -> None:
        try:
            parts = urlsplit(url if "//" in url else f"//{url}", scheme="http")
            self._host, self._port = parts.hostname or "", parts.port
        except ValueError:  # a port that is no number
            self._host = ""
        if not self._host or parts.scheme not in ("http", "https"):
            raise AddressError(f"{url} is no address of ingest, such as http://127.0.0.1:8080")
        self.url = f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"
        self._https = parts.scheme == "https"
        self._path = parts.path.rstrip("/") + PATH
        self._key = api_key
        self._patience = patience_seconds
        self._on_wait = on_wait
        self.fail = fail
        self._local = threading.local()
        self._connections: list[http.client.HTTPConnection] = []

    def post(self, lines: Sequence[bytes], source: str) -> Answer:
        """Send events, one a line, and wait until the broker has them; the answer names the refused ones.

        A batch that is too large for ingest is sent in two halves. Raises IngestUnavailableError,
        IngestRejectedError and GivenUpError.
        """
        body = gzip.compress(b"\n".join(lines), compresslevel=1, mtime=0)
        status, reply = self._exchange(body, source)
        if status == 413:
            return self._post_halves(lines, source)
        if status in (200, 202, 422):
            return _read_answer(reply, len(lines))
        raise IngestRejectedError(f"ingest at {self.url} answers {status}: {_problem(status, reply)}")

    def close(self) -> None:
        """Close all connections. No request may be under way."""
        for connection in self._connections:
            connection.close()

    def _post_halves(self, lines: Sequence[bytes], source: str) -> Answer:
        if len(lines) == 1:
            detail = f"a row of {len(lines[0]):,} bytes, which ingest does not even take in"
            return Answer(0, (Rejected(0, "", Reason.TOO_LARGE, detail),))
        middle = len(lines) // 2
        first, second = self.post(lines[:middle], source), self.post(lines[middle:], source)
        moved = tuple(item._replace(at=item.at + middle) for item in second.rejected)
        return Answer(first.accepted + second.accepted, first.rejected + moved)

    def _exchange(self, body: bytes, source: str) -> tuple[int, bytes]:
        """One request, tried until it is answered for good."""
        started: float | None = None
        tries = 0
        while True:
            try:
                status, reply, after = self._request(body, source)
                if status not in _AGAIN:
                    return status, reply
                problem = f"ingest at {self.url} answers {status} ({_problem(status, reply)})"
            except (OSError, http.client.HTTPException) as error:
                after = None
                problem = f"ingest at {self.url} cannot be reached ({_short(error)})"
                if self._drop_connection() and tries == 0:
                    tries = 1
                    continue  # an idle connection that ingest has closed: not a failure yet
            now = time.monotonic()
            started = now if started is None else started
            delay = _delay(tries, after)
            tries += 1
            if now + delay - started > self._patience:
                raise IngestUnavailableError(f"{problem}; gave up after {now - started:.0f} s")
            self._on_wait(problem, delay)
            self._wait(delay)

    def _wait(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if self.fail():
                raise GivenUpError
            time.sleep(min(left, _SLICE_SECONDS))

    def _request(self, body: bytes, source: str) -> tuple[int, bytes, str | None]:
        connection = self._connection()
        headers = {
            "Content-Type": "application/x-ndjson",
            "Content-Encoding": "gzip",
            "Accept": "application/json",
            # A header holds ASCII; what is not is percent-encoded.
            "X-Fanpulse-Source": quote(source, safe=" !#$&'()*+,/:;=?@[]~")[:_SOURCE_LENGTH].strip(),
        }
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        connection.request("POST", self._path, body, headers)
        response = connection.getresponse()
        reply = response.read()
        self._local.used = True
        return response.status, reply, response.getheader("Retry-After")

    def _connection(self) -> http.client.HTTPConnection:
        connection: http.client.HTTPConnection | None = getattr(self._local, "connection", None)
        if connection is None:
            if self._https:
                connection = http.client.HTTPSConnection(
                    self._host,
                    self._port,
                    timeout=_SOCKET_TIMEOUT_SECONDS,
                    context=ssl.create_default_context(),
                )
            else:
                connection = http.client.HTTPConnection(
                    self._host, self._port, timeout=_SOCKET_TIMEOUT_SECONDS
                )
            self._local.connection = connection
            self._local.used = False
            self._connections.append(connection)
        return connection

    def _drop_connection(self) -> bool:
        """Close this thread's connection; whether it had served a request before."""
        used: bool = getattr(self._local, "used", False)
        self._local.used = False
        connection = getattr(self._local, "connection", None)
        if connection is not None:
            connection.close()  # it opens itself again at the next request
        return used


def _delay(tries: int, retry_after: str | None) -> float:
    asked = _seconds(retry_after) if retry_after else 0.0
    # Spread by chance, so that several loaders do not come back at the same instant.
    own = min(_LONGEST_DELAY_SECONDS, _FIRST_DELAY_SECONDS * 2.0**tries)
    own *= random.uniform(0.7, 1.3)  # noqa: S311
    return max(own, min(asked, _LONGEST_RETRY_AFTER_SECONDS))


def _seconds(retry_after: str) -> float:
    """A Retry-After header: seconds, or a date (RFC 9110)."""
    if retry_after.strip().isdigit():
        return float(retry_after)
    with contextlib.suppress(ValueError):
        return max(0.0, email.utils.parsedate_to_datetime(retry_after).timestamp() - time.time())
    return 0.0


def _read_answer(reply: bytes, events: int) -> Answer:
    try:
        found = msgspec.json.decode(reply)
        rejected = tuple(
            Rejected(item["index"], item["field"], item["reason"], item["detail"])
            for item in found["rejected"]
        )
        answer = Answer(found["accepted"], rejected)
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError, TypeError):
        raise IngestRejectedError(f"this is not the answer of ingest: {reply[:80]!r}") from None
    if answer.accepted + len(rejected) != events or any(not 0 <= item.at < events for item in rejected):
        raise IngestRejectedError(f"ingest answers for other events than the {events} sent: {reply[:80]!r}")
    return answer


def _problem(status: int, reply: bytes) -> str:
    """The detail of a problem document (RFC 9457), or the standard name of the status."""
    with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError):
        found: Any = msgspec.json.decode(reply)
        if isinstance(found, dict) and (text := found.get("detail") or found.get("title")):
            return str(text)
    return http.client.responses.get(status, "unknown status")


def _short(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error) or type(error).__name__
