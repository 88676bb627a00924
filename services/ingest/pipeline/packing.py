"""Which partition an event goes to, and how events become Kafka records.

A record of engagement.events.v1 is a JSON array of events of one partition. A request's events are encoded
once, into one fragment a partition; fragments of many requests are then joined into records under two caps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol
from zlib import crc32

from schemas.codec import encode_entries
from schemas.events import subject_of
from schemas.structs import Broadcast, Event, Interaction, Post

_BRACKETS = 2


class RecordLimits(NamedTuple):
    """The most that one record holds."""

    events: int
    bytes: int


@dataclass(slots=True)
class Fragment:
    """Some events of one partition, as members of a JSON array without its brackets."""

    partition: int
    data: bytes
    count: int


class PackedRecords(NamedTuple):
    """Fragments that fit a record each, and the events that no record can hold."""

    fragments: list[Fragment]
    oversize: list[Event]


def key_of(event: Event) -> str:
    """What decides the partition: an id meets its duplicate there, and what needs order keeps it."""
    kind = type(event)
    if kind is Interaction or kind is Post:
        return str(event.event_id)
    if kind is Broadcast:
        return str(event.broadcast_id)
    return f"{event.platform}/{subject_of(event.account, event.post_id or None, event.broadcast_id or None)}"


def partition_of(key: str, partitions: int) -> int:
    """crc32 of the key in UTF-8, modulo the number of partitions."""
    return crc32(key.encode()) % partitions


def pack(events: Sequence[Event], partitions: int, record_limits: RecordLimits) -> PackedRecords:
    """Encode events, in their order, into fragments under the caps."""
    packed = PackedRecords([], [])
    if len(events) == 1:
        _encode([events[0]], partition_of(key_of(events[0]), partitions), record_limits, packed)
        return packed
    shares: list[list[Event]] = [[] for _ in range(partitions)]
    for event in events:
        kind = type(event)
        key = event.event_id if kind is Interaction or kind is Post else key_of(event)
        shares[crc32(key.encode()) % partitions].append(event)
    for partition, share in enumerate(shares):
        if share:
            _encode(share, partition, record_limits, packed)
    return packed


def _encode(events: list[Event], partition: int, record_limits: RecordLimits, packed: PackedRecords) -> None:
    data = encode_entries(events)
    if len(events) <= record_limits.events and len(data) + _BRACKETS <= record_limits.bytes:
        packed.fragments.append(Fragment(partition, data, len(events)))
    elif len(events) == 1:
        packed.oversize.extend(events)
    else:
        half = len(events) // 2
        _encode(events[:half], partition, record_limits, packed)
        _encode(events[half:], partition, record_limits, packed)


class Piece(Protocol):
    """Something of a record: a fragment, or what carries one."""

    @property
    def data(self) -> bytes:
        """Members of a JSON array."""

    @property
    def count(self) -> int:
        """How many."""


def next_record(pieces: Sequence[Piece], start: int, record_limits: RecordLimits) -> tuple[int, bytes]:
    """The record made of as many pieces from `start` on as fit (at least one), and their number."""
    parts = [pieces[start].data]
    size, count = _BRACKETS + len(parts[0]), pieces[start].count
    for at in range(start + 1, len(pieces)):
        piece = pieces[at]
        count += piece.count
        size += len(piece.data) + 1
        if count > record_limits.events or size > record_limits.bytes:
            break
        parts.append(piece.data)
    return len(parts), b"[" + b",".join(parts) + b"]"
