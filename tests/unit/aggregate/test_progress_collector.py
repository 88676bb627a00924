"""What readings gained and lost, as Prometheus sees it."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

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
    registry.register(ProgressCollector(partition_manager, accounts))
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
