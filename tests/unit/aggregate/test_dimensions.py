"""What each dimension counts of an event, and when it was last seen."""

from __future__ import annotations

import json
from typing import Any

import pytest

from schemas.dimensions import DIMENSIONS
from schemas.totals import TotalsView, bucket_rows, decode_value
from services.aggregate.counting.dedup import DedupWindow
from services.aggregate.counting.entries import take_changes
from services.aggregate.counting.partition_state import PartitionState

START_MS = 1_782_120_600_000
EVENT = {"v": 1, "occurred_at": START_MS, "platform": "twitter", "account": "GansuTravel"}
LIKE = EVENT | {
    "kind": "interaction", "event_id": "like", "action": "like", "quantity": 3, "post_id": "p1",
    "broadcast_id": "fuxi-2026", "hashtags": ["fuxi", "gansu", "fuxi"], "campaign": "heritage",
    "post_format": "live", "actor": {"id": "7", "country": "CN", "verified": True},
}  # fmt: skip
POST = EVENT | {
    "kind": "post", "event_id": "post", "post_id": "p1", "format": "video", "hashtags": ["fuxi"],
    "campaign": "heritage", "broadcast_id": "fuxi-2026", "occurred_at": START_MS + 9_000,
}  # fmt: skip
SUBJECTS: dict[str, list[tuple[str, ...]]] = {
    "account": [("twitter", "GansuTravel")],
    "hashtag": [("fuxi",), ("gansu",)],
    "campaign": [("heritage",)],
    "country": [("CN",)],
    "format": [("live",)],
    "vip": [()],
    "post": [("twitter", "p1")],
    "broadcast": [("fuxi-2026",)],
}


def counted(*events: dict[str, Any]) -> tuple[TotalsView, dict[tuple[Any, ...], int]]:
    """The totals of the events, and the rows of the buckets that are stored of them."""
    state, view, rows = PartitionState(0, DedupWindow(1000, 2)), TotalsView(), {}
    clock = {"kind": "clock", "v": 1, "stream_time": START_MS, "source": "event"}
    for offset, event in enumerate((clock, *events)):
        state.apply(offset, json.dumps([event]).encode())
    for key, value in take_changes(state):
        name = view.apply(0, key, value)
        if name[0] == "bucket" and value is not None:
            for subject, action, count in bucket_rows(decode_value(value)):
                rows[*subject, action] = rows.get((*subject, action), 0) + count
    return view, rows


def test_the_examples_name_every_dimension() -> None:
    """A row that is added to the table needs its subjects here."""
    assert SUBJECTS.keys() == {each.scope for each in DIMENSIONS}


@pytest.mark.parametrize("dimension", DIMENSIONS, ids=lambda each: each.scope)
def test_an_event_counts_for_each_subject_that_it_names(dimension: Any) -> None:
    """Once for each, with its quantity; the newest of two events is when the subject was last seen."""
    older = LIKE | {"event_id": "older", "occurred_at": START_MS - 5_000, "quantity": 1}
    view, rows = counted(LIKE, older)
    assert set(view.keys(dimension.scope)) == {
        (dimension.scope, *names) for names in SUBJECTS[dimension.scope]
    }
    for names in SUBJECTS[dimension.scope]:
        key = (dimension.scope, *names)
        assert view.actions(key) == {"like": 4}
        assert view.last_ms(key) == START_MS
        assert rows.get((*key, "like"), 0) == (4 if dimension.windowed else 0)


@pytest.mark.parametrize("dimension", DIMENSIONS, ids=lambda each: each.scope)
def test_a_post_counts_for_what_posts_feed(dimension: Any) -> None:
    """It is something that its account does: not for the post itself, and nobody acted."""
    view, rows = counted(LIKE, POST)
    names = SUBJECTS[dimension.scope][0] if dimension.scope != "format" else ("video",)
    key = (dimension.scope, *names)
    fed = "post" in dimension.kinds
    assert view.actions(key).get("post", 0) == fed
    assert rows.get((*key, "post"), 0) == (fed and dimension.windowed)
    if fed:
        assert view.last_ms(key) == START_MS + 9_000


@pytest.mark.parametrize("missing", ["absent", "null", "empty"])
def test_what_an_event_does_not_name_is_not_counted(missing: str) -> None:
    """Without its optional fields, an event counts for its account alone."""
    optional = ("post_id", "broadcast_id", "hashtags", "campaign", "post_format", "actor")
    event = {name: value for name, value in LIKE.items() if name not in optional}
    if missing == "null":
        event |= dict.fromkeys(optional)
    elif missing == "empty":
        event |= {"post_id": "", "broadcast_id": "", "hashtags": [], "campaign": ""}
        event |= {"actor": {"id": "7", "country": "", "verified": False}}
    view, _ = counted(event)
    assert {key[0] for key in view.partials} == {"account"}


def test_rows_that_are_sums_are_left_out() -> None:
    """A reader of buckets gets single subjects; sums over all of a scope have an empty name."""
    rows = [["account", "", "like", 7], ["account", "x", "y", "like", 7], ["hashtag", "", "like", 2]]
    assert list(bucket_rows({"rows": rows})) == [(("account", "x", "y"), "like", 7)]
