"""Posts batches of events to ingest, and keeps trying while ingest cannot take them."""

from __future__ import annotations

import contextlib
import gzip
import ssl
import time
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

import httpx
import msgspec
from httpx_retries import RetryTransport

from fanpulse.load.retries import PostRetry
from schemas.reasons import Reason

PATH = "/v1/events"
_FIRST_DELAY_SECONDS = 0.2
#: Longer than ingest itself waits for the broker.
_SOCKET_TIMEOUT_SECONDS = 90.0
_SLICE_SECONDS = 0.1
#: Ingest ignores a longer name.
_SOURCE_LENGTH = 200


class IngestUnavailableError(RuntimeError):
    """Ingest accepted nothing within the patience given. The message is one line."""


class IngestRejectedError(RuntimeError):
    """Ingest accepts no request of ours: a wrong address or key. The message is one line."""


class AddressError(ValueError):
    """The text is not an address of ingest. The message is one line."""


class GivenUpError(RuntimeError):
    """The caller asked to stop trying."""


class Rejected(NamedTuple):
    """An event of a batch that ingest rejected; ``at`` counts from 0."""

    at: int
    field: str
    reason: str
    detail: str


class Answer(NamedTuple):
    """The answer to a batch."""

    accepted: int
    rejected: tuple[Rejected, ...]


class IngestClient:
    """A client of one ingest service, for several threads.

    ``patience_seconds`` is how long a batch is tried again when nothing gets through. ``on_wait(problem,
    seconds)`` is called before each wait. ``fail()`` is asked during waits whether to give up, and may be set
    later. Events with an event_id may be sent again without harm: if an answer was lost, they count once.
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
        self.url = _address(url)
        self.fail = fail
        self.patience_seconds = patience_seconds
        self.on_wait = on_wait
        self._served = False
        headers = {
            "Content-Type": "application/x-ndjson",
            "Content-Encoding": "gzip",
            "Accept": "application/json",
        }
        if api_key:
            headers["Authorization"] = f"Bearer {api_key}"
        secure = ssl.create_default_context() if self.url.startswith("https") else False
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
        self._http = httpx.Client(
            # Read within the retries, since a connection may also break in the middle of an answer.
            transport=RetryTransport(_WholeAnswers(verify=secure, limits=limits)),
            headers=headers,
            timeout=_SOCKET_TIMEOUT_SECONDS,
            trust_env=False,
        )

    def post(self, lines: Sequence[bytes], source: str) -> Answer:
        """Send events, one a line, and wait until the broker has them; the answer names the rejected ones.

        A batch that is too large for ingest is sent in two halves. Raises IngestUnavailableError,
        IngestRejectedError and GivenUpError.
        """
        body = gzip.compress(b"\n".join(lines), compresslevel=1, mtime=0)
        # A header holds ASCII; other characters are percent-encoded.
        named = quote(source, safe=" !#$&'()*+,/:;=?@[]~")[:_SOURCE_LENGTH].strip()
        response = self._http.post(
            self.url + PATH,
            content=body,
            headers={"X-Fanpulse-Source": named},
            extensions={"retry": _Patience(self, first_seconds=_FIRST_DELAY_SECONDS)},
        )
        self._served = True
        if response.status_code == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            return self._post_halves(lines, source)
        if response.status_code in (200, 202, 422):
            return _read_answer(response.content, len(lines))
        raise IngestRejectedError(
            f"ingest at {self.url} answers {response.status_code}: {_problem(response)}"
        )

    def close(self) -> None:
        """Close all connections. No request may be under way."""
        self._http.close()

    def connection_was_stale(self) -> bool:
        """Whether a broken connection may just have been idle for too long. True once after each answer."""
        served, self._served = self._served, False
        return served

    def _post_halves(self, lines: Sequence[bytes], source: str) -> Answer:
        if len(lines) == 1:
            detail = f"a row of {len(lines[0]):,} bytes, more than ingest accepts in a request"
            return Answer(0, (Rejected(0, "", Reason.TOO_LARGE, detail),))
        middle = len(lines) // 2
        first, second = self.post(lines[:middle], source), self.post(lines[middle:], source)
        moved = tuple(item._replace(at=item.at + middle) for item in second.rejected)
        return Answer(first.accepted + second.accepted, first.rejected + moved)


class _WholeAnswers(httpx.HTTPTransport):
    """A transport whose answers are read to their end."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        response = super().handle_request(request)
        response.read()
        return response


class _Patience(PostRetry):
    """The retries of one request: as long as the client is patient and nobody has asked it to give up."""

    def __init__(self, client: IngestClient, *, first_seconds: float) -> None:
        super().__init__(first_seconds=first_seconds)
        self._client = client
        self._started: float | None = None

    def sleep(self, response: httpx.Response | Exception) -> None:
        """Wait before the next attempt. Raises IngestUnavailableError and GivenUpError."""
        client = self._client
        if isinstance(response, httpx.Response):
            problem = f"ingest at {client.url} answers {response.status_code} ({_problem(response)})"
        else:
            problem = f"ingest at {client.url} cannot be reached ({_short(response)})"
            broken = not isinstance(response, httpx.ConnectError | httpx.TimeoutException)
            if broken and self.attempts_made == 1 and client.connection_was_stale():
                return  # not a failure yet
        now = time.monotonic()
        self._started = now if self._started is None else self._started
        seconds = self.delay(response)
        if now + seconds - self._started > client.patience_seconds:
            raise IngestUnavailableError(f"{problem}; gave up after {now - self._started:.0f} s")
        client.on_wait(problem, seconds)
        while (left := now + seconds - time.monotonic()) > 0:
            if client.fail():
                raise GivenUpError
            time.sleep(min(left, _SLICE_SECONDS))


def _address(url: str) -> str:
    """The address without a path for events. Raises AddressError."""
    try:
        parts = urlsplit(url if "//" in url else f"//{url}", scheme="http")
        good = bool(parts.hostname) and parts.scheme in ("http", "https") and parts.port != 0
    except ValueError:  # a port that is not a number
        good = False
    if not good:
        raise AddressError(f"{url} is not an address of ingest, such as http://127.0.0.1:8080")
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"


def _read_answer(reply: bytes, events: int) -> Answer:
    try:
        found = msgspec.json.decode(reply)
        rejected = tuple(
            Rejected(item["index"], item["field"], item["reason"], item["detail"])
            for item in found["rejected"]
        )
        answer = Answer(found["accepted"], rejected)
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError, TypeError):
        raise IngestRejectedError(f"this is not an answer of ingest: {reply[:80]!r}") from None
    if answer.accepted + len(rejected) != events or any(not 0 <= item.at < events for item in rejected):
        raise IngestRejectedError(f"ingest answers for other events than the {events} sent: {reply[:80]!r}")
    return answer


def _problem(response: httpx.Response) -> str:
    """The detail of a problem document (RFC 9457), or the standard name of the status."""
    with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError):
        found: Any = msgspec.json.decode(response.content)
        if isinstance(found, dict) and (text := found.get("detail") or found.get("title")):
            return str(text)
    return response.reason_phrase or "unknown status"


def _short(error: BaseException) -> str:
    """What the system says about a connection, if it is the cause."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror.lower()
        cause = cause.__cause__ or cause.__context__
    return str(error) or type(error).__name__
