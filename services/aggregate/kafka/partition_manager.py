"""Which partitions this worker owns, and what it does with them: take over, count, store, give up.

One asyncio task counts (the Faust agent), another stores (the flush loop); taking over and giving up happen
in rebalances, while Faust fetches nothing, though records that it has handed on may still come. Any failure
that is not a fence ends the process: the state in memory is then worthless, the one in Kafka is right, and a
supervisor starts the worker again.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass, field

import structlog

from services.aggregate.counting.dedup import DedupWindow
from services.aggregate.counting.entries import Change, changes
from services.aggregate.counting.partition_state import PartitionState
from services.aggregate.kafka.checkpoint_store import (
    CheckpointStore,
    FencedError,
    first_offset,
)
from services.aggregate.kafka.dead_letters import dead_letter
from services.aggregate.kafka.self_metrics import SelfMetrics
from services.aggregate.kafka.warm_up import WarmUp, load_states
from services.runtime.settings import Settings

log = structlog.get_logger(__name__)

#: How long what is to be stored is put together without a break.
STEP_SECONDS = 0.01


async def _fetch_nothing(_: int) -> None:
    """Of a partition that no consumer fetches."""


@dataclass
class OwnedPartition:
    """A partition of ours."""

    state: PartitionState
    store: CheckpointStore
    dead_letters: list[bytes] = field(default_factory=list)
    quiesce_lock: asyncio.Lock = field(default_factory=asyncio.Lock)  # held while nothing may be counted
    draining: bool = False  # nothing more is counted before it is given up
    applied_at: float = 0.0  # epoch seconds of the last record counted, as the broker keeps them
    highwater: Callable[[], int | None] = lambda: None
    fetch_from: Callable[[int], Awaitable[None]] = _fetch_nothing  # has an offset fetched next


class PartitionManager:
    """The partitions of this worker."""

    def __init__(self, settings: Settings, self_metrics: SelfMetrics) -> None:
        self._settings = settings
        self._self_metrics = self_metrics
        self._dedup_window = DedupWindow(
            settings.aggregate.dedup_segment_events,
            settings.aggregate.dedup_segments,
            settings.aggregate.dedup_segment_seconds * 1000,
        )
        self._warm_up = WarmUp(settings, self._dedup_window)
        self._epoch = 0  # counts the times everything was revoked
        self._assigning = asyncio.Lock()
        self._storing = asyncio.Lock()  # one flush at a time, and none beside the end of ownership
        self._collecting = asyncio.Lock()  # one partition at a time: turns stay short
        self.owned: dict[int, OwnedPartition] = {}
        self.ready = False

    @property
    def states(self) -> list[PartitionState]:
        """States of the partitions owned, by partition."""
        return [self.owned[partition].state for partition in sorted(self.owned)]

    def start_warm_up(self) -> None:
        """Partitions will be taken over soon: begin to read what that needs."""
        self._warm_up.start()

    async def on_assigned(self, partitions: Iterable[int]) -> None:
        """Fence, then load. If a rebalance revokes them meanwhile, all is dropped again."""
        wanted, epoch, started = sorted(partitions), self._epoch, time.monotonic()
        async with self._assigning:
            stores = {partition: CheckpointStore(self._settings, partition) for partition in wanted}
            try:
                await asyncio.gather(*(store.fence() for store in stores.values()))
                ahead = await self._warm_up.take()
                states = await load_states(self._settings, self._dedup_window, wanted, ahead)
            finally:
                if epoch != self._epoch or sys.exc_info()[0]:
                    await asyncio.gather(*(store.close() for store in stores.values()))
            if epoch != self._epoch:
                log.info("assignment is out of date, dropped", partitions=wanted)
                return
            self.owned = {p: OwnedPartition(states[p], stores[p]) for p in wanted}
            self.ready = True
        log.info(
            "partitions taken over",
            partitions=wanted,
            seconds=round(time.monotonic() - started, 3),
            offsets={p: states[p].offset for p in wanted},
        )

    async def count(self, partition: int, offset: int, timestamp: float, data: bytes | None) -> bool:
        """Count a record of the log; one that was counted before, or is not ours, changes nothing.

        Returns whether those that follow it in the log may be counted now.
        """
        owned = self.owned.get(partition)
        if owned is None or owned.draining:
            return False
        if offset <= owned.state.offset:
            return True
        if offset != owned.state.offset + 1 and not await self._is_next(
            partition, owned.state.offset, offset
        ):
            self._self_metrics.stale_records.inc()
            log.warning("stale record left out", partition=partition, offset=offset, after=owned.state.offset)
            # Most often the rebalance has done so already. If not, all that follow would be stale, too.
            if self.owned.get(partition) is owned and not owned.draining:
                await owned.fetch_from(owned.state.offset + 1)
            return False
        async with owned.quiesce_lock:
            if self.owned.get(partition) is not owned or owned.draining:
                return False
            started = time.perf_counter()
            bad = owned.state.apply(offset, data)
            self._self_metrics.processing.observe(time.perf_counter() - started)
            owned.applied_at = timestamp
            for entry in bad:
                owned.dead_letters.append(dead_letter(entry, partition, offset, time.time()))
                log.warning("log entry refused", partition=partition, offset=offset, index=entry.index)
        return True

    async def _is_next(self, partition: int, after: int, offset: int) -> bool:
        """Whether the log itself has nothing between two offsets.

        Transaction markers and retention leave gaps. A record fetched before a rebalance and handed on after
        it would leave one too, and the records in between would be lost if it were counted.
        """
        return await first_offset(self._settings, partition, after + 1) == offset

    async def flush(self) -> None:
        """Store what has changed, each partition in a transaction of its own."""
        async with self._storing:
            await self._flush_all()

    async def _flush_all(self) -> None:
        await asyncio.gather(*(self._flush(partition, owned) for partition, owned in self.owned.items()))

    async def _flush(self, partition: int, owned: OwnedPartition) -> None:
        if not owned.state.changed:
            return
        started = time.perf_counter()
        try:
            async with self._collecting, owned.quiesce_lock:
                taken = await _in_steps(changes(owned.state))
                dead_letters, owned.dead_letters = owned.dead_letters, []
            await owned.store.commit(taken, owned.state.stored.offset + 1, dead_letters)
        except FencedError:
            self._self_metrics.fenced.inc()
            log.warning("fenced: another worker owns the partition", partition=partition)
            self._drop(partition, owned)
            await owned.store.close()
        except BaseException:
            # Also when cancelled: what is in memory may have been taken to be stored, and was not.
            self._drop(partition, owned)
            raise
        else:
            self._self_metrics.flush.observe(time.perf_counter() - started)
            self._self_metrics.stored_entries.inc(len(taken))

    def _drop(self, partition: int, owned: OwnedPartition) -> None:
        if self.owned.get(partition) is owned:
            del self.owned[partition]

    async def on_revoked(self) -> None:
        """Store and forget all partitions. What is still handed on of them meanwhile is not counted."""
        self._epoch += 1
        for owned in self.owned.values():
            owned.draining = True
        async with self._storing:
            await self._flush_all()
            given_up, self.owned = self.owned, {}
            self.ready = False
            await asyncio.gather(*(owned.store.close() for owned in given_up.values()))
        if given_up:
            log.info("partitions given up", partitions=sorted(given_up))

    async def close(self) -> None:
        """Give up all partitions, and expect none any more."""
        await self._warm_up.take()
        await self.on_revoked()


async def _in_steps(steps: Iterator[Change]) -> list[Change]:
    """All changes. There may be a hundred thousand, so scrapes and other partitions get a turn between."""
    taken: list[Change] = []
    until = time.perf_counter() + STEP_SECONDS
    for change in steps:
        taken.append(change)
        if time.perf_counter() > until:
            await asyncio.sleep(0)
            until = time.perf_counter() + STEP_SECONDS
    return taken
