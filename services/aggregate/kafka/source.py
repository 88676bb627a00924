"""The log as Faust reads it: the consumer group, the stream, and what holds Faust in check."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, cast

from aiokafka.errors import IllegalStateError, KafkaError
from faust.types import TP

from schemas.topics import EVENTS, qualified
from services.aggregate.kafka import pinned
from services.aggregate.kafka.app import create_app
from services.aggregate.kafka.ports import PartitionListener
from services.aggregate.kafka.process_end import STORE_SECONDS, OrderlyEnd, exit_process, or_exit
from services.runtime.settings import Settings
from services.runtime.topic_scan import Span, open_reader

#: How long Faust may take to end once all partitions have been dropped.
END_SECONDS = 10.0
#: How long records are counted without a break, and how many turns of the loop other tasks get then. A scrape
#: takes several, from the connection to the last byte of the answer.
TIME_SLICE_SECONDS = 0.005
YIELDS = 4


async def _nothing() -> None:
    pass


class FaustSource:
    """Reads engagement.events.v1 by a Faust application (ports.PartitionSource).

    Start and stop ``app`` (faust.Worker does). Any error of the listener ends the process: Faust would go on
    without what failed.
    """

    def __init__(self, settings: Settings) -> None:
        """Raises UnsupportedClientError."""
        pinned.require_classes()
        self._settings = settings
        self._topic = qualified(settings.namespace, EVENTS.name)
        self.app = create_app(settings)
        #: Partitions of the stream, from 0 on; what others have added to the topic is left alone. None: all.
        self.partitions: int | None = None
        #: How the process ends when Faust ends.
        self.end = OrderlyEnd()
        #: Called before partitions are loaded.
        self.before_assignment: Callable[[], Awaitable[None]] = _nothing

    # -- what the group gives us --------------------------------------------------------------------------

    def subscribe(self, listener: PartitionListener) -> None:
        """As PartitionSource.subscribe."""
        events = self.app.topic(self._topic, value_type=bytes, value_serializer="raw", key_serializer="raw")

        async def count(stream: Any) -> None:
            async for event in stream.noack().events():
                try:
                    await count_batch(event.message.value, listener)
                except Exception as error:  # noqa: BLE001 # Faust would acknowledge the event and go on without it
                    exit_process("counting failed", error)

        async def assigned(*_: Any, **__: Any) -> None:
            try:
                pinned.require_started(self.app.consumer)
                await self.before_assignment()
                await listener.on_assigned(self.assignment())
            except Exception as error:  # noqa: BLE001 # Faust would resume the stream on an empty state
                exit_process(f"partitions could not be loaded: {error}", error)

        async def revoked(*_: Any, **__: Any) -> None:
            await or_exit(listener.on_revoked(), "partitions could not be dropped")

        async def ending(*_: Any, **__: Any) -> None:
            try:
                async with asyncio.timeout(STORE_SECONDS):
                    await listener.close()
            except (TimeoutError, KafkaError) as error:
                self.end.end(f"the broker does not store: {error!r}")
            except Exception as error:  # noqa: BLE001 # as above
                exit_process(f"partitions could not be dropped: {error}", error)
            self.end.end_after(END_SECONDS)

        self.app.agent(events, name="count", concurrency=1)(count)
        self.app.on_rebalance_complete.connect(assigned, weak=False)
        self.app.on_partitions_revoked.connect(revoked, weak=False)
        self.app.on_before_shutdown.connect(ending, weak=False)

    def assignment(self) -> set[int]:
        """As PartitionSource.assignment."""
        numbers = {tp.partition for tp in self.app.consumer.assignment() if tp.topic == self._topic}
        return numbers if self.partitions is None else {n for n in numbers if n < self.partitions}

    # -- where the log stands -----------------------------------------------------------------------------

    def highwater(self, partition: int) -> int | None:
        """As PartitionSource.highwater."""
        consumer, tp = self.app.consumer, TP(self._topic, partition)
        if tp not in consumer.assignment():
            return None
        try:
            return cast(int | None, consumer.highwater(tp))
        except AssertionError:  # aiokafka knows of the rebalance before Faust does
            return None

    def fetched_ms(self, partition: int) -> int | None:
        """As PartitionSource.fetched_ms."""
        consumer, tp = self.app.consumer, TP(self._topic, partition)
        if tp not in consumer.assignment():
            return None
        try:
            return cast(int | None, consumer._thread._consumer.last_poll_timestamp(tp))
        except AssertionError:  # aiokafka knows of the rebalance before Faust does
            return None

    async def fetch_from(self, partition: int, offset: int) -> None:
        """As PartitionSource.fetch_from."""
        with suppress(IllegalStateError, TimeoutError):  # a rebalance has begun, which sets it anyhow
            await self.app.consumer.seek_wait({TP(self._topic, partition): offset})

    async def first_offset(self, partition: int, at_or_after: int) -> int:
        """As PartitionSource.first_offset."""
        async with open_reader(self._settings, isolation_level="read_uncommitted") as reader:
            span = {span.partition: span for span in await reader.spans(self._topic)}[partition]
            begin = max(span.begin, at_or_after)
            async for batch in reader.stream(self._topic, [Span(partition, begin, span.end)]):
                return batch[0].offset
        return span.end

    async def log_begin(self, partition: int) -> int:
        """As PartitionSource.log_begin."""
        async with open_reader(self._settings, isolation_level="read_uncommitted") as reader:
            return {span.partition: span.begin for span in await reader.spans(self._topic)}[partition]

    # -- what holds Faust in check ------------------------------------------------------------------------

    def rebalancing(self) -> bool:
        """As PartitionSource.rebalancing."""
        return bool(self.app.rebalancing)

    def membership_problem(self) -> str | None:
        """As PartitionSource.membership_problem: whether the task that keeps us in the group runs, and holds
        no error. Raises UnsupportedClientError."""
        return membership_problem(self.app.consumer)


def membership_problem(faust_consumer: Any) -> str | None:
    """What is wrong with the membership of a Faust consumer; None before it has been started.

    "Not started yet" is no problem, but an attribute that has gone is: it raises UnsupportedClientError.
    """
    if faust_consumer is None:
        return None
    pinned.require(faust_consumer, pinned.OF_FAUST_CONSUMER)
    pinned.require(faust_consumer._thread, ("_consumer",))
    consumer = faust_consumer._thread._consumer
    if consumer is None:
        return None
    pinned.require(consumer, pinned.OF_CONSUMER)
    coordinator = consumer._coordinator
    if coordinator is None:
        return None
    pinned.require(coordinator, pinned.OF_COORDINATOR)
    if coordinator._coordination_task.done():
        return "the worker's membership of its group has ended"
    error = coordinator._pending_exception
    return f"the worker's membership of its group has failed ({error})" if error else None


async def count_batch(records: list[Any], listener: PartitionListener) -> None:
    """Count the records of a poll batch; scrapes and other tasks get a turn in between."""
    until = time.perf_counter() + TIME_SLICE_SECONDS
    for record in records:
        if not await listener.count(record.partition, record.offset, record.timestamp / 1000, record.value):
            return  # these were fetched before a rebalance; they come again, to whoever owns them
        if time.perf_counter() > until:
            for _ in range(YIELDS):
                await asyncio.sleep(0)
            until = time.perf_counter() + TIME_SLICE_SECONDS
