"""What readings gained and lost, as Prometheus sees it."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from services.aggregate.counting.dedup import DedupWindow
from services.aggregate.counting.partition_state import PartitionState
from services.aggregate.series.progress_collector import ProgressCollector
from services.aggregate.series.selected_series import Selection

TRAVEL = {"platform": "twitter", "account": "GansuTravel"}


def exposed(*readings: tuple[str, int, int], **more: Any) -> CollectorRegistry:
    """Metrics after readings (metric, value, event time) of GansuTravel, which is tracked, in partition 3."""
    state = PartitionState(3, DedupWindow(1000, 2))
    for offset, (metric, value, at_ms) in enumerate(readings):
        event = {
            "kind": "reading", "v": 1, "event_id": f"r{offset}", "occurred_at": at_ms,
            **TRAVEL, "metric": metric, "value": value, **more,
        }  # fmt: skip
        assert state.apply(offset, json.dumps(event).encode()) == []
    owned = SimpleNamespace(state=state, highwater=lambda: 0, applied_at=0.0)
    partition_manager: Any = SimpleNamespace(states=[state], owned={3: owned})
    accounts = Selection("account", [("account", "twitter", "GansuTravel")], 0)
    registry = CollectorRegistry()
    registry.register(ProgressCollector(partition_manager, accounts, 100))
    return registry


def test_value_gained_and_lost_are_exposed() -> None:
    """1,000, then 5 more, then 2 fewer: the figure falls, its counters do not."""
    metrics = exposed(("followers", 1000, 1), ("followers", 1005, 2), ("followers", 1003, 3))
    labels = {**TRAVEL, "metric": "followers"}
    assert metrics.get_sample_value("fanpulse_account_reading", labels) == 1003
    labels["partition"] = "3"
    assert metrics.get_sample_value("fanpulse_account_reading_gained_total", labels) == 5
    assert metrics.get_sample_value("fanpulse_account_reading_lost_total", labels) == 2


def test_a_gauge_has_a_value_and_no_counters() -> None:
    """Viewers gain and lose nothing that could be told from two looks."""
    metrics = exposed(("viewers", 500, 1), ("viewers", 700, 2))
    labels = {**TRAVEL, "metric": "viewers"}
    assert metrics.get_sample_value("fanpulse_account_reading", labels) == 700
    labels["partition"] = "3"
    assert metrics.get_sample_value("fanpulse_account_reading_gained_total", labels) is None


def test_adjustments_resets_and_late_readings_are_counted() -> None:
    """Of every figure of the partition, also of posts, which have no series of their own."""
    metrics = exposed(
        ("reads", 9_000, 10), ("reads", 8_000, 20), ("reads", 0, 30), ("reads", 7, 29), post_id="p1"
    )
    for name in ("reading_downward_adjustments", "reading_resets", "late_readings"):
        assert metrics.get_sample_value(f"fanpulse_{name}_total", {"partition": "3"}) == 1, name
    assert metrics.get_sample_value("fanpulse_account_reading", {**TRAVEL, "metric": "reads"}) is None


def broadcasting(*likes: tuple[str, int, int], top: int) -> dict[str, float]:
    """Likes on /metrics by broadcast, after likes (broadcast, quantity, event time in minutes)."""
    state = PartitionState(0, DedupWindow(1000, 2))
    for offset, (broadcast_id, quantity, minute) in enumerate(likes):
        event = {
            "kind": "interaction", "v": 1, "event_id": f"l{offset}", "occurred_at": 60_000 * minute + 1,
            **TRAVEL, "action": "like", "quantity": quantity, "broadcast_id": broadcast_id,
        }  # fmt: skip
        assert state.apply(offset, json.dumps(event).encode()) == []
    partition_manager: Any = SimpleNamespace(states=[state], owned={})
    registry = CollectorRegistry()
    registry.register(ProgressCollector(partition_manager, Selection("account", [], 0), top))
    found = [sample for metric in registry.collect() for sample in metric.samples]
    of_events = [sample for sample in found if sample.name == "fanpulse_broadcast_events_total"]
    series = [tuple(sorted(sample.labels.items())) for sample in of_events]
    assert len(series) == len(set(series)), "a series is there twice"
    return {sample.labels["broadcast"]: sample.value for sample in of_events}


def test_broadcasts_beyond_the_bound_are_summed() -> None:
    """The newest have series of their own; with the sum of the others nothing is missing."""
    invented = [(f"invented-{number}", 1, 10) for number in range(500)]
    likes = broadcasting(("old", 7, 1), ("fuxi-2026", 900, 10), *invented, ("silk-road", 2, 10), top=3)
    assert len(likes) == 4
    assert likes["fuxi-2026"] == 900
    assert likes["silk-road"] == 2
    assert sum(likes.values()) == 7 + 900 + 500 + 2


@pytest.mark.parametrize("top", [0, 1, 5])
def test_a_broadcast_with_the_name_of_the_others_is_one_of_them(top: int) -> None:
    """No series is there twice, and the sum is exact."""
    likes = broadcasting(("_other", 3, 1), ("a", 4, 2), ("b", 5, 3), top=top)
    assert sum(likes.values()) == 12
    assert likes["_other"] == 12 - (5 if top else 0) - (4 if top > 1 else 0)
