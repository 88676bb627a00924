"""Packing: every event in the right partition, in order, in records under both caps."""

from __future__ import annotations

import json
import zlib
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from schemas import codec
from services.ingest.pipeline.packing import Fragment, RecordLimits, key_of, next_record, pack, partition_of

COMMON = {"occurred_at": 1_782_120_600_000, "platform": "twitter", "account": "GansuTravel"}


def decoded(*events: dict[str, Any]) -> list[Any]:
    found = codec.decode_batch(json.dumps([{**COMMON, **event} for event in events]).encode())
    assert found is not None
    return found


def likes(count: int, size: int = 0) -> list[Any]:
    pad = {"campaign": "c" * size} if size else {}
    return decoded(
        *({"kind": "interaction", "event_id": f"e{n}", "action": "like", **pad} for n in range(count))
    )


def test_the_key_is_the_scope_of_identity_or_order() -> None:
    """Duplicates meet by event id; readings keep the order of their subject, broadcasts that of theirs."""
    reading = {"kind": "reading", "event_id": "r", "metric": "likes", "value": 1}
    events = decoded(
        {"kind": "interaction", "event_id": "i", "action": "like", "post_id": "P"},
        {"kind": "post", "event_id": "p", "post_id": "P"},
        {"kind": "broadcast", "event_id": "b", "broadcast_id": "B", "phase": "ended"},
        reading,
        {**reading, "post_id": "P", "broadcast_id": "B"},
        {**reading, "broadcast_id": "B"},
    )
    assert [key_of(event) for event in events] == [
        "i", "p", "B", "twitter/GansuTravel", "twitter/post/P", "twitter/broadcast/B",
    ]  # fmt: skip
    assert partition_of("伏羲", 4) == zlib.crc32("伏羲".encode()) % 4


@given(st.integers(0, 60), st.integers(1, 5), st.integers(1, 20), st.integers(150, 2000))
def test_nothing_is_lost_reordered_or_misplaced(count: int, partitions: int, most: int, size: int) -> None:
    """The records of a partition hold its events in order, under the caps; oversize ones are told apart."""
    events = likes(count)
    record_limits = RecordLimits(most, size)
    packed = pack(events, partitions, record_limits)
    assert not packed.oversize
    for partition in range(partitions):
        fragments = [each for each in packed.fragments if each.partition == partition]
        assert all(0 < each.count <= most and len(each.data) + 2 <= size for each in fragments)
        assert sum(each.count for each in fragments) == len(
            [event for event in events if partition_of(event.event_id, partitions) == partition]
        )
        reserved, at = [], 0
        while at < len(fragments):
            number, record = next_record(fragments, at, record_limits)
            assert len(record) <= size
            entries = json.loads(record)
            assert len(entries) <= most
            reserved += [each["event_id"] for each in entries]
            at += number
        assert reserved == [
            event.event_id for event in events if partition_of(event.event_id, partitions) == partition
        ]


def test_records_are_filled() -> None:
    """As many fragments as fit share a record, up to exactly the cap."""
    fragments = [Fragment(0, b"12345", 1) for _ in range(5)]
    assert next_record(fragments, 0, RecordLimits(10, 2 + 5 + 6 + 6)) == (3, b"[12345,12345,12345]")
    assert next_record(fragments, 0, RecordLimits(10, 2 + 5 + 6 + 5)) == (2, b"[12345,12345]")
    assert next_record(fragments, 3, RecordLimits(10, 1000)) == (2, b"[12345,12345]")
    assert next_record(fragments, 0, RecordLimits(4, 1000))[0] == 4


def test_an_event_larger_than_a_record_is_told_apart() -> None:
    """The others are packed all the same."""
    small, large = likes(10), likes(1, size=200)
    packed = pack([*small[:5], *large, *small[5:]], 2, RecordLimits(100, 250))
    assert packed.oversize == large
    assert sum(fragment.count for fragment in packed.fragments) == 10
    assert pack(large, 2, RecordLimits(100, 250)).oversize == large
