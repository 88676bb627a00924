"""POST /v1/events, as an ASGI function in front of the FastAPI application that serves the rest.

The hot path is not a FastAPI route because a route halves the rate of single events
(``docs/performance.md``). FastAPI declares the route all the same, for the OpenAPI page.
"""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable, Generator, Mapping, MutableMapping
from typing import Any

import msgspec

from services.ingest.http import body as bodies
from services.ingest.http.auth import ApiKeys, Client
from services.ingest.http.deadlines import Deadlines
from services.ingest.http.micro_batcher import MAX_BYTES, MicroBatcher
from services.ingest.http.problems import MEDIA_TYPE, Problem
from services.ingest.http.submitter import Submitter
from services.ingest.http.turns import Turns
from services.ingest.kafka.byte_limiter import ByteLimiter
from services.ingest.kafka.publisher import (
    AckTimeoutError,
    OverloadedError,
    PublishError,
    RecordTooLargeError,
)
from services.ingest.metrics import IngestMetrics
from services.ingest.pipeline.admission import TooManyEventsError
from services.ingest.pipeline.pipeline import Outcome, Pipeline, Processed

Scope = MutableMapping[str, Any]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, bodies.Receive, Send], Awaitable[None]]

PATH = "/v1/events"
#: Rejected events that are rendered in one slice.
_RENDER_SLICE = 500
_RETRY_AFTER_SECONDS = 5
_SOURCE = re.compile(rb"[\x21-\x7e][\x20-\x7e]{0,198}[\x21-\x7e]|[\x21-\x7e]")
_JSON_HEADERS = (b"content-type", b"application/json")

#: The answer to one good event; the micro-batcher has counted it by its kind.
_ONE = Outcome({"": 1}, [])
_ONE_ACCEPTED = b'{"accepted":1,"rejected":[]}'


class IngestApp:
    """The ASGI application: POST /v1/events by itself, everything else by `rest`."""

    def __init__(
        self,
        rest: App,
        pipeline: Pipeline,
        submitter: Submitter,
        keys: ApiKeys,
        byte_limiter: ByteLimiter,
        metrics: IngestMetrics,
        *,
        not_ready_reason: Callable[[], str | None],
        max_body_bytes: int,
        max_events: int,
        deadlines: Deadlines,
    ) -> None:
        self._rest = rest
        self._pipeline = pipeline
        self._submitter = submitter
        self._micro_batcher = MicroBatcher(pipeline, submitter)
        self._keys = keys
        self._byte_limiter = byte_limiter
        self._metrics = metrics
        self._not_ready_reason = not_ready_reason
        self._max_body = max_body_bytes
        self._max_events = max_events
        self._deadlines = deadlines
        self._turns = Turns()

    async def __call__(self, scope: Scope, receive: bodies.Receive, send: Send) -> None:
        """An ASGI request."""
        if scope["type"] != "http" or scope["path"] != PATH or scope["method"] != "POST":
            if scope.get("method") == "HEAD":  # the server leaves the body out
                scope = {**scope, "method": "GET"}
            await self._rest(scope, receive, send)
            return
        started = time.perf_counter()
        headers: dict[bytes, bytes] = dict(scope["headers"])
        reserved = bodies.Reservation(self._byte_limiter)
        try:
            client = scope["client"][0] if scope.get("client") else ""
            outcome = await self._take(headers, client, receive, reserved)
        except Problem as problem:
            status = problem.status
            await _send_problem(problem, headers, send)
        else:
            if outcome is None:
                return  # the client went away before its request was complete
            if outcome is _ONE:
                status, answer = 202, _ONE_ACCEPTED
            else:
                status = 202 if outcome.accepted or not outcome.rejected else 422
                answer = await self._turns.run(_render(outcome), client, None)
            await _send(send, status, [_JSON_HEADERS], answer)
        finally:
            reserved.release()
        self._metrics.answered(status, time.perf_counter() - started)

    async def _take(
        self,
        headers: Mapping[bytes, bytes],
        client: str,
        receive: bodies.Receive,
        reserved: bodies.Reservation,
    ) -> Outcome | None:
        """Read a request, write its events, and wait for the acknowledgement; None if the client went away.

        Raises Problem.
        """
        not_ready_reason = self._not_ready_reason()
        if not_ready_reason is not None:
            raise Problem(503, not_ready_reason, retry_after=_RETRY_AFTER_SECONDS)
        owner = self._keys.client_of(headers)
        owner.check_rate()
        body_format = bodies.body_format_of(headers)
        body = await bodies.read(
            receive, headers, limit=self._max_body, deadlines=self._deadlines, reserved=reserved
        )
        if body is None:
            return None
        try:
            if body_format == bodies.PLAIN and body[:1] == b"{" and len(body) <= MAX_BYTES:
                owner.check_rate()  # others of its requests may have come in meanwhile
                owner.spend(1)
                batch, index = self._micro_batcher.join(body, reserved, owner)
                del body  # the batch has it
                if await batch.taken:
                    self._metrics.of_key(owner.name, 1, 0)
                    return _ONE
                owner.spend(-1)
                body = batch.bodies[index]
            slices = self._processed(body, body_format, headers, owner, reserved)
            processed = await self._turns.run(slices, client, lambda: reserved.size)
            owner.spend(sum(_sizes(processed.outcome)))
            reserved.release()  # from here on the publisher holds what there is of the request
            submission = self._submitter.submit(processed)
            del slices, processed
            del body  # the publisher has all that is still needed of it
            await submission.acknowledged
        except PublishError as error:
            raise _problem_of(error) from error
        except TooManyEventsError:
            raise Problem(413, f"a request has at most {self._max_events} events; send it in parts") from None
        outcome = submission.outcome
        self._submitter.count(outcome)
        self._metrics.of_key(owner.name, *_sizes(outcome))
        if outcome.unreadable is not None:
            raise Problem(400, outcome.unreadable.detail, reason=outcome.unreadable.reason.value)
        return outcome

    def _processed(
        self,
        body: bytes,
        body_format: bodies.BodyFormat,
        headers: Mapping[bytes, bytes],
        owner: Client,
        reserved: bodies.Reservation,
    ) -> Generator[None, None, Processed]:
        """Everything between reading and submitting. A body that is small and good is done in one slice."""
        source = _source(headers, owner.label)
        try:
            if body_format.gzip:
                body = yield from bodies.unpack(body, limit=self._max_body, reserved=reserved)
        except bodies.BadEncodingError as error:
            return self._pipeline.unreadable(body, str(error), source=source)
        steps = self._pipeline.process(body, lines=body_format.lines, source=source, rules=owner.rules)
        return (yield from steps)


def _problem_of(error: PublishError) -> Problem:
    if isinstance(error, OverloadedError):
        return bodies.overloaded()
    if isinstance(error, RecordTooLargeError):
        return Problem(413, f"{error}; other events of the request may be stored")
    if isinstance(error, AckTimeoutError):
        why = "the broker has not acknowledged in time"
    else:
        why = "the service has lost its producer and is about to be started again"
    return Problem(
        503,
        f"{why}; the events may be stored all the same, so send them again with the same event_id",
        retry_after=_RETRY_AFTER_SECONDS,
    )


def _sizes(outcome: Outcome) -> tuple[int, int]:
    """Accepted and rejected events; an unreadable body is one."""
    return sum(outcome.accepted.values()), len(outcome.rejected) + (outcome.unreadable is not None)


def _source(headers: Mapping[bytes, bytes], label: str) -> str:
    """Where the events come from, for dead letters: the header X-Fanpulse-Source if it is a fit name.

    The name of the client's key comes first, if it has one.
    """
    named = headers.get(b"x-fanpulse-source")
    source = named.decode() if named and _SOURCE.fullmatch(named) else "http"
    return f"{label}/{source}" if label else source


def _render(outcome: Outcome) -> Generator[None, None, bytes]:
    """The body of the answer, in slices: there may be many rejected events."""
    accepted = sum(outcome.accepted.values())
    if not outcome.rejected:
        return b'{"accepted":%d,"rejected":[]}' % accepted
    parts: list[bytes] = []
    for start in range(0, len(outcome.rejected), _RENDER_SLICE):
        if start:
            yield
        rejected = [
            {
                "index": each.index,
                "field": each.rejection.field,
                "reason": each.rejection.reason.value,
                "detail": each.rejection.detail,
            }
            for each in outcome.rejected[start : start + _RENDER_SLICE]
        ]
        parts.append(msgspec.json.encode(rejected)[1:-1])
    return b'{"accepted":%d,"rejected":[%b]}' % (accepted, b",".join(parts))


async def _send(send: Send, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    headers.append((b"content-length", b"%d" % len(body)))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _send_problem(problem: Problem, request_headers: Mapping[bytes, bytes], send: Send) -> None:
    # What is still to come of a body is thrown away by the server, and the connection is kept. But a client
    # that waits for `100 Continue` will not send the body, and may not say so.
    headers = [(b"content-type", MEDIA_TYPE.encode())]
    headers += [(name.encode(), value.encode()) for name, value in problem.headers.items()]
    if problem.close or b"expect" in request_headers:
        headers.append((b"connection", b"close"))
    await _send(send, problem.status, headers, problem.body())
