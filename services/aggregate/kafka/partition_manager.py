"""Which partitions this worker owns, and what it does with them: load, count, store, drop.

One asyncio task counts (the source's), another stores (the flush loop). Assignment and revocation happen in
rebalances, while the source fetches nothing, though records that it has handed on may still come. Any failure
that is not a fence ends the process: the state in memory is then worthless, the one in Kafka is right, and a
supervisor starts the worker again.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial

import structlog

from services.aggregate.counting.entries import Change, changes
from services.aggregate.counting.partition_state import PartitionState
from services.aggregate.kafka.dead_letters import dead_letter
from services.aggregate.kafka.gaps import GapPolicy
from services.aggregate.kafka.ports import CheckpointStore, FencedError, PartitionSource
from services.aggregate.kafka.self_metrics import SelfMetrics
from services.aggregate.kafka.warm_up import StateLoader

log = structlog.get_logger(__name__)

#: How long changes are collected without a break.
STEP_SECONDS = 0.01


@dataclass
class OwnedPartition:
    """A partition that this worker owns."""

    state: PartitionState
    store: CheckpointStore
    dead_letters: list[bytes] = field(default_factory=list)
    highwater: Callable[[], int | None] = lambda: None
    quiesce_lock: asyncio.Lock = field(default_factory=asyncio.Lock)  # held while nothing may be counted
    draining: bool = False  # nothing more is counted: the partition has been revoked
    applied_at: float = 0.0  # epoch seconds of the last record counted, as the broker keeps them
    stored_offset: int = -1  # of the last record whose counts the broker has acknowledged

    @property
    def unstored(self) -> int:
        """Records that were counted since then; what retention removed counts as well."""
        return self.state.offset - self.stored_offset


class PartitionManager:
    """The partitions of this worker. It listens to a source (ports.PartitionListener)."""

    def __init__(
        self,
        source: PartitionSource,
        open_store: Callable[[int], CheckpointStore],
        loader: StateLoader,
        self_metrics: SelfMetrics,
        gap_policy: GapPolicy | None = None,
    ) -> None:
        self._source = source
        self._open_store = open_store
        self._loader = loader
        self._self_metrics = self_metrics
        self._gap_policy = gap_policy or GapPolicy()
        self._epoch = 0  # counts the times everything was revoked
        self._assigning = asyncio.Lock()
        self._storing = asyncio.Lock()  # one flush at a time, and none beside the end of ownership
        self._collecting = asyncio.Lock()  # one partition at a time: time slices stay short
        self.owned: dict[int, OwnedPartition] = {}
        self.ready = False
        self._dropped: dict[int, int] = {}  # records, by partition, whose counts were given up
        self.after_assignment: Callable[[], None] = lambda: None  # called when partitions are owned

    @property
    def states(self) -> list[PartitionState]:
        """States of the partitions owned, by partition."""
        return [self.owned[partition].state for partition in sorted(self.owned)]

    def unstored(self) -> dict[int, int]:
        """Records that are counted and not stored, by partition; also of partitions just given up."""
        return self._dropped | {p: owned.unstored for p, owned in self.owned.items()}

    async def on_assigned(self, partitions: Iterable[int]) -> None:
        """Fence, then load. If a rebalance revokes them meanwhile, all is dropped again."""
        wanted, epoch, started = sorted(partitions), self._epoch, time.monotonic()
        async with self._assigning:
            stores = {partition: self._open_store(partition) for partition in wanted}
            try:
                await asyncio.gather(*(store.fence() for store in stores.values()))
                states = await self._loader.load(wanted)
            finally:
                if epoch != self._epoch or sys.exc_info()[0]:
                    await asyncio.gather(*(store.close() for store in stores.values()))
            if epoch != self._epoch:
                log.info("assignment is out of date, dropped", partitions=wanted)
                return
            self.owned = {
                p: OwnedPartition(
                    states[p],
                    stores[p],
                    highwater=partial(self._source.highwater, p),
                    stored_offset=states[p].offset,
                )
                for p in wanted
            }
            self._dropped.clear()
            self.ready = True
        self.after_assignment()
        log.info(
            "partitions assigned",
            partitions=wanted,
            seconds=round(time.monotonic() - started, 3),
            offsets={p: states[p].offset for p in wanted},
        )

    async def count(self, partition: int, offset: int, timestamp: float, data: bytes | None) -> bool:
        """Count a record of the log; one that was counted before, or is not ours, changes nothing.

        Returns whether the records that follow it may be counted now. Raises GapError.
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
            log.warning("stale record skipped", partition=partition, offset=offset, after=owned.state.offset)
            # Most often the rebalance has done so already. If not, all that follow would be stale, too.
            if self.owned.get(partition) is owned and not owned.draining:
                await self._source.fetch_from(partition, owned.state.offset + 1)
            return False
        if offset != owned.state.offset + 1:
            await self._close_up(partition, owned)
        async with owned.quiesce_lock:
            if self.owned.get(partition) is not owned or owned.draining:
                return False
            started = time.perf_counter()
            bad = owned.state.apply(offset, data, round(timestamp * 1000))
            self._self_metrics.processing.observe(time.perf_counter() - started)
            owned.applied_at = timestamp
            for entry in bad:
                owned.dead_letters.append(dead_letter(entry, partition, offset, time.time()))
                log.warning("log entry rejected", partition=partition, offset=offset, index=entry.index)
        return True

    async def _is_next(self, partition: int, after: int, offset: int) -> bool:
        """Whether the log itself has nothing between two offsets.

        Transaction markers and retention leave gaps. A record fetched before a rebalance and handed on after
        it would leave one too, and the records in between would be lost if it were counted.
        """
        return await self._source.first_offset(partition, after + 1) == offset

    async def _close_up(self, partition: int, owned: OwnedPartition) -> None:
        """Pass over what retention has removed in front of the next record. Markers leave no gap."""
        log_begin = await self._source.log_begin(partition)
        async with owned.quiesce_lock:
            if self.owned.get(partition) is owned and not owned.draining:
                self._gap_policy.close_up(owned.state, log_begin)

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
            offset = owned.state.stored.offset
            await owned.store.commit(taken, offset + 1, dead_letters)
        except FencedError:
            self._self_metrics.fenced.inc()
            log.warning("fenced: another worker owns the partition", partition=partition)
            self._drop(partition, owned)
            await owned.store.close()
        except BaseException:
            # Also when cancelled: the changes were taken from the state, and may not have been stored.
            self._dropped[partition] = owned.unstored
            self._drop(partition, owned)
            raise
        else:
            owned.stored_offset = offset
            self._self_metrics.flush.observe(time.perf_counter() - started)
            self._self_metrics.stored_entries.inc(len(taken))

    def _drop(self, partition: int, owned: OwnedPartition) -> None:
        if self.owned.get(partition) is owned:
            del self.owned[partition]

    async def on_revoked(self) -> None:
        """Store and drop all partitions. Records of them that still come meanwhile are not counted."""
        self._epoch += 1
        for owned in self.owned.values():
            owned.draining = True
        async with self._storing:
            await self._flush_all()
            dropped, self.owned = self.owned, {}
            self.ready = False
            await asyncio.gather(*(owned.store.close() for owned in dropped.values()))
        if dropped:
            log.info("partitions revoked", partitions=sorted(dropped))

    async def close(self) -> None:
        """Store and drop all partitions, and expect no others."""
        await self._loader.stop_warm_up()
        await self.on_revoked()


async def _in_steps(steps: Iterator[Change]) -> list[Change]:
    """All changes. There may be a hundred thousand, so scrapes and other partitions get a turn in between."""
    taken: list[Change] = []
    until = time.perf_counter() + STEP_SECONDS
    for change in steps:
        taken.append(change)
        if time.perf_counter() > until:
            await asyncio.sleep(0)
            until = time.perf_counter() + STEP_SECONDS
    return taken
