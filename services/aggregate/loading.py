"""From what is stored to the state of a partition, as it was when it was stored."""

from __future__ import annotations

from services.aggregate.decode import event_ids
from services.aggregate.dedup import GenerationStart, Horizon
from services.aggregate.partition import PartitionState
from services.aggregate.store import committed_offsets, log_begins, stored_entries, tail
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
    starts: dict[int, list[GenerationStart]] = {}
    for partition, stored in (await stored_entries(settings, partitions)).items():
        found = states[partition].restore(stored)
        if found:
            starts[partition] = found
    for partition, offset in (await committed_offsets(settings)).items():
        # Both are written in one transaction. Records before the group's offset are not delivered again.
        following = states[partition].offset + 1 if partition in states else offset
        if offset > following:
            raise InconsistentStoreError(
                f"partition {partition}: the totals stand before offset {following}, but the group's next "
                f"record is {offset}; set the group's offset back to {following}"
            )
    ends = {partition: states[partition].offset + 1 for partition in starts}
    begins = await log_begins(settings)
    cut = {p: begins[p] for p, found in starts.items() if found[0].offset < begins[p]}
    for partition, left in (await _events_left(settings, cut, ends)).items():
        # The number of the first event left is that of the last one less the events in between.
        states[partition].read_again(starts[partition], states[partition].stored_sequence - left)
    from_offsets = {p: cut.get(p, found[0].offset) for p, found in starts.items()}
    async for batch in tail(settings, from_offsets, ends):
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


async def _events_left(settings: Settings, begins: dict[int, int], ends: dict[int, int]) -> dict[int, int]:
    """Events in partitions of which retention has removed a part that the horizon reaches back to."""
    left = dict.fromkeys(begins, 0)
    async for batch in tail(settings, begins, {p: ends[p] for p in begins}):
        for record in batch:
            left[record.partition] += len(event_ids(record.value, all_good=False))
    return left
