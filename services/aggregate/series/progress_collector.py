"""Readings, broadcasts and progress as Prometheus metrics, made from the states at each scrape.

Counts of accounts and hashtags are in `subject_collector`. Everything carries the source partition: recording
rules take the maximum by partition and then sum, so a partition that moves between workers is neither doubled
nor dropped.
"""

from __future__ import annotations

import heapq
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import product
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from schemas.events import GAUGES, METRICS
from schemas.totals import Key
from services.aggregate.counting.broadcasts import Broadcasts
from services.aggregate.counting.counters import Counters, Name
from services.aggregate.counting.partition_state import PartitionState
from services.aggregate.series.selected_series import OTHER, Selection

if TYPE_CHECKING:
    from services.aggregate.kafka.partition_manager import OwnedPartition, PartitionManager


class ProgressCollector(Collector):
    """Readings, broadcasts and progress of the partitions owned."""

    def __init__(
        self,
        partition_manager: PartitionManager,
        accounts: Selection,
        top_broadcasts: int,
        now: Callable[[], float] = time.time,
    ) -> None:
        """``top_broadcasts``: how many broadcasts of a partition have series of their own."""
        self._partition_manager = partition_manager
        self._accounts = accounts
        self._top_broadcasts = top_broadcasts
        self._now = now

    def collect(self) -> Iterable[Metric]:
        """All metric families."""
        states = self._partition_manager.states
        yield from _readings(states, self._accounts.keys)
        yield from _broadcasts(states, self._top_broadcasts)
        yield from _progress(list(self._partition_manager.owned.values()), self._now())


def _readings(states: list[PartitionState], accounts: list[Key]) -> Iterator[Metric]:
    labels = ["platform", "account", "metric"]
    newest = GaugeMetricFamily(
        "fanpulse_account_reading",
        "Newest cumulative figure of an account, as its platform reports it.",
        labels=labels,
    )
    gained = CounterMetricFamily(
        "fanpulse_account_reading_gained",
        "Sum of the rises of a cumulative figure from one reading to the next; resets are neither.",
        labels=[*labels, "partition"],
    )
    lost = CounterMetricFamily(
        "fanpulse_account_reading_lost",
        "Sum of the falls of a cumulative figure from one reading to the next; resets are neither.",
        labels=[*labels, "partition"],
    )
    for (_, platform, account), metric in product(accounts, METRICS):
        key: Key = ("reading", platform, account, metric)
        found = [
            (state.readings.histories[key], state) for state in states if key in state.readings.histories
        ]
        names = [str(platform), str(account), metric]
        if found:  # in one partition, unless the log was written by others than ingest
            newest.add_metric(names, max(found, key=lambda each: each[0].at_ms)[0].value)
        if metric not in GAUGES:
            for history, state in found:
                gained.add_metric([*names, str(state.partition)], history.gained)
                lost.add_metric([*names, str(state.partition)], history.lost)
    yield from (newest, gained, lost)


def _broadcasts(states: list[PartitionState], most: int) -> Iterator[Metric]:
    events = CounterMetricFamily(
        "fanpulse_broadcast_events",
        "Events counted per live broadcast and action, quantities included; gross.",
        labels=["broadcast", "action", "partition"],
    )
    phase = GaugeMetricFamily(
        "fanpulse_broadcast_phase_timestamp_seconds",
        "When a live broadcast entered a phase, in event time.",
        labels=["broadcast", "phase", "partition"],
    )
    for state in states:
        partition = str(state.partition)
        named, others = _most_recent(state.counters, most)
        for subject in named:
            for action, count in state.counters.actions(subject).items():
                events.add_metric([subject[1], action, partition], count)
        for action, count in others.items():
            events.add_metric([OTHER, action, partition], count)
        for broadcast_id, phases in _newest_phases(state.broadcasts, most):
            for name, at_ms in phases.items():
                phase.add_metric([broadcast_id, name, partition], at_ms / 1000)
    yield events
    yield phase


def _most_recent(counters: Counters, most: int) -> tuple[list[Name], Counter[str]]:
    """The broadcasts with the newest events, and the sum of all others by action.

    Of those with an event in the same minute, the ones with more events in all come first: a live broadcast
    stays, whatever else is sent meanwhile.
    """
    subjects = [subject for subject in counters.subjects("broadcast") if subject[1] != OTHER]
    others = Counter(counters.actions(("broadcast", OTHER)))
    if len(subjects) <= most:
        return subjects, others

    def rank(subject: Name) -> tuple[int, int, Name]:
        return counters.last_second(subject) // 60, sum(counters.actions(subject).values()), subject

    ranked = sorted(subjects, key=rank, reverse=True)
    for subject in ranked[most:]:
        others.update(counters.actions(subject))
    return ranked[:most], others


def _newest_phases(broadcasts: Broadcasts, most: int) -> list[tuple[str, dict[str, int]]]:
    phases = [(name, about["phases"]) for name, about in broadcasts.about.items() if name != OTHER]
    if len(phases) > most:
        phases = heapq.nlargest(most, phases, key=lambda each: (max(each[1].values(), default=0), each[0]))
    return phases


def _progress(owned: list[OwnedPartition], now: float) -> Iterator[Metric]:
    def gauge(name: str, documentation: str) -> GaugeMetricFamily:
        return GaugeMetricFamily(name, documentation, labels=["partition"])

    def counter(name: str, documentation: str) -> CounterMetricFamily:
        return CounterMetricFamily(name, documentation, labels=["partition"])

    stream_time = gauge("fanpulse_aggregate_stream_timestamp_seconds", "Newest clock record of the log.")
    max_event_time = gauge("fanpulse_aggregate_max_event_timestamp_seconds", "Newest event time seen.")
    offset = gauge("fanpulse_aggregate_offset", "Offset of the last record counted; -1 before the first.")
    lag = gauge("fanpulse_aggregate_lag_records", "Records of the log that are not counted yet.")
    behind = gauge("fanpulse_aggregate_lag_seconds", "Age of the last record counted, while there is lag.")
    dedup_ids = gauge("fanpulse_dedup_ids", "Event ids in the dedup window.")
    counted = counter("fanpulse_events_counted", "Events that count.")
    duplicates = counter("fanpulse_duplicate_events", "Events left out: their id was seen before.")
    late = counter("fanpulse_late_events", "Events that count in totals, too late for every window.")
    rejected = counter("fanpulse_rejected_entries", "Entries of the log that are not events.")
    voided = counter("fanpulse_voided_events", "Events that were taken back after they had been counted.")
    gaps = gauge(
        "fanpulse_gap_records", "Records that were removed before they were counted, since the stream began."
    )
    forgotten = gauge(
        "fanpulse_forgotten_ids",
        "The most events of the dedup window whose ids were removed before a restart: duplicates count.",
    )
    downward_adjustments = counter(
        "fanpulse_reading_downward_adjustments", "Readings in which what nobody can take back fell."
    )
    resets = counter("fanpulse_reading_resets", "Readings that jumped to another count, or back from one.")
    overtaken = counter("fanpulse_late_readings", "Readings left out: older than the newest of the figure.")
    for each in owned:
        state, partition = each.state, [str(each.state.partition)]
        waiting = max(0, (each.highwater() or 0) - state.offset - 1)
        stream_time.add_metric(partition, state.stream_time_ms / 1000)
        max_event_time.add_metric(partition, state.max_event_time_ms / 1000)
        offset.add_metric(partition, state.offset)
        lag.add_metric(partition, waiting)
        behind.add_metric(partition, max(0.0, now - each.applied_at) if waiting else 0.0)
        dedup_ids.add_metric(partition, len(state.dedup))
        counted.add_metric(partition, state.counted)
        duplicates.add_metric(partition, state.duplicates)
        late.add_metric(partition, state.late)
        rejected.add_metric(partition, state.rejected)
        voided.add_metric(partition, state.voided)
        gaps.add_metric(partition, sum(gap.records for gap in state.gaps))
        forgotten.add_metric(partition, state.forgotten_ids)
        downward_adjustments.add_metric(partition, state.readings.downward_adjustments)
        resets.add_metric(partition, state.readings.resets)
        overtaken.add_metric(partition, state.readings.late)
    yield from (
        stream_time,
        max_event_time,
        offset,
        lag,
        behind,
        dedup_ids,
        counted,
        duplicates,
        late,
        rejected,
    )
    yield from (voided, gaps, forgotten, downward_adjustments, resets, overtaken)
