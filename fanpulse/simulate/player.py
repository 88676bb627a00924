"""Plays the scenario to ingest over HTTP on schedule, and retries while ingest or its broker is down."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Sequence

import httpx
import structlog
from httpx_retries import RetryTransport

from fanpulse.load.retries import PostRetry
from fanpulse.simulate.noise import Item
from fanpulse.simulate.pacing import Batch, batches
from fanpulse.simulate.sent_counts import AnswerError, SentCounts

#: Requests in flight at a time. The oldest is awaited before another is sent, so that the order in the log
#: differs from the scenario's by a few seconds of event time at most.
WINDOW = 4
#: How long one request is retried.
PATIENCE_SECONDS = 120.0
_FIRST_PAUSE_SECONDS = 0.05
_LONGEST_PAUSE_SECONDS = 1.0
_TIMEOUT = httpx.Timeout(40.0, connect=2.0)  # ingest itself waits for its broker for 30 s
_TRY_AGAIN = frozenset({408, 429, 502, 503, 504})
_ANSWERS = frozenset({202, 422})

log = structlog.get_logger(__name__)


class PlayError(RuntimeError):
    """Ingest gave a wrong answer, or none for too long. One line for people."""


class Player:
    """Sends items to ``POST /v1/events`` of ``url``. Call ``run`` once; the attributes show its progress.

    ``speed`` is event time by real time; 0 is as fast as ingest accepts. A request without an answer, or with
    an answer that asks for a retry, is sent again with the same event ids. If its events were stored the
    first time, the second copies are duplicates and do not count.
    """

    def __init__(self, url: str, items: Sequence[Item], speed: float) -> None:
        self.sent_counts = SentCounts()
        self.event_time_ms = items[0].send_at_ms if items else 0  # event time played so far
        self.trouble: str | None = None  # why a request is being retried; None when none is
        self._url = url.rstrip("/") + "/v1/events"
        self._items = items
        self._speed = speed
        self._began = 0.0

    async def run(self) -> SentCounts:
        """Play all items and return when every request has its final answer. Raises PlayError."""
        limits = httpx.Limits(max_connections=WINDOW, max_keepalive_connections=WINDOW)
        under_way: deque[asyncio.Task[None]] = deque()
        self._began = asyncio.get_running_loop().time()
        transport = RetryTransport(_WholeAnswers(limits=limits))
        async with httpx.AsyncClient(timeout=_TIMEOUT, transport=transport, trust_env=False) as client:
            try:
                for batch in batches(self._items, self._speed):
                    await self._until(batch.due_ms)
                    while under_way and (len(under_way) >= WINDOW or under_way[0].done()):
                        await under_way.popleft()
                    before = under_way[-1] if under_way else None
                    under_way.append(asyncio.create_task(self._deliver(client, batch, before)))
                    if batch.barrier:
                        while under_way:
                            await under_way.popleft()
                while under_way:
                    await under_way.popleft()
            finally:
                for task in under_way:
                    task.cancel()
                await asyncio.gather(*under_way, return_exceptions=True)
        return self.sent_counts

    async def _until(self, due_ms: int) -> None:
        """Wait for the real time that corresponds to an event time."""
        if self._speed and self._items:
            due = self._began + (due_ms - self._items[0].send_at_ms) / 1000 / self._speed
            await asyncio.sleep(max(0.0, due - asyncio.get_running_loop().time()))
        self.event_time_ms = max(self.event_time_ms, due_ms)

    async def _deliver(
        self, client: httpx.AsyncClient, batch: Batch, before: asyncio.Task[None] | None
    ) -> None:
        """Send a batch until it has its final answer, and count the answer.

        A retry waits until the batch ``before`` has its answer. That keeps the order after a failure, so that
        stream time does not run ahead of events that are still to come.
        """
        response = await client.post(
            self._url,
            content=batch.body,
            headers={"Content-Type": batch.content_type},
            extensions={"retry": _Resend(self, before)},
        )
        self.trouble = None
        self._record(batch, response)

    async def wait(self, problem: str, seconds: float, before: asyncio.Task[None] | None) -> None:
        """Wait before a request is sent again, and until the request ``before`` it is answered."""
        self.trouble = problem
        self.sent_counts.retries += 1
        log.debug("request sent again", problem=problem)
        await asyncio.sleep(seconds)
        if before is not None:
            await asyncio.wait({before})

    def _record(self, batch: Batch, response: httpx.Response) -> None:
        self.sent_counts.requests += 1
        if response.status_code not in _ANSWERS:
            raise PlayError(
                f"ingest answered {response.status_code}: {' '.join(response.text.split())[:300]}"
            )
        try:
            self.sent_counts.record(batch.items, json.loads(response.content))
        except (AnswerError, ValueError) as error:
            raise PlayError(f"ingest answered {response.status_code}, but {error}") from error


class _WholeAnswers(httpx.AsyncHTTPTransport):
    """A transport whose answers are read to their end, so that one that breaks off is tried again."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await super().handle_async_request(request)
        await response.aread()
        return response


class _Resend(PostRetry):
    """The retries of one request."""

    def __init__(self, player: Player, before: asyncio.Task[None] | None) -> None:
        super().__init__(
            first_seconds=_FIRST_PAUSE_SECONDS,
            longest_seconds=_LONGEST_PAUSE_SECONDS,
            longest_retry_after_seconds=_LONGEST_PAUSE_SECONDS,
            statuses=_TRY_AGAIN,
        )
        self._player = player
        self._before = before
        self._deadline = asyncio.get_running_loop().time() + PATIENCE_SECONDS

    async def asleep(self, response: httpx.Response | Exception) -> None:
        """Wait before the next attempt. Raises PlayError when patience ends."""
        if isinstance(response, httpx.Response):
            problem = f"status {response.status_code}"
        else:
            problem = type(response).__name__
        if asyncio.get_running_loop().time() > self._deadline:
            raise PlayError(f"ingest accepted nothing for {PATIENCE_SECONDS:.0f} s: {problem}")
        await self._player.wait(problem, self.delay(response), self._before)
