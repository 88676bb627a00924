"""What is stored of a state: entries of engagement.totals.v1 (schemas.totals says what each holds).

``changes`` gives the records that bring the stored entries up to the state. The last one is always the
checkpoint, the entry that recovery goes by.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from schemas.totals import BUCKET_ROWS, Key, encode_key, encode_value
from services.aggregate.counting.broadcasts import Broadcasts
from services.aggregate.counting.counters import Counters
from services.aggregate.counting.partition_state import PartitionState
from services.aggregate.counting.windows import BucketId, Counts

#: (key, value; None removes the entry)
Change = tuple[bytes, bytes | None]


CHECKPOINT_KEY = encode_key(("checkpoint",))


def take_changes(state: PartitionState) -> list[Change]:
    """Records to store, in order, the checkpoint last. From here on they count as stored."""
    return list(changes(state))


def changes(state: PartitionState) -> Iterator[Change]:
    """The same one by one, so that the caller can do other work in between.

    Take all of them, and apply no record meanwhile.
    """
    counters, windows, broadcasts = state.counters, state.windows, state.broadcasts
    for key, entry in _changed_entries(state, counters, broadcasts):
        yield encode_key(key), encode_value({**entry, "offset": state.offset})
    for key in sorted(broadcasts.gone):
        yield encode_key(key), None
    broadcasts.dirty, broadcasts.gone = set(), set()
    changed, gone = windows.take_changes()
    for bucket, counts in changed.items():
        yield from _bucket_records(state, counters, bucket, counts)
    for bucket in gone:
        yield from _removals(bucket, 0, state.stored.bucket_parts.pop(bucket, 0))
    state.stored.offset, state.stored.ordinal = state.offset, state.dedup.ordinal
    yield CHECKPOINT_KEY, encode_value(checkpoint(state))


def checkpoint(state: PartitionState) -> dict[str, Any]:
    """The entry that says how far this partition has been counted (schemas.totals.Checkpoint)."""
    return {
        "partition": state.partition,
        "offset": state.offset,
        "stream_time_ms": state.stream_time_ms,
        "max_event_time_ms": state.max_event_time_ms,
        "counted": state.counted,
        "duplicates": state.duplicates,
        "late": state.late,
        "rejected": state.rejected,
        "voided": state.voided,
        "ordinal": state.dedup.ordinal,
        "gaps": [asdict(gap) for gap in state.gaps],
        "forgotten_ids": state.forgotten_ids,
        **asdict(state.dedup_window),
        "segment_starts": [asdict(start) for start in state.dedup.starts],
    }


def _changed_entries(
    state: PartitionState, counters: Counters, broadcasts: Broadcasts
) -> Iterator[tuple[Key, dict[str, Any]]]:
    entered = {key for key in broadcasts.dirty if key[0] == "broadcast"}
    for key, entry in counters.dirty_entries():
        if key[0] == "post":
            entry["account"] = state.posts.account_of(str(key[1]), str(key[2]))
        elif key[0] == "broadcast":
            entered.add(key)
            continue
        yield key, entry
    for key in entered:
        about = broadcasts.about.get(str(key[1]), {})
        yield key, counters.entry(("broadcast", str(key[1]))) | about
    yield from state.readings.take_changes()
    for key in broadcasts.dirty:
        if key[0] == "minute":
            yield key, broadcasts.minute_entry(str(key[1]), int(key[2]))


def _bucket_records(
    state: PartitionState, counters: Counters, bucket: BucketId, counts: Counts
) -> Iterator[Change]:
    """A bucket of the rolling windows, in parts of a bounded size; parts that it no longer needs go."""
    numbers, parts = list(counts), 0
    for start in range(0, len(numbers), BUCKET_ROWS):
        some = numbers[start : start + BUCKET_ROWS]
        rows = [[*counters.name(number), counts[number]] for number in some]
        yield _part_key(bucket, parts), encode_value({"rows": rows, "offset": state.offset})
        parts += 1
    yield from _removals(bucket, parts, state.stored.bucket_parts.get(bucket, 0))
    state.stored.bucket_parts[bucket] = parts


def _removals(bucket: BucketId, first: int, stored: int) -> Iterator[Change]:
    for part in range(first, stored):
        yield _part_key(bucket, part), None


def _part_key(bucket: BucketId, part: int) -> bytes:
    return encode_key(("bucket", *bucket, part))
