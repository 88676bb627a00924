"""Loads the state of a partition: from its stored entries, and the tail of the log for the ids."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import structlog

from services.aggregate.counting.decode import event_ids
from services.aggregate.counting.dedup import DedupWindow, SegmentStart
from services.aggregate.counting.partition_state import PartitionState
from services.aggregate.counting.recovery import prepare_replay, rebuild_dedup, restore, restore_checkpoint
from services.aggregate.kafka.gaps import GapPolicy
from services.aggregate.kafka.ports import Storage
from services.aggregate.kafka.stored_entries import StoredEntries
from services.runtime.stream import StreamError
from services.runtime.topic_scan import Span

log = structlog.get_logger(__name__)

#: Bounds of the warm-up, since a worker among many will own only a part of what it reads.
MAX_WARM_UP_BYTES = 256 * 2**20
MAX_WARM_UP_EVENTS = 4_000_000
#: What is older is not used: the broker keeps the removal of an entry for a day only (`delete.retention.ms`).
WARM_UP_MAX_AGE_SECONDS = 3600.0


class InconsistentStoreError(StreamError):
    """What is stored does not agree with the log: another build wrote it, or the log was cut."""


@dataclass
class WarmedUp:
    """What has been read of the store and the log before the partitions were owned.

    What is written later only adds to it, so the owner reads on from here.
    """

    stored: StoredEntries = field(default_factory=StoredEntries)
    #: By partition: states without counts, their dedup window rebuilt, maybe not yet up to their checkpoint.
    dedup_states: dict[int, PartitionState] = field(default_factory=dict)

    def keep(self, partitions: list[int]) -> None:
        """Forget other partitions."""
        self.stored.keep(partitions)
        self.dedup_states = {
            partition: state for partition, state in self.dedup_states.items() if partition in partitions
        }


class WarmUp:
    """Reads while the worker waits for the group to assign partitions to it.

    After a kill -9 that takes as long as the session of the dead worker lasts, and reading all that a worker
    needs takes nearly as long.
    """

    def __init__(self, storage: Storage, dedup_window: DedupWindow) -> None:
        self._storage = storage
        self._dedup_window = dedup_window
        self._warmed_up = WarmedUp()
        self._task: asyncio.Task[None] | None = None
        self._begun = time.monotonic()

    def start(self) -> None:
        """Begin to read, of all partitions."""
        self._begun = time.monotonic()
        self._task = asyncio.ensure_future(self._run())

    async def take(self) -> WarmedUp:
        """Stop reading; what was read, once."""
        task, self._task = self._task, None
        while task is not None and not task.done():
            task.cancel()  # again: a consumer that is being closed swallows it
            await asyncio.wait([task], timeout=0.2)
        warmed_up, self._warmed_up = self._warmed_up, WarmedUp()
        return warmed_up if time.monotonic() - self._begun < WARM_UP_MAX_AGE_SECONDS else WarmedUp()

    async def _run(self) -> None:
        try:
            with _without_collector():
                await self._read(self._warmed_up)
        except Exception as error:  # noqa: BLE001 # it was only for speed; loading fails in the same way and says so
            log.warning("warm-up has ended early", error=str(error))
            self._warmed_up = WarmedUp()

    async def _read(self, warmed_up: WarmedUp) -> None:
        partitions = await self._storage.partitions()
        await self._storage.read_entries(warmed_up.stored, partitions, MAX_WARM_UP_BYTES)
        starts, events = {}, 0
        for partition in partitions:
            state = PartitionState(partition, self._dedup_window)
            found = restore_checkpoint(state, warmed_up.stored.of(partition))
            if found and events + state.stored.ordinal - found[0].ordinal <= MAX_WARM_UP_EVENTS:
                events += state.stored.ordinal - found[0].ordinal
                warmed_up.dedup_states[partition], starts[partition] = state, found
        # If ids have been removed, this ends the warm-up: whether to go on is decided in ``load_states``.
        spans = await self._storage.log_spans()
        await _rebuild_dedup(self._storage, warmed_up.dedup_states, starts, {}, spans, GapPolicy())


class StateLoader:
    """Loads the states of partitions; what can be read before they are owned is read in a warm-up."""

    def __init__(
        self, storage: Storage, dedup_window: DedupWindow, gap_policy: GapPolicy | None = None
    ) -> None:
        self._storage = storage
        self._dedup_window = dedup_window
        self._gap_policy = gap_policy or GapPolicy()
        self._warm_up = WarmUp(storage, dedup_window)

    def start_warm_up(self) -> None:
        """Partitions will be assigned soon: begin to read."""
        self._warm_up.start()

    async def load(self, partitions: list[int]) -> dict[int, PartitionState]:
        """The states of source partitions whose earlier owners have been fenced.

        Raises DedupWindowChangedError, InconsistentStoreError, GapError and ForgottenIdsError.
        """
        warmed_up = await self._warm_up.take()
        try:
            return await load_states(
                self._storage, self._dedup_window, partitions, self._gap_policy, warmed_up
            )
        except StreamError as error:
            # A process that was paused while it loaded has read before and after another owner's work.
            log.info("loading again, since what was read does not agree", error=str(error))
        return await load_states(self._storage, self._dedup_window, partitions, self._gap_policy)

    async def stop_warm_up(self) -> None:
        """No partitions will be assigned any more."""
        await self._warm_up.take()


async def load_states(
    storage: Storage,
    dedup_window: DedupWindow,
    partitions: list[int],
    gap_policy: GapPolicy,
    warmed_up: WarmedUp | None = None,
) -> dict[int, PartitionState]:
    """The states of source partitions whose earlier owners have been fenced.

    Raises DedupWindowChangedError, InconsistentStoreError, GapError and ForgottenIdsError.
    """
    warmed_up = warmed_up or WarmedUp()
    warmed_up.keep(partitions)
    with _without_collector():
        # Before the entries: if another owner stores meanwhile, the entries are the newer of the two.
        committed = await storage.committed_offsets()
        await storage.read_entries(warmed_up.stored, partitions)
        states = {partition: PartitionState(partition, dedup_window) for partition in partitions}
        starts: dict[int, list[SegmentStart]] = {}
        for partition, state in states.items():
            found = restore(state, warmed_up.stored.of(partition))
            if found:
                starts[partition] = found
        warmed_up.stored.keep(())
        _require_offsets(committed, states)
        spans = await storage.log_spans()
        _require_log_end(states, spans)
        await _rebuild_dedup(
            storage, {p: states[p] for p in starts}, starts, warmed_up.dedup_states, spans, gap_policy
        )
    for partition, state in states.items():
        if partition in starts and state.dedup.ordinal != state.stored.ordinal:
            raise InconsistentStoreError(
                f"partition {partition}: {state.stored.ordinal} events had been seen up to offset "
                f"{state.offset}, but the log now gives {state.dedup.ordinal}"
            )
        if state.offset + 1 < storage.stream_begin(partition):
            state.offset = state.stored.offset = storage.stream_begin(partition) - 1
        gap_policy.close_up(state, spans[partition].begin)
    return states


def _require_log_end(states: dict[int, PartitionState], spans: dict[int, Span]) -> None:
    """The log holds all that was counted of it, or has held it."""
    for partition, state in states.items():
        if spans[partition].end <= state.offset:
            raise InconsistentStoreError(
                f"partition {partition} has been counted up to offset {state.offset:,}, but the log ends "
                f"before {spans[partition].end:,}: its end was lost, or the topic was created again; restore "
                "the log, or begin a new stream: set FANPULSE_NAMESPACE to a new name"
            )


def _require_offsets(committed: dict[int, int], states: dict[int, PartitionState]) -> None:
    """The group's offsets and the totals are written in one transaction, so they agree; records before a
    group's offset are not delivered again."""
    for partition, offset in committed.items():
        following = states[partition].offset + 1 if partition in states else offset
        if offset > following:
            raise InconsistentStoreError(
                f"partition {partition}: the totals stand before offset {following}, but the group's next "
                f"record is {offset}: records of the totals were lost; stop the aggregator, delete the topic "
                "of the totals, and run `fanpulse stream accept totals`: the whole log is counted again"
            )


async def _rebuild_dedup(
    storage: Storage,
    states: dict[int, PartitionState],
    starts: dict[int, list[SegmentStart]],
    warmed_up: dict[int, PartitionState],
    spans: dict[int, Span],
    gap_policy: GapPolicy,
) -> None:
    """Read the log again for the ids: from where the warm-up ended, else from where the segments begin."""
    begins = {partition: span.begin for partition, span in spans.items()}
    ends = {partition: state.offset + 1 for partition, state in states.items()}
    read_from = {partition: found[0].offset for partition, found in starts.items()}
    for partition, read in warmed_up.items():
        following = read.dedup.record_offset + 1
        if partition in states and begins[partition] <= following > read_from[partition]:
            state = states[partition]
            prepare_replay(state, starts[partition], read.dedup.ordinal, read.dedup)
            read_from[partition] = following
    cut = {p: begins[p] for p, offset in read_from.items() if offset < begins[p]}
    for partition, left in (await _events_left(storage, cut, ends)).items():
        # The number of the first event left is that of the last one less the events in between.
        state = states[partition]
        first_left = state.stored.ordinal - left
        if first_left > starts[partition][0].ordinal:
            gap_policy.forget(state, first_left - starts[partition][0].ordinal)
        prepare_replay(state, starts[partition], first_left)
    async for batch in storage.tail(read_from | cut, ends):
        for record in batch:
            rebuild_dedup(states[record.partition], record.offset, record.value)


async def _events_left(storage: Storage, begins: dict[int, int], ends: dict[int, int]) -> dict[int, int]:
    """Events in partitions of which retention has removed a part that the dedup window reaches back to."""
    left = dict.fromkeys(begins, 0)
    async for batch in storage.tail(begins, {p: ends[p] for p in begins}):
        for record in batch:
            left[record.partition] += len(event_ids(record.value, all_good=False))
    return left


@contextmanager
def _without_collector() -> Iterator[None]:
    """Millions of objects are made that all stay: looking for garbage among them takes as long again."""
    gc.collect()  # what is garbage now would be kept for good
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()  # nor are they looked at later
        gc.enable()
