"""Duplicates in SQL are those of the rule as it reads, for any sequence of ids."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.aggregate.counting.dedup import DedupWindow
from services.aggregate.counting.partition_state import PartitionState
from services.audit.recounting.examine import audit_export
from tests.support.audit_stream import START_MS, Stream

#: The events of one partition by the numbers of their ids, which are few, so that they meet again within and
#: beyond the dedup window; and clock records, as the seconds by which they move stream time.
ENTRIES = st.lists(
    st.one_of(st.integers(0, 4), st.integers(0, 4), st.integers(1, 9).map(lambda seconds: -seconds)),
    max_size=40,
)


def duplicates(entries: list[int], dedup_window: tuple[int, int, int]) -> list[bool]:
    """The rule, word by word: the id occurred earlier, and its latest earlier occurrence, whether that
    counted or not, lies at most `segments` dedup segments back."""
    segment_events, segments, segment_ms = dedup_window
    segment = size = stream_time = began = 0
    seen: dict[int, int] = {}
    found = []
    for entry in entries:
        if entry < 0:
            stream_time += -entry * 1000
            if began and stream_time - began >= segment_ms:
                segment, size, began = segment + 1, 0, stream_time
            began = began or stream_time
            continue
        if size == segment_events:
            segment, size, began = segment + 1, 0, stream_time
        size += 1
        found.append(entry in seen and segment - seen[entry] <= segments)
        seen[entry] = segment
    return found


def event(ordinal: int, name: int) -> dict[str, Any]:
    """An event whose quantity is a power of two of its own, so that a sum tells which events counted."""
    return {
        "kind": "interaction",
        "v": 1,
        "event_id": f"e{name}",
        "occurred_at": START_MS,
        "platform": "twitter",
        "account": "GansuTravel",
        "action": "like",
        "quantity": 2**ordinal,
    }


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(
    partitions=st.lists(ENTRIES, min_size=1, max_size=6),
    dedup_window=st.tuples(st.integers(1, 5), st.integers(1, 3), st.integers(1, 20).map(lambda s: s * 1000)),
    per_record=st.integers(1, 4),
)
def test_the_same_events_count(
    partitions: list[list[int]], dedup_window: tuple[int, int, int], per_record: int
) -> None:
    """Whatever repeats where and when, however records are cut: the recount counts exactly the events of the
    rule, and so does the aggregator."""
    stream = Stream(len(partitions), dedup_window)
    expected = [duplicates(drawn, dedup_window) for drawn in partitions]
    for partition, drawn in enumerate(partitions):
        entries = [each | _of(partition, each) for each in concrete(drawn)]  # an id lives in one partition
        for start in range(0, len(entries), per_record):
            stream.append(partition, entries[start : start + per_record])
        total = sum(2**ordinal for ordinal, duplicate in enumerate(expected[partition]) if not duplicate)
        if total:
            key = '["account","twitter","GansuTravel"]'
            last = len(stream.log[partition]) - 1
            stream.forged[partition, key] = {
                "actions": {"like": total}, "last_ms": START_MS, "offset": last,
            }  # fmt: skip
        state = PartitionState(partition, DedupWindow(*dedup_window))
        for record in stream.log[partition]:
            state.apply(record.offset, record.value)
        assert (state.counted, state.duplicates) == (
            expected[partition].count(False),
            expected[partition].count(True),
        )
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(stream.export(Path(folder) / "export"))
        result = audit_export(Path(folder) / "export")
    assert [difference.line for difference in result.differences] == []
    assert result.counts.duplicates == sum(map(sum, expected))


def _of(partition: int, entry: dict[str, Any]) -> dict[str, Any]:
    return {"event_id": f"{entry['event_id']}-{partition}"} if "event_id" in entry else {}


def concrete(drawn: list[int]) -> list[dict[str, Any]]:
    """Events and clock records."""
    stream_time, ordinal, entries = 0, 0, []
    for entry in drawn:
        if entry < 0:
            stream_time += -entry * 1000
            entries.append({"kind": "clock", "v": 1, "stream_time": stream_time, "source": "event"})
        else:
            entries.append(event(ordinal, entry))
            ordinal += 1
    return entries
