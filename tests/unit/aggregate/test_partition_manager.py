"""Storing and giving up do not run into each other, whatever is counted meanwhile."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import cast

import pytest
from prometheus_client import CollectorRegistry

from services.aggregate.counting.dedup import DedupWindow
from services.aggregate.counting.entries import Change
from services.aggregate.counting.partition_state import PartitionState
from services.aggregate.kafka.checkpoint_store import CheckpointStore, FencedError
from services.aggregate.kafka.partition_manager import OwnedPartition, PartitionManager
from services.aggregate.kafka.self_metrics import SelfMetrics
from services.runtime.settings import Settings


class SlowStore:
    """A store whose commits wait until they are let go on, and which tells what was done to it."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.go_on = asyncio.Event()
        self.fenced = False

    async def commit(self, changes: Sequence[Change], next_offset: int, letters: object) -> None:
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


def owner() -> tuple[PartitionManager, dict[int, SlowStore]]:
    """An owner of partitions 0 and 1, nothing counted yet."""
    partition_manager = PartitionManager(Settings(), SelfMetrics(CollectorRegistry()))
    stores = {partition: SlowStore() for partition in (0, 1)}
    partition_manager.owned = {
        partition: OwnedPartition(
            PartitionState(partition, DedupWindow(1_000, 2)), cast(CheckpointStore, store)
        )
        for partition, store in stores.items()
    }
    return partition_manager, stores


async def time_slices(count: int = 20) -> None:
    """Let everything that can go on go on."""
    for _ in range(count):
        await asyncio.sleep(0)


async def _give_up_beside_a_flush(finished_first: int) -> None:
    partition_manager, stores = owner()
    for partition in stores:
        assert await partition_manager.count(partition, 0, 1.0, like(partition))
    giving_up = asyncio.create_task(partition_manager.on_revoked())
    await time_slices()
    assert stores[0].done == stores[1].done == ["begins 1"]
    # The agent has more of a handful, and the flush loop's second is over.
    assert not await partition_manager.count(0, 1, 1.0, like(7))
    flushing = asyncio.create_task(partition_manager.flush())
    await time_slices()
    stores[finished_first].go_on.set()
    await time_slices()
    assert stores[finished_first].done == ["begins 1", "stored 1"]
    stores[1 - finished_first].go_on.set()
    await asyncio.wait_for(asyncio.gather(giving_up, flushing), 10)
    for store in stores.values():
        assert store.done == ["begins 1", "stored 1", "closed"]
    assert partition_manager.owned == {}


@pytest.mark.parametrize("finished_first", [0, 1])
def test_a_flush_does_not_begin_while_partitions_are_given_up(finished_first: int) -> None:
    """It would commit with a producer that is being closed, and wait for ever."""
    asyncio.run(_give_up_beside_a_flush(finished_first))


async def _give_up_during_a_flush() -> None:
    partition_manager, stores = owner()
    assert await partition_manager.count(0, 0, 1.0, like(0))
    flushing = asyncio.create_task(partition_manager.flush())
    await time_slices()
    giving_up = asyncio.create_task(partition_manager.on_revoked())
    await time_slices()
    assert stores[0].done == ["begins 1"]
    stores[0].go_on.set()
    await asyncio.wait_for(asyncio.gather(giving_up, flushing), 10)
    assert stores[0].done == ["begins 1", "stored 1", "closed"]


def test_partitions_are_given_up_after_the_flush_that_is_under_way() -> None:
    """Its producer is closed only when its commit has ended."""
    asyncio.run(_give_up_during_a_flush())


async def _fenced_after_a_new_ownership() -> None:
    partition_manager, stores = owner()
    await partition_manager.count(0, 0, 1.0, like(0))
    stores[0].fenced = True
    flushing = asyncio.create_task(partition_manager.flush())
    await time_slices()
    new = OwnedPartition(PartitionState(0, DedupWindow(1_000, 2)), cast(CheckpointStore, SlowStore()))
    partition_manager.owned = {0: new}
    stores[0].go_on.set()
    await flushing
    assert partition_manager.owned == {0: new}
    assert stores[0].done == ["begins 1", "closed"]


def test_a_fence_ends_only_the_ownership_that_was_fenced() -> None:
    """The partition may have come back meanwhile."""
    asyncio.run(_fenced_after_a_new_ownership())


async def _stale(draining: bool) -> list[int]:
    partition_manager, _ = owner()
    sought: list[int] = []

    async def fetch_from(offset: int) -> None:
        sought.append(offset)

    async def never(*_: object) -> bool:
        partition_manager.owned[0].draining = draining
        return False

    partition_manager._is_next = never  # type: ignore[method-assign] # what the log has in between
    partition_manager.owned[0].fetch_from = fetch_from
    assert await partition_manager.count(0, 0, 1.0, like(0))
    assert not await partition_manager.count(0, 5, 1.0, like(5))
    assert partition_manager.owned[0].state.offset == 0
    return sought


def test_what_a_stale_record_skips_is_fetched() -> None:
    """Else all that follow would be stale, too; but not for a partition that is being given up."""
    assert asyncio.run(_stale(draining=False)) == [1]
    assert asyncio.run(_stale(draining=True)) == []
