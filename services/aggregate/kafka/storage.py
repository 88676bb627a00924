"""What recovery reads of Kafka: the totals, the group's offsets, and the tail of the log."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection
from typing import cast

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import (
    GroupCoordinatorNotAvailableError,
    GroupLoadInProgressError,
    NotCoordinatorForGroupError,
)
from aiokafka.structs import OffsetAndMetadata

from schemas.topics import EVENTS, TOTALS, qualified
from services.aggregate.kafka.checkpoint_store import KafkaCheckpointStore, group_id
from services.aggregate.kafka.ports import StoreShrunkError
from services.aggregate.kafka.stored_entries import StoredEntries
from services.runtime.kafka import client_options
from services.runtime.settings import Settings
from services.runtime.stream import Stream
from services.runtime.topic_scan import Record, Span, open_reader

#: How long a broker may take until it coordinates groups: a new one first makes the topic of their offsets.
COORDINATOR_SECONDS = 60.0


async def _committed(admin: AIOKafkaAdminClient, group: str) -> dict[TopicPartition, OffsetAndMetadata]:
    """The committed offsets of a group. Raises KafkaError."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + COORDINATOR_SECONDS
    while True:
        try:
            return cast(
                dict[TopicPartition, OffsetAndMetadata], await admin.list_consumer_group_offsets(group)
            )
        except (GroupCoordinatorNotAvailableError, GroupLoadInProgressError, NotCoordinatorForGroupError):
            if loop.time() > deadline:
                raise
        await asyncio.sleep(0.1)


class KafkaStorage:
    """The storage of a namespace (ports.Storage)."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._events = qualified(settings.namespace, EVENTS.name)
        self._totals = qualified(settings.namespace, TOTALS.name)
        #: Set it before anything is read; without it, the partitions are those that the topics have now.
        self.stream: Stream | None = None

    def open(self, partition: int) -> KafkaCheckpointStore:
        """As Storage.open."""
        return KafkaCheckpointStore(self._settings, partition)

    async def partitions(self) -> list[int]:
        """As Storage.partitions: those of the totals, which are as many as those of the log."""
        if self.stream is not None:
            return list(range(self.stream.partitions(TOTALS)))
        async with open_reader(self._settings) as reader:
            return [span.partition for span in await reader.spans(self._totals)]

    async def read_entries(
        self, into: StoredEntries, partitions: Collection[int], most_bytes: int | None = None
    ) -> None:
        """As Storage.read_entries."""
        async with open_reader(self._settings) as reader:
            spans = [span for span in await reader.spans(self._totals) if span.partition in partitions]
            for span in spans:
                if into.next_offset(span.partition) > span.end:
                    raise StoreShrunkError(f"{self._totals} has lost records of partition {span.partition}")
            spans = [span._replace(begin=max(span.begin, into.next_offset(span.partition))) for span in spans]
            async for batch in reader.stream(self._totals, spans):
                into.take(batch)
                if most_bytes is not None and into.bytes >= most_bytes:
                    return

    async def committed_offsets(self) -> dict[int, int]:
        """As Storage.committed_offsets: the group's."""
        admin = AIOKafkaAdminClient(**client_options(self._settings.kafka))
        await admin.start()
        try:
            offsets = await _committed(admin, group_id(self._settings))
        finally:
            await admin.close()
        return {tp.partition: found.offset for tp, found in offsets.items() if tp.topic == self._events}

    async def log_spans(self) -> dict[int, Span]:
        """As Storage.log_spans."""
        async with open_reader(self._settings, isolation_level="read_uncommitted") as reader:
            return {span.partition: span for span in await reader.spans(self._events)}

    def stream_begin(self, partition: int) -> int:
        """As Storage.stream_begin."""
        return self.stream.first_offset(partition) if self.stream else 0

    async def tail(self, begins: dict[int, int], ends: dict[int, int]) -> AsyncIterator[list[Record]]:
        """As Storage.tail."""
        async with open_reader(self._settings, isolation_level="read_uncommitted") as reader:
            await reader.spans(self._events)
            spans = [Span(partition, begin, ends[partition]) for partition, begin in begins.items()]
            async for batch in reader.stream(self._events, spans):
                yield batch
