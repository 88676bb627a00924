"""The state of one source partition: what its events add up to. Pure: no clock, no I/O.

``apply`` takes records in log order; ``take_changes`` gives what has to be stored since the last call, as
records of engagement.totals.v1, the position last; ``restore`` takes those records in again. After
``restore`` of everything stored and ``rebuild_dedup`` of the ids of the tail, the state is that which was
stored.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from operator import attrgetter, itemgetter
from typing import Any, cast

import msgspec

from schemas.events import subject_of
from schemas.log import Broadcast, Clock, Entry, Event, Interaction, Post, Reading
from schemas.totals import COUNTED_SCOPES, Key, decode_key, decode_value, encode_key, encode_value
from services.aggregate.counting.broadcasts import Broadcasts
from services.aggregate.counting.buckets import BucketStore
from services.aggregate.counting.counters import Counters
from services.aggregate.counting.decode import BadEntry, event_ids
from services.aggregate.counting.dedup import Deduplicator, DedupWindow, SegmentStart
from services.aggregate.counting.interning import InterningDecoder
from services.aggregate.counting.pre_aggregator import (
    EVENT_ID,
    OCCURRED_AT,
    PreAggregator,
    Row,
    columns_of,
    rows_of,
)
from services.aggregate.counting.readings import Readings
from services.aggregate.counting.windows import Windows

Change = tuple[bytes, bytes | None]


class DedupWindowChangedError(ValueError):
    """The stream was counted under another duplicate rule than the settings give."""


class PartitionState:
    """Counts, windows and remembered ids of one source partition."""

    def __init__(self, partition: int, dedup_window: DedupWindow) -> None:
        self.partition = partition
        self.dedup_window = dedup_window
        self.offset = -1
        self.stream_time_ms = 0
        self.max_event_time_ms = 0
        self.counted = self.duplicates = self.late = self.rejected = 0
        self.dedup = Deduplicator(dedup_window)
        self.counters = Counters()
        self.windows = Windows()
        self.broadcasts = Broadcasts()
        self.readings = Readings()
        self._pre_aggregator = PreAggregator(self.counters, self.windows, self.broadcasts)
        self._buckets = BucketStore()
        self._decoder = InterningDecoder(self._pre_aggregator.shared)
        self.stored_offset = -1  # what the last `take_changes` or `restore` stands at
        self.stored_ordinal = 0
        self.rebuilt_offset = -1  # of the last record that `rebuild_dedup` was given

    # -- counting ---------------------------------------------------------------------------------------

    def apply(self, offset: int, data: bytes | None) -> list[BadEntry]:
        """Count one record; returns its entries that are no events.

        A record at or before the current offset changes nothing: it has been counted.
        """
        if offset <= self.offset:
            return []
        entries, bad = self._decoder.decode(data)
        self.dedup.begin_record(offset)
        kinds = set(map(type, entries))
        if Clock not in kinds:
            self._count(cast(list[Event], entries), kinds)
        else:
            self._count_between_clocks(entries)
        self.rejected += len(bad)
        self.offset = offset
        return bad

    def _count_between_clocks(self, entries: list[Entry]) -> None:
        events: list[Event] = []
        for entry in entries:
            if isinstance(entry, Clock):
                self._count(events, set(map(type, events)))
                events = []
                self._tick(entry.stream_time)
            else:
                events.append(entry)
        self._count(events, set(map(type, events)))

    def _tick(self, stream_time_ms: int) -> None:
        if stream_time_ms > self.stream_time_ms:
            self.flush()
            self.stream_time_ms = stream_time_ms
            self.dedup.advance(stream_time_ms)
            self.windows.advance(stream_time_ms)
            self.broadcasts.advance(stream_time_ms)

    def _count(self, events: list[Event], kinds: set[type[Entry]]) -> None:
        """Count events between two clock records; ``kinds`` are those among them."""
        if all(issubclass(kind, Interaction) for kind in kinds):
            times = self._count_interactions(cast(list[Interaction], events))
        else:
            times = self._count_each(events)
        floor_ms = self.windows.floor_ms
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
        self.broadcasts.enter(event.broadcast_id, event.account, event.phase, event.occurred_at, event.title)

    def flush(self) -> None:
        """Bring what has been tallied into the state; the counts are up to date only after this."""
        self._pre_aggregator.flush()

    # -- storing ----------------------------------------------------------------------------------------

    @property
    def changed(self) -> bool:
        """Whether something was counted since the last ``changes``."""
        return self.offset != self.stored_offset

    def take_changes(self) -> list[Change]:
        """Records to store, in order: (key, value, or None to remove). The position is the last."""
        return list(self.changes())

    def changes(self) -> Iterator[Change]:
        """The same one by one, for who has to do other things in between. To be taken to its end, and nothing
        may be counted meanwhile."""
        self.flush()
        for key, entry in self._changed_entries():
            yield encode_key(key), encode_value({**entry, "offset": self.offset})
        yield from [(encode_key(key), None) for key in sorted(self.broadcasts.gone)]
        changed, gone = self.windows.take_changes()
        yield from self._buckets.records(changed, gone, self.counters, self.offset)
        self.broadcasts.dirty, self.broadcasts.gone = set(), set()
        self.stored_offset, self.stored_ordinal = self.offset, self.dedup.ordinal
        yield encode_key(("checkpoint",)), encode_value(self.checkpoint())

    def _changed_entries(self) -> Iterable[tuple[Key, dict[str, Any]]]:
        entered = {key for key in self.broadcasts.dirty if key[0] == "broadcast"}
        for key, entry in self.counters.dirty_entries():
            if key[0] == "post":
                entry["account"] = self._pre_aggregator.post_accounts[str(key[1]), str(key[2])]
            elif key[0] == "broadcast":
                entered.add(key)
                continue
            yield key, entry
        for key in entered:
            about = self.broadcasts.about.get(str(key[1]), {})
            yield key, self.counters.entry(("broadcast", str(key[1]))) | about
        yield from self.readings.take_changes()
        for key in self.broadcasts.dirty:
            if key[0] == "minute":
                yield key, self.broadcasts.minute_entry(str(key[1]), int(key[2]))

    def checkpoint(self) -> dict[str, Any]:
        """The entry that says how far this partition has been counted (schemas.totals.Position)."""
        return {
            "partition": self.partition,
            "offset": self.offset,
            "stream_time_ms": self.stream_time_ms,
            "max_event_time_ms": self.max_event_time_ms,
            "counted": self.counted,
            "duplicates": self.duplicates,
            "late": self.late,
            "rejected": self.rejected,
            "ordinal": self.dedup.ordinal,
            **asdict(self.dedup_window),
            "segment_starts": [asdict(start) for start in self.dedup.starts],
        }

    # -- restoring --------------------------------------------------------------------------------------

    def restore(self, stored: dict[bytes, bytes]) -> list[SegmentStart]:
        """Take in what is stored; returns where to read the log again for the ids (``rebuild_dedup``).

        Raises DedupWindowChangedError.
        """
        starts = self.restore_checkpoint(stored)
        if starts:
            self.windows.advance(self.stream_time_ms)
            for key_bytes, value_bytes in stored.items():
                self._restore_entry(decode_key(key_bytes), decode_value(value_bytes))
            self.broadcasts.stream_time_ms = self.stream_time_ms
        return starts

    def restore_checkpoint(self, stored: dict[bytes, bytes]) -> list[SegmentStart]:
        """Take in only how far this partition had been counted; nothing may be counted after it.

        Raises DedupWindowChangedError.
        """
        checkpoint = stored.get(encode_key(("checkpoint",)))
        if checkpoint is None:
            return []
        found = msgspec.json.decode(checkpoint)
        dedup_window = DedupWindow(
            found["segment_events"],
            found["segments"],
            found.get("segment_ms", self.dedup_window.segment_ms),
        )
        if dedup_window != self.dedup_window:
            raise DedupWindowChangedError(
                "aggregate.dedup_segment_events, dedup_segments and dedup_segment_seconds are "
                f"{self.dedup_window}, but this stream was counted with {dedup_window}; "
                "set these, or use another namespace"
            )
        for name in (
            "offset",
            "stream_time_ms",
            "max_event_time_ms",
            "counted",
            "duplicates",
            "late",
            "rejected",
        ):
            setattr(self, name, found[name])
        self.stored_offset, self.stored_ordinal = self.offset, found["ordinal"]
        starts = [_start(start, dedup_window) for start in found["segment_starts"]]
        self.prepare_replay(starts, starts[0].ordinal)
        return starts

    def prepare_replay(
        self, starts: list[SegmentStart], ordinal: int, read: Deduplicator | None = None
    ) -> None:
        """Get ready to ``rebuild_dedup``, from a record on before which ``ordinal`` events were met;
        ``read`` has
        remembered those before it."""
        self.dedup = Deduplicator.resume(self.dedup_window, starts, self.stream_time_ms, ordinal, read)

    def _restore_entry(self, key: Key, entry: dict[str, Any]) -> None:
        scope, *subject = map(str, key)
        if scope in COUNTED_SCOPES:
            self.counters.restore((scope, *subject), entry)
            if scope == "post":
                self._pre_aggregator.post_accounts[subject[0], subject[1]] = entry["account"]
            elif scope == "broadcast":
                self.broadcasts.restore_about(subject[0], entry)
        elif scope == "reading":
            self.readings.restore(key, entry)
        elif scope == "minute":
            self.broadcasts.restore_minute(str(key[1]), int(key[2]), entry)
        elif scope == "bucket":
            self._buckets.restore(key, entry, self.counters, self.windows)

    def rebuild_dedup(self, offset: int, data: bytes | None) -> None:
        """Take in the ids of a record that had been counted before the restart."""
        self.dedup.begin_record(offset)
        # What was refused is counted since the stream began: nothing means that every entry is good.
        self.dedup.rebuild_dedup(event_ids(data, all_good=self.rejected == 0))
        self.rebuilt_offset = offset


def _start(stored: dict[str, int], dedup_window: DedupWindow) -> SegmentStart:
    """A stored start; early ones tell only what follows from a rule without time."""
    first = stored["segment"] * dedup_window.segment_events
    return SegmentStart(**{"first": first, "began_ms": 0} | stored)
