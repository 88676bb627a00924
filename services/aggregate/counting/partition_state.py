"""The state of one source partition: what its events add up to. Pure: no clock, no I/O.

``apply`` takes records in log order; ``take_changes`` gives what has to be stored since the last call, as
records of engagement.totals.v1, the position last; ``restore`` takes those records in again. After
``restore`` of everything stored and ``remember`` of the ids of the tail, the state is that which was stored.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from operator import attrgetter, itemgetter
from typing import Any, cast

import msgspec

from schemas.events import subject_of
from schemas.totals import COUNTED_SCOPES, Key, decode_key, decode_value, encode_key, encode_value
from services.aggregate.counting.broadcasts import Broadcasts
from services.aggregate.counting.buckets import BucketStore
from services.aggregate.counting.counters import Counters
from services.aggregate.counting.decode import (
    BadEntry,
    Broadcast,
    Clock,
    Entry,
    Event,
    Interaction,
    Post,
    Reading,
    event_ids,
)
from services.aggregate.counting.dedup import Deduplicator, GenerationStart, Horizon
from services.aggregate.counting.interning import Vocabulary
from services.aggregate.counting.pre_aggregator import EVENT_ID, OCCURRED_AT, Row, Tally, columns_of, rows_of
from services.aggregate.counting.readings import Readings
from services.aggregate.counting.windows import Windows

Change = tuple[bytes, bytes | None]


class HorizonChangedError(ValueError):
    """The stream was counted under another duplicate rule than the settings give."""


class PartitionState:
    """Counts, windows and remembered ids of one source partition."""

    def __init__(self, partition: int, horizon: Horizon) -> None:
        self.partition = partition
        self.horizon = horizon
        self.offset = -1
        self.present_ms = 0
        self.watermark_ms = 0
        self.counted = self.duplicates = self.late = self.refused = 0
        self.dedup = Deduplicator(horizon)
        self.counters = Counters()
        self.windows = Windows()
        self.broadcasts = Broadcasts()
        self.readings = Readings()
        self._tally = Tally(self.counters, self.windows, self.broadcasts)
        self._buckets = BucketStore()
        self._vocabulary = Vocabulary(self._tally.shared)
        self.stored_offset = -1  # what the last `take_changes` or `restore` stands at
        self.stored_sequence = 0
        self.remembered_offset = -1  # of the last record that `remember` was given

    # -- counting ---------------------------------------------------------------------------------------

    def apply(self, offset: int, data: bytes | None) -> list[BadEntry]:
        """Count one record; returns its entries that are no events.

        A record at or before the current offset changes nothing: it has been counted.
        """
        if offset <= self.offset:
            return []
        entries, bad = self._vocabulary.decode(data)
        self.dedup.begin_record(offset)
        kinds = set(map(type, entries))
        if Clock not in kinds:
            self._count(cast(list[Event], entries), kinds)
        else:
            self._count_between_clocks(entries)
        self.refused += len(bad)
        self.offset = offset
        return bad

    def _count_between_clocks(self, entries: list[Entry]) -> None:
        events: list[Event] = []
        for entry in entries:
            if isinstance(entry, Clock):
                self._count(events, set(map(type, events)))
                events = []
                self._tick(entry.present)
            else:
                events.append(entry)
        self._count(events, set(map(type, events)))

    def _tick(self, present_ms: int) -> None:
        if present_ms > self.present_ms:
            self.fold()
            self.present_ms = present_ms
            self.dedup.advance(present_ms)
            self.windows.advance(present_ms)
            self.broadcasts.advance(present_ms)

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
        return self._tally_rows(rows)

    def _tally_rows(self, rows: list[Row]) -> Sequence[int]:
        """Count interactions, none of them a duplicate; their times."""
        if not rows:
            return ()
        columns = columns_of(rows)
        times: Sequence[int] = columns[OCCURRED_AT]
        self.watermark_ms = max(self.watermark_ms, max(times))
        self._tally.add(columns)
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
                    self._tally.add_post(event)
                    times.append(event.occurred_at)
                case Reading():
                    self._read(event)
                case Broadcast():
                    self._enter(event)
            self.watermark_ms = max(self.watermark_ms, event.occurred_at)
        return [*times, *self._tally_rows(rows_of(interactions))]

    def _read(self, event: Reading) -> None:
        subject = subject_of(event.account, event.post_id, event.broadcast_id)
        self.readings.take(("reading", event.platform, subject, event.metric), event.value, event.occurred_at)

    def _enter(self, event: Broadcast) -> None:
        self.broadcasts.enter(event.broadcast_id, event.account, event.phase, event.occurred_at, event.title)

    def fold(self) -> None:
        """Bring what has been tallied into the state; the counts are up to date only after this."""
        self._tally.fold()

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
        self.fold()
        for key, entry in self._changed_entries():
            yield encode_key(key), encode_value({**entry, "offset": self.offset})
        yield from [(encode_key(key), None) for key in sorted(self.broadcasts.gone)]
        changed, gone = self.windows.take_changes()
        yield from self._buckets.records(changed, gone, self.counters, self.offset)
        self.broadcasts.dirty, self.broadcasts.gone = set(), set()
        self.stored_offset, self.stored_sequence = self.offset, self.dedup.sequence
        yield encode_key(("position",)), encode_value(self.position())

    def _changed_entries(self) -> Iterable[tuple[Key, dict[str, Any]]]:
        entered = {key for key in self.broadcasts.dirty if key[0] == "broadcast"}
        for key, entry in self.counters.dirty_entries():
            if key[0] == "post":
                entry["account"] = self._tally.post_accounts[str(key[1]), str(key[2])]
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

    def position(self) -> dict[str, Any]:
        """The entry that says how far this partition has been counted (schemas.totals.Position)."""
        return {
            "partition": self.partition,
            "offset": self.offset,
            "present_ms": self.present_ms,
            "watermark_ms": self.watermark_ms,
            "counted": self.counted,
            "duplicates": self.duplicates,
            "late": self.late,
            "refused": self.refused,
            "sequence": self.dedup.sequence,
            **asdict(self.horizon),
            "generation_starts": [asdict(start) for start in self.dedup.starts],
        }

    # -- restoring --------------------------------------------------------------------------------------

    def restore(self, stored: dict[bytes, bytes]) -> list[GenerationStart]:
        """Take in what is stored; returns where to read the log again for the ids (``remember``).

        Raises HorizonChangedError.
        """
        starts = self.restore_position(stored)
        if starts:
            self.windows.advance(self.present_ms)
            for key_bytes, value_bytes in stored.items():
                self._restore_entry(decode_key(key_bytes), decode_value(value_bytes))
            self.broadcasts.present_ms = self.present_ms
        return starts

    def restore_position(self, stored: dict[bytes, bytes]) -> list[GenerationStart]:
        """Take in only how far this partition had been counted; nothing may be counted after it.

        Raises HorizonChangedError.
        """
        position = stored.get(encode_key(("position",)))
        if position is None:
            return []
        found = msgspec.json.decode(position)
        horizon = Horizon(
            found["generation_events"],
            found["generations"],
            found.get("generation_ms", self.horizon.generation_ms),
        )
        if horizon != self.horizon:
            raise HorizonChangedError(
                "aggregate.dedup_generation_events, dedup_generations and dedup_generation_seconds are "
                f"{self.horizon}, but this stream was counted with {horizon}; set these, or use another "
                "namespace"
            )
        for name in ("offset", "present_ms", "watermark_ms", "counted", "duplicates", "late", "refused"):
            setattr(self, name, found[name])
        self.stored_offset, self.stored_sequence = self.offset, found["sequence"]
        starts = [_start(start, horizon) for start in found["generation_starts"]]
        self.read_again(starts, starts[0].sequence)
        return starts

    def read_again(
        self, starts: list[GenerationStart], sequence: int, read: Deduplicator | None = None
    ) -> None:
        """Get ready to ``remember``, from a record on before which ``sequence`` events were met; ``read`` has
        remembered those before it."""
        self.dedup = Deduplicator.resume(self.horizon, starts, self.present_ms, sequence, read)

    def _restore_entry(self, key: Key, entry: dict[str, Any]) -> None:
        scope, *subject = map(str, key)
        if scope in COUNTED_SCOPES:
            self.counters.restore((scope, *subject), entry)
            if scope == "post":
                self._tally.post_accounts[subject[0], subject[1]] = entry["account"]
            elif scope == "broadcast":
                self.broadcasts.restore_about(subject[0], entry)
        elif scope == "reading":
            self.readings.restore(key, entry)
        elif scope == "minute":
            self.broadcasts.restore_minute(str(key[1]), int(key[2]), entry)
        elif scope == "bucket":
            self._buckets.restore(key, entry, self.counters, self.windows)

    def remember(self, offset: int, data: bytes | None) -> None:
        """Take in the ids of a record that had been counted before the restart."""
        self.dedup.begin_record(offset)
        # What was refused is counted since the stream began: nothing means that every entry is good.
        self.dedup.remember(event_ids(data, all_good=self.refused == 0))
        self.remembered_offset = offset


def _start(stored: dict[str, int], horizon: Horizon) -> GenerationStart:
    """A stored start; early ones tell only what follows from a rule without time."""
    first = stored["generation"] * horizon.generation_events
    return GenerationStart(**{"first": first, "began_ms": 0} | stored)
