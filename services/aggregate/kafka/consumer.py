"""Faust's consumer, changed in how it fetches: in poll batches, and ahead of the counting.

Faust takes about 0.2 ms for a message, as long as it takes to count a hundred events. So it gets the records
of a partition in poll batches: the value of a message is a list of them. And it asks for the next ones late,
when it gets a turn between the events that are counted; so the next ones are fetched and decompressed, in the
consumer's own thread, before it asks.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any

import cramjam
from aiokafka.record.default_records import DefaultRecordBatch
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, Consumer, Transport

from services.aggregate.kafka import pinned

#: How long the broker may wait for data; Faust has 1.5 s fixed, during which a new partition stands still.
FETCH_MAX_WAIT_MS = 100
#: What is taken from the fetched records at a time, over all partitions: at most so many records, or about so
#: many bytes. A record that comes in meanwhile waits for these: less than a tenth of a second's work.
POLL_RECORDS = 500
LEAST_POLL_RECORDS = 10
POLL_BYTES = 8 * 2**20

# aiokafka copies what it has decompressed once more, and holds Python's lock meanwhile. Any buffer would do.
sys.modules[DefaultRecordBatch.__module__].zstd_decode = cramjam.zstd.decompress  # type: ignore[attr-defined]

#: Messages by partition, as Faust takes them.
Polled = dict[Any, list[Any]]


@dataclass(frozen=True, slots=True)
class _Prefetch:
    """What is being fetched before it is asked for."""

    task: asyncio.Task[tuple[object, Polled]]
    assignment: object  # when it was begun; aiokafka has another one after each rebalance

    def is_void(self, assignment: object) -> bool:
        """Whether it is of no use under this assignment. One that has ended counts by when aiokafka took its
        records to be consumed: it may have waited through a rebalance, and those records come only once."""
        if not self.task.done():
            return self.assignment is not assignment
        if self.task.cancelled():
            return True
        return not self.task.exception() and self.task.result()[0] is not assignment

    def drop(self) -> None:
        self.task.cancel()
        self.task.add_done_callback(
            lambda task: task.cancelled() or task.exception()
        )  # retrieved, or asyncio would report it


class ConsumerThread(AIOKafkaConsumerThread):  # type: ignore[misc]
    """The thread that talks to the broker. It uses the inside of aiokafka (`pinned`), for want of an API."""

    logger = logging.getLogger("faust.transport.consumer")
    #: How many to take next time: POLL_BYTES of records like the last ones.
    _most_records = LEAST_POLL_RECORDS
    _prefetch: _Prefetch | None = None

    def _create_worker_consumer(self, transport: Transport) -> Any:
        consumer = super()._create_worker_consumer(transport)
        pinned.require(consumer, pinned.OF_CONSUMER)
        consumer._fetch_max_wait_ms = FETCH_MAX_WAIT_MS
        return consumer

    async def _fetch_records(
        self,
        consumer: Any,
        active_partitions: Collection[Any] | None,
        timeout: float | None = None,  # noqa: ASYNC109 # Faust passes it
        max_records: int | None = None,
    ) -> Polled:
        if not self.consumer.flow_active:
            return {}
        prefetch, self._prefetch = self._prefetch, None
        if prefetch is not None and prefetch.is_void(_assignment(consumer)):
            # The position is again what was committed: these will be fetched again, by whoever owns them.
            prefetch.drop()
            prefetch = None
        _, found = await (prefetch.task if prefetch else self._consume(consumer, active_partitions, timeout))
        if found:
            poll = self._consume(consumer, active_partitions, timeout)
            self._prefetch = _Prefetch(asyncio.create_task(poll), _assignment(consumer))
        for partition in [each for each in found if active_partitions and each not in active_partitions]:
            consumer.seek(partition, found.pop(partition)[0].value[0].offset)  # paused since; Faust drops it
        return found

    async def _consume(
        self, consumer: Any, active_partitions: Collection[Any] | None, seconds: float | None
    ) -> tuple[object, Polled]:
        """A poll, and the assignment under which its records were consumed: nothing happens in between."""
        found = await self._poll(consumer, active_partitions, seconds)
        return _assignment(consumer), found

    async def _poll(
        self, consumer: Any, active_partitions: Collection[Any] | None, seconds: float | None
    ) -> Polled:
        """What was fetched, of every partition in turn; the records of a partition as one message.

        aiokafka gives out all that it has of the partition it fetched first before it looks at the next one.
        That is up to a megabyte, compressed: a hundred thousand events and more of a partition that has a
        backlog, while the figures of all others stand still. So a partition that has more goes to the end of
        the line.
        """
        found = await super()._fetch_records(
            consumer, active_partitions, timeout=seconds, max_records=self._most_records
        )
        fetched = consumer._fetcher._records
        for partition in found:
            if partition in fetched:
                fetched[partition] = fetched.pop(partition)
        sizes = [record.serialized_value_size for records in found.values() for record in records]
        if sizes:
            mean_bytes = max(1, sum(sizes) // len(sizes))
            self._most_records = max(LEAST_POLL_RECORDS, min(POLL_RECORDS, POLL_BYTES // mean_bytes))
        return {partition: [_as_one(records)] for partition, records in found.items()}

    async def on_thread_stop(self) -> None:
        """Called when the consumer is to end."""
        if self._prefetch is not None:
            self._prefetch.drop()
        await super().on_thread_stop()


def _assignment(consumer: Any) -> object:
    subscription = consumer._subscription.subscription
    return None if subscription is None else subscription.assignment


def _as_one(records: list[Any]) -> Any:
    """A message that has the records in its value, and stands where the last one does."""
    return replace(records[-1], key=None, headers=(), value=records)


class _Consumer(Consumer):  # type: ignore[misc]
    logger = logging.getLogger("faust.transport.consumer")

    def _new_consumer_thread(self) -> AIOKafkaConsumerThread:
        return ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    async def _add_gap(self, *_: Any) -> None:
        """Nothing: Faust would note offsets without a message for its commits, of which there are none."""

    def on_buffer_full(self, tp: Any) -> None:
        """Nothing: the stream's buffer holds back all partitions alike, by blocking the one that fills it.

        Faust would leave the partition out of its polls until the buffer has drained, and wait up to a second
        for records of the others, during which a partition with a backlog is not counted.
        """


class PollBatchTransport(Transport):  # type: ignore[misc]
    """Faust's transport over aiokafka, with this consumer."""

    Consumer = _Consumer
