"""The busiest accounts or hashtags of one partition: the candidates for Prometheus series of their own.

Looking at each of a million hashtags takes long, so this is done in steps, between which records are counted,
and mostly by loops that run in C: the largest counts of a single action are found first, and only the
subjects they belong to are looked at. This can miss a subject that is busy only by the sum of many
small counts.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from itertools import repeat
from typing import TypeVar

from schemas.dimensions import ALL
from schemas.selection import Score
from services.aggregate.counting.counters import Name
from services.aggregate.counting.partition_state import PartitionState

#: Counts of single actions that are looked at for each candidate wanted.
COUNTS_PER_CANDIDATE = 8
#: Counts, and subjects, that are looked at in one step: about two milliseconds each.
COUNTS_PER_STEP = 20_000
SUBJECTS_PER_STEP = 250

T = TypeVar("T")
#: Yields between steps; returns its result.
Steps = Generator[None, None, T]


class _Figures:
    """All that is read of a state here."""

    def __init__(self, state: PartitionState, scope: str) -> None:
        self.scope = scope
        self.recent: Mapping[int, int] = state.windows.busiest
        self.totals: Sequence[int] = state.counters.counts
        self._counters = state.counters

    def subjects(self) -> Sequence[Name]:
        """All of the scope, each with the scope first."""
        return self._counters.subjects(self.scope)

    def subject_of_number(self, number: int) -> Name | None:
        """Whose count it is; None if it is of another scope, or a sum."""
        name = self._counters.name(number)
        return name[1:-1] if name[0] == self.scope and name[1] != ALL else None

    def score(self, subject: Name) -> Score:
        recent = total = 0
        for action, count in self._counters.actions((self.scope, *subject)).items():
            total += count
            number = self._counters.known_number((self.scope, *subject, action))
            recent += 0 if number is None else self.recent.get(number, 0)
        return Score(recent, total)


def candidates(
    state: PartitionState, scope: str, limit: int, also: Iterable[Name] = ()
) -> Steps[dict[Name, Score]]:
    """The ``limit`` busiest subjects, and those of ``also`` that have events.

    The figures contain every record applied before the first step. Records may be counted between two steps;
    those count too where the state is flushed before a figure is read.
    """
    if limit <= 0:
        return {}
    figures = _Figures(state, scope)
    most = limit * COUNTS_PER_CANDIDATE
    busy: set[Name | None]
    if len(figures.subjects()) <= most:
        busy = {subject[1:] for subject in figures.subjects()}
    else:

        def wanted(number: int) -> bool:
            return figures.subject_of_number(number) is not None

        numbers = yield from _largest(range(len(figures.totals)), figures.recent.get, most, wanted)
        busy = set(map(figures.subject_of_number, numbers))
        if len(busy) < limit:  # a quiet day: the rest by what they have in total
            totals = figures.totals
            numbers = yield from _largest(range(len(totals)), lambda number, _: totals[number], most, wanted)
            busy |= set(map(figures.subject_of_number, numbers))
    kept = set(also)
    scores: dict[Name, Score] = {}
    for done, subject in enumerate(busy | kept):
        if subject is not None and (score := figures.score(subject)).total:
            scores[subject] = score
        if done % SUBJECTS_PER_STEP == SUBJECTS_PER_STEP - 1:
            yield
    best = heapq.nlargest(limit, scores, key=lambda name: (scores[name], name))
    return {name: scores[name] for name in {*best, *(kept & scores.keys())}}


def _largest(
    keys: Sequence[int], count_of: Callable[[int, int], int], most: int, wanted: Callable[[int], bool]
) -> Steps[list[int]]:
    """The keys of the ``most`` largest counts of those wanted."""
    above = 0
    kept: list[tuple[int, int]] = []
    for start in range(0, len(keys), COUNTS_PER_STEP):
        part = keys[start : start + COUNTS_PER_STEP]
        values = map(count_of, part, repeat(0))
        larger = [(count, key) for count, key in zip(values, part, strict=True) if count > above]
        kept += [(count, key) for count, key in larger if wanted(key)]
        if len(kept) > most:
            kept = heapq.nlargest(most, kept)
            above = kept[-1][0]
        yield
    return [key for _, key in kept]
