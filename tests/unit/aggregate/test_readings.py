"""What a reading is, by the one before it: a rise, a fall, a correction, a reset, a return, or late."""

from __future__ import annotations

import json
from typing import Any

import pytest

from schemas.totals import Key, encode_key
from services.aggregate.counting.dedup import DedupWindow
from services.aggregate.counting.entries import take_changes
from services.aggregate.counting.partition_state import PartitionState
from services.aggregate.counting.readings import Readings
from services.aggregate.counting.recovery import restore

FOLLOWERS: Key = ("reading", "twitter", "GansuTravel", "followers")
READS: Key = ("reading", "facebook", "post/122098431760", "reads")
LIKES: Key = ("reading", "facebook", "post/122098431760", "likes")
VIEWERS: Key = ("reading", "twitter", "broadcast/fuxi-2026", "viewers")

ZERO = {"gained": 0, "lost": 0, "falls": 0, "downward_adjustments": 0, "resets": 0, "reset_by": 0, "late": 0}


def read(key: Key, *values: int) -> Readings:
    """Readings of one figure, a minute apart."""
    readings = Readings()
    for minute, value in enumerate(values):
        readings.take(key, value, 60_000 * (minute + 1))
    return readings


def history(readings: Readings) -> dict[str, Any]:
    """What is stored of the only figure."""
    [(_, entry)] = readings.take_changes()
    return entry


def test_at_first_sight_there_is_only_a_baseline() -> None:
    """214,310 followers at the first look are not 214,310 gained."""
    assert history(read(FOLLOWERS, 214_310)) == {
        "value": 214_310, "at_ms": 60_000, "first": 214_310, **ZERO,
    }  # fmt: skip


def test_rises_are_gained_and_falls_are_lost() -> None:
    """The net figure falls, the gross one does not: 5 came, 2 left, 4 came."""
    assert history(read(FOLLOWERS, 1000, 1005, 1003, 1003, 1007)) == {
        "value": 1007, "at_ms": 300_000, "first": 1000, **ZERO, "gained": 9, "lost": 2, "falls": 1,
    }  # fmt: skip


def test_a_fall_of_what_nobody_can_take_back_is_a_correction() -> None:
    """Reads do not go away by themselves: the platform has purged some."""
    readings = read(READS, 10_000, 12_000, 11_400, 11_900)
    assert readings.downward_adjustments == 1
    assert history(readings) == {
        "value": 11_900, "at_ms": 240_000, "first": 10_000, **ZERO,
        "gained": 2_500, "lost": 600, "downward_adjustments": 1,
    }  # fmt: skip


@pytest.mark.parametrize("key", [FOLLOWERS, READS, LIKES])
def test_a_fall_to_less_than_half_is_a_reset(key: Key) -> None:
    """Nothing is lost by it, and what comes after is measured from where it landed."""
    readings = read(key, 8_000, 9_000, 120, 150)
    assert readings.resets == 1
    assert history(readings) == {
        "value": 150, "at_ms": 240_000, "first": 8_000, **ZERO,
        "gained": 1_030, "resets": 1, "reset_by": -8_880,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("old", "new", "reset"),
    [
        (200, 100, False),  # half is not less than half
        (200, 99, True),
        (198, 98, True),
        (197, 98, False),  # less than half, by 99
        (1, 0, False),
        (99, 0, False),
        (100, 0, True),
    ],
)
def test_the_bounds_of_a_reset(old: int, new: int, reset: bool) -> None:
    """By 100 or more, to less than half: small figures may fall to nothing as people change their mind."""
    entry = history(read(LIKES, old, new))
    assert (entry["resets"], entry["lost"]) == ((1, 0) if reset else (0, old - new))
    assert entry.get("before_reset") == (old if reset else None)


def test_a_figure_that_was_hidden_and_shows_again_is_not_gained_anew() -> None:
    """100,000, nothing for two looks, 100,200: that is 200 more, by two jumps that cancel out."""
    readings = read(FOLLOWERS, 100_000, 0, 0, 100_200)
    assert readings.resets == 2
    assert history(readings) == {
        "value": 100_200, "at_ms": 240_000, "first": 100_000, **ZERO, "gained": 200, "resets": 2,
    }  # fmt: skip


def test_a_return_to_less_is_a_fall_from_before() -> None:
    """Hidden at 10,000, shown again at 9,990: ten were lost meanwhile."""
    entry = history(read(FOLLOWERS, 10_000, 0, 9_990))
    assert (entry["gained"], entry["lost"], entry["falls"], entry["reset_by"]) == (0, 10, 1, 0)


def test_a_count_that_began_anew_grows_from_there() -> None:
    """Only the first change after a reset can be a return; steps that lead there are growth."""
    entry = history(read(READS, 10_000, 0, 3_000, 9_000))
    assert (entry["gained"], entry["resets"], entry["reset_by"]) == (9_000, 1, -10_000)


def test_a_late_reading_changes_nothing_but_its_counter() -> None:
    """Older than the newest one: left out. Of the same time, the later one in the log is newer."""
    readings = read(FOLLOWERS, 100, 110)
    readings.take(FOLLOWERS, 105, 119_999)
    readings.take(FOLLOWERS, 112, 120_000)
    assert readings.late == 1
    assert history(readings) == {
        "value": 112, "at_ms": 120_000, "first": 100, **ZERO, "gained": 12, "late": 1,
    }  # fmt: skip


def test_a_gauge_has_no_deltas() -> None:
    """Viewers come and go between two looks: each reading is a new baseline, and a fall is no reset."""
    readings = read(VIEWERS, 126_000, 214_000, 800)
    readings.take(VIEWERS, 900, 1)
    assert history(readings) == {"value": 800, "at_ms": 180_000, "first": 800, **ZERO, "late": 1}


def test_changes_are_told_once() -> None:
    """What has been stored is not stored again before the next reading; one that changes nothing is stored
    too, for its time."""
    readings = read(FOLLOWERS, 100)
    assert len(list(readings.take_changes())) == 1
    assert list(readings.take_changes()) == []
    readings.take(FOLLOWERS, 100, 120_000)
    assert history(readings)["at_ms"] == 120_000


def test_an_entry_of_an_older_release_is_a_baseline() -> None:
    """It has only value and time. It is stored anew with the offset from which on the course is known."""
    readings = Readings()
    readings.restore(FOLLOWERS, {"value": 900, "at_ms": 60_000, "offset": 41})
    readings.take(FOLLOWERS, 890, 59_999)
    readings.take(FOLLOWERS, 910, 60_001)
    assert history(readings) == {
        "value": 910, "at_ms": 60_001, "first": 900, **ZERO, "gained": 10, "late": 1, "since": 41,
    }  # fmt: skip


def test_a_partition_that_an_older_release_stored_goes_on() -> None:
    """What that release wrote is restored, and is stored with its course at the next flush, even if only
    another figure has had a reading since."""

    def event(account: str, value: int, at_ms: int) -> bytes:
        fields = {"kind": "reading", "v": 1, "event_id": f"{account}{at_ms}", "occurred_at": at_ms}
        of = {"platform": "twitter", "account": account, "metric": "followers", "value": value}
        return json.dumps(fields | of).encode()

    dedup_window = DedupWindow(1000, 2)
    before = PartitionState(0, dedup_window)
    for offset, value in enumerate((1000, 1200, 1100)):
        before.apply(offset, event("GansuTravel", value, offset + 1))
    stored = {key: value for key, value in take_changes(before) if value is not None}
    name = encode_key(FOLLOWERS)
    old = {field: json.loads(stored[name])[field] for field in ("value", "at_ms", "offset")}
    after = PartitionState(0, dedup_window)
    restore(after, {**stored, name: json.dumps(old).encode()})
    after.apply(3, event("GansuHeritage", 50, 9))
    assert json.loads(dict(take_changes(after))[name] or b"") == {
        "value": 1100, "at_ms": 3, "first": 1100, **ZERO, "since": 2, "offset": 3,
    }  # fmt: skip


def test_counters_of_the_partition_are_those_of_its_figures() -> None:
    """After a restart they are the sums over the stored entries."""
    before = read(READS, 10_000, 9_000, 0)
    before.take(FOLLOWERS, 5, 2)
    before.take(FOLLOWERS, 5, 1)
    after = Readings()
    for key, entry in before.take_changes():
        after.restore(key, entry | {"offset": 7})
    assert (after.downward_adjustments, after.resets, after.late) == (1, 1, 1)
    assert after.histories == before.histories
