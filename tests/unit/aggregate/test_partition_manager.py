"""Flushes and revocations do not run into each other, whatever is counted meanwhile."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable, Sequence

import pytest
from prometheus_client import CollectorRegistry

from services.aggregate.counting.dedup import DedupWindow
from services.aggregate.counting.entries import Change
from services.aggregate.counting.partition_state import PartitionState
from services.aggregate.kafka.partition_manager import OwnedPartition, PartitionManager
from services.aggregate.kafka.ports import FencedError
from services.aggregate.kafka.self_metrics import SelfMetrics
from services.aggregate.kafka.warm_up import StateLoader
from tests.support.in_memory import MemoryKafka, MemorySource, MemoryStorage

DEDUP_WINDOW = DedupWindow(1_000, 2)


class SlowStore:
    """A store whose commits wait for ``go_on``; it notes what was done to it."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.go_on = asyncio.Event()
        self.fenced = False

    async def fence(self) -> None:
        """Nothing to shut out."""

    async def commit(
        self, changes: Sequence[Change], next_offset: int, dead_letters: Iterable[bytes]
    ) -> None:
        """Store up to an offset."""
        assert "closed" not in self.done, "a commit after the store was closed"
        self.done.append(f"begins {next_offset}")
        await self.go_on.wait()
        if self.fenced:
            raise FencedError
        self.done.append(f"stored {next_offset}")

    async def close(self) -> None:
        """The end."""
        self.done.append("closed")


def like(number: int) -> bytes:
    """A record of one event."""
    event = {
        "kind": "interaction", "v": 1, "event_id": f"tw-{number}", "occurred_at": 1_782_120_600_000,
        "platform": "twitter", "account": "GansuTravel", "action": "like",
    }  # fmt: skip
    return json.dumps([event]).encode()


def owner(source: MemorySource | None = None) -> tuple[PartitionManager, dict[int, SlowStore]]:
    """An owner of partitions 0 and 1, nothing counted yet."""
    kafka = MemoryKafka()
    storage = MemoryStorage(kafka)
    partition_manager = PartitionManager(
        source or MemorySource(kafka),
        storage.open,
        StateLoader(storage, DEDUP_WINDOW),
        SelfMetrics(CollectorRegistry()),
    )
    stores = {partition: SlowStore() for partition in (0, 1)}
    partition_manager.owned = {
        partition: OwnedPartition(PartitionState(partition, DEDUP_WINDOW), store)
        for partition, store in stores.items()
    }
    return partition_manager, stores


async def time_slices(count: int = 20) -> None:
    """Let everything that can go on go on."""
    for _ in range(count):
        await asyncio.sleep(0)


async def _revoke_beside_a_flush(finished_first: int) -> None:
    partition_manager, stores = owner()
    for partition in stores:
        assert await partition_manager.count(partition, 0, 1.0, like(partition))
    revoking = asyncio.create_task(partition_manager.on_revoked())
    await time_slices()
    assert stores[0].done == stores[1].done == ["begins 1"]
    # The poll batch goes on, and the next flush is due.
    assert not await partition_manager.count(0, 1, 1.0, like(7))
    flushing = asyncio.create_task(partition_manager.flush())
    await time_slices()
    stores[finished_first].go_on.set()
    await time_slices()
    assert stores[finished_first].done == ["begins 1", "stored 1"]
    stores[1 - finished_first].go_on.set()
    await asyncio.wait_for(asyncio.gather(revoking, flushing), 10)
    for store in stores.values():
        assert store.done == ["begins 1", "stored 1", "closed"]
    assert partition_manager.owned == {}


async def _break_off_a_flush() -> None:
    partition_manager, stores = owner()
    for partition in stores:
        assert await partition_manager.count(partition, 0, 1.0, like(partition))
    assert partition_manager.unstored() == {0: 1, 1: 1}
    closing = asyncio.create_task(partition_manager.close())
    await time_slices()
    stores[0].go_on.set()
    await time_slices()
    assert partition_manager.unstored() == {0: 0, 1: 1}
    closing.cancel()
    await asyncio.gather(closing, return_exceptions=True)
    assert partition_manager.unstored() == {0: 0, 1: 1}


def test_what_is_counted_and_not_stored_is_known_when_the_end_is_broken_off() -> None:
    """Stored is what the broker has acknowledged, not what was taken to be stored."""
    asyncio.run(_break_off_a_flush())


@pytest.mark.parametrize("finished_first", [0, 1])
def test_a_flush_does_not_begin_while_partitions_are_revoked(finished_first: int) -> None:
    """It would commit with a producer that is being closed, and wait for ever."""
    asyncio.run(_revoke_beside_a_flush(finished_first))


async def _revoke_during_a_flush() -> None:
    partition_manager, stores = owner()
    assert await partition_manager.count(0, 0, 1.0, like(0))
    flushing = asyncio.create_task(partition_manager.flush())
    await time_slices()
    revoking = asyncio.create_task(partition_manager.on_revoked())
    await time_slices()
    assert stores[0].done == ["begins 1"]
    stores[0].go_on.set()
    await asyncio.wait_for(asyncio.gather(revoking, flushing), 10)
    assert stores[0].done == ["begins 1", "stored 1", "closed"]


def test_partitions_are_dropped_after_the_flush_that_is_under_way() -> None:
    """Its producer is closed only when its commit has ended."""
    asyncio.run(_revoke_during_a_flush())


async def _fenced_after_a_new_ownership() -> None:
    partition_manager, stores = owner()
    await partition_manager.count(0, 0, 1.0, like(0))
    stores[0].fenced = True
    flushing = asyncio.create_task(partition_manager.flush())
    await time_slices()
    new = OwnedPartition(PartitionState(0, DEDUP_WINDOW), SlowStore())
    partition_manager.owned = {0: new}
    stores[0].go_on.set()
    await flushing
    assert partition_manager.owned == {0: new}
    assert stores[0].done == ["begins 1", "closed"]


def test_a_fence_ends_only_the_ownership_that_was_fenced() -> None:
    """The partition may have come back meanwhile."""
    asyncio.run(_fenced_after_a_new_ownership())


class SeekNoted(MemorySource):
    """Notes what it is told to fetch; ``look`` runs when it is asked what the log has."""

    def __init__(self, kafka: MemoryKafka) -> None:
        super().__init__(kafka)
        self.sought: list[tuple[int, int]] = []
        self.look: Callable[[], None] = lambda: None

    async def fetch_from(self, partition: int, offset: int) -> None:
        """As PartitionSource.fetch_from."""
        self.sought.append((partition, offset))

    async def first_offset(self, partition: int, at_or_after: int) -> int:
        """As PartitionSource.first_offset."""
        self.look()
        return await super().first_offset(partition, at_or_after)


async def _skipped(*, records_between: bool, draining: bool = False) -> tuple[int, list[tuple[int, int]]]:
    """Record 5 after record 0: (offset counted to, what was sought)."""
    kafka = MemoryKafka()
    for number in range(6):
        if records_between or number in (0, 5):
            kafka.append(0, like(number))
        else:
            kafka.leave_gap(0)
    source = SeekNoted(kafka)
    partition_manager, _ = owner(source)
    owned = partition_manager.owned[0]

    def look() -> None:
        owned.draining = draining

    source.look = look
    assert await partition_manager.count(0, 0, 1.0, like(0))
    going_on = await partition_manager.count(0, 5, 1.0, like(5))
    assert going_on == (owned.state.offset == 5)
    return owned.state.offset, source.sought


def test_what_a_stale_record_skips_is_fetched() -> None:
    """Else all that follow would be stale, too; but not for a partition that is being revoked."""
    assert asyncio.run(_skipped(records_between=True)) == (0, [(0, 1)])
    assert asyncio.run(_skipped(records_between=True, draining=True)) == (0, [])


def test_a_gap_that_the_log_has_makes_no_record_stale() -> None:
    """Transaction markers and retention leave such gaps."""
    assert asyncio.run(_skipped(records_between=False)) == (5, [])


class Failing(MemoryStorage):
    """A storage whose entries cannot be read."""

    async def read_entries(self, *_: object) -> None:
        """As Storage.read_entries."""
        raise OSError("the broker is away")


def test_partitions_that_cannot_be_loaded_are_not_owned() -> None:
    """Else the stream would go on with an empty state, and what is stored would be overwritten."""
    kafka = MemoryKafka()
    source = MemorySource(kafka)
    partition_manager = PartitionManager(
        source,
        Failing(kafka).open,
        StateLoader(Failing(kafka), DEDUP_WINDOW),
        SelfMetrics(CollectorRegistry()),
    )
    source.subscribe(partition_manager)
    with pytest.raises(OSError, match="the broker is away"):
        asyncio.run(source.assign(0, 1))
    assert (partition_manager.owned, partition_manager.ready) == ({}, False)
