"""Counts and rolling counts of accounts and hashtags as Prometheus series.

The chosen ones have series of their own; all others are summed into one whose names are OTHER, so that a sum
over all series is exact. There may be tens of thousands of series, so they are kept between scrapes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from schemas.dimensions import ALL, dimension_named
from schemas.totals import Key
from services.aggregate.counting.partition_state import PartitionState
from services.aggregate.counting.windows import WINDOWS
from services.aggregate.series.selected_series import OTHER, Selection
from services.runtime.metrics import Family, Series, SeriesCollector

if TYPE_CHECKING:
    from services.aggregate.kafka.partition_manager import PartitionManager


@dataclass(slots=True, eq=False)
class _Action:
    """The series of one action of a subject: its total, and its count in each window."""

    action: str
    total: Series
    windows: list[Series]


class SubjectCollector(SeriesCollector):
    """Counts of one windowed dimension; its names are labels."""

    def __init__(self, partition_manager: PartitionManager, selection: Selection) -> None:
        self._partition_manager = partition_manager
        self._selection = selection
        self._labels = dimension_named(selection.scope).names
        self._total_name = f"fanpulse_{selection.scope}_events"
        self._rolling_name = f"fanpulse_{selection.scope}_rolling"
        #: The series of a partition, by the number of the count; with a partition they come and go.
        self._kept: WeakKeyDictionary[PartitionState, dict[int, _Action]] = WeakKeyDictionary()
        self._others: dict[tuple[int, str], _Action] = {}

    def families(self) -> Iterator[Family]:
        """Totals and rolling counts of the partitions owned."""
        scope, keys = self._selection.scope, self._selection.keys
        total = Family(
            self._total_name,
            f"Events counted per {scope} and action since the stream began, quantities included; gross.",
            "counter",
        )
        rolling = Family(
            self._rolling_name,
            f"Events per {scope} and action in a rolling window of event time that ends at stream time.",
            "gauge",
        )
        for state in self._partition_manager.states:
            self._add(state, keys, total, rolling)
        yield total
        yield rolling

    def _add(self, state: PartitionState, keys: list[Key], total: Family, rolling: Family) -> None:
        counters, kept = state.counters, self._kept.get(state, {})
        sums = [state.windows.sums[window] for window in WINDOWS]
        used: dict[int, _Action] = {}
        named = Counter[str]()
        named_recent = [Counter[str]() for _ in WINDOWS]
        for key in keys:
            names = tuple(map(str, key))
            for number in counters.numbers(names):
                count = counters.counts[number]
                if not count:
                    continue
                series = kept.get(number) or self._series(
                    state.partition, names[1:], counters.name(number)[-1]
                )
                used[number] = series
                named[series.action] += count
                total.points.append((series.total, count))
                for each, recent, sofar in zip(series.windows, sums, named_recent, strict=True):
                    in_window = recent.get(number, 0)
                    sofar[series.action] += in_window
                    rolling.points.append((each, in_window))
        self._kept[state] = used
        for action, count in counters.sums(self._selection.scope).items():
            rest = self._other(state.partition, action)
            number_of_all = counters.number((self._selection.scope, ALL, action))
            total.points.append((rest.total, count - named[action]))
            for each, recent, sofar in zip(rest.windows, sums, named_recent, strict=True):
                rolling.points.append((each, recent.get(number_of_all, 0) - sofar[action]))

    def _other(self, partition: int, action: str) -> _Action:
        name = partition, action
        if name not in self._others:
            self._others[name] = self._series(partition, (OTHER,) * len(self._labels), action)
        return self._others[name]

    def _series(self, partition: int, names: tuple[str, ...], action: str) -> _Action:
        labels = dict(zip(self._labels, names, strict=True)) | {"action": action}
        end = {"partition": str(partition)}
        return _Action(
            action,
            Series(f"{self._total_name}_total", labels | end),
            [Series(self._rolling_name, labels | {"window": window} | end) for window in WINDOWS],
        )
