"""The state of one source partition: what its events add up to.

``apply`` takes records in log order. What of the state is stored is in `entries`, how a stored state comes
back is in `recovery`. All three are pure: no clock, no I/O.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from operator import attrgetter, itemgetter
from typing import Any, cast

import msgspec

from schemas.events import subject_of, void_id
from schemas.log import Broadcast, Clock, Entry, Event, Interaction, Post, Reading, Void
from schemas.reasons import Reason
from services.aggregate.counting.broadcasts import Broadcasts
from services.aggregate.counting.counters import Counters
from services.aggregate.counting.decode import BadEntry
from services.aggregate.counting.dedup import Deduplicator, DedupWindow
from services.aggregate.counting.gaps import Gap
from services.aggregate.counting.interning import InterningDecoder
from services.aggregate.counting.posts import PostAccounts
from services.aggregate.counting.pre_aggregator import (
    EVENT_ID,
    OCCURRED_AT,
    PreAggregator,
    Row,
    columns_of,
    rows_of,
)
from services.aggregate.counting.readings import Readings
from services.aggregate.counting.windows import BucketId, Windows

#: Kinds that are no events; events are counted in one go between them.
_APART = frozenset({Clock, Void})


#: An entry with its index in the record.
Placed = tuple[int, Entry]


@dataclass
class StoredMarks:
    """What is known of the stored entries: how far they go, and which have to be removed one day."""

    offset: int = -1  # source offset that the entries stand at; -1 before the first
    ordinal: int = 0  # events seen up to there
    bucket_parts: dict[BucketId, int] = field(default_factory=dict)  # entries that each bucket is stored in


class PartitionState:
    """Counts, windows and dedup window of one source partition.

    ``counters``, ``windows`` and ``broadcasts`` are right whenever you read them: what is still being summed
    up is flushed into them first. What you got stays the object of this state, so it moves on with later
    events, flush by flush; read the property again for figures as of now.
    """

    def __init__(self, partition: int, dedup_window: DedupWindow) -> None:
        self.partition = partition
        self.dedup_window = dedup_window
        self.offset = -1  # of the last record counted
        self.stream_time_ms = 0
        self.max_event_time_ms = 0
        self.counted = self.duplicates = self.late = self.rejected = self.voided = 0
        self.gaps: list[Gap] = []  # what was removed before it was counted
        self.forgotten_ids = 0  # the most events of the dedup window whose ids were removed before a restart
        self.dedup = Deduplicator(dedup_window)
        self.readings = Readings()
        self.posts = PostAccounts()
        self.stored = StoredMarks()
        self._counters = Counters()
        self._windows = Windows()
        self._broadcasts = Broadcasts()
        self._renew_pre_aggregator()

    def _renew_pre_aggregator(self) -> None:
        """Begin with an empty pre-aggregator and decoder: they make counting fast and hold no state, apart
        from what has been added since the last flush."""
        self._pre_aggregator = PreAggregator(self._counters, self._windows, self._broadcasts, self.posts)
        self._decoder = InterningDecoder(self._pre_aggregator.shared)

    # -- reading ----------------------------------------------------------------------------------------

    @property
    def counters(self) -> Counters:
        """Gross counts, as of the last record applied."""
        self._pre_aggregator.flush()
        return self._counters

    @property
    def windows(self) -> Windows:
        """Rolling counts, as of the last record applied."""
        self._pre_aggregator.flush()
        return self._windows

    @property
    def broadcasts(self) -> Broadcasts:
        """Phases and minutes of broadcasts, as of the last record applied."""
        self._pre_aggregator.flush()
        return self._broadcasts

    @property
    def changed(self) -> bool:
        """Whether a record was counted that the stored entries do not contain."""
        return self.offset != self.stored.offset

    # -- counting ---------------------------------------------------------------------------------------

    def apply(self, offset: int, data: bytes | None, appended_ms: int | None = None) -> list[BadEntry]:
        """Count one record; returns its entries that are not events, or clock records that are wrong.

        A record at or before the current offset changes nothing: it has been counted. ``appended_ms`` is the
        broker's time of the record; without it clock records are believed.
        """
        if offset <= self.offset:
            return []
        entries, bad = self._decoder.decode(data)
        self.dedup.begin_record(offset)
        kinds = set(map(type, entries))
        if kinds.isdisjoint(_APART):
            self._count(cast(list[Event], entries), kinds)
        else:
            placed = _placed(entries, bad)
            if appended_ms is not None:
                placed = _without_wrong_clocks(placed, appended_ms, bad)
            bad = [*bad, *self._count_between(placed)]
        self.rejected += len(bad)
        self.offset = offset
        return bad

    def pass_over(self, gap: Gap) -> None:
        """Go on after a gap, and keep it on record."""
        assert gap.begin > self.offset
        self.gaps.append(gap)
        self.offset = gap.end - 1

    def _count_between(self, placed: list[Placed]) -> list[BadEntry]:
        """Count events between clock records and voids, and these; returns voids that do not hold."""
        events, bad = list[Event](), list[BadEntry]()
        for index, entry in placed:
            if not isinstance(entry, Clock | Void):
                events.append(entry)
                continue
            self._count(events, set(map(type, events)))
            events = []
            if isinstance(entry, Clock):
                self._tick(entry.stream_time)
            elif problem := self._void(entry):
                bad.append(BadEntry(index, Reason.BAD_VALUE, problem, msgspec.json.encode(entry)))
        self._count(events, set(map(type, events)))
        return bad

    def _void(self, void: Void) -> str | None:
        """Take an event back, once; returns why that cannot be done. The id of the event stays seen."""
        if self.dedup.duplicates([void.event_id]):
            self.duplicates += 1
            return None
        if void.event_id != void_id(void.partition, void.offset, void.index):
            return f"event_id: a void of this address is {void_id(void.partition, void.offset, void.index)}"
        if void.partition != self.partition:
            return f"partition: the void of an event of partition {void.partition} belongs there"
        if not 0 <= void.offset < self.dedup.record_offset:
            return "offset: a void is in a later record than its event"
        if not self._pre_aggregator.take_back(void.event):
            return "event: not so much was counted, so this is not the event that is in the log"
        self.voided += 1
        return None

    def _tick(self, stream_time_ms: int) -> None:
        if stream_time_ms > self.stream_time_ms:
            self._pre_aggregator.flush()  # what came before this clock counts under the stream time before it
            self.stream_time_ms = stream_time_ms
            self.dedup.advance(stream_time_ms)
            self._windows.advance(stream_time_ms)
            self._broadcasts.advance(stream_time_ms)

    def _count(self, events: list[Event], kinds: set[type[Entry]]) -> None:
        """Count events between two clock records; ``kinds`` are those among them."""
        if all(issubclass(kind, Interaction) for kind in kinds):
            times = self._count_interactions(cast(list[Interaction], events))
        else:
            times = self._count_each(events)
        floor_ms = self._windows.floor_ms
        if times and min(times) < floor_ms:
            self.late += sum(at_ms < floor_ms for at_ms in times)

    def _leave_out_duplicates(self, events: list[Any], ids: list[str]) -> None:
        duplicates = self.dedup.duplicates(ids)
        self.duplicates += len(duplicates)
        for index in sorted(duplicates, reverse=True):
            del events[index]
        self.counted += len(events)

    def _count_interactions(self, events: Sequence[Interaction]) -> Sequence[int]:
        rows = rows_of(events)
        self._leave_out_duplicates(rows, list(map(itemgetter(EVENT_ID), rows)))
        return self._pre_aggregate(rows)

    def _pre_aggregate(self, rows: list[Row]) -> Sequence[int]:
        """Count interactions, none of them a duplicate; their times."""
        if not rows:
            return ()
        columns = columns_of(rows)
        times: Sequence[int] = columns[OCCURRED_AT]
        self.max_event_time_ms = max(self.max_event_time_ms, max(times))
        self._pre_aggregator.add(columns)
        return times

    def _count_each(self, events: list[Event]) -> Sequence[int]:
        """Count events of several kinds, in order; times of those that windows count."""
        self._leave_out_duplicates(events, list(map(attrgetter("event_id"), events)))
        interactions, times = list[Interaction](), list[int]()
        for event in events:
            match event:
                case Interaction():
                    interactions.append(event)
                case Post():
                    self._pre_aggregator.add_post(event)
                    times.append(event.occurred_at)
                case Reading():
                    self._read(event)
                case Broadcast():
                    self._enter(event)
            self.max_event_time_ms = max(self.max_event_time_ms, event.occurred_at)
        return [*times, *self._pre_aggregate(rows_of(interactions))]

    def _read(self, event: Reading) -> None:
        subject = subject_of(event.account, event.post_id, event.broadcast_id)
        self.readings.take(("reading", event.platform, subject, event.metric), event.value, event.occurred_at)

    def _enter(self, event: Broadcast) -> None:
        self._broadcasts.enter(event.broadcast_id, event.account, event.phase, event.occurred_at, event.title)


def _placed(entries: list[Entry], bad: list[BadEntry]) -> list[Placed]:
    """The entries with their index in the record, of which the bad ones are part."""
    taken = {each.index for each in bad}
    return list(zip((index for index in count() if index not in taken), entries, strict=False))


def _without_wrong_clocks(placed: list[Placed], appended_ms: int, bad: list[BadEntry]) -> list[Placed]:
    """The entries, less the clock records from a machine whose clock is ahead; these go to ``bad``."""
    good: list[Placed] = []
    for index, entry in placed:
        if isinstance(entry, Clock) and entry.is_ahead_of(appended_ms):
            ahead_ms = entry.stream_time - appended_ms
            detail = f"the clock that wrote it is {ahead_ms // 1000} s ahead of the broker's"
            bad.append(BadEntry(index, Reason.AHEAD_OF_CLOCK, detail, msgspec.json.encode(entry)))
        else:
            good.append((index, entry))
    return good
