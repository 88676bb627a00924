"""Which accounts and hashtags have Prometheus series of their own; the others are summed.

The tracked ones have, and of the rest the K with most events in the last 24 hours (the total breaks ties),
over all partitions. A newcomer needs a quarter more than the one it replaces, so that series do not come and
go. All workers follow the same top K (`shared_top_k`, docs/adr/0009).
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping

from schemas.selection import Score
from schemas.totals import Key
from services.aggregate.counting.counters import Name
from services.aggregate.counting.partition_state import PartitionState
from services.aggregate.series.top_k_candidates import Steps, candidates

#: The label of the sum of all others. Whoever bears this name is among them.
OTHER = "_other"
HYSTERESIS = 1.25
#: Candidates of a partition for each series: a subject among the first K of the sum may be further back in a
#: partition.
CANDIDATES_PER_SERIES = 2


class Selection:
    """The selected subjects of one scope ("account" or "hashtag")."""

    def __init__(self, scope: str, tracked: Iterable[Key], top: int) -> None:
        self.scope = scope
        self.top = top
        self.selected: frozenset[Name] = frozenset()
        self._tracked = frozenset(tracked)

    @property
    def keys(self) -> list[Key]:
        """Tracked and selected subjects, sorted."""
        keys = self._tracked | {(self.scope, *name) for name in self.selected}
        return sorted(key for key in keys if OTHER not in key)

    @property
    def full(self) -> bool:
        """Whether further subjects would have to replace others."""
        return len(self.selected) >= self.top

    def follow(self, names: Iterable[Name]) -> None:
        """Select these from now on."""
        self.selected = frozenset(names)

    def candidates(self, state: PartitionState) -> Steps[dict[Name, Score]]:
        """The subjects of a partition that a selection needs to know, in steps."""
        limit = self.top * CANDIDATES_PER_SERIES + len(self._tracked) if self.top else 0
        return candidates(state, self.scope, limit, self.selected)

    def select(self, partials: Iterable[Mapping[Name, Score]]) -> frozenset[Name]:
        """The subjects to select by the candidates of each partition, given those selected now.

        Changes nothing.
        """
        sums: dict[Name, tuple[float, float]] = {}
        for partial in partials:
            for name, score in partial.items():
                if (self.scope, *name) not in self._tracked:
                    recent, total = sums.get(name, (0.0, 0.0))
                    sums[name] = (recent + score.recent, total + score.total)
        for name in self.selected & sums.keys():
            recent, total = sums[name]
            sums[name] = (recent * HYSTERESIS, total * HYSTERESIS)
        return frozenset(heapq.nlargest(self.top, sums, key=lambda name: (sums[name], name)))

    def refresh(self, states: Iterable[PartitionState]) -> None:
        """Select by what these states hold now, in one go."""
        partials = []
        for state in states:
            partials.append(finish(self.candidates(state)))
        self.follow(self.select(partials))


def finish(steps: Steps[dict[Name, Score]]) -> dict[Name, Score]:
    """Do all steps at once."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            found: dict[Name, Score] = end.value
            return found
