"""Laws of readings: what an auditor can prove exactly, whatever a platform reports."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.totals import Key, encode_key
from services.aggregate.counting.dedup import DedupWindow
from services.aggregate.counting.entries import take_changes
from services.aggregate.counting.partition_state import PartitionState
from services.aggregate.counting.readings import CounterHistory, Readings
from services.aggregate.counting.recovery import rebuild_dedup, restore

METRICS = ["followers", "reads", "likes", "comments", "reposts", "viewers"]
GROSS = ("gained", "lost", "falls", "downward_adjustments", "resets", "late")

values = st.one_of(st.integers(0, 400), st.integers(0, 40_000), st.integers(0, 10**12))
readings = st.lists(
    st.tuples(st.sampled_from(METRICS[:2] + METRICS[-1:]), values, st.integers(1, 30)), max_size=60
)


def key(metric: str) -> Key:
    return ("reading", "twitter", "GansuTravel", metric)


def taken(log: list[tuple[str, int, int]], into: Readings | None = None) -> Readings:
    into = into or Readings()
    for metric, value, at_ms in log:
        into.take(key(metric), value, at_ms)
    return into


def counts(history: CounterHistory) -> dict[str, int]:
    return {name: getattr(history, name) for name in GROSS}


@given(st.lists(st.tuples(st.sampled_from(METRICS), values, st.integers(1, 30)), max_size=60))
@settings(max_examples=300)
def test_every_step_is_accounted_for(log: list[tuple[str, int, int]]) -> None:
    """After each reading value == first + gained - lost + reset_by; gross figures and counters never fall;
    the value is the one that the platform reported last; the baseline of a count stays."""
    state = Readings()
    reported: dict[str, tuple[int, int]] = {}
    before: dict[str, CounterHistory] = {}
    for metric, value, at_ms in log:
        state.take(key(metric), value, at_ms)
        if at_ms >= reported.get(metric, (0, 0))[0]:
            reported[metric] = (at_ms, value)
        history = state.histories[key(metric)]
        assert (history.at_ms, history.value) == reported[metric]
        assert history.value == history.first + history.gained - history.lost + history.reset_by
        old = before.get(metric)
        if old is not None:
            assert all(counts(history)[name] >= counts(old)[name] for name in GROSS)
            assert metric == "viewers" or history.first == old.first
        before[metric] = CounterHistory(
            **{name: getattr(history, name) for name in CounterHistory.__struct_fields__}
        )
    for name in ("downward_adjustments", "resets", "late"):
        assert getattr(state, name) == sum(getattr(history, name) for history in state.histories.values())


@given(readings)
@settings(max_examples=300)
def test_late_readings_change_nothing_but_their_counter(log: list[tuple[str, int, int]]) -> None:
    """Without them the histories are the same, and the counter is the number that was left out."""
    newest: dict[str, int] = {}
    kept = []
    for metric, value, at_ms in log:
        if at_ms >= newest.get(metric, 0):
            newest[metric] = at_ms
            kept.append((metric, value, at_ms))
    found, without = taken(log), taken(kept)
    assert found.late == len(log) - len(kept)
    for history in found.histories.values():
        history.late = 0
    assert found.histories == without.histories


@given(readings, st.sets(st.integers(0, 60), max_size=5))
@settings(max_examples=300)
def test_a_restart_at_any_reading_changes_nothing(
    log: list[tuple[str, int, int]], restarts: set[int]
) -> None:
    """Stored, restored and read on, as after a crash or in a replay: the same histories and counters."""
    stored: dict[Key, dict[str, Any]] = {}
    state = Readings()
    for number, each in enumerate(log):
        taken([each], state)
        if number in restarts:
            stored.update(state.take_changes())
            state = Readings()
            for name, entry in stored.items():
                state.restore(name, entry | {"offset": number})
    live = taken(log)
    assert state.histories == live.histories
    assert (state.downward_adjustments, state.resets, state.late) == (
        live.downward_adjustments,
        live.resets,
        live.late,
    )


@given(readings)
@settings(max_examples=300)
def test_lost_is_made_of_falls_and_downward_adjustments_only(log: list[tuple[str, int, int]]) -> None:
    """Something is lost exactly if a fall or a downward adjustment was counted, each for its own metrics; a
    gauge never gains or loses."""
    histories = taken(log).histories
    for name, history in histories.items():
        assert (history.lost > 0) == (history.falls + history.downward_adjustments > 0)
        assert history.lost >= history.falls + history.downward_adjustments
        assert history.downward_adjustments == 0 or name[-1] == "reads"
        assert history.falls == 0 or name[-1] != "reads"
        assert name[-1] != "viewers" or (history.gained, history.lost, history.reset_by) == (0, 0, 0)


def event(number: int, metric: str, value: int, at_ms: int) -> bytes:
    """A record of one reading; a third of them repeat the one before them."""
    return json.dumps(
        {
            "kind": "reading", "v": 1, "event_id": f"r{number - number % 3 // 2}", "occurred_at": at_ms,
            "platform": "twitter", "account": "GansuTravel", "metric": metric, "value": value,
        }
    ).encode()  # fmt: skip


@given(readings, st.sets(st.integers(0, 60), max_size=5))
@settings(max_examples=200)
def test_a_partition_stores_and_restores_its_histories(
    log: list[tuple[str, int, int]], restarts: set[int]
) -> None:
    """Through the records of engagement.totals.v1, with repeated events left out: as live, and as stored."""
    dedup_window = DedupWindow(segment_events=1000, segments=2)
    stored: dict[bytes, bytes | None] = {}
    state, live = PartitionState(0, dedup_window), PartitionState(0, dedup_window)
    for number, each in enumerate(log):
        for into in (state, live):
            into.apply(number, event(number, *each))
        if number in restarts:
            stored.update(take_changes(state))
            state = PartitionState(0, dedup_window)
            restore(state, {name: value for name, value in stored.items() if value is not None})
            for again in range(number + 1):
                rebuild_dedup(state, again, event(again, *log[again]))
    stored.update(take_changes(state))
    assert state.readings.histories == live.readings.histories
    once = [each for number, each in enumerate(log) if number % 3 != 2]
    assert live.readings.histories == taken(once).histories
    for name, history in live.readings.histories.items():
        entry = json.loads(stored[encode_key(name)] or b"")
        assert {field: entry.get(field, 0) for field in GROSS} == counts(history)
