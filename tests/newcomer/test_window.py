"""A newcomer adds a rolling window of seven days: one line in WINDOWS, and no other source file."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from itertools import pairwise
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grafana import live
from services.aggregate.counting.partition_state import PartitionState
from services.aggregate.counting.recovery import rebuild_dedup, restore
from services.aggregate.counting.windows import (
    DAY_MS,
    HOUR_MS,
    MINUTE_MS,
    SECOND_MS,
    TEN_MINUTES_MS,
    WINDOWS,
    Windows,
)
from services.aggregate.series.selected_series import Selection
from services.aggregate.series.subject_collector import SubjectCollector
from tests.property.test_partition_state import (
    DEDUP_WINDOW,
    concrete,
    content,
    events,
    recount,
    rolling,
    stored,
    ticks,
)

Records = list[list[dict[str, Any]]]

#: Late by up to nine days, and by more than a day often.
late_events = st.builds(lambda event, ago_ms: event | {"ago_ms": ago_ms}, events, st.integers(0, 9 * DAY_MS))
#: Stream time moves by up to three days at once, so buckets leave every level.
leaps = st.builds(lambda tick, ms: tick | {"step_ms": ms}, ticks, st.integers(0, 3 * DAY_MS))
logs = st.lists(
    st.lists(st.one_of(events, late_events, late_events, ticks, leaps), min_size=1, max_size=8), max_size=25
)
#: A level between those of the table and one after them.
OTHER_LEVELS = {"10m": (5 * SECOND_MS, 10 * MINUTE_MS), "7d": (HOUR_MS, 7 * DAY_MS)}
#: With the buckets of the 24 hours, and with wider ones of its own.
seven_days = pytest.mark.parametrize("width_ms", [TEN_MINUTES_MS, HOUR_MS])


@contextlib.contextmanager
def table(**windows: tuple[int, int]) -> Iterator[None]:
    """WINDOWS with further lines."""
    with patch.dict(WINDOWS, windows):
        yield


def restarted(state: PartitionState, kept: dict[bytes, bytes], records: Records) -> PartitionState:
    """A new state from what the old one stores, with the ids of the tail read again."""
    stored(state, kept)
    state = PartitionState(0, DEDUP_WINDOW)
    for start in restore(state, kept)[:1]:
        for again in range(start.offset, state.offset + 1):
            rebuild_dedup(state, again, json.dumps(records[again]).encode())
    return state


@seven_days
@given(logs, st.sets(st.integers(0, 25), max_size=4))
@settings(max_examples=80)
def test_a_window_of_seven_days_counts_what_a_recount_counts(
    width_ms: int, log: Records, restarts: set[int]
) -> None:
    """With late events, evicted buckets and restarts, all windows of the table equal a plain recount."""
    records = concrete(log)
    with table(**{"7d": (width_ms, 7 * DAY_MS)}):
        state, kept = PartitionState(0, DEDUP_WINDOW), dict[bytes, bytes]()
        for offset, record in enumerate(records):
            state.apply(offset, json.dumps(record).encode())
            if offset in restarts:
                state = restarted(state, kept, records)
        assert list(state.windows.sums) == ["1m", "5m", "1h", "24h", "7d"]
        for window in WINDOWS:
            assert rolling(state, window) == recount(records, window), window


@seven_days
@given(logs)
@settings(max_examples=40)
def test_a_window_of_seven_days_is_stored_once_and_restored(width_ms: int, log: Records) -> None:
    """Each event is in one stored bucket; a restored state stores and counts the same."""
    records = concrete(log)
    with table(**{"7d": (width_ms, 7 * DAY_MS)}):
        state, kept = PartitionState(0, DEDUP_WINDOW), dict[bytes, bytes]()
        for offset, record in enumerate(records):
            state.apply(offset, json.dumps(record).encode())
            stored(state, kept)
        stored(state, kept)
        again = restarted(state, dict(kept), records)
        assert content(stored(again, dict(kept))) == content(kept)
        held = {key: body for key, body in content(kept).items() if b"bucket" in key}
        spans = sorted((start, start + width) for _, width, start, _ in map(json.loads, held))
        assert all(end <= start for (_, end), (start, _) in pairwise(spans))
        for window in WINDOWS:
            assert rolling(again, window) == rolling(state, window), window


@given(logs, st.tuples(st.integers(0, 25), st.integers(0, 25)))
@settings(max_examples=80)
def test_a_table_that_changes_and_changes_back_loses_nothing(log: Records, places: tuple[int, int]) -> None:
    """Records counted with other levels of buckets, between two restarts, leave every count exact, and no
    stored bucket of a width that is gone."""
    records = concrete(log)
    first, last = sorted(places)
    parts = (range(first), range(first, last), range(last, len(records)))
    state, kept = PartitionState(0, DEDUP_WINDOW), dict[bytes, bytes]()
    for part, further in zip(parts, ({}, OTHER_LEVELS, {}), strict=True):
        with table(**further):
            state = restarted(state, kept, records)
            for offset in part:
                if offset < len(records):
                    state.apply(offset, json.dumps(records[offset]).encode())
            stored(state, kept)
    state = restarted(state, kept, records)
    for window in WINDOWS:
        assert rolling(state, window) == recount(records, window), window
    widths = {width_ms for width_ms, _ in WINDOWS.values()}
    assert {json.loads(key)[1] for key in kept if b"bucket" in key} <= widths


def test_a_stored_bucket_of_a_width_that_is_gone_moves_into_the_finest_that_is_left() -> None:
    """It counts on, is stored under its new width, and its old entry is removed."""
    now = 30 * DAY_MS
    at_ms = now - 7 * MINUTE_MS
    with table(**OTHER_LEVELS):
        before = Windows()
        before.advance(now)
        before.add(at_ms, {1: 3})
        buckets, _ = before.take_changes()
        assert buckets == {(5 * SECOND_MS, at_ms): {1: 3}}
    after = Windows()
    after.advance(now)
    for bucket, counts in buckets.items():
        after.restore(bucket, counts)
    assert after.sums == {"1m": {}, "5m": {}, "1h": {1: 3}, "24h": {1: 3}}
    assert after.take_changes() == ({(MINUTE_MS, at_ms): {1: 3}}, set(buckets))


def test_a_window_of_seven_days_has_series_in_prometheus() -> None:
    """With the label `window`, for named series and for the sum of the others."""
    with table(**{"7d": (HOUR_MS, 7 * DAY_MS)}):
        state = PartitionState(3, DEDUP_WINDOW)
        now = 30 * DAY_MS
        event = {"kind": "interaction", "v": 1, "platform": "twitter", "action": "like", "quantity": 1}
        entries: list[dict[str, Any]] = [{"kind": "clock", "v": 1, "stream_time": now, "source": "wall"}]
        entries += [
            event | {"event_id": f"{account}{days}", "account": account, "occurred_at": now - days * DAY_MS}
            for account in ("GansuTravel", "VisitGansu")
            for days in (0, 2, 6, 8)
        ]
        state.apply(0, json.dumps(entries).encode())
        partition_manager: Any = SimpleNamespace(states=[state])
        selection = Selection("account", [("account", "twitter", "GansuTravel")], 0)
        _, family = SubjectCollector(partition_manager, selection).families()
        found = {
            (series.labels["account"], series.labels["window"]): count for series, count in family.points
        }
        days = {"24h": 1, "7d": 3}
        for account in ("GansuTravel", "_other"):
            assert {window: found[account, window] for window in days} == days


def test_a_window_of_seven_days_is_drawn() -> None:
    """The ranking of hashtags has a column for every window of the table."""
    with table(**{"7d": (HOUR_MS, 7 * DAY_MS)}):
        [panel] = [panel for panel in live.build()["panels"] if panel["title"].startswith("Hashtags")]
        drawn = {window for window in WINDOWS if f'window="{window}"' in json.dumps(panel).replace("\\", "")}
        assert drawn == set(WINDOWS)


@pytest.mark.parametrize(
    ("name", "window", "problem"),
    [
        ("7d", (7_000, 7 * DAY_MS), "whole ones of 1000 ms|not made of whole"),
        ("7d", (500, 7 * DAY_MS), "whole ones of 1000 ms"),
        ("7d", (HOUR_MS, 7 * DAY_MS + 1), "7d is not made of whole buckets"),
    ],
)
def test_a_slip_in_the_table_is_an_error_and_not_a_wrong_count(
    name: str, window: tuple[int, int], problem: str
) -> None:
    """Widths divide each other, lengths are whole buckets."""
    with table(**{name: window}), pytest.raises(ValueError, match=problem):
        Windows()


def test_a_panel_of_a_window_that_is_gone_is_an_error() -> None:
    """Dashboards are not built with a panel that would stay empty."""
    with table():
        del WINDOWS["5m"]
        with pytest.raises(ValueError, match="no window 5m"):
            live.build()


def test_the_window_of_the_top_k_has_to_be_in_the_table() -> None:
    """Otherwise no account would be the busiest."""
    with table():
        del WINDOWS["24h"]
        with pytest.raises(ValueError, match="there is no 24h"):
            Windows()
