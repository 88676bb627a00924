"""Where the state of a partition is kept: engagement.totals.v1, and the group's offsets, in one transaction.

The order is what makes it exact (docs/adr/0002). A new owner first makes the producer of the partition,
which shuts out (fences) whoever had it before and ends what that one left open; only then it reads what is
stored. What it reads is final, since the old owner can write no more.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Iterable, Sequence

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import ProducerFenced

from schemas.topics import EVENTS, REJECTED, TOTALS, qualified
from services.aggregate.counting.entries import Change
from services.runtime.kafka import client_options, make_producer
from services.runtime.settings import Settings
from services.runtime.topic_scan import Record, Span, open_reader

GROUP = "fanpulse-aggregate"
#: A batch of records as the broker takes it; aiokafka closes a batch that would grow larger.
BATCH_BYTES = 900_000


class FencedError(RuntimeError):
    """Another worker owns the partition now."""


def group_id(settings: Settings) -> str:
    """The consumer group, and the Faust application's id."""
    return qualified(settings.namespace, GROUP)


class CheckpointStore:
    """Writes the state of one source partition, as its only writer."""

    def __init__(self, settings: Settings, partition: int) -> None:
        self._partition = partition
        self._group = group_id(settings)
        self._events = qualified(settings.namespace, EVENTS.name)
        self._totals = qualified(settings.namespace, TOTALS.name)
        self._rejected = qualified(settings.namespace, REJECTED.name)
        self._producer: AIOKafkaProducer = make_producer(
            settings,
            transactional_id=f"{self._group}-{partition}",
            max_batch_size=BATCH_BYTES,
            max_request_size=BATCH_BYTES + 100_000,
            request_timeout_ms=20_000,
        )

    async def fence(self) -> None:
        """Become the only writer. After this nothing that an earlier owner wrote is still undecided."""
        await self._producer.start()
        await self._producer.begin_transaction()
        await self._producer.commit_transaction()

    async def commit(
        self, changes: Sequence[Change], next_offset: int, dead_letters: Iterable[bytes]
    ) -> None:
        """Store changes, dead letters and the group's offset, all or nothing.

        Raises FencedError if another worker has taken over; nothing is stored then.
        """
        producer = self._producer
        try:
            await producer.begin_transaction()
            sent = [
                await producer.send(self._rejected, letter) for letter in dead_letters
            ] + await self._send_changes(changes)
            for result in await asyncio.gather(*sent, return_exceptions=True):
                if isinstance(result, BaseException):
                    raise result
            source = TopicPartition(self._events, self._partition)
            await producer.send_offsets_to_transaction({source: next_offset}, self._group)
            await producer.commit_transaction()
        except ProducerFenced as error:
            raise FencedError(f"partition {self._partition} is owned by another worker") from error

    async def _send_changes(self, changes: Sequence[Change]) -> list[asyncio.Future[object]]:
        producer, sent = self._producer, []
        batch = producer.create_batch()
        for key, value in changes:
            if batch.append(key=key, value=value, timestamp=None) is None:
                batch.close()
                sent.append(await producer.send_batch(batch, self._totals, partition=self._partition))
                batch = producer.create_batch()
                if batch.append(key=key, value=value, timestamp=None) is None:
                    raise ValueError(f"entry {key!r} of {len(value or b'')} bytes is too large for a record")
        batch.close()
        sent.append(await producer.send_batch(batch, self._totals, partition=self._partition))
        return sent

    async def close(self) -> None:
        """Release the connection; an open transaction is left for the next owner to end."""
        await self._producer.stop()


class StoreShrunkError(RuntimeError):
    """A topic ends before what was read of it: it was deleted and made anew, or its end was lost."""


class StoredEntries:
    """The latest committed entry of each key of engagement.totals.v1, per partition, as far as it is read."""

    def __init__(self) -> None:
        self.bytes = 0  # of values
        self._entries: dict[int, dict[bytes, bytes]] = {}
        self._next: dict[int, int] = {}

    def of(self, partition: int) -> dict[bytes, bytes]:
        """Entries by key."""
        return self._entries.get(partition, {})

    def keep(self, partitions: Collection[int]) -> None:
        """Forget those of other partitions."""
        for partition in self._entries.keys() - set(partitions):
            del self._entries[partition]
            del self._next[partition]
        self.bytes = sum(len(value) for entries in self._entries.values() for value in entries.values())

    async def read_on(
        self, settings: Settings, partitions: Collection[int], most_bytes: int | None = None
    ) -> None:
        """Read on to the end as of now, or until there are ``most_bytes`` over all partitions.

        Raises StoreShrunkError.
        """
        topic = qualified(settings.namespace, TOTALS.name)
        async with open_reader(settings) as reader:
            spans = [span for span in await reader.spans(topic) if span.partition in partitions]
            for span in spans:
                if self._next.get(span.partition, 0) > span.end:
                    raise StoreShrunkError(f"{topic} has lost records of partition {span.partition}")
            spans = [
                span._replace(begin=max(span.begin, self._next.get(span.partition, 0))) for span in spans
            ]
            async for batch in reader.stream(topic, spans):
                self._take(batch)
                if most_bytes is not None and self.bytes >= most_bytes:
                    return

    def _take(self, batch: list[Record]) -> None:
        """Take the next records of one partition."""
        partition = batch[0].partition
        entries = self._entries.setdefault(partition, {})
        for record in batch:
            key = record.key or b""
            self.bytes -= len(entries.get(key, b""))
            if record.value is None:
                entries.pop(key, None)
            else:
                entries[key] = record.value
                self.bytes += len(record.value)
        self._next[partition] = batch[-1].offset + 1


async def committed_offsets(settings: Settings) -> dict[int, int]:
    """The group's offset of each source partition that has one: that of the next record to be counted."""
    topic = qualified(settings.namespace, EVENTS.name)
    admin = AIOKafkaAdminClient(**client_options(settings.kafka))
    await admin.start()
    try:
        offsets = await admin.list_consumer_group_offsets(group_id(settings))
    finally:
        await admin.close()
    return {tp.partition: found.offset for tp, found in offsets.items() if tp.topic == topic}


async def log_begins(settings: Settings) -> dict[int, int]:
    """First offset that engagement.events.v1 still has, per partition."""
    async with open_reader(settings, isolation_level="read_uncommitted") as reader:
        spans = await reader.spans(qualified(settings.namespace, EVENTS.name))
    return {span.partition: span.begin for span in spans}


async def tail(
    settings: Settings, begins: dict[int, int], ends: dict[int, int]
) -> AsyncIterator[list[Record]]:
    """Records of engagement.events.v1 from an offset up to (without) another, per partition."""
    topic = qualified(settings.namespace, EVENTS.name)
    async with open_reader(settings, isolation_level="read_uncommitted") as reader:
        await reader.spans(topic)
        async for batch in reader.stream(topic, [Span(p, begin, ends[p]) for p, begin in begins.items()]):
            yield batch


async def first_offset(settings: Settings, partition: int, at_or_after: int) -> int:
    """Offset of the first record of a source partition at or after an offset.

    The broker skips transaction markers and what retention has removed; so does this.
    """
    topic = qualified(settings.namespace, EVENTS.name)
    async with open_reader(settings, isolation_level="read_uncommitted") as reader:
        span = {span.partition: span for span in await reader.spans(topic)}[partition]
        begin = max(span.begin, at_or_after)
        async for batch in reader.stream(topic, [Span(partition, begin, span.end)]):
            return batch[0].offset
    return span.end
