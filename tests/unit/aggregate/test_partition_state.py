"""Figures of a state are right whenever they are read."""

from __future__ import annotations

import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from schemas.log import MAX_CLOCK_AHEAD_MS
from schemas.reasons import Reason
from schemas.selection import Score
from services.aggregate.counting.dedup import DedupWindow
from services.aggregate.counting.entries import take_changes
from services.aggregate.counting.partition_state import PartitionState
from services.aggregate.series.progress_collector import ProgressCollector
from services.aggregate.series.selected_series import Selection, finish
from services.aggregate.series.subject_collector import SubjectCollector
from services.runtime.metrics import NamespacedRegistry, expose

START_MS = 1_782_120_600_000
ACCOUNT = ("account", "twitter", "GansuTravel")


def counted(likes: int) -> PartitionState:
    """A state that has counted likes of one post during a broadcast, and has been asked for nothing."""
    state = PartitionState(0, DedupWindow(1_000, 2))
    clock = {"kind": "clock", "v": 1, "stream_time": START_MS, "source": "event"}
    for offset in range(likes):
        event = {
            "kind": "interaction", "v": 1, "event_id": f"e{offset}", "occurred_at": START_MS,
            "platform": "twitter", "account": "GansuTravel", "action": "like", "post_id": "p1",
            "hashtags": ["fuxi"], "broadcast_id": "fuxi-2026",
            "actor": {"id": "a", "country": "CN", "verified": True},
        }  # fmt: skip
        assert state.apply(offset, json.dumps([event] if offset else [clock, event]).encode()) == []
    return state


def in_window(state: PartitionState, window: str) -> int:
    sums = dict(state.windows.sums[window])  # as they are before anything else is read
    return sums[state.counters.number((*ACCOUNT, "like"))]


def minute(state: PartitionState) -> int:
    return state.broadcasts.minutes["fuxi-2026", START_MS]["like"]


def stored(state: PartitionState) -> int:
    entry = dict(take_changes(state))[b'["account","twitter","GansuTravel"]']
    return int(json.loads(entry or b"")["actions"]["like"])


def exposed(state: PartitionState, collector: str, sample: str) -> int:
    """What a scrape shows, of the only partition there is."""
    owned = SimpleNamespace(state=state, highwater=lambda: 0, applied_at=0.0)
    partition_manager: Any = SimpleNamespace(states=[state], owned={0: owned})
    selection = Selection("account", [ACCOUNT], 0)
    registry = NamespacedRegistry("demo")
    if collector == "subject":
        registry.register(SubjectCollector(partition_manager, selection))
    else:
        registry.register(ProgressCollector(partition_manager, selection, 100))
    for family in text_string_to_metric_families(expose(registry)[0].decode()):
        for found in family.samples:
            if found.name == sample and found.labels.get("account", "GansuTravel") == "GansuTravel":
                return int(found.value)
    raise AssertionError(f"no sample {sample}")


FIGURES: dict[str, Callable[[PartitionState], int]] = {
    "total": lambda state: state.counters.actions(ACCOUNT)["like"],
    "sum over accounts": lambda state: state.counters.sums("account")["like"],
    "country": lambda state: state.counters.actions(("country", "CN"))["like"],
    "VIP": lambda state: state.counters.actions(("vip",))["like"],
    **{f"window of {name}": lambda state, name=name: in_window(state, name) for name in ("1m", "24h")},
    "minute of a broadcast": minute,
    "stored entry": stored,
    "top-K candidates": lambda state: finish(Selection("hashtag", [], 1).candidates(state))[("fuxi",)].total,
    "top-K score": lambda state: finish(Selection("account", [], 1).candidates(state))[ACCOUNT[1:]].recent,
    "series of an account": lambda state: exposed(state, "subject", "fanpulse_account_events_total"),
    "rolling series": lambda state: exposed(state, "subject", "fanpulse_account_rolling"),
    "series of a broadcast": lambda state: exposed(state, "progress", "fanpulse_broadcast_events_total"),
}


@pytest.mark.parametrize("figure", FIGURES)
def test_a_figure_contains_every_record_applied(figure: str) -> None:
    """Whoever reads a figure first, and again after further records, gets it as of the last record."""
    assert FIGURES[figure](counted(3)) == 3
    state = counted(3)
    FIGURES[figure](state)
    event = {
        "kind": "interaction", "v": 1, "event_id": "later", "occurred_at": START_MS, "platform": "twitter",
        "account": "GansuTravel", "action": "like", "hashtags": ["fuxi"], "broadcast_id": "fuxi-2026",
        "actor": {"id": "a", "country": "CN", "verified": True},
    }  # fmt: skip
    state.apply(3, json.dumps(event).encode())
    assert FIGURES[figure](state) == 4


def test_a_selection_is_chosen_by_what_was_counted() -> None:
    """``refresh`` chooses by every record applied."""
    selection = Selection("hashtag", [], 1)
    selection.refresh([counted(2)])
    assert selection.selected == {("fuxi",)}
    assert finish(selection.candidates(counted(2))) == {("fuxi",): Score(2, 2)}


def clock(stream_time: int, source: str | None = "wall") -> bytes:
    record = {"kind": "clock", "v": 1, "stream_time": stream_time}
    return json.dumps([record if source is None else record | {"source": source}]).encode()


def test_a_clock_that_is_ahead_of_the_broker_moves_nothing() -> None:
    """Up to the bound it is obeyed. Beyond, it is a dead letter, and the right clock is still followed."""
    state = PartitionState(0, DedupWindow(1_000, 2))
    assert state.apply(0, clock(START_MS + MAX_CLOCK_AHEAD_MS), START_MS) == []
    assert state.stream_time_ms == START_MS + MAX_CLOCK_AHEAD_MS
    later = START_MS + 60_000
    (bad,) = state.apply(1, clock(later + MAX_CLOCK_AHEAD_MS + 1), later)
    assert (bad.index, bad.reason, state.rejected) == (0, Reason.AHEAD_OF_CLOCK, 1)
    assert json.loads(bad.raw)["stream_time"] == later + MAX_CLOCK_AHEAD_MS + 1
    assert state.stream_time_ms == START_MS + MAX_CLOCK_AHEAD_MS
    assert state.apply(2, clock(later + MAX_CLOCK_AHEAD_MS), later) == []
    assert state.stream_time_ms == later + MAX_CLOCK_AHEAD_MS


def test_the_clock_of_a_replay_may_be_behind_as_far_as_it_likes() -> None:
    """An evening of last year is played."""
    state = PartitionState(0, DedupWindow(1_000, 2))
    assert state.apply(0, clock(START_MS, "event"), START_MS + 10**10) == []
    assert state.stream_time_ms == START_MS


@pytest.mark.parametrize("source", [None, "Wall", "", "event"])
def test_no_clock_is_of_a_time_to_come(source: str | None) -> None:
    """Whatever it says that it follows: nobody who writes to the log can end its windows."""
    state = PartitionState(0, DedupWindow(1_000, 2))
    assert len(state.apply(0, clock(START_MS + 10**10, source), START_MS)) == 1
    assert state.stream_time_ms == 0


def test_what_is_bad_of_a_record_is_named_by_its_own_index() -> None:
    """Dead letters are named by it: two of a record never have the same name."""
    state = PartitionState(0, DedupWindow(1_000, 2))
    wrong = json.loads(clock(START_MS + 10**10))[0]
    right = json.loads(clock(START_MS))[0]
    bad = state.apply(7, json.dumps([{}, wrong, right, 5, wrong]).encode(), START_MS)
    assert sorted(each.index for each in bad) == [0, 1, 3, 4]
    assert state.stream_time_ms == START_MS


@pytest.mark.parametrize("time_ms", [9_223_372_036_854_775_807, 4_102_444_800_000, 2**64, -1, 0])
def test_a_time_of_another_millennium_is_no_time(time_ms: int) -> None:
    """Neither in a clock record, which would end all windows for good, nor in an event."""
    state = PartitionState(0, DedupWindow(1_000, 2))
    event = {
        "kind": "interaction", "v": 1, "event_id": "e", "occurred_at": time_ms, "platform": "twitter",
        "account": "GansuTravel", "action": "like",
    }  # fmt: skip
    for offset, record in enumerate((clock(time_ms), clock(time_ms, "event"), json.dumps(event).encode())):
        assert len(state.apply(offset, record, START_MS)) == 1
    assert (state.stream_time_ms, state.max_event_time_ms, state.counted) == (0, 0, 0)
