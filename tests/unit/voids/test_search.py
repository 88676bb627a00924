"""Finding what to void: the events that count, where they are, and what has been voided."""

from __future__ import annotations

import json
from typing import Any

from fanpulse.voids.search import Counting, FoundEvent, Search
from fanpulse.voids.voiding import encode_void
from schemas.events import LOG_ENTRY, Void
from services.aggregate.counting.dedup import DedupWindow
from services.aggregate.counting.partition_state import PartitionState
from services.runtime.topic_scan import Record

WINDOW = DedupWindow(segment_events=4, segments=1)


def like(event_id: str, **more: Any) -> dict[str, Any]:
    return {
        "kind": "interaction", "v": 1, "event_id": event_id, "occurred_at": 1_782_084_000_000,
        "platform": "twitter", "account": "GansuTravel", "action": "like", **more,
    }  # fmt: skip


def records(*contents: Any, partition: int = 0) -> list[Record]:
    return [
        Record(partition, offset, 1, None, each if isinstance(each, bytes) else json.dumps(each).encode())
        for offset, each in enumerate(contents)
    ]


def searched(log: list[Record], *ids: str) -> Search:
    search = Search(frozenset(ids))
    for record in log:
        search.take(record)
    return search


def test_an_event_is_found_where_it_stands() -> None:
    """Its address counts all entries of its record, whatever they are; its bytes are those of the log."""
    log = records(
        [like("a")], b"no json", [{"kind": "clock", "v": 1, "stream_time": 5}, 7, like("b", quantity=9)]
    )
    (found,) = searched(log, "b", "c").events
    assert (found.address, found.kind, found.fields["quantity"]) == ((0, 2, 2), "interaction", 9)
    assert found.void_id == "void:0:2:2"


def test_many_ids_are_found_as_few_are() -> None:
    """Records are decoded without a search in their bytes, if ids are many."""
    ids = [f"e{number}" for number in range(30)]
    log = records([like(name) for name in ids], [like("other")])
    assert [each.event_id for each in searched(log, *ids).events] == ids


def test_of_repeated_ids_those_that_count_are_told_apart() -> None:
    """Within the dedup window an id counts once; beyond it again, and each address can be voided."""
    log = records([like("x"), like("x")], [like(str(n)) for n in range(10)], [like("x")])
    assert searched(log, "x").repeated == {0}
    counting = Counting(WINDOW, {"x"})
    for record in log:
        counting.take(record)
    assert counting.addresses == {(0, 0, 0), (0, 2, 0)}


def test_a_void_that_was_written_is_found_and_counts_once() -> None:
    """What is written is the contract's void; a search finds it, and the aggregator takes the event back."""
    log = records([like("a"), like("slip", quantity=1_000_000_000)])
    (event,) = searched(log, "slip").events
    written = encode_void(event, "a slip", "the operator", 7)
    assert isinstance(LOG_ENTRY.validate_json(written), Void)
    log += [Record(0, 1, 1, None, b"[" + written + b"]"), Record(0, 2, 1, None, written)]
    search = searched(log, "slip")
    assert [each.event_id for each in search.events] == ["slip"]
    assert search.voids[event.address].by == "the operator"
    state = PartitionState(0, WINDOW)
    for record in log:
        assert state.apply(record.offset, record.value) == []
    assert state.counters.actions(("account", "twitter", "GansuTravel")) == {"like": 1}
    assert (state.voided, state.duplicates) == (1, 1)


def test_the_void_of_a_reading_is_rejected() -> None:
    """The aggregator counts no void of a reading or of a phase: the newest of them say what holds."""
    reading = like("r") | {"kind": "reading", "metric": "followers", "value": 5}
    written = encode_void(FoundEvent("r", "reading", (0, 0, 0), json.dumps(reading).encode()), "x", "y", 1)
    state = PartitionState(0, WINDOW)
    assert state.apply(1, written)[0].reason == "bad_value"
