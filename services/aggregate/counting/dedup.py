"""Duplicates, judged by the log alone.

The events of a partition belong to dedup segments. A segment ends when it has ``segment_events`` events, or
at the first clock record that is ``segment_ms`` or more past the stream time at which it began. An event is a
duplicate if its id was seen before in its own segment or one of the ``segments`` before it: these are the
dedup window. So an id stays in the window for at least ``segment_events * segments`` further events of its
partition or ``segment_ms * segments`` of stream time, whichever ends first. The result depends on nothing but
the order of the log: live, after a restart and in a replay it is the same.

The ids are Python strings in one set per segment: 16-byte digests in arrays take less than half of the
memory, and more than three times the time (docs/adr/0005).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import compress


@dataclass(frozen=True, slots=True)
class DedupWindow:
    """How long an id is kept; it may not change during the life of a stream."""

    segment_events: int
    segments: int
    segment_ms: int = 7 * 86_400_000

    def __str__(self) -> str:
        return f"{self.segment_events}, {self.segments} and {self.segment_ms // 1000}"


@dataclass(slots=True)
class SegmentStart:
    """Where a segment begins: before the event with the number ``first`` of the partition.

    To see its events again, read from the record at ``offset`` on, before which ``ordinal`` had been seen.
    """

    segment: int
    offset: int
    ordinal: int
    first: int
    began_ms: int


class Deduplicator:
    """The ids in the dedup window, by the segment in which each was seen."""

    def __init__(self, dedup_window: DedupWindow) -> None:
        self.dedup_window = dedup_window
        self.ordinal = 0  # events seen, duplicates included
        self.starts = deque([SegmentStart(0, 0, 0, 0, 0)])
        self._ids: deque[set[str]] = deque([set()])  # one set for each of `starts`
        self._to_come: deque[SegmentStart] = deque()  # those to come, while the log is read again
        self.record_offset = -1  # of the record begun last; -1 before the first
        self._record_ordinal = 0
        self._stream_time_ms = 0

    def begin_record(self, offset: int) -> None:
        """The next events are those of the record at ``offset``."""
        self.record_offset = offset
        self._record_ordinal = self.ordinal

    def advance(self, stream_time_ms: int) -> None:
        """The stream time moves on to that of a later clock record."""
        self._stream_time_ms = stream_time_ms
        segment = self.starts[-1]
        if segment.began_ms == 0:
            segment.began_ms = stream_time_ms
        elif stream_time_ms - segment.began_ms >= self.dedup_window.segment_ms:
            self._begin_segment()

    def duplicates(self, ids: Sequence[str]) -> set[int]:
        """Take the next events of the log; indices of those that are duplicates."""
        found, done = set[int](), 0
        for part in self._by_segment(ids):
            if self._ids:  # else it belongs to a segment that has left the window
                found.update(done + index for index in self._take(part))
            done += len(part)
        return found

    def rebuild_dedup(self, ids: Sequence[str]) -> None:
        """Take the next events of the log, which have been counted before."""
        for part in self._by_segment(ids):
            if self._ids:
                self._ids[-1].update(part)

    def _by_segment(self, ids: Sequence[str]) -> Iterator[Sequence[str]]:
        """The ids, in parts of one segment each, which is the last segment while its part is out."""
        done = 0
        while done < len(ids):
            room = self._room()
            part = ids[done : done + room] if done or len(ids) > room else ids
            yield part
            self.ordinal += len(part)
            self._begin_known()
            done += len(part)

    def _room(self) -> int:
        """Events that the segment still takes, at least one; begins a new one if it takes none."""
        if self._to_come:
            return self._to_come[0].first - self.ordinal
        room = self.starts[-1].first + self.dedup_window.segment_events - self.ordinal
        if room > 0:
            return room
        self._begin_segment()
        return self.dedup_window.segment_events

    def _take(self, ids: Sequence[str]) -> list[int]:
        """Take ids of one segment. Few are duplicates, so sets find whether there are any."""
        distinct = set(ids)
        repeated = set[str]().union(*(distinct & ids_seen for ids_seen in self._ids))
        self._ids[-1].update(distinct)
        if len(distinct) == len(ids):
            return list(compress(range(len(ids)), map(repeated.__contains__, ids))) if repeated else []
        found = []
        for index, event_id in enumerate(ids):
            if event_id in repeated:
                found.append(index)
            repeated.add(event_id)
        return found

    def _begin_segment(self) -> None:
        self._begin(
            SegmentStart(
                segment=self.starts[-1].segment + 1,
                offset=self.record_offset,
                ordinal=self._record_ordinal,
                first=self.ordinal,
                began_ms=self._stream_time_ms,
            )
        )

    def _begin(self, start: SegmentStart) -> None:
        self.starts.append(start)
        self._ids.append(set())
        while len(self._ids) > self.dedup_window.segments + 1:
            self.starts.popleft()
            self._ids.popleft()

    def _begin_known(self) -> None:
        while self._to_come and self._to_come[0].first <= self.ordinal:
            self._begin(self._to_come.popleft())

    def __len__(self) -> int:
        """Ids in the window; one that was seen in several segments counts in each."""
        return sum(map(len, self._ids))

    @classmethod
    def resume(
        cls,
        dedup_window: DedupWindow,
        starts: Sequence[SegmentStart],
        stream_time_ms: int,
        ordinal: int,
        read: Deduplicator | None = None,
    ) -> Deduplicator:
        """A deduplicator that is to read the log again, up to where it had stood at ``stream_time_ms``.

        It begins behind ``ordinal`` events. ``starts`` are the segments of the window at that time. ``read``
        has read the log up to there before; its ids are reused.
        """
        resumed = cls(dedup_window)
        resumed.starts.clear()
        resumed._ids.clear()
        resumed.ordinal = ordinal
        resumed._stream_time_ms = stream_time_ms
        resumed._to_come.extend(replace(start) for start in starts)
        resumed._begin_known()
        if read is not None:
            seen = {start.segment: ids for start, ids in zip(read.starts, read._ids, strict=True)}
            # A segment that begins just here has no ids yet.
            resumed._ids = deque(seen.get(start.segment, set()) for start in resumed.starts)
        return resumed
