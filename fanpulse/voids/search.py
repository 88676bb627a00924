"""Finds events in the log by their ids, and the voids that are there already."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

import msgspec

from schemas.events import void_id
from schemas.log import Clock
from services.aggregate.counting.decode import decode_record
from services.aggregate.counting.dedup import Deduplicator, DedupWindow
from services.runtime.topic_scan import Record

Address = tuple[int, int, int]  # partition, offset, index

#: So many ids are looked for in the bytes of a record before it is decoded.
_FEW = 8
_split = msgspec.json.Decoder(list[msgspec.Raw]).decode


class _Identity(msgspec.Struct):
    kind: str = ""
    event_id: str = ""


class _Carried(msgspec.Struct):
    partition: int
    offset: int
    index: int
    reason: str = ""
    by: str = ""
    voided_at: int = 0


_identity = msgspec.json.Decoder(_Identity).decode
_carried = msgspec.json.Decoder(_Carried).decode


@dataclass(frozen=True)
class FoundEvent:
    """An event where it stands in the log. ``raw``: its JSON, as it is there."""

    event_id: str
    kind: str
    address: Address
    raw: bytes

    @property
    def fields(self) -> dict[str, Any]:
        """Its fields."""
        found: dict[str, Any] = msgspec.json.decode(self.raw)
        return found

    @property
    def void_id(self) -> str:
        """The event_id of its void."""
        return void_id(*self.address)


@dataclass(frozen=True)
class FoundVoid:
    """A void in the log."""

    address: Address  # of the voided event
    reason: str
    by: str
    voided_at: int


@dataclass
class Search:
    """What the log has of some ids. Feed it every record (``take``), those of a partition in order."""

    ids: frozenset[str]
    events: list[FoundEvent] = field(default_factory=list)
    voids: dict[Address, FoundVoid] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._tokens = [msgspec.json.encode(each) for each in self.ids] if len(self.ids) <= _FEW else []

    def take(self, record: Record) -> None:
        """Look through one record. What cannot be read is no event."""
        value = record.value or b""
        if self._tokens and not any(token in value for token in self._tokens):
            return
        for index, raw in enumerate(_entries(value)):
            try:
                entry = _identity(raw)
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                continue
            if entry.kind == "void":
                self._take_void(raw)
            elif entry.event_id in self.ids:
                address = (record.partition, record.offset, index)
                self.events.append(FoundEvent(entry.event_id, entry.kind, address, raw))

    def _take_void(self, raw: bytes) -> None:
        try:
            void = _carried(raw)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return
        address = (void.partition, void.offset, void.index)
        self.voids.setdefault(address, FoundVoid(address, void.reason, void.by, void.voided_at))

    @property
    def repeated(self) -> set[int]:
        """Partitions that have an id several times: which of these count is not known yet."""
        seen, found = set[tuple[int, str]](), set[int]()
        for each in self.events:
            name = (each.address[0], each.event_id)
            if name in seen:
                found.add(each.address[0])
            seen.add(name)
        return found


class Counting:
    """Which events of a partition count, by the rule of duplicates. Feed it every record, in order."""

    def __init__(self, dedup_window: DedupWindow, ids: Collection[str]) -> None:
        self._dedup = Deduplicator(dedup_window)
        self._ids = ids
        self._stream_time_ms = 0
        #: Addresses of the events with these ids that count.
        self.addresses: set[Address] = set()

    def take(self, record: Record) -> None:
        """Take in the next record."""
        self._dedup.begin_record(record.offset)
        entries, bad = decode_record(record.value)
        unreadable = {each.index for each in bad}
        places = (index for index in range(len(entries) + len(bad)) if index not in unreadable)
        run: list[tuple[int, str]] = []
        for index, entry in zip(places, entries, strict=False):
            if not isinstance(entry, Clock):
                run.append((index, entry.event_id))
                continue
            if entry.is_ahead_of(record.timestamp_ms):
                continue  # the aggregator did not obey it
            self._see(record, run)
            run = []
            if entry.stream_time > self._stream_time_ms:
                self._stream_time_ms = entry.stream_time
                self._dedup.advance(entry.stream_time)
        self._see(record, run)

    def _see(self, record: Record, run: list[tuple[int, str]]) -> None:
        duplicates = self._dedup.duplicates([event_id for _, event_id in run])
        for number, (index, event_id) in enumerate(run):
            if event_id in self._ids and number not in duplicates:
                self.addresses.add((record.partition, record.offset, index))


def _entries(value: bytes) -> list[bytes]:
    try:
        return list(map(bytes, _split(value))) if value.lstrip()[:1] == b"[" else [value]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return []
