"""The state of one source partition: what its events add up to. Pure: no clock, no I/O.

``apply`` takes records in log order; ``take_changes`` gives what has to be stored since the last call, as
records of engagement.totals.v1, the position last; ``restore`` takes those records in again. After
``restore`` of everything stored and ``seen`` of the ids of the tail, the state is the one that was stored.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

import msgspec

from schemas.events import POST_ACTION, subject_of
from schemas.totals import COUNTED_SCOPES, Key, decode_key, decode_value, encode_key, encode_value
from services.aggregate.broadcasts import Broadcasts
from services.aggregate.buckets import BucketStore
from services.aggregate.counters import ALL, Counters
from services.aggregate.decode import BadEntry, Entry, decode_record
from services.aggregate.dedup import Deduplicator, GenerationStart, Horizon
from services.aggregate.windows import Windows

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
        self.readings: dict[Key, tuple[int, int]] = {}
        self._dirty_readings: set[Key] = set()
        self._post_accounts: dict[Key, str] = {}
        self._buckets = BucketStore()
        self.stored_offset = -1  # what the last `take_changes` or `restore` stands at
        self.stored_sequence = 0

    # -- counting ---------------------------------------------------------------------------------------

    def apply(self, offset: int, data: bytes | None) -> list[BadEntry]:
        """Count one record; returns its entries that are no events.

        A record at or before the current offset changes nothing: it has been counted.
        """
        if offset <= self.offset:
            return []
        entries, bad = decode_record(data)
        self.dedup.begin_record(offset)
        timed: dict[tuple[str, ...], list[int]] = {}
        for entry in entries:
            if entry.kind == "clock":
                self._fold(timed)
                timed = {}
                self._tick(entry.present)
            elif self.dedup.seen(entry.event_id):
                self.duplicates += 1
            else:
                self._count(entry, timed)
        self._fold(timed)
        self.refused += len(bad)
        self.offset = offset
        return bad

    def _tick(self, present_ms: int) -> None:
        if present_ms > self.present_ms:
            self.present_ms = present_ms
            self.windows.advance(present_ms)
            self.broadcasts.advance(present_ms)

    def _count(self, entry: Entry, timed: dict[tuple[str, ...], list[int]]) -> None:
        self.counted += 1
        at_ms = entry.occurred_at
        if at_ms > self.watermark_ms:
            self.watermark_ms = at_ms
        kind = entry.kind
        if kind == "interaction":
            assert entry.action is not None
            self._count_action(entry, entry.action, entry.quantity, entry.post_format, timed)
        elif kind == "post":
            self._count_action(entry, POST_ACTION, 1, entry.format, timed)
        elif kind == "reading":
            subject = subject_of(entry.account, entry.post_id, entry.broadcast_id)
            key: Key = ("reading", entry.platform, subject, entry.metric or "")
            if at_ms >= self.readings.get(key, (0, 0))[1]:
                self.readings[key] = (entry.value, at_ms)
                self._dirty_readings.add(key)
        else:
            assert entry.broadcast_id is not None
            assert entry.phase is not None
            self.broadcasts.enter(entry.broadcast_id, entry.account, entry.phase, at_ms, entry.title)

    def _count_action(
        self,
        entry: Entry,
        action: str,
        count: int,
        post_format: str | None,
        timed: dict[tuple[str, ...], list[int]],
    ) -> None:
        at_ms = entry.occurred_at
        second = str(at_ms // 1000)  # the windows need no finer time
        _add(timed, ("account", entry.platform, entry.account, action, second), count, at_ms)
        for tag in dict.fromkeys(entry.hashtags or ()):
            _add(timed, ("hashtag", tag, action, second), count, at_ms)
        add = self.counters.add
        if entry.campaign:
            add(("campaign", entry.campaign), action, count, at_ms)
        if post_format:
            add(("format", post_format), action, count, at_ms)
        if entry.broadcast_id:
            add(("broadcast", entry.broadcast_id), action, count, at_ms)
            self.broadcasts.count(entry.broadcast_id, action, count, at_ms)
        if action == POST_ACTION:
            return
        if entry.post_id:
            post: Key = ("post", entry.platform, entry.post_id)
            add(post, action, count, at_ms)
            self._post_accounts.setdefault(post, entry.account)
        actor = entry.actor
        if actor is not None:
            if actor.country:
                add(("country", actor.country), action, count, at_ms)
            if actor.verified:
                add(("vip",), action, count, at_ms)

    def _fold(self, timed: dict[tuple[str, ...], list[int]]) -> None:
        sums: dict[tuple[str, str, int], int] = {}
        counters, windows = self.counters, self.windows
        for name, (count, last_ms, events) in timed.items():
            *subject, action, _ = name
            key: Key = tuple(subject)
            counters.add(key, action, count, last_ms)
            held = windows.add(counters.number(key, action), last_ms, count)
            if key[0] == "account" and not held:
                self.late += events
            total = (str(key[0]), action, last_ms // 1000)
            sums[total] = sums.get(total, 0) + count
        for (scope, action, second), count in sums.items():
            everything: Key = (scope, ALL)
            actions = counters.actions.setdefault(everything, {})
            actions[action] = actions.get(action, 0) + count
            windows.add(counters.number(everything, action), second * 1000, count)

    # -- storing ----------------------------------------------------------------------------------------

    @property
    def changed(self) -> bool:
        """Whether something was counted since the last ``take_changes``."""
        return self.offset != self.stored_offset

    def take_changes(self) -> list[Change]:
        """Records to store, in order: (key, value, or None to remove). The position is the last."""
        changes: list[Change] = []
        for key, entry in self._changed_entries():
            changes.append((encode_key(key), encode_value({**entry, "offset": self.offset})))
        changes += [(encode_key(key), None) for key in sorted(self.broadcasts.gone)]
        changed, gone = self.windows.take_changes()
        changes += self._buckets.records(changed, gone, self.counters, self.offset)
        changes.append((encode_key(("position",)), encode_value(self.position())))
        self.counters.dirty, self._dirty_readings = set(), set()
        self.broadcasts.dirty, self.broadcasts.gone = set(), set()
        self.stored_offset, self.stored_sequence = self.offset, self.dedup.sequence
        return changes

    def _changed_entries(self) -> Iterable[tuple[Key, dict[str, Any]]]:
        for key in self.counters.dirty | {key for key in self.broadcasts.dirty if key[0] == "broadcast"}:
            entry = self.counters.entry(key)
            if key[0] == "broadcast":
                entry |= self.broadcasts.about.get(str(key[1]), {})
            elif key[0] == "post":
                entry["account"] = self._post_accounts[key]
            yield key, entry
        for key in self._dirty_readings:
            value, at_ms = self.readings[key]
            yield key, {"value": value, "at_ms": at_ms}
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
        position = stored.get(encode_key(("position",)))
        if position is None:
            return []
        found = msgspec.json.decode(position)
        horizon = Horizon(found["generation_events"], found["generations"])
        if horizon != self.horizon:
            raise HorizonChangedError(
                f"aggregate.dedup_generation_events and dedup_generations are {_rule(self.horizon)}, but "
                f"this stream was counted with {_rule(horizon)}; set these, or use another namespace"
            )
        for name in ("offset", "present_ms", "watermark_ms", "counted", "duplicates", "late", "refused"):
            setattr(self, name, found[name])
        self.stored_offset, self.stored_sequence = self.offset, found["sequence"]
        self.windows.advance(self.present_ms)
        for key_bytes, value_bytes in stored.items():
            self._restore_entry(decode_key(key_bytes), decode_value(value_bytes))
        self.broadcasts.present_ms = self.present_ms
        self._restore_sums()
        starts = [GenerationStart(**start) for start in found["generation_starts"]]
        self.dedup = Deduplicator.at(self.horizon, starts)
        return starts

    def _restore_entry(self, key: Key, entry: dict[str, Any]) -> None:
        scope = key[0]
        if scope in COUNTED_SCOPES:
            if entry["actions"]:
                self.counters.restore(key, entry)
            if scope == "post":
                self._post_accounts[key] = entry["account"]
            elif scope == "broadcast":
                self.broadcasts.restore_about(str(key[1]), entry)
        elif scope == "reading":
            self.readings[key] = (entry["value"], entry["at_ms"])
        elif scope == "minute":
            self.broadcasts.restore_minute(str(key[1]), int(key[2]), entry)
        elif scope == "bucket":
            self._buckets.restore(key, entry, self.counters, self.windows)

    def _restore_sums(self) -> None:
        for scope in ("account", "hashtag"):
            sums: dict[str, int] = {}
            for key in self.counters.keys(scope):
                for action, count in self.counters.actions[key].items():
                    self.counters.number(key, action)
                    sums[action] = sums.get(action, 0) + count
            self.counters.actions[(scope, ALL)] = sums

    def remember(self, offset: int, data: bytes | None) -> None:
        """Take in the ids of a record that had been counted before the restart."""
        self.dedup.begin_record(offset)
        for entry in decode_record(data)[0]:
            if entry.kind != "clock":
                self.dedup.seen(entry.event_id)


def _add(pending: dict[tuple[str, ...], list[int]], name: tuple[str, ...], count: int, at_ms: int) -> None:
    """Sum up within a record: count, newest event time, number of events."""
    found = pending.get(name)
    if found is None:
        pending[name] = [count, at_ms, 1]
    else:
        found[0] += count
        found[2] += 1
        if at_ms > found[1]:
            found[1] = at_ms


def _rule(horizon: Horizon) -> str:
    return f"{horizon.generation_events} and {horizon.generations}"
