"""Writing the present to every partition, after all events that were accepted before it."""

from __future__ import annotations

import asyncio

from schemas.codec import encode_clock
from schemas.events import Clock
from services.ingest.present import Present
from services.ingest.publisher import ProducerFailedError, Publisher


class ClockWriter:
    """Writes a clock record to each partition once an interval, as long as the present moves.

    The records go through the publisher as events do, so that in a partition they come after what was
    submitted before. While the broker is away one record waits, not one per interval.
    """

    def __init__(self, publisher: Publisher, present: Present, *, interval_ms: int) -> None:
        self._publisher = publisher
        self._present = present
        self._interval = interval_ms / 1000
        self._written: int | None = None

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
        """Write the present now, if it has moved; returns when it is acknowledged."""
        now = self._present.now()
        if now is None or now == self._written:
            return
        self._written = now
        record = Clock(kind="clock", present=now, source=self._present.source)
        await self._publisher.submit_everywhere(encode_clock(record))
