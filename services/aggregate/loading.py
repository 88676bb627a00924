"""From what is stored to the state of a partition, as it was when it was stored."""

from __future__ import annotations

from services.aggregate.decode import decode_record
from services.aggregate.dedup import Deduplicator, GenerationStart, Horizon
from services.aggregate.partition import PartitionState
from services.aggregate.store import log_begins, stored_entries, tail
from services.runtime.settings import Settings


class InconsistentStoreError(RuntimeError):
    """What is stored does not agree with the log: a worker of another make wrote it, or the log was cut."""


async def load_states(
    settings: Settings, horizon: Horizon, partitions: list[int]
) -> dict[int, PartitionState]:
    """The states of source partitions whose earlier owners have been fenced.

    Raises HorizonChangedError and InconsistentStoreError.
    """
    states = {partition: PartitionState(partition, horizon) for partition in partitions}
    starts: dict[int, GenerationStart] = {}
    for partition, stored in (await stored_entries(settings, partitions)).items():
        found = states[partition].restore(stored)
        if found:
            starts[partition] = found[0]
    ends = {partition: states[partition].offset + 1 for partition in starts}
    begins = await log_begins(settings)
    cut = {p: begins[p] for p, start in starts.items() if start.offset < begins[p]}
    for partition, start in (await _starts_of_cut(settings, states, cut, ends)).items():
        starts[partition] = start
        states[partition].dedup = Deduplicator.at(horizon, [start])
    async for batch in tail(settings, {p: start.offset for p, start in starts.items()}, ends):
        for record in batch:
            states[record.partition].remember(record.offset, record.value)
    for partition in starts:
        state = states[partition]
        if state.dedup.sequence != state.stored_sequence:
            raise InconsistentStoreError(
                f"partition {partition}: {state.stored_sequence} events had been met up to offset "
                f"{state.offset}, but the log now gives {state.dedup.sequence}"
            )
    return states


async def _starts_of_cut(
    settings: Settings, states: dict[int, PartitionState], begins: dict[int, int], ends: dict[int, int]
) -> dict[int, GenerationStart]:
    """Where to begin if retention has removed the log's part that the horizon reaches back to.

    The sequence number of the first event left is that of the last one less the events in between.
    """
    left = dict.fromkeys(begins, 0)
    async for batch in tail(settings, begins, {p: ends[p] for p in begins}):
        for record in batch:
            left[record.partition] += sum(e.kind != "clock" for e in decode_record(record.value)[0])
    starts = {}
    for partition, begin in begins.items():
        state = states[partition]
        sequence = state.stored_sequence - left[partition]
        generation = sequence // state.horizon.generation_events
        starts[partition] = GenerationStart(generation, begin, sequence)
    return starts
