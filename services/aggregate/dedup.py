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
    """The ids that still count, with the generation in which each was met last."""

    horizon: Horizon
    sequence: int = 0
    starts: deque[GenerationStart] = field(default_factory=lambda: deque([GenerationStart(0, 0, 0)]))
    _met_in: dict[str, int] = field(default_factory=dict)
    _members: deque[list[list[str]]] = field(default_factory=lambda: deque([[]]))
    _generation: int = 0
    _record_offset: int = 0
    _record_sequence: int = 0

    def begin_record(self, offset: int) -> None:
        """Tell that the next events are those of the record at ``offset``."""
        self._record_offset = offset
        self._record_sequence = self.sequence

    def duplicates(self, ids: list[str]) -> set[int]:
        """Take the next events of the log; indices of those that are duplicates."""
        size, found, done = self.horizon.generation_events, set[int](), 0
        while done < len(ids):
            generation = self.sequence // size
            if generation != self._generation:
                self._turn(generation)
            room = (generation + 1) * size - self.sequence
            part = ids[done : done + room] if done or len(ids) > room else ids
            found.update(done + index for index in self._take(part))
            self.sequence += len(part)
            done += len(part)
        return found

    def _take(self, ids: list[str]) -> list[int]:
        """Ids of one generation. Few are duplicates, so sets find whether there are any."""
        met_in, distinct = self._met_in, set(ids)
        repeated = distinct & met_in.keys()
        found: list[int] = []
        if repeated or len(distinct) != len(ids):
            oldest, here = self._generation - self.horizon.generations, set[str]()
            for index, event_id in enumerate(ids):
                if event_id in here or (event_id in repeated and met_in[event_id] >= oldest):
                    found.append(index)
                here.add(event_id)
        met_in.update(dict.fromkeys(ids, self._generation))
        self._members[-1].append(ids)
        return found

    def _turn(self, generation: int) -> None:
        self._generation = generation
        self._members.append([])
        self.starts.append(GenerationStart(generation, self._record_offset, self._record_sequence))
        while len(self._members) > self.horizon.generations + 1:
            self.starts.popleft()
            oldest = generation - self.horizon.generations
            for ids in self._members.popleft():
                for event_id in ids:
                    if self._met_in.get(event_id, oldest) < oldest:
                        del self._met_in[event_id]

    def __len__(self) -> int:
        return len(self._met_in)

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
