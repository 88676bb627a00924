"""Laws of the counting core, against recounts that share no code with it."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any
from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st

import services.aggregate.counting.pre_aggregator as pre_aggregator
from schemas.totals import COUNTED_SCOPES
from services.aggregate.counting.dedup import DedupWindow
from services.aggregate.counting.entries import checkpoint, take_changes
from services.aggregate.counting.partition_state import PartitionState
from services.aggregate.counting.recovery import prepare_replay, rebuild_dedup, restore, restore_checkpoint
from services.aggregate.counting.windows import WINDOWS

START = 1_782_120_600_000  # 2026-06-22T09:30:00Z
DEDUP_WINDOW = DedupWindow(segment_events=7, segments=2, segment_ms=3_000_000)
ACTIONS = ["like", "unlike", "repost", "read"]

events = st.fixed_dictionaries(
    {
        "kind": st.just("interaction"),
        "v": st.just(1),
        "event_id": st.integers(0, 60).map(str),
        "ago_ms": st.one_of(
            st.integers(-300_000, 400_000), st.integers(0, 4_000_000), st.integers(0, 100_000_000)
        ),
        "platform": st.sampled_from(["twitter", "facebook"]),
        "account": st.sampled_from(["GansuTravel", "VisitGansu"]),
        "action": st.sampled_from(ACTIONS),
        "quantity": st.integers(1, 5),
    },
    optional={
        "hashtags": st.lists(
            st.sampled_from(["gansuheritage", "fuxiceremony", "*"]), max_size=2, unique=True
        ),
        "broadcast_id": st.just("fuxi-2026"),
        "post_id": st.sampled_from(["p1", "p2"]),
        "campaign": st.just("fuxi-ceremony-2026"),
        "actor": st.fixed_dictionaries({"id": st.just("x"), "country": st.sampled_from(["CN", "US"])}),
    },
)
ticks = st.integers(0, 2_000_000).map(lambda ms: {"kind": "clock", "v": 1, "step_ms": ms, "source": "wall"})
logs = st.lists(st.lists(st.one_of(events, events, events, ticks), min_size=1, max_size=8), max_size=25)


def concrete(log: list[list[dict[str, Any]]]) -> list[list[dict[str, Any]]]:
    """The drawn log with absolute times."""
    stream_time, records = START, []
    for record in log:
        entries = []
        for drawn in record:
            entry = dict(drawn)
            if entry["kind"] == "clock":
                stream_time += entry.pop("step_ms")
                entry["stream_time"] = stream_time
            else:
                entry["occurred_at"] = stream_time - entry.pop("ago_ms")
            entries.append(entry)
        records.append(entries)
    return records


def counted(records: list[list[dict[str, Any]]]) -> list[tuple[dict[str, Any], int]]:
    """(event, stream time when it came) of each event that is no duplicate: the rule, spelled out."""
    last_segment: dict[str, int] = {}
    ordinal, stream_time, kept = 0, 0, []
    segment, first, began = 0, 0, 0
    for entry in (entry for record in records for entry in record):
        if entry["kind"] == "clock":
            if entry["stream_time"] > stream_time:
                stream_time = entry["stream_time"]
                if began and stream_time - began >= DEDUP_WINDOW.segment_ms:
                    segment, first, began = segment + 1, ordinal, stream_time
                began = began or stream_time
            continue
        if ordinal == first + DEDUP_WINDOW.segment_events:
            segment, first, began = segment + 1, ordinal, stream_time
        ordinal += 1
        before = last_segment.get(entry["event_id"])
        last_segment[entry["event_id"]] = segment
        if before is None or segment - before > DEDUP_WINDOW.segments:
            kept.append((entry, stream_time))
    return kept


def run(
    records: list[list[dict[str, Any]]], state: PartitionState | None = None, first: int = 0
) -> PartitionState:
    state = state or PartitionState(0, DEDUP_WINDOW)
    for offset, record in enumerate(records, first):
        assert state.apply(offset, json.dumps(record).encode()) == []
    return state


def rolling(state: PartitionState, window: str) -> dict[tuple[Any, ...], int]:
    return {state.counters.name(number): count for number, count in state.windows.sums[window].items()}


def stored(state: PartitionState, into: dict[bytes, bytes]) -> dict[bytes, bytes]:
    for key, value in take_changes(state):
        if value is None:
            into.pop(key, None)
        else:
            into[key] = value
    return into


def content(entries: dict[bytes, bytes]) -> dict[bytes, Any]:
    """What stored entries say, apart from when they were stored and in which order a bucket's rows are."""
    found = {}
    for key, value in entries.items():
        body = json.loads(value)
        body.pop("offset")
        found[key] = sorted(map(str, body["rows"])) if "rows" in body else body
    return found


@given(logs)
@settings(max_examples=300)
def test_totals_equal_a_recount(log: list[list[dict[str, Any]]]) -> None:
    """Totals of each account, hashtag, campaign, country, post and broadcast equal a plain recount."""
    records = concrete(log)
    expected: Counter[tuple[Any, ...]] = Counter()
    for entry, _ in counted(records):
        subjects = [("account", entry["platform"], entry["account"])]
        subjects += [("hashtag", tag) for tag in entry.get("hashtags", ())]
        subjects += [("campaign", entry["campaign"])] if "campaign" in entry else []
        subjects += [("country", entry["actor"]["country"])] if "actor" in entry else []
        subjects += [("post", entry["platform"], entry["post_id"])] if "post_id" in entry else []
        subjects += [("broadcast", entry["broadcast_id"])] if "broadcast_id" in entry else []
        for subject in subjects:
            expected[(*subject, entry["action"])] += entry["quantity"]
    state = run(records)
    found = {
        (*subject, action): count
        for scope in COUNTED_SCOPES
        for subject in state.counters.subjects(scope)
        for action, count in state.counters.actions(subject).items()
    }
    assert found == expected
    assert state.counted == len(counted(records))


def recount(records: list[list[dict[str, Any]]], window: str) -> Counter[tuple[Any, ...]]:
    """The count of a window as WINDOWS describes it: of the events in [end - length, end) whose bucket was
    still held when they came. Buckets are held as long as the longest window of their width, and leave
    together with those of the next wider one."""
    width, length = WINDOWS[window]
    wider = min((other for other, _ in WINDOWS.values() if other > width), default=width)
    longest = max(other for each, other in WINDOWS.values() if each == width)

    def end_at(stream_time: int) -> int:
        return (stream_time // width + 1) * width if stream_time else 0

    clocks = [entry["stream_time"] for record in records for entry in record if entry["kind"] == "clock"]
    end = end_at(max(clocks, default=0))
    found: Counter[tuple[Any, ...]] = Counter()
    for entry, then in counted(records):
        at, floor = entry["occurred_at"], (end_at(then) - longest) // wider * wider
        if end - length <= at < end and at // 1000 * 1000 >= floor:
            subjects = [("account", entry["platform"], entry["account"]), ("account", "")]
            subjects += [("hashtag", name) for tag in entry.get("hashtags", ()) for name in (tag, "")]
            for subject in subjects:
                found[(*subject, entry["action"])] += entry["quantity"]
    return found


@given(logs)
@settings(max_examples=300)
def test_rolling_counts_equal_a_recount(log: list[list[dict[str, Any]]]) -> None:
    """Each window's count is that of the events within it that came while their bucket was still held."""
    records = concrete(log)
    state = run(records)
    for window in WINDOWS:
        assert rolling(state, window) == recount(records, window), window


@given(logs, st.lists(st.integers(0, 25), max_size=4))
@settings(max_examples=300)
def test_restored_state_is_the_live_state(log: list[list[dict[str, Any]]], restarts: list[int]) -> None:
    """Storing, restoring and reading on at any points gives the same state and the same stored entries."""
    records = concrete(log)
    live, live_stored = PartitionState(0, DEDUP_WINDOW), {}
    state, kept = PartitionState(0, DEDUP_WINDOW), {}
    for offset, record in enumerate(records):
        data = json.dumps(record).encode()
        live.apply(offset, data)
        state.apply(offset, data)
        stored(live, live_stored)
        if offset in restarts:
            stored(state, kept)
            state = PartitionState(0, DEDUP_WINDOW)
            for start in restore(state, kept)[:1]:
                for again in range(start.offset, state.offset + 1):
                    rebuild_dedup(state, again, json.dumps(records[again]).encode())
            for key in [key for key in kept if b"checkpoint" in key]:
                assert json.loads(kept[key])["ordinal"] == state.dedup.ordinal
    stored(live, live_stored)
    stored(state, kept)
    assert checkpoint(state) == checkpoint(live)
    for window in WINDOWS:
        assert rolling(state, window) == rolling(live, window), window
    assert content(kept) == content(live_stored)


@given(logs, st.lists(st.integers(0, 25), max_size=4), st.lists(st.integers(0, 25), max_size=4))
@settings(max_examples=150)
def test_the_pre_aggregator_holds_nothing_that_is_stored(
    log: list[list[dict[str, Any]]], renewals: list[int], flushes: list[int]
) -> None:
    """A new pre-aggregator in place of the old one, after any flush, changes no stored entry."""
    usual, renewed = PartitionState(0, DEDUP_WINDOW), PartitionState(0, DEDUP_WINDOW)
    usual_stored: dict[bytes, bytes] = {}
    renewed_stored: dict[bytes, bytes] = {}
    for offset, record in enumerate(concrete(log)):
        for state in (usual, renewed):
            assert state.apply(offset, json.dumps(record).encode()) == []
        if offset in renewals:
            assert renewed.counters  # flushes
            renewed._renew_pre_aggregator()
        if offset in flushes:
            stored(usual, usual_stored)
            stored(renewed, renewed_stored)
    assert content(stored(renewed, renewed_stored)) == content(stored(usual, usual_stored))


@given(logs)
@settings(max_examples=150)
def test_what_is_summed_up_in_small_steps_is_the_same(log: list[list[dict[str, Any]]]) -> None:
    """Counts that are folded early, and plans that are made early or forgotten, change nothing."""
    records = concrete(log)
    usual = run(records)
    with patch.multiple(pre_aggregator, _MAX_TARGETS=6, _MAX_GROUPS=5, _MAX_WITHOUT_TARGETS=2, _FEW_GROUPS=3):
        small = run(records)
    assert content(stored(small, {})) == content(stored(usual, {}))
    for window in WINDOWS:
        assert rolling(small, window) == rolling(usual, window), window


@given(logs, st.tuples(*[st.integers(0, 25)] * 3))
@settings(max_examples=300)
def test_what_was_warmed_up_is_what_would_be_read_later(
    log: list[list[dict[str, Any]]], places: tuple[int, int, int]
) -> None:
    """Ids read up to some record, and from there on when more has been counted, are the live ones."""
    records = concrete(log)
    early, later = sorted(places[:2])
    live = run(records[: early + 1])
    kept = stored(live, {})
    ahead = PartitionState(0, DEDUP_WINDOW)
    for start in restore_checkpoint(ahead, kept)[:1]:
        for offset in range(start.offset, min(start.offset + places[2], ahead.offset + 1)):
            rebuild_dedup(ahead, offset, json.dumps(records[offset]).encode())
    for offset, record in enumerate(records[: later + 1]):
        live.apply(offset, json.dumps(record).encode())
    stored(live, kept)
    state = PartitionState(0, DEDUP_WINDOW)
    starts = restore(state, kept)
    following = ahead.dedup.record_offset + 1
    if starts and following > starts[0].offset:
        prepare_replay(state, starts, ahead.dedup.ordinal, ahead.dedup)
    begin = max([following, *(start.offset for start in starts[:1])])
    for offset in range(begin, state.offset + 1):
        rebuild_dedup(state, offset, json.dumps(records[offset]).encode())
    for offset, record in enumerate(records):
        for each in (live, state):
            each.apply(offset, json.dumps(record).encode())
    assert checkpoint(state) == checkpoint(live)
    assert len(state.dedup) == len(live.dedup)


@given(logs)
@settings(max_examples=100)
def test_a_record_counts_once(log: list[list[dict[str, Any]]]) -> None:
    """Records delivered again, at or before the offset reached, change nothing; a second flush stores only
    the position."""
    records = concrete(log)
    state = run(records)
    before = stored(state, {})
    for offset, record in enumerate(records):
        state.apply(offset, json.dumps(record).encode())
    again = take_changes(state)
    assert [key for key, _ in again] == [b'["checkpoint"]']
    assert not records or before[b'["checkpoint"]'] == again[0][1]
