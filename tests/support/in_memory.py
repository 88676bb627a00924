"""Kafka in memory, as far as the aggregator's ports go: a log, what is stored, and a source.

``MemoryKafka`` stands for the broker: several storages and sources may share it, as workers do.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from dataclasses import dataclass, field

from services.aggregate.counting.entries import Change
from services.aggregate.kafka.ports import FencedError, PartitionListener, StoreShrunkError
from services.aggregate.kafka.stored_entries import StoredEntries
from services.runtime.topic_scan import Record, Span


@dataclass
class MemoryKafka:
    """What a broker holds. Gaps in the log are offsets that no record has, as transaction markers."""

    partition_count: int = 3
    log: dict[int, list[Record]] = field(default_factory=lambda: defaultdict(list))
    begins: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    ends: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    stream_begins: dict[int, int] = field(default_factory=dict)
    totals: dict[int, list[Record]] = field(default_factory=lambda: defaultdict(list))
    committed: dict[int, int] = field(default_factory=dict)
    dead_letters: list[bytes] = field(default_factory=list)
    owners: dict[int, object] = field(default_factory=dict)

    def append(self, partition: int, value: bytes | None) -> int:
        """Write a record of the log; its offset."""
        offset = self.ends[partition]
        self.log[partition].append(Record(partition, offset, 1_000 * offset, None, value))
        self.ends[partition] = offset + 1
        return offset

    def leave_gap(self, partition: int) -> None:
        """An offset without a record."""
        self.ends[partition] += 1

    def remove_before(self, partition: int, offset: int) -> None:
        """Retention removes the records before an offset."""
        self.log[partition] = [record for record in self.log[partition] if record.offset >= offset]
        self.begins[partition] = offset


class MemoryCheckpointStore:
    """The store of one source partition (ports.CheckpointStore)."""

    def __init__(self, kafka: MemoryKafka, partition: int) -> None:
        self._kafka = kafka
        self._partition = partition

    async def fence(self) -> None:
        """As CheckpointStore.fence."""
        self._kafka.owners[self._partition] = self

    async def commit(
        self, changes: Sequence[Change], next_offset: int, dead_letters: Iterable[bytes]
    ) -> None:
        """As CheckpointStore.commit: everything is looked at before anything is stored."""
        dead_letters = list(dead_letters)
        totals = self._kafka.totals[self._partition]
        records = [
            Record(self._partition, len(totals) + number, 0, key, value)
            for number, (key, value) in enumerate(changes)
        ]
        if any(len(record.value or b"") > 1_000_000 for record in records):
            raise ValueError("an entry is too large for a record")
        if self._kafka.owners.get(self._partition) is not self:
            raise FencedError(f"partition {self._partition} is owned by another worker")
        totals += records
        self._kafka.dead_letters += dead_letters
        self._kafka.committed[self._partition] = next_offset

    async def close(self) -> None:
        """As CheckpointStore.close."""


class MemoryStorage:
    """The storage (ports.Storage)."""

    def __init__(self, kafka: MemoryKafka) -> None:
        self._kafka = kafka

    def open(self, partition: int) -> MemoryCheckpointStore:
        """As Storage.open."""
        return MemoryCheckpointStore(self._kafka, partition)

    async def partitions(self) -> list[int]:
        """As Storage.partitions."""
        return list(range(self._kafka.partition_count))

    async def read_entries(
        self, into: StoredEntries, partitions: Collection[int], most_bytes: int | None = None
    ) -> None:
        """As Storage.read_entries."""
        for partition in partitions:
            totals = self._kafka.totals[partition]
            if into.next_offset(partition) > len(totals):
                raise StoreShrunkError(f"the totals have lost records of partition {partition}")
            for record in totals[into.next_offset(partition) :]:
                into.take([record])
                if most_bytes is not None and into.bytes >= most_bytes:
                    return

    async def committed_offsets(self) -> dict[int, int]:
        """As Storage.committed_offsets."""
        return dict(self._kafka.committed)

    async def log_spans(self) -> dict[int, Span]:
        """As Storage.log_spans."""
        return {
            p: Span(p, self._kafka.begins[p], self._kafka.ends[p]) for p in range(self._kafka.partition_count)
        }

    def stream_begin(self, partition: int) -> int:
        """As Storage.stream_begin."""
        return self._kafka.stream_begins.get(partition, 0)

    async def tail(self, begins: dict[int, int], ends: dict[int, int]) -> AsyncIterator[list[Record]]:
        """As Storage.tail."""
        for partition, begin in begins.items():
            batch = [r for r in self._kafka.log[partition] if begin <= r.offset < ends[partition]]
            if batch:
                yield batch


class MemorySource:
    """The log, as one worker reads it (ports.PartitionSource). The test is the group's coordinator."""

    def __init__(self, kafka: MemoryKafka) -> None:
        self._kafka = kafka
        self._listener: PartitionListener
        self._position: dict[int, int] = {}  # offset that the next poll begins at, of each partition we have
        self._rebalancing = False
        self.left = False

    # -- the port ---------------------------------------------------------------------------------------

    def subscribe(self, listener: PartitionListener) -> None:
        """As PartitionSource.subscribe."""
        self._listener = listener

    def assignment(self) -> set[int]:
        """As PartitionSource.assignment."""
        return set(self._position)

    def highwater(self, partition: int) -> int | None:
        """As PartitionSource.highwater."""
        known = partition in self._position and not self._rebalancing
        return self._kafka.ends[partition] if known else None

    def fetched_ms(self, partition: int) -> int | None:
        """As PartitionSource.fetched_ms: memory answers at once."""
        return time.time_ns() // 1_000_000 if self.highwater(partition) is not None else None

    async def fetch_from(self, partition: int, offset: int) -> None:
        """As PartitionSource.fetch_from."""
        if partition in self._position:
            self._position[partition] = offset

    async def first_offset(self, partition: int, at_or_after: int) -> int:
        """As PartitionSource.first_offset."""
        found = (r.offset for r in self._kafka.log[partition] if r.offset >= at_or_after)
        return next(found, self._kafka.ends[partition])

    async def log_begin(self, partition: int) -> int:
        """As PartitionSource.log_begin."""
        return self._kafka.begins[partition]

    def rebalancing(self) -> bool:
        """As PartitionSource.rebalancing."""
        return self._rebalancing

    def membership_problem(self) -> str | None:
        """As PartitionSource.membership_problem."""
        return "the worker's membership of its group has ended" if self.left else None

    # -- for tests --------------------------------------------------------------------------------------

    async def assign(self, *partitions: int) -> None:
        """A rebalance: everything is revoked, these are assigned and read from their committed offset."""
        await self.revoke()
        self._rebalancing = True
        self._position = {p: self._kafka.committed.get(p, 0) for p in partitions}
        await self._listener.on_assigned(partitions)
        self._rebalancing = False

    async def revoke(self) -> None:
        """Another worker gets all our partitions."""
        if self._position:
            self._rebalancing = True
            await self._listener.on_revoked()
            self._position, self._rebalancing = {}, False

    async def poll(self, most: int = 500) -> int:
        """Hand on the next records of each partition; how many were taken from the log."""
        taken = 0
        for partition in sorted(self._position):
            batch = self._next(partition, most)
            taken += len(batch)
            for record in batch:
                if not await self._listener.count(
                    partition, record.offset, record.timestamp_ms / 1000, record.value
                ):
                    break
        return taken

    def lose_poll(self, partition: int, most: int = 500) -> None:
        """A poll whose records never come, as after a rebalance within it."""
        self._next(partition, most)

    def _next(self, partition: int, most: int) -> list[Record]:
        position = self._position[partition]
        batch = [r for r in self._kafka.log[partition] if r.offset >= position][:most]
        if batch:
            self._position[partition] = batch[-1].offset + 1
        return batch
