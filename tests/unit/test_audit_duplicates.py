"""Duplicates in SQL are those of the rule as it reads, for any sequence of ids."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.audit.examine import audit_export
from tests.support.audit_stream import START_MS, Stream

#: Ids of the events of one partition; few, so that they meet again within and beyond the horizon.
IDS = st.lists(st.integers(0, 4), max_size=29)


def duplicates(ids: list[int], horizon: tuple[int, int]) -> list[bool]:
    """The rule, word by word: the id occurred earlier, and its latest earlier occurrence, whether that
    counted or not, lies at most `generations` generations back."""
    generation_events, generations = horizon
    found = []
    for sequence, name in enumerate(ids):
        earlier = [n for n in range(sequence) if ids[n] == name]
        back = sequence // generation_events - earlier[-1] // generation_events if earlier else None
        found.append(back is not None and back <= generations)
    return found


def event(sequence: int, name: int) -> dict[str, Any]:
    """An event whose quantity is a power of two of its own, so that a sum tells which events counted."""
    return {
        "kind": "interaction",
        "v": 1,
        "event_id": f"e{name}",
        "occurred_at": START_MS,
        "platform": "twitter",
        "account": "GansuTravel",
        "action": "like",
        "quantity": 2**sequence,
    }


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    partitions=st.lists(IDS, min_size=1, max_size=6),
    horizon=st.tuples(st.integers(1, 5), st.integers(1, 3)),
    per_record=st.integers(1, 4),
)
def test_the_same_events_count(
    partitions: list[list[int]], horizon: tuple[int, int], per_record: int
) -> None:
    """Whatever repeats where, however records are cut: the recount counts exactly the events of the rule."""
    stream = Stream(len(partitions), horizon)
    for partition, ids in enumerate(partitions):
        events = [event(sequence, name) for sequence, name in enumerate(ids)]
        for start in range(0, len(events), per_record):
            stream.append(partition, events[start : start + per_record])
    expected = [duplicates(ids, horizon) for ids in partitions]
    for partition, verdicts in enumerate(expected):
        total = sum(2**sequence for sequence, duplicate in enumerate(verdicts) if not duplicate)
        if total:
            key = '["account","twitter","GansuTravel"]'
            stream.forged[partition, key] = {"actions": {"like": total}, "last_ms": START_MS, "offset": 0}
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(stream.export(Path(folder) / "export"))
        result = audit_export(Path(folder) / "export")
    assert [difference.line for difference in result.differences] == []
    assert result.counts.duplicates == sum(map(sum, expected))
