"""Laws that every exact count of a log obeys: merging, order within the lateness, batches, storing again."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.totals import COUNTED_SCOPES, Key, TotalsView
from services.aggregate.counting.entries import take_changes
from services.aggregate.counting.partition_state import PartitionState
from services.aggregate.counting.recovery import rebuild_dedup, restore
from services.aggregate.counting.windows import WINDOWS
from tests.property.test_partition_state import DEDUP_WINDOW, concrete, events, logs, rolling, run, stored

Records = list[list[dict[str, Any]]]
#: Events alone, in three logs.
three_logs = st.lists(st.lists(st.lists(events, min_size=1, max_size=5), max_size=6), min_size=3, max_size=3)
MINUTE_MS = 60_000


def with_own_ids(records: Records) -> Records:
    """The same with an id for every event that no other one has."""
    numbered = iter(range(10**6))
    return [[entry | {"event_id": f"own-{next(numbered)}"} for entry in record] for record in records]


def totals(partitions: list[Records]) -> dict[Key, dict[str, int]]:
    """The totals of some partitions, merged as every reader of the totals topic merges them."""
    view = TotalsView()
    for partition, records in enumerate(partitions):
        for key, value in take_changes(run(records, PartitionState(partition, DEDUP_WINDOW))):
            view.apply(partition, key, value)
    return {
        key: {"last_ms": view.last_ms(key)} | view.actions(key)
        for scope in COUNTED_SCOPES
        for key in view.keys(scope)
    }


@given(three_logs)
@settings(max_examples=40)
def test_merging_partials_is_associative_and_commutative(drawn: list[Records]) -> None:
    """However events are spread over partitions, and in whatever order partials are merged, totals agree."""
    every = iter(with_own_ids(concrete([record for log in drawn for record in log])))
    a, b, c = ([next(every) for _ in log] for log in drawn)
    merged = totals([a, b, c])
    assert totals([c, a, b]) == totals([b, a, c]) == merged, "the order matters"
    assert totals([a + b, c]) == totals([a, b + c]) == totals([a + b + c]) == merged, "the grouping matters"


@given(three_logs, st.data())
@settings(max_examples=40)
def test_readers_may_meet_partials_in_any_order(drawn: list[Records], data: st.DataObject) -> None:
    """A reader has the same totals however the records of the totals' partitions are mixed."""
    changes = []
    for partition, log in enumerate(drawn):
        state = PartitionState(partition, DEDUP_WINDOW)
        for offset, record in enumerate(concrete(log)):
            state.apply(offset, json.dumps(record).encode())
            changes += [(partition, key, value) for key, value in take_changes(state)]
    shuffled = data.draw(st.permutations([partition for partition, _, _ in changes]))
    queues = defaultdict(list)
    for change in changes:
        queues[change[0]].append(change)
    in_order, mixed = TotalsView(), TotalsView()
    for change in changes:
        in_order.apply(*change)
    for partition in shuffled:
        mixed.apply(*queues[partition].pop(0))  # each partition is read in its own order
    assert mixed == in_order


@given(logs, st.randoms(use_true_random=False))
@settings(max_examples=40)
def test_order_within_the_lateness_changes_nothing(log: Records, shuffle: Any) -> None:
    """Events in another order, across clocks too, give the same totals and rolling counts, as long as none is
    later than a day when it is met."""
    records = with_own_ids(concrete(log))
    clocks = [entry for record in records for entry in record if entry["kind"] == "clock"]
    newest = max((clock["stream_time"] for clock in clocks), default=0)
    found = [entry for record in records for entry in record if entry["kind"] != "clock"]
    # A day of ten minutes' buckets is held, and the one in which it begins.
    found = [
        event for event in found if event["occurred_at"] >= newest - 24 * 60 * MINUTE_MS + 10 * MINUTE_MS
    ]
    places = [shuffle.randrange(len(clocks) + 1) for _ in found]
    shuffle.shuffle(found)
    ordered = [[event] for event in sorted(found, key=lambda event: str(event["occurred_at"]))]
    mixed: Records = [[] for _ in range(len(clocks) + 1)]
    for event, place in zip(found, places, strict=True):
        mixed[place].append(event)
    mixed = [group + clocks[at : at + 1] for at, group in enumerate(mixed)]
    one, other = run([*ordered, clocks]), run(mixed)
    assert (one.counted, one.late) == (other.counted, other.late) == (len(found), 0)
    for window in WINDOWS:
        assert rolling(one, window) == rolling(other, window), window
    assert figures(stored(one, {})) == figures(stored(other, {}))


@given(logs, st.lists(st.integers(1, 9), min_size=1, max_size=10))
@settings(max_examples=40)
def test_how_events_are_batched_changes_nothing(log: Records, sizes: list[int]) -> None:
    """The same entries in the same order, in records of other sizes, are counted the same, duplicates too."""
    records = concrete(log)
    entries = [entry for record in records for entry in record]
    again: Records = []
    while entries:
        size = sizes[len(again) % len(sizes)]
        again.append(entries[:size])
        entries = entries[size:]
    one, other = run(records), run(again)
    for name in ("stream_time_ms", "max_event_time_ms", "counted", "duplicates", "late"):
        assert getattr(one, name) == getattr(other, name), name
    for window in WINDOWS:
        assert rolling(one, window) == rolling(other, window), window
    assert figures(stored(one, {})) == figures(stored(other, {}))


@given(logs)
@settings(max_examples=40)
def test_a_restored_state_stores_what_is_stored(log: Records) -> None:
    """Storing right after a restart, before anything was counted, writes nothing that is not there yet."""
    records = concrete(log)
    kept = stored(run(records), {})
    if not records:
        return
    state = PartitionState(0, DEDUP_WINDOW)
    starts = restore(state, kept)
    for offset in range(starts[0].offset, len(records)):
        rebuild_dedup(state, offset, json.dumps(records[offset]).encode())
    assert not state.changed
    assert stored(state, dict(kept)) == kept


def figures(entries: dict[bytes, bytes]) -> dict[bytes, Any]:
    """Stored totals, without the offset of the records that they came in, and without the account of a post.

    A post has one account, but those drawn here have several, of which the last one stands.
    """
    bodies = {key: json.loads(value) for key, value in entries.items()}
    return {
        key: {name: value for name, value in body.items() if name not in ("offset", "account")}
        for key, body in bodies.items()
        if json.loads(key)[0] in COUNTED_SCOPES
    }
