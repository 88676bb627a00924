"""What the board shows is what was counted, however it got there."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import lru_cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanpulse.board.leaders import Leaders
from fanpulse.board.model import Board, Snapshot
from fanpulse.board.rolling import ACTIVITY, ALL_ACCOUNTS, MINUTE_MS, Rolling
from fanpulse.simulate.organisation import ACCOUNTS, ALIASES, BROADCAST_ID, BROADCAST_TITLE, START_MS
from fanpulse.simulate.scenario import Scenario
from schemas.alerts import Milestone, Spike
from schemas.events import INTERACTIONS
from tests.support.board_stream import ALIAS_TABLE, WRITTEN_MS, Publisher, thinned

MINUTES = 40


class Recount:
    """The same stream, counted by a few lines that share nothing with the board."""

    def __init__(self) -> None:
        self.accounts: Counter[tuple[str, str, str]] = Counter()
        self.hashtags: Counter[str] = Counter()
        self.countries: Counter[str] = Counter()
        self.minutes: Counter[tuple[str, int]] = Counter()
        self.broadcast: Counter[int] = Counter()
        self.seconds: Counter[tuple[str, int]] = Counter()
        self.readings: dict[tuple[str, str], tuple[int, int]] = {}
        self.viewers: dict[str, tuple[int, int]] = {}
        self.events = self.distinct = 0
        self._ids: set[str] = set()

    def take(self, event: dict[str, Any]) -> None:
        self.events += 1
        if event["event_id"] in self._ids:
            return
        self._ids.add(event["event_id"])
        self.distinct += 1
        at_ms, account = int(event["occurred_at"]), event["account"]
        if event["kind"] == "reading" and event["metric"] == "followers":
            known = self.readings.get((event["platform"], account), (0, 0))
            self.readings[event["platform"], account] = max(known, (at_ms, event["value"]))
        if event["kind"] == "reading" and event["metric"] == "viewers":
            newest = self.viewers.get(event["platform"], (0, 0))
            self.viewers[event["platform"]] = max(newest, (at_ms, event["value"]))
        if event["kind"] not in ("interaction", "post"):
            return
        action = event.get("action", "post")
        quantity = event.get("quantity", 1)
        self.accounts[event["platform"], account, action] += quantity
        if action in ACTIVITY:
            self.minutes[account, at_ms // MINUTE_MS] += quantity
            self.seconds[account, at_ms // 1_000] += quantity
            self.hashtags.update(dict.fromkeys(event["hashtags"], quantity))
            country = event.get("actor", {}).get("country")
            self.countries.update({country: quantity} if country and action != "post" else {})
        if action in INTERACTIONS and event.get("broadcast_id"):
            self.broadcast[at_ms // MINUTE_MS] += quantity


@lru_cache(maxsize=1)
def played() -> tuple[Snapshot, Recount]:
    board, recount = Board(ALIAS_TABLE), Recount()
    Publisher(board, tap=recount.take).play(thinned(Scenario(minutes=MINUTES).items, 3))
    return board.snapshot(WRITTEN_MS + 400, hashtags=100, countries=100), recount


def test_every_account_has_its_totals_and_readings() -> None:
    """Each action, the followers and the sum over all accounts are those of a recount."""
    snapshot, recount = played()
    assert [(row.platform, row.name) for row in snapshot.accounts] == sorted(
        (account.platform, account.handle) for account in ACCOUNTS
    )
    for row in snapshot.accounts:
        own = {
            action: n for (p, a, action), n in recount.accounts.items() if (p, a) == (row.platform, row.name)
        }
        assert row.actions == own
        assert row.followers == recount.readings[row.platform, row.name][1]
    assert snapshot.all_accounts.followers == sum(value for _, value in recount.readings.values())
    assert snapshot.all_accounts.activity == sum(
        n for (*_, a), n in recount.accounts.items() if a in ACTIVITY
    )


def test_minutes_and_rates_are_exact_in_event_time() -> None:
    """Each minute of the last hour, and the minute up to now, has what happened in it, late events too."""
    snapshot, recount = played()
    last, last_second = snapshot.stream_time_ms // MINUTE_MS, snapshot.stream_time_ms // 1_000
    assert len(snapshot.accounts) == len(ACCOUNTS)
    for row in snapshot.accounts:
        wanted = [recount.minutes[row.name, minute] for minute in range(last - 59, last + 1)]
        assert list(row.minutes) == wanted
        assert row.per_minute == sum(
            recount.seconds[row.name, second] for second in range(last_second - 59, last_second + 1)
        )
    assert sum(snapshot.all_accounts.minutes) == sum(recount.minutes.values()) - sum(
        count for (_, minute), count in recount.minutes.items() if minute < last - 59
    )
    assert snapshot.all_accounts.per_minute == sum(row.per_minute for row in snapshot.accounts)
    assert snapshot.all_accounts.per_minute > 100


def test_hashtags_and_countries_are_ranked_by_activity() -> None:
    """The order and the counts are the recount's, a language pair is one, under its display name."""
    snapshot, recount = played()
    assert {row.name: row.activity for row in snapshot.hashtags} == {
        ALIAS_TABLE.display(tag): count for tag, count in recount.hashtags.most_common(64)
    }
    assert {row.name for row in snapshot.hashtags[:4]} == set(ALIASES)
    assert snapshot.hashtags_seen == len(recount.hashtags)
    assert {row.name: row.activity for row in snapshot.countries} == dict(recount.countries)
    activities = [row.activity for row in snapshot.countries]
    assert activities == sorted(activities, reverse=True)


def test_counts_of_the_stream_are_those_of_its_checkpoints() -> None:
    """Counted, duplicates and the age of the data."""
    snapshot, recount = played()
    assert snapshot.counted == recount.distinct
    assert snapshot.duplicates == recount.events - recount.distinct
    assert snapshot.age_seconds == 0.4


def test_a_broadcast_has_its_phase_viewers_and_minutes() -> None:
    """Minutes that are closed have what came in time; the rest of the panel is what the events say."""
    snapshot, recount = played()
    (panel,) = snapshot.broadcasts
    assert (panel.title, panel.phase) == (BROADCAST_TITLE, "preheat")
    assert panel.since_ms == START_MS + MINUTE_MS
    assert panel.started_ms is None
    assert panel.viewers == sum(value for _, value in recount.viewers.values())
    assert panel.viewers > 1_000
    assert panel.interactions == sum(recount.broadcast.values())
    first = panel.last_start_ms // MINUTE_MS - len(panel.minutes) + 1
    assert len(panel.minutes) == 120
    assert sum(panel.minutes) > 0.9 * panel.interactions > 0
    for number, count in enumerate(panel.minutes):
        happened = recount.broadcast[first + number]
        assert happened * 0.95 - 2 <= count <= happened


def milestone(number: int, **changes: Any) -> Milestone:
    values: dict[str, Any] = {
        "id": f"m{number}",
        "rule": "r",
        "scope": "account",
        "subject": ("twitter", "GansuTravel"),
        "metric": "like",
        "occurred_at": START_MS + number * MINUTE_MS,
        "decided_at": 1,
        "as_of": (),
        "text": "t",
        "threshold": 10_000,
        "total": 10_003,
    }
    return Milestone.model_validate(values | changes)


def spike(number: int) -> Spike:
    return Spike(
        id=f"s{number}",
        rule="r",
        scope="broadcast",
        subject=(BROADCAST_ID,),
        metric="interactions",
        occurred_at=START_MS + 71 * MINUTE_MS,
        decided_at=1,
        as_of=(),
        text="t",
        number=number,
        observed=2_273,
        baseline=334.0,
        window_minutes=30,
        factor=6.8,
    )


def test_alerts_are_listed_in_short_the_newest_first() -> None:
    """An alert that is read again is no news, nor is a milestone that a higher one superseded at once."""
    board = Board(ALIAS_TABLE)
    for alert in (milestone(1), spike(1), milestone(2, superseded_by="m3"), milestone(3, threshold=20_000)):
        board.apply_alert(alert.id.encode(), alert.model_dump_json().encode())
    again = milestone(1)
    assert board.apply_alert(again.id.encode(), again.model_dump_json().encode()) is None
    new = milestone(4, scope="hashtag", subject=("fuxiceremony",), metric="interactions")
    line = board.apply_alert(new.id.encode(), new.model_dump_json().encode())
    assert line is not None
    assert line.text == "#FuxiCeremony 10,000 interactions"
    snapshot = board.snapshot(0)
    assert [alert.text for alert in snapshot.alerts] == [
        "6.8x normal: 2,273/min, was 334",
        "#FuxiCeremony 10,000 interactions",
        "@GansuTravel 20,000 likes",
        "@GansuTravel 10,000 likes",
    ]
    assert (snapshot.milestones, snapshot.spikes) == (4, 1)
    board.apply_alert(b"m1", None)
    assert board.snapshot(0).milestones == 3


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (b"", b""),
        (b"not json", b"{}"),
        (b"42", b"{}"),
        (b"[]", b"{}"),
        (b'["account","twitter","x"]', b"not json"),
        (b'["account","twitter","x"]', b"[1]"),
        (b'["checkpoint"]', b'{"partition":"a"}'),
        (b'["bucket",1000]', b'{"rows":[]}'),
        (b'["bucket",1000,0,0]', b'{"lines":[]}'),
        (b'["bucket",1000,0,0]', b'{"rows":[3]}'),
        (b'["of a newer version","x"]', b"{}"),
        (b'["hashtag","\xff"]', b"{}"),
    ],
)
def test_an_unknown_record_is_left_out(key: bytes, value: bytes) -> None:
    """The board goes on, and its snapshot is that of an empty one."""
    board = Board(ALIAS_TABLE)
    board.apply_total(0, key, value, 1)
    board.apply_alert(key, value)
    assert replace(board.snapshot(0), age_seconds=None) == Board(ALIAS_TABLE).snapshot(0)


def test_an_empty_stream_has_a_snapshot() -> None:
    """Nothing was counted, and how old the data is, is unknown."""
    snapshot = Board(ALIAS_TABLE).snapshot(1_000)
    assert (snapshot.stream_time_ms, snapshot.age_seconds, snapshot.per_second) == (0, None, 0)


KEYS = st.sampled_from([("account", "twitter", name) for name in "abcdefgh"])


@given(st.lists(st.tuples(KEYS, st.integers(0, 50)), max_size=60), st.integers(1, 4))
def test_leaders_are_the_highest_of_all_however_they_grew(steps: list[tuple[Any, int]], size: int) -> None:
    """For counts that only grow, the few that are kept include all of the highest."""
    leaders, counts = Leaders(size), Counter[Any]()
    for key, more in steps:
        counts[key] += more
        leaders.update(key, counts[key])
    first = sorted(counts.values(), reverse=True)[:size]
    assert [counts[key] for key in leaders.top(size)] == first


ROWS = st.lists(
    st.tuples(st.sampled_from("ab"), st.sampled_from(["like", "comment", "read"]), st.integers(1, 9)),
    max_size=4,
)
BUCKETS = st.tuples(
    st.integers(0, 1), st.sampled_from([1_000, 60_000, 600_000]), st.integers(0, 3), st.integers(0, 1)
)


@given(st.lists(st.tuples(BUCKETS, st.none() | ROWS), max_size=40))
def test_rolling_counts_are_those_of_the_newest_version_of_each_bucket(steps: list[Any]) -> None:
    """Buckets are replaced and removed in any order; minutes and seconds add up to what is left."""
    rolling, kept = Rolling(), {}
    for (partition, width, index, part), rows in steps:
        value = None
        if rows is not None:
            value = {"rows": [["account", "twitter", name, action, n] for name, action, n in rows]}
        rolling.apply(partition, ("bucket", width, index * width, part), value)
        kept[partition, width, index, part] = rows or []
    for minute in range(4):
        inside = [
            (name, action, n)
            for (_, width, index, _), rows in kept.items()
            for name, action, n in rows
            if width <= MINUTE_MS and index * width // MINUTE_MS == minute and action != "read"
        ]
        stream_time_ms = minute * MINUTE_MS + 30_000
        for name in "ab":
            own = sum(n for each, _, n in inside if each == name)
            assert rolling.minutes(("account", "twitter", name), stream_time_ms, 1) == (own,)
        assert rolling.minutes(ALL_ACCOUNTS, stream_time_ms, 1) == (sum(n for _, _, n in inside),)
    seconds = sum(
        n
        for (_, width, *_), rows in kept.items()
        for _, action, n in rows
        if width == 1_000 and action != "read"
    )
    assert rolling.last_minute(ALL_ACCOUNTS, 59_000) == seconds
