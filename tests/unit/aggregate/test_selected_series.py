"""Which accounts and hashtags get series of their own."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterable

import pytest

from schemas.selection import (
    MAX_BYTES,
    Score,
    decode_candidates,
    decode_selected,
    encode_candidates,
    encode_selected,
)
from services.aggregate.counting.dedup import DedupWindow
from services.aggregate.counting.partition_state import PartitionState
from services.aggregate.series.selected_series import Selection, finish
from services.aggregate.series.top_k_candidates import COUNTS_PER_CANDIDATE, candidates
from services.aggregate.service import selections
from services.runtime.settings import AggregateSettings

START_MS = 1_782_120_600_000
DAY_MS = 86_400_000
Scores = dict[tuple[str, ...], Score]


def counted(tags: Iterable[str], at_ms: int = START_MS, partition: int = 0) -> PartitionState:
    """A state that has counted a like of GansuTravel with each of these hashtags."""
    state = PartitionState(partition, DedupWindow(1_000_000, 2))
    count(state, tags, at_ms)
    return state


def count(state: PartitionState, tags: Iterable[str], at_ms: int) -> None:
    """Count further ones."""
    entries: list[dict[str, object]] = [{"kind": "clock", "v": 1, "stream_time": at_ms, "source": "event"}]
    entries += [
        {
            "kind": "interaction", "v": 1, "event_id": f"{state.offset}-{number}", "occurred_at": at_ms,
            "platform": "twitter", "account": "GansuTravel", "action": ("like", "repost")[number % 2],
            "hashtags": [tag],
        }
        for number, tag in enumerate(tags)
    ]  # fmt: skip
    assert state.apply(state.offset + 1, json.dumps(entries).encode()) == []


def best(state: PartitionState, limit: int, also: Iterable[tuple[str, ...]] = ()) -> Scores:
    return finish(candidates(state, "hashtag", limit, also))


@pytest.mark.parametrize("subjects", [5, 40, 3_000])
def test_candidates_are_the_busiest(subjects: int) -> None:
    """With few subjects and with many, the candidates are those of a plain sort, with their counts."""
    draw = random.Random(subjects)
    tags = [f"tag{int(draw.paretovariate(0.7)) % subjects}" for _ in range(6_000)]
    state, limit = counted(tags), 10
    expected = sorted(Counter(tags).items(), key=lambda item: (item[1], (item[0],)), reverse=True)[:limit]
    assert best(state, limit) == {(tag,): Score(n, n) for tag, n in expected}


def test_candidates_are_ranked_by_the_last_24_hours_then_by_the_total() -> None:
    """Who was busy the day before comes after who has one event today, and before who was less busy then."""
    state = counted([*["old"] * 50, *["older"] * 40, *["oldest"] * 30])
    count(state, ["new"], START_MS + 2 * DAY_MS)
    assert best(state, 3) == {("new",): Score(1, 1), ("old",): Score(0, 50), ("older",): Score(0, 40)}


def test_a_quiet_day_with_many_subjects_is_filled_up_by_totals() -> None:
    """The same where the subjects are too many to look at each."""
    many = 2 * COUNTS_PER_CANDIDATE
    state = counted([*["old"] * 3, *(f"tag{number}" for number in range(many))])
    count(state, ["new"], START_MS + 2 * DAY_MS)
    assert best(state, 2) == {("new",): Score(1, 1), ("old",): Score(0, 3)}


def test_those_asked_for_are_among_the_candidates() -> None:
    """What is chosen now keeps its count, also where it is no longer busy; what has no events is left out."""
    state = counted([*["big"] * 9, *["small"] * 2])
    assert best(state, 1, [("small",), ("unknown",)]) == {("big",): Score(9, 9), ("small",): Score(2, 2)}


def test_no_series_no_candidates() -> None:
    """A limit of 0 costs nothing."""
    assert best(counted(["a"]), 0) == {}


def test_records_may_be_counted_between_the_steps() -> None:
    """New subjects that come while candidates are looked for do no harm."""
    state = counted(f"tag{number}" for number in range(50_000))
    steps, rounds = candidates(state, "hashtag", 3, [("tag7",)]), 0
    while True:
        try:
            next(steps)
        except StopIteration as end:
            found: Scores = end.value
            break
        rounds += 1
        count(state, [f"new{rounds}", "tag7"], START_MS + rounds)
    assert rounds > 2
    # Of 50,000 with one event each three are the busiest; tag7 was asked for, and its count grew meanwhile.
    assert 1 <= found.pop(("tag7",)).total <= rounds + 1
    assert 2 <= len(found) <= 3
    assert set(found.values()) == {Score(1, 1)}
    assert best(state, 1) == {("tag7",): Score(rounds + 1, rounds + 1)}


def test_series_are_selected_by_the_sum_of_the_partitions() -> None:
    """A subject that is nowhere first may be so in the sum; tracked ones take no place of others."""
    selection = Selection("hashtag", [("hashtag", "own")], 1)
    partials: list[Scores] = [
        {("a",): Score(9, 9), ("both",): Score(8, 8), ("own",): Score(99, 99)},
        {("b",): Score(9, 9), ("both",): Score(8, 8)},
    ]
    assert selection.select(partials) == {("both",)}
    selection.follow({("both",)})
    assert selection.keys == [("hashtag", "both"), ("hashtag", "own")]


def test_a_newcomer_needs_a_quarter_more() -> None:
    """A chosen subject keeps its series against one of less than 1.25 times its events."""
    selection = Selection("hashtag", [], 1)
    selection.follow({("chosen",)})
    for events, winner in ((124, "chosen"), (126, "newcomer")):
        partial: Scores = {
            ("chosen",): Score(100, 100),
            ("newcomer",): Score(events, events),
        }
        assert selection.select([partial]) == {(winner,)}


def test_records_of_the_topic_come_back_as_they_were() -> None:
    """Candidates and choices, encoded and decoded, are the same; equal ones have equal bytes."""
    scores: Scores = {("twitter", "GansuTravel"): Score(5, 9), ("facebook", "VisitGansu"): Score(7, 7)}
    assert decode_candidates(encode_candidates(scores)) == scores
    assert encode_candidates(scores) == encode_candidates(dict(reversed(scores.items())))
    assert decode_selected(encode_selected(scores)) == set(scores)


def test_a_record_of_the_topic_is_bounded() -> None:
    """Of more subjects than fit into a record, the busiest are kept."""
    scores: Scores = {(f"{number}{'x' * 990}",): Score(number, number) for number in range(1_000)}
    data = encode_candidates(scores)
    kept = decode_candidates(data)
    assert MAX_BYTES - 2_000 < len(data) < MAX_BYTES + 100
    assert min(score.recent for score in kept.values()) == 1_000 - len(kept)


def test_own_accounts_have_series_without_any_top_k() -> None:
    """However busy others are, they cannot take the place of an own account."""
    own = [("twitter", "GansuTravel"), ("facebook", "Gansu")]
    accounts, _ = selections(AggregateSettings(top_accounts=1), own)
    accounts.follow([("twitter", "Invented")])
    assert {key[1:] for key in accounts.keys} == {*own, ("twitter", "Invented")}
