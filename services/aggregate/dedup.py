"""Duplicates, judged by the log alone.

Every event of a partition has a sequence number; ``sequence // generation_events`` is its generation. An
event is a duplicate if its id was met before in its own generation or one of the ``generations`` before it.
So an id is remembered for at least ``generation_events * generations`` further events of its partition, and
the verdict depends on nothing but the order of the log: live, after a restart and in a replay it is the same.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Horizon:
    """The rule of a stream; it may not change while the stream lives."""

    generation_events: int
    generations: int


@dataclass(slots=True)
class GenerationStart:
    """Where a generation begins: in the record at ``offset``, before which ``sequence`` events were met."""

    generation: int
    offset: int
    sequence: int


@dataclass
class Deduplicator:
    """The ids of the open generation and of those that still count."""

    horizon: Horizon
    sequence: int = 0
    _ids: deque[set[str]] = field(default_factory=lambda: deque([set()]))
    _generation: int = 0
    starts: deque[GenerationStart] = field(default_factory=lambda: deque([GenerationStart(0, 0, 0)]))
    _record_offset: int = 0
    _record_sequence: int = 0

    def begin_record(self, offset: int) -> None:
        """Tell that the next events are those of the record at ``offset``."""
        self._record_offset = offset
        self._record_sequence = self.sequence

    def seen(self, event_id: str) -> bool:
        """Take the next event of the log; True if it is a duplicate."""
        generation = self.sequence // self.horizon.generation_events
        if generation != self._generation:
            self._turn(generation)
        self.sequence += 1
        ids = self._ids
        duplicate = any(event_id in older for older in ids)
        ids[-1].add(event_id)
        return duplicate

    def _turn(self, generation: int) -> None:
        self._generation = generation
        self._ids.append(set())
        self.starts.append(GenerationStart(generation, self._record_offset, self._record_sequence))
        while len(self._ids) > self.horizon.generations + 1:
            self._ids.popleft()
            self.starts.popleft()

    def __len__(self) -> int:
        return sum(map(len, self._ids))

    @classmethod
    def at(cls, horizon: Horizon, starts: list[GenerationStart]) -> Deduplicator:
        """One that is ready to read the log again from ``starts[0].offset`` on."""
        if not starts:
            return cls(horizon)
        first = starts[0]
        fresh = cls(horizon, sequence=first.sequence)
        fresh._generation = first.sequence // horizon.generation_events
        fresh.starts = deque([GenerationStart(first.generation, first.offset, first.sequence)])
        return fresh
