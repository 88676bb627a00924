"""Reads whole topics: the committed records of every partition, from its start to its current end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from services.runtime.kafka import BrokerUnavailableError, broker_unavailable, make_consumer
from services.runtime.settings import Settings

#: How long the broker may be silent while records are still missing.
STALL_SECONDS = 30.0


class TopicMissingError(BrokerUnavailableError):
    """The broker has no such topic."""


class Record(NamedTuple):
    """One record. ``timestamp_ms`` is the record's timestamp: when it was produced or appended."""

    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None


class Span(NamedTuple):
    """The part of a partition to read: offsets from ``begin`` to before ``end``.

    If ``begin`` is above 0, the broker has deleted the records before it. Not every offset in between is a
    record: transactions leave markers, and compaction leaves gaps.
    """

    partition: int
    begin: int
    end: int


class TopicReader:
    """Reads topics one after another over one connection. ``open_reader`` makes it."""

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        self._consumer = consumer

    async def spans(self, topic: str) -> list[Span]:
        """The current span of each partition, in order of partition. Ends are those of committed records.

        Raises TopicMissingError at once if the topic does not exist, and never creates it.
        """
        # Ask for the metadata of all topics: asking for a topic by name may create it.
        cluster = await self._consumer._client.fetch_all_metadata()
        numbers = cluster.partitions_for_topic(topic)
        if not numbers:
            raise TopicMissingError(
                f"topic {topic} does not exist; check the namespace, and that its services have run"
            )
        await self._consumer._client.add_topic(topic)  # fetches the leaders of its partitions
        partitions = [TopicPartition(topic, number) for number in sorted(numbers)]
        begins = await self._consumer.beginning_offsets(partitions)
        ends = await self._consumer.end_offsets(partitions)
        return [Span(p.partition, begins[p], ends[p]) for p in partitions]

    async def stream(self, topic: str, spans: Iterable[Span]) -> AsyncIterator[list[Record]]:
        """The records of the spans, in batches of one partition, in order of offset within a partition.

        Ends when the position in every partition has reached its end. The last record would not do: a log may
        end in transaction markers. Raises BrokerUnavailableError if the broker is silent for STALL_SECONDS.
        """
        ends = {TopicPartition(topic, span.partition): span.end for span in spans if span.begin < span.end}
        begins = {TopicPartition(topic, span.partition): span.begin for span in spans}
        self._consumer.assign(list(ends))
        for partition in ends:
            self._consumer.seek(partition, begins[partition])
        loop = asyncio.get_running_loop()
        moved = loop.time()
        open_ends, positions = dict(ends), dict(begins)
        while open_ends:
            batches = await self._consumer.getmany(*open_ends, timeout_ms=200, max_records=20_000)
            for partition, records in batches.items():
                batch = [
                    Record(r.partition, r.offset, r.timestamp, r.key, r.value)
                    for r in records
                    if r.offset < ends[partition]
                ]
                if batch:
                    yield batch
            for partition, end in list(open_ends.items()):
                position = await self._consumer.position(partition)
                if position > positions[partition]:
                    moved, positions[partition] = loop.time(), position
                if position >= end:
                    self._consumer.pause(partition)
                    del open_ends[partition]
            if loop.time() - moved > STALL_SECONDS:
                raise BrokerUnavailableError(f"no record of {topic} arrived for {STALL_SECONDS:.0f} s")


@asynccontextmanager
async def open_reader(settings: Settings, **options: Any) -> AsyncIterator[TopicReader]:
    """A reader that is closed at the end of the block. Raises BrokerUnavailableError."""
    defaults: dict[str, Any] = {
        # A record that is deleted while we read must be an error, not a silent gap.
        "auto_offset_reset": "none",
        "fetch_max_wait_ms": 100,
        "max_partition_fetch_bytes": 4 * 2**20,
    }
    consumer = make_consumer(settings, **(defaults | options))
    try:
        await consumer.start()
        yield TopicReader(consumer)
    except KafkaError as error:
        raise broker_unavailable(settings.kafka.bootstrap, error) from error
    finally:
        await consumer.stop()


async def read_topic(settings: Settings, topic: str) -> list[Record]:
    """All records of a topic up to its current end. For compacted topics, which fit into memory.

    Raises TopicMissingError and BrokerUnavailableError.
    """
    async with open_reader(settings) as reader:
        spans = await reader.spans(topic)
        return [record async for batch in reader.stream(topic, spans) for record in batch]
