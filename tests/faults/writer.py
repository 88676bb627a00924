"""Writes a log while workers count it, and knows what has been acknowledged, and when."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Iterable
from typing import Any, Self

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from schemas.topics import EVENTS, qualified
from services.runtime.kafka import make_producer
from services.runtime.settings import Settings
from tests.faults.stream import Stream, Written

RECORDS_PER_SECOND = 80


class Writer:
    """Writes a stream at an even pace from `start` to `finish`.

    ``acknowledged``: per partition, (epoch seconds, offset) of each record that Kafka has taken, in order.
    """

    def __init__(self, settings: Settings, stream: Stream) -> None:
        self._settings = settings
        self._topic = qualified(settings.namespace, EVENTS.name)
        self._stream = stream
        self._producer: AIOKafkaProducer | None = None
        self._task: asyncio.Task[None] | None = None
        self._pending: set[asyncio.Future[Any]] = set()
        self._over = asyncio.Event()
        self.acknowledged: dict[int, list[tuple[float, int]]] = defaultdict(list)

    def ends(self, at: float | None = None) -> dict[int, int]:
        """The end of each partition as far as we know, now or at an earlier time."""
        at = time.time() if at is None else at
        found = {}
        for partition, taken in self.acknowledged.items():
            offsets = [offset for when, offset in taken if when <= at]
            found[partition] = max(offsets, default=-1) + 1
        return found

    async def finish(self) -> None:
        """End the log, with a last clock in each partition; wait until all is acknowledged."""
        if not self._over.is_set():
            self._over.set()
            assert self._task is not None
            await self._task
            await self._write(self._stream.last_clocks())
            await asyncio.gather(*self._pending, return_exceptions=True)

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._over.set()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._producer is not None:
            await asyncio.wait_for(self._producer.stop(), 10)

    async def _run(self) -> None:
        beginning = time.monotonic()
        for written, record in enumerate(self._stream, start=1):
            await self._write([record])
            ahead = beginning + written / RECORDS_PER_SECOND - time.monotonic()
            if ahead < -1:  # the broker stood still; the records of that time are not made up for
                beginning -= ahead
            if self._over.is_set():
                return
            await asyncio.sleep(max(0.0, ahead))

    async def _write(self, records: Iterable[Written]) -> None:
        for partition, value in records:
            if self._producer is None:
                self._producer = make_producer(self._settings, request_timeout_ms=60_000)
                await self._producer.start()
            key = b"removed" if value is None else None  # a client sends no record without both
            sent = await self._producer.send(self._topic, value, key, partition)
            self._pending.add(sent)
            sent.add_done_callback(self._done)

    def _done(self, sent: asyncio.Future[Any]) -> None:
        self._pending.discard(sent)
        if not sent.cancelled() and not isinstance(sent.exception(), KafkaError):
            taken = sent.result()
            self.acknowledged[taken.partition].append((time.time(), taken.offset))
