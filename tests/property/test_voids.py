"""Laws of voids: a log with voids counts what the same log counts without them and the voided events."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.events import void_id
from schemas.log import GRACE_MS, MINUTE_MS
from schemas.totals import COUNTED_SCOPES
from services.aggregate.counting.dedup import DedupWindow
from services.aggregate.counting.partition_state import PartitionState
from services.aggregate.counting.recovery import rebuild_dedup, restore
from services.aggregate.counting.windows import WINDOWS
from tests.property.test_partition_state import concrete, events, stored, ticks

Record = list[dict[str, Any]]

#: Large: what is voided and what is not never differ by what the dedup window has forgotten.
DEDUP_WINDOW = DedupWindow(segment_events=10_000, segments=2)
posts = st.fixed_dictionaries(
    {
        "kind": st.just("post"),
        "v": st.just(1),
        "event_id": st.integers(100, 140).map(str),
        "ago_ms": st.integers(0, 4_000_000),
        "platform": st.just("twitter"),
        "account": st.just("GansuTravel"),
        "post_id": st.sampled_from(["p1", "p2"]),
    },
    optional={"broadcast_id": st.just("fuxi-2026"), "hashtags": st.just(["gansuheritage"])},
)
logs = st.lists(st.lists(st.one_of(events, events, posts, ticks), min_size=1, max_size=6), max_size=20)
choices = st.lists(st.tuples(st.integers(0, 100), st.integers(0, 20)), max_size=8)


def with_voids(records: list[Record], choices: list[tuple[int, int]]) -> tuple[list[Record], set[int]]:
    """The log with a void of some of the events that count, each at a later place: in a record of its own or
    behind others. Also the ids of the entries (``id``) that are voided."""
    seen, counting = set[str](), []
    for number, record in enumerate(records):
        for entry in record:
            if entry["kind"] != "clock" and entry["event_id"] not in seen:
                seen.add(entry["event_id"])
                counting.append((number, entry))
    places: dict[int, list[dict[str, Any]]] = {}
    voided = set[int]()
    for which, later in choices if counting else ():
        number, entry = counting[which % len(counting)]
        if id(entry) not in voided:
            voided.add(id(entry))
            places.setdefault(min(number + 1 + later, len(records)), []).append(entry)
    found, address = list[Record](), dict[int, tuple[int, int]]()
    for number, record in enumerate([*records, []]):
        voids = [void_of(entry, address[id(entry)]) for entry in places.get(number, ())]
        entries = voids + record
        for index, entry in enumerate(entries):
            address[id(entry)] = (len(found), index)
        found.append(entries)
    return [record or [{"kind": "clock", "v": 1, "stream_time": 1}] for record in found], voided


def void_of(entry: dict[str, Any], address: tuple[int, int]) -> dict[str, Any]:
    offset, index = address
    return {
        "kind": "void", "v": 1, "event_id": void_id(0, offset, index), "partition": 0, "offset": offset,
        "index": index, "event": entry, "reason": "a slip", "by": "operator", "voided_at": 1,
    }  # fmt: skip


def counts(state: PartitionState) -> dict[str, Any]:
    """All that a state counts."""
    subjects = {
        subject: actions
        for scope in COUNTED_SCOPES
        for subject in state.counters.subjects(scope)
        if (actions := state.counters.actions(subject))
    }
    rolling = {
        window: {state.counters.name(number): count for number, count in state.windows.sums[window].items()}
        for window in WINDOWS
    }
    return {"subjects": subjects, "rolling": rolling}


def minutes(state: PartitionState) -> dict[Any, dict[str, int]]:
    return {name: actions for name, actions in state.broadcasts.minutes.items() if actions}


def run(records: list[Record], restarts: set[int]) -> PartitionState:
    """Count the log, with a restart after some of its records."""
    state, kept = PartitionState(0, DEDUP_WINDOW), dict[bytes, bytes]()
    for offset, record in enumerate(records):
        assert state.apply(offset, json.dumps(record).encode()) == []
        if offset in restarts:
            stored(state, kept)
            state = PartitionState(0, DEDUP_WINDOW)
            for start in restore(state, kept)[:1]:
                for again in range(start.offset, state.offset + 1):
                    rebuild_dedup(state, again, json.dumps(records[again]).encode())
    return state


@given(logs, choices, st.sets(st.integers(0, 25), max_size=4))
@settings(max_examples=300)
def test_a_voided_event_counts_as_if_it_had_never_been_sent(
    log: list[Record], choices: list[tuple[int, int]], restarts: set[int]
) -> None:
    """Totals and rolling counts are those of the log without voids and voided events, across restarts."""
    records, voided = with_voids(concrete(log), choices)
    seen = set[str]()
    plain = []
    for record in records:
        kept = []
        for entry in record:
            repeated = entry.get("event_id") in seen
            seen.add(entry.get("event_id", ""))
            if entry["kind"] == "clock" or (
                entry["kind"] != "void" and id(entry) not in voided and not repeated
            ):
                kept.append(entry)
        plain.append(kept or [{"kind": "clock", "v": 1, "stream_time": 1}])
    state, expected = run(records, restarts), run(plain, set())
    assert counts(state) == counts(expected)
    assert (state.voided, state.counted) == (len(voided), expected.counted + len(voided))


@given(logs, choices)
@settings(max_examples=200)
def test_a_void_leaves_closed_minutes_as_they_are(log: list[Record], choices: list[tuple[int, int]]) -> None:
    """A minute is taken back from while it is open; what spikes were decided from does not change."""
    records, _ = with_voids(concrete(log), choices)
    seen, stream_time = set[str](), 0
    expected: dict[tuple[str, int], dict[str, int]] = {}
    for entry in (entry for record in records for entry in record):
        if entry["kind"] == "clock":
            stream_time = max(stream_time, entry["stream_time"])
            continue
        event, sign = (entry["event"], -1) if entry["kind"] == "void" else (entry, 1)
        start = event["occurred_at"] // MINUTE_MS * MINUTE_MS
        repeated = entry["event_id"] in seen
        seen.add(entry["event_id"])
        if repeated or "broadcast_id" not in event or start + MINUTE_MS + GRACE_MS <= stream_time:
            continue
        actions = expected.setdefault((event["broadcast_id"], start), {})
        action = event.get("action", "post")
        actions[action] = actions.get(action, 0) + sign * event.get("quantity", 1)
    found = {
        name: {action: count for action, count in actions.items() if count}
        for name, actions in expected.items()
    }
    state = run(records, set())
    assert minutes(state) == {
        name: actions for name, actions in found.items() if actions and name in state.broadcasts.minutes
    }
