"""An account with nearly all of the events fills no partition more than another."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest

from schemas.codec import decode_one
from schemas.reasons import Rejection
from schemas.structs import Event
from services.ingest.pipeline.packing import RecordLimits, pack

RECORD_LIMITS = RecordLimits(1000, 400_000)
START_MS = 1_782_120_600_000


def event(fields: dict[str, Any]) -> Event:
    """An event as ingest has it."""
    found = decode_one(json.dumps(fields).encode())
    assert not isinstance(found, Rejection)
    return found


def interaction(number: int, account: str) -> Event:
    """A like."""
    return event(
        {
            "kind": "interaction", "event_id": f"like-{number}", "occurred_at": START_MS + number,
            "platform": "twitter", "account": account, "action": "like", "post_id": "one-post",
            "broadcast_id": "one-broadcast",
        }
    )  # fmt: skip


def reading(number: int) -> Event:
    """A cumulative figure of the hot account."""
    return event(
        {
            "kind": "reading", "event_id": f"reading-{number}", "occurred_at": START_MS + number,
            "platform": "twitter", "account": "GansuTravel", "metric": "followers", "value": number,
        }
    )  # fmt: skip


@pytest.mark.parametrize("partitions", [4, 12])
def test_the_events_of_one_account_spread_evenly(partitions: int) -> None:
    """99 % of 20,000 events are of one account, one post and one broadcast: its share of each partition is
    even within 5 %."""
    events = [interaction(n, "GansuTravel" if n % 100 else "VisitGansu") for n in range(20_000)]
    hot: Counter[int] = Counter()
    for fragment in pack(events, partitions, RECORD_LIMITS).fragments:
        members = json.loads(b"[" + fragment.data + b"]")
        hot[fragment.partition] += sum(member["account"] == "GansuTravel" for member in members)
    even = sum(hot.values()) / partitions
    assert sum(hot.values()) == 19_800
    assert sorted(hot) == list(range(partitions))
    assert max(abs(count - even) for count in hot.values()) < 0.05 * even


def test_the_readings_of_a_hot_account_stay_in_one_partition_in_order() -> None:
    """Among 20,000 interactions of the account, its followers are in one partition and in the order sent."""
    events = [reading(n) if n % 10 == 0 else interaction(n, "GansuTravel") for n in range(20_000)]
    found: dict[int, list[int]] = {}
    for fragment in pack(events, 8, RECORD_LIMITS).fragments:
        for member in json.loads(b"[" + fragment.data + b"]"):
            if member["kind"] == "reading":
                found.setdefault(fragment.partition, []).append(member["value"])
    assert list(found.values()) == [list(range(0, 20_000, 10))]
