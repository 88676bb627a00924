"""Counts of accounts and hashtags as Prometheus series."""

from __future__ import annotations

import json
from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from services.aggregate.counting.dedup import DedupWindow
from services.aggregate.counting.partition_state import PartitionState
from services.aggregate.series.selected_series import OTHER, Selection
from services.aggregate.series.subject_collector import SubjectCollector
from services.runtime.metrics import NamespacedRegistry, expose

START_MS = 1_782_120_600_000  # 2026-06-22T09:30:00Z


def event(number: int, tag: str, action: str, ago_ms: int) -> dict[str, Any]:
    return {
        "kind": "interaction", "v": 1, "event_id": f"e{number}", "occurred_at": START_MS - ago_ms,
        "platform": "twitter", "account": "GansuTravel", "action": action, "hashtags": [tag],
    }  # fmt: skip


def scrape(registry: NamespacedRegistry) -> dict[str, Counter[tuple[str, ...]]]:
    """Values by (hashtag, action, window, partition)."""
    found: dict[str, Counter[tuple[str, ...]]] = {}
    for family in text_string_to_metric_families(expose(registry)[0].decode()):
        for sample in family.samples:
            labels = sample.labels
            key = (labels["hashtag"], labels["action"], labels.get("window", ""), labels["partition"])
            assert key not in found.setdefault(sample.name, Counter()), f"{key} is there twice"
            found[sample.name][key] = int(sample.value)
    return found


def test_chosen_subjects_have_series_and_the_rest_is_exact() -> None:
    """What is chosen is shown by name, in each window; the others make every sum right, and follows a
    choice that changes."""
    states = [PartitionState(number, DedupWindow(1000, 2)) for number in range(2)]
    selection = SimpleNamespace(scope="hashtag", keys=[("hashtag", "fuxiceremony")])
    partition_manager: Any = SimpleNamespace(states=states)
    selected: Any = selection
    registry = NamespacedRegistry("demo")
    registry.register(SubjectCollector(partition_manager, selected))
    clock = {"kind": "clock", "v": 1, "stream_time": START_MS, "source": "event"}
    for state in states:
        events = [event(1, "fuxiceremony", "like", 5_000), event(2, "tianshui", "like", 200_000)]
        events += [event(3, "silkroad", "repost", 0), event(4, "silkroad", "like", 0)]
        state.apply(0, json.dumps([clock, *events]).encode())

    found = scrape(registry)
    total, rolling = found["fanpulse_hashtag_events_total"], found["fanpulse_hashtag_rolling"]
    assert total["fuxiceremony", "like", "", "0"] == 1
    assert total[OTHER, "like", "", "0"] == 2
    assert total[OTHER, "repost", "", "1"] == 1
    assert rolling["fuxiceremony", "like", "1m", "1"] == 1
    assert rolling[OTHER, "like", "1m", "1"] == 1
    assert rolling[OTHER, "like", "5m", "1"] == 2
    assert not any(name == "silkroad" for name, *_ in total)

    selection.keys = [("hashtag", "silkroad"), ("hashtag", "nosuchtag")]
    found = scrape(registry)
    total = found["fanpulse_hashtag_events_total"]
    assert total["silkroad", "like", "", "0"] == total["silkroad", "repost", "", "0"] == 1
    assert total[OTHER, "like", "", "0"] == 2
    assert total[OTHER, "repost", "", "0"] == 0
    assert sum(total.values()) == sum(state.counted for state in states)


def test_a_partition_that_left_is_gone() -> None:
    """Series of a partition end with its ownership, and come back with it."""
    states = [PartitionState(number, DedupWindow(1000, 2)) for number in range(2)]
    for state in states:
        state.apply(0, json.dumps([event(1, "fuxiceremony", "like", 0)]).encode())
    partition_manager: Any = SimpleNamespace(states=states)
    selection: Any = SimpleNamespace(scope="hashtag", keys=[("hashtag", "fuxiceremony")])
    registry = NamespacedRegistry("")
    registry.register(SubjectCollector(partition_manager, selection))
    both = scrape(registry)
    partition_manager.states = states[1:]
    left = scrape(registry)
    assert {key[3] for key in both["fanpulse_hashtag_events_total"]} == {"0", "1"}
    assert {key[3] for key in left["fanpulse_hashtag_events_total"]} == {"1"}
    partition_manager.states = states
    assert scrape(registry) == both


@pytest.mark.parametrize("tracked", [(), (OTHER,), (OTHER, "tianshui")])
@pytest.mark.parametrize("top", [0, 1, 10])
def test_a_hashtag_with_the_name_of_the_others_is_one_of_them(tracked: tuple[str, ...], top: int) -> None:
    """Chosen or not: no series is there twice, which a scrape would fail on, and the sum is exact."""
    state = PartitionState(0, DedupWindow(1000, 2))
    events = [event(number, OTHER, "like", 0) for number in range(5)]
    state.apply(0, json.dumps([*events, event(9, "tianshui", "like", 0)]).encode())
    selection = Selection("hashtag", [("hashtag", name) for name in tracked], top)
    selection.refresh([state])
    registry = NamespacedRegistry("demo")
    partition_manager: Any = SimpleNamespace(states=[state])
    registry.register(SubjectCollector(partition_manager, selection))
    total = scrape(registry)["fanpulse_hashtag_events_total"]
    assert sum(total.values()) == 6
    assert total[OTHER, "like", "", "0"] >= 5
