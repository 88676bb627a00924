"""Duplicates, judged by the log alone.

The events of a partition belong to generations. One ends when it has ``generation_events`` events, or at the
first clock record that is ``generation_ms`` or more past the present in which it began. An event is a
duplicate if its id was met before in its own generation or one of the ``generations`` before it. So an id is
remembered for at least ``generation_events * generations`` further events of its partition or
``generation_ms * generations`` of the present, whichever ends first, and the verdict depends on nothing but
the order of the log: live, after a restart and in a replay it is the same.

The ids are Python strings in one set a generation: 16-byte digests in arrays take less than half of the
memory, and more than three times the time (docs/adr/0005).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import compress


@dataclass(frozen=True, slots=True)
class Horizon:
    """The rule of a stream; it may not change while the stream lives."""

    generation_events: int
    generations: int
    generation_ms: int = 7 * 86_400_000

    def __str__(self) -> str:
        return f"{self.generation_events}, {self.generations} and {self.generation_ms // 1000}"


@dataclass(slots=True)
class GenerationStart:
    """Where a generation begins: before the event with the number ``first`` of the partition.

    To meet its events again, read from the record at ``offset`` on, before which ``sequence`` were met.
    """

    generation: int
    offset: int
    sequence: int
    first: int
    began_ms: int


class Deduplicator:
    """The ids that still count, by the generation in which each was met."""

    def __init__(self, horizon: Horizon) -> None:
        self.horizon = horizon
        self.sequence = 0  # events met, duplicates included
        self.starts = deque([GenerationStart(0, 0, 0, 0, 0)])
        self._ids: deque[set[str]] = deque([set()])  # one set for each of `starts`
        self._known: deque[GenerationStart] = deque()  # those to come, while the log is read again
        self._record_offset = 0
        self._record_sequence = 0
        self._present_ms = 0

    def begin_record(self, offset: int) -> None:
        """Tell that the next events are those of the record at ``offset``."""
        self._record_offset = offset
        self._record_sequence = self.sequence

    def advance(self, present_ms: int) -> None:
        """Tell of a clock record that is later than those before it."""
        self._present_ms = present_ms
        generation = self.starts[-1]
        if generation.began_ms == 0:
            generation.began_ms = present_ms
        elif present_ms - generation.began_ms >= self.horizon.generation_ms:
            self._begin_generation()

    def duplicates(self, ids: Sequence[str]) -> set[int]:
        """Take the next events of the log; indices of those that are duplicates."""
        found, done = set[int](), 0
        for part in self._by_generation(ids):
            if self._ids:  # else it belongs to a generation that is forgotten
                found.update(done + index for index in self._take(part))
            done += len(part)
        return found

    def remember(self, ids: Sequence[str]) -> None:
        """Take the next events of the log, which have been judged before."""
        for part in self._by_generation(ids):
            if self._ids:
                self._ids[-1].update(part)

    def _by_generation(self, ids: Sequence[str]) -> Iterator[Sequence[str]]:
        """The ids, in parts of one generation each, which is the last one while its part is out."""
        done = 0
        while done < len(ids):
            room = self._room()
            part = ids[done : done + room] if done or len(ids) > room else ids
            yield part
            self.sequence += len(part)
            self._begin_known()
            done += len(part)

    def _room(self) -> int:
        """Events that the generation still takes, at least one; begins a new one if it takes none."""
        if self._known:
            return self._known[0].first - self.sequence
        room = self.starts[-1].first + self.horizon.generation_events - self.sequence
        if room > 0:
            return room
        self._begin_generation()
        return self.horizon.generation_events

    def _take(self, ids: Sequence[str]) -> list[int]:
        """Take ids of one generation. Few are duplicates, so sets find whether there are any."""
        distinct = set(ids)
        repeated = set[str]().union(*(distinct & met for met in self._ids))
        self._ids[-1].update(distinct)
        if len(distinct) == len(ids):
            return list(compress(range(len(ids)), map(repeated.__contains__, ids))) if repeated else []
        found = []
        for index, event_id in enumerate(ids):
            if event_id in repeated:
                found.append(index)
            repeated.add(event_id)
        return found

    def _begin_generation(self) -> None:
        self._begin(
            GenerationStart(
                generation=self.starts[-1].generation + 1,
                offset=self._record_offset,
                sequence=self._record_sequence,
                first=self.sequence,
                began_ms=self._present_ms,
            )
        )

    def _begin(self, start: GenerationStart) -> None:
        self.starts.append(start)
        self._ids.append(set())
        while len(self._ids) > self.horizon.generations + 1:
            self.starts.popleft()
            self._ids.popleft()

    def _begin_known(self) -> None:
        while self._known and self._known[0].first <= self.sequence:
            self._begin(self._known.popleft())

    def __len__(self) -> int:
        """Ids remembered; one that was met in several generations counts in each."""
        return sum(map(len, self._ids))

    @classmethod
    def resume(
        cls,
        horizon: Horizon,
        starts: Sequence[GenerationStart],
        present_ms: int,
        sequence: int,
        read: Deduplicator | None = None,
    ) -> Deduplicator:
        """One that is to read the log again, up to where ``present_ms`` was the present.

        It begins behind ``sequence`` events. ``starts`` are the generations that were remembered then.
        ``read`` has read the log up to there before; its ids are taken over.
        """
        resumed = cls(horizon)
        resumed.starts.clear()
        resumed._ids.clear()
        resumed.sequence = sequence
        resumed._present_ms = present_ms
        resumed._known.extend(replace(start) for start in starts)
        resumed._begin_known()
        if read is not None:
            met = {start.generation: ids for start, ids in zip(read.starts, read._ids, strict=True)}
            # A generation that begins just here has none yet.
            resumed._ids = deque(met.get(start.generation, set()) for start in resumed.starts)
        return resumed
