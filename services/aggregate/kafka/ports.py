"""What the aggregator needs of Kafka, as ports.

`source` and `checkpoint_store`/`storage` implement them on Faust and aiokafka; the tests have twins in memory
(tests.support.in_memory), and one suite runs on both (tests/integration/test_ports.py).

An offset here is always one of engagement.events.v1. "Committed" offsets are those of the next record to be
counted; a state's own offset is that of the last record counted.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from typing import Protocol

from services.aggregate.counting.entries import Change
from services.aggregate.kafka.stored_entries import StoredEntries
from services.runtime.topic_scan import Record, Span


class FencedError(RuntimeError):
    """Another worker owns the partition now."""


class StoreShrunkError(RuntimeError):
    """A topic ends before what was read of it: it was deleted and made again, or its end was lost."""


class CheckpointStore(Protocol):
    """Writes the stored state of one source partition, as its only writer."""

    async def fence(self) -> None:
        """Become the only writer: every store made earlier for the partition can commit no more.

        When it returns, whatever an earlier one wrote is decided, committed or not.
        """

    async def commit(
        self, changes: Sequence[Change], next_offset: int, dead_letters: Iterable[bytes]
    ) -> None:
        """Store changes, dead letters and the committed offset, all or nothing.

        Raises FencedError if another store has fenced this one; nothing is stored then.
        """

    async def close(self) -> None:
        """Release the connection."""


class Storage(Protocol):
    """Opens checkpoint stores, and reads what recovery needs."""

    def open(self, partition: int) -> CheckpointStore:
        """A store for a source partition. It connects when it fences."""

    async def partitions(self) -> list[int]:
        """All partitions of the stream. The log may have more, which do not belong to it."""

    async def read_entries(
        self, into: StoredEntries, partitions: Collection[int], most_bytes: int | None = None
    ) -> None:
        """Read on from where ``into`` stands to the end as of now, or until it holds ``most_bytes``.

        Only what was committed is read. Raises StoreShrunkError.
        """

    async def committed_offsets(self) -> dict[int, int]:
        """The committed offset of each source partition that has one."""

    async def log_spans(self) -> dict[int, Span]:
        """What the log has of each partition now: its first offset, and the one after its last."""

    def stream_begin(self, partition: int) -> int:
        """Offset at which the stream begins in a partition. The broker may have had records before it."""

    def tail(self, begins: dict[int, int], ends: dict[int, int]) -> AsyncIterator[list[Record]]:
        """Records of the log from an offset up to (without) another, per partition; each batch is of one
        partition, in order."""


class PartitionListener(Protocol):
    """Who counts. A source calls it from one event loop."""

    async def on_assigned(self, partitions: Iterable[int]) -> None:
        """These partitions are ours now, and no others. No record of them comes before this returns."""

    async def on_revoked(self) -> None:
        """No partition is ours any more. The source goes on when this returns."""

    async def count(self, partition: int, offset: int, timestamp: float, data: bytes | None) -> bool:
        """The next record of a partition; ``timestamp`` is the broker's, in seconds.

        False: leave out the rest of the poll batch. It was fetched before a rebalance, or something is
        missing before it; it will be fetched again.
        """

    async def close(self) -> None:
        """The source ends: no partition is ours any more, and none will be."""


class PartitionSource(Protocol):
    """Reads the log as a member of the group, and calls a listener.

    After an assignment a partition is read from its committed offset. Records of a partition come in order,
    but a rebalance or a lost poll may leave some out: the listener notices by their offsets.
    """

    def subscribe(self, listener: PartitionListener) -> None:
        """Set the listener. Call once, before the source starts."""

    def assignment(self) -> set[int]:
        """Partitions of the stream that the group has given us."""

    def highwater(self, partition: int) -> int | None:
        """Offset after the last record of a partition; None if it is not known, as during a rebalance."""

    def fetched_ms(self, partition: int) -> int | None:
        """When the broker last answered a fetch of a partition, in epoch milliseconds; None if not known."""

    async def fetch_from(self, partition: int, offset: int) -> None:
        """Have the next poll begin at an offset. What was fetched before still comes first."""

    async def first_offset(self, partition: int, at_or_after: int) -> int:
        """Offset of the first record of a partition at or after an offset; its end if there is none.

        Transaction markers, and what retention has removed, are no records.
        """

    async def log_begin(self, partition: int) -> int:
        """First offset that the log has of a partition now."""

    def rebalancing(self) -> bool:
        """Whether a rebalance is under way."""

    def membership_problem(self) -> str | None:
        """Why this worker is no longer a member of its group; None if it is, or has not joined yet."""
