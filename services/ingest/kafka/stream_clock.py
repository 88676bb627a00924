"""Writing stream time to every partition, after all events that were accepted before it."""

from __future__ import annotations

import asyncio
import time

import structlog

from schemas.codec import encode_clock
from schemas.events import Clock
from schemas.log import MAX_CLOCK_AHEAD_MS, newest_time_ms
from schemas.topics import EVENTS, qualified
from services.ingest.kafka.publisher import ProducerFailedError, Publisher
from services.ingest.pipeline.stream_time import StreamTime, WallStreamTime
from services.runtime.readiness import Fault
from services.runtime.settings import Settings
from services.runtime.topic_scan import Span, open_reader

_log = structlog.get_logger(__name__)

#: The newest time in the log is looked for in so many records of each partition.
_TAIL_RECORDS = 50


class ClockWriter:
    """Writes a clock record to each partition once an interval, as long as stream time moves.

    The records go through the publisher as events do, so that in a partition they come after what was
    submitted before. While the broker is away one record waits, not one per interval.
    """

    def __init__(self, publisher: Publisher, stream_time: StreamTime, *, interval_ms: int) -> None:
        self._publisher = publisher
        self._stream_time = stream_time
        self._interval = interval_ms / 1000
        self._written: int | None = None
        #: How far the wall clock was ahead of the broker's when a clock record was acknowledged last.
        self.ahead_ms = 0
        self._wrong_since = 0.0

    async def run(self) -> None:
        """Write until cancelled; ends by itself when the producer has failed."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        try:
            while True:
                await self.write()
                due = max(due + self._interval, loop.time())
                await asyncio.sleep(due - loop.time())
        except ProducerFailedError:
            return

    async def write(self) -> None:
        """Write stream time now, if it has moved; returns when it is acknowledged."""
        now = self._stream_time.now()
        if now is None or now == self._written:
            return
        self._written = now
        record = Clock(kind="clock", stream_time=now, source=self._stream_time.source)
        await self._publisher.submit_everywhere(encode_clock(record))
        appended_ms = self._publisher.appended_ms
        if self._stream_time.source == "wall" and appended_ms:
            self._compare(now - appended_ms)

    def _compare(self, ahead_ms: int) -> None:
        was, self.ahead_ms = _state(self.ahead_ms), ahead_ms
        now = _state(ahead_ms)
        if self.is_wrong and isinstance(self._stream_time, WallStreamTime):
            self._stream_time.forget()
        if now != was:
            self._wrong_since = time.monotonic()
            say = _log.info if now == _AGREES else _log.error
            say(now, seconds=abs(ahead_ms) // 1000)

    @property
    def is_wrong(self) -> bool:
        """Whether the clock of this machine is so far ahead that no reader obeys its clock records."""
        return self.ahead_ms > MAX_CLOCK_AHEAD_MS

    def fault(self) -> Fault | None:
        """As a condition of readiness."""
        if not self.is_wrong:
            return None
        return Fault(
            f"the clock of this machine is {self.ahead_ms // 1000} s ahead of the broker's, so no reader "
            "follows its stream time; set it right",
            self._wrong_since,
        )


_AGREES = "clock_agrees_with_broker"


def _state(ahead_ms: int) -> str:
    """What the log line says of a clock that is so far ahead of the broker's; a negative one is behind.

    A record that waited for a broker that stood still makes the clock look behind, until the next one.
    """
    if abs(ahead_ms) <= MAX_CLOCK_AHEAD_MS:
        return _AGREES
    return "clock_ahead_of_broker" if ahead_ms > 0 else "clock_behind_broker"


async def newest_logged(settings: Settings) -> int | None:
    """The newest time at the end of the log, of an event or a clock record; None if the log is empty.

    With the event clock a restarted service goes on from there. Otherwise a late event that happens to come
    first would set stream time back, and everything after it would be too far ahead.
    Raises BrokerUnavailableError.
    """
    newest = 0
    topic = qualified(settings.namespace, EVENTS.name)
    async with open_reader(settings) as reader:
        spans = [
            Span(span.partition, max(span.begin, span.end - _TAIL_RECORDS), span.end)
            for span in await reader.spans(topic)
        ]
        async for batch in reader.stream(topic, spans):
            for record in batch:
                newest = max(newest, newest_time_ms(record.value))
    return newest or None
