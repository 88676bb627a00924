"""Which accounts and hashtags have Prometheus series of their own; the others are summed.

Chosen are the tracked ones, and of the rest the K with most events in the last 24 hours (total as the tie
breaker), over all partitions of this worker. A newcomer has to have a quarter more than the one it replaces,
so that series do not come and go.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable

from schemas.totals import Key
from services.aggregate.partition import PartitionState

HYSTERESIS = 1.25


class Selection:
    """The chosen subjects of one scope ("account" or "hashtag")."""

    def __init__(self, scope: str, tracked: Iterable[Key], top: int) -> None:
        self.scope = scope
        self.top = top
        self._tracked = frozenset(tracked)
        self._chosen: set[Key] = set()

    @property
    def keys(self) -> list[Key]:
        """Tracked and chosen subjects, sorted."""
        return sorted(self._tracked | self._chosen)

    def refresh(self, states: Iterable[PartitionState]) -> None:
        """Choose again by what the states hold now."""
        scores: dict[Key, list[float]] = {}
        for state in states:
            state.fold()
            for name, count in state.counters.scopes[self.scope].counts.items():
                subject: Key = (self.scope, *name[:-1])
                if subject not in self._tracked:
                    scores.setdefault(subject, [0.0, 0.0])[1] += count
            for number, count in state.windows.sums["24h"].items():
                subject = state.counters.name(number)[:-1]
                if subject in scores:
                    scores[subject][0] += count
        for key in self._chosen & scores.keys():
            scores[key] = [value * HYSTERESIS for value in scores[key]]
        self._chosen = set(heapq.nlargest(self.top, scores, key=lambda key: (scores[key], key)))
