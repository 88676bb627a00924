"""engagement.totals.v1: what the aggregator knows, as partials per source partition.

Partition p of the topic holds what the events of source partition p add up to. A reader takes the latest
entry of every key of every partition (``read_committed``) and adds the partials up: ``TotalsView`` does.

A key is a JSON array whose first member is the scope; the rest names the subject. All entries of one
transaction carry the source ``offset`` up to which (inclusive) they count; an entry not written since keeps
an older one and is still right, since nothing of its subject came in between.

| key | value, besides ``offset`` |
|---|---|
| ["account", platform, account] | actions: {action: gross count}, last_ms (newest event time, in whole s) |
| ["hashtag", tag], ["campaign", name], ["format", format], ["country", code], ["vip"] | the same |
| ["post", platform, post_id] | the same, with account |
| ["broadcast", id] | the same, with phases: {phase: ms}, account and title once they are known |
| ["reading", platform, subject, metric] | value, at_ms, and its history: first, gained, lost, ... (below) |
| ["minute", broadcast_id, start_ms] | actions, closed: what had been counted when the minute closed |
| ["bucket", width_ms, start_ms, part] | rows: [[scope, ...names, action, n]] (below) |
| ["checkpoint"] | stream_time_ms, max_event_time_ms, and counters of the partition (see Checkpoint) |

Counted scopes, their names and the fields that feed them are the table ``schemas.dimensions``. A value of
null (a Kafka tombstone) removes the entry.

Buckets hold what rolling windows need, for dimensions with rolling counts. An event is in one bucket of its
partition: of a second, later of the minute, later of the ten minutes that it lies in; finer buckets are
removed as coarser ones replace them. A bucket is stored in parts of at most BUCKET_ROWS rows, numbered from
0, so that a record stays well below a megabyte; a row is in one part. ``bucket_rows`` reads a part.

Of a reading, value == first + gained - lost + reset_by, to the unit. first is the baseline; gained and lost
are sums of rises and falls, and never fall; falls, corrections, resets and late count readings
(docs/adr/0010). An entry of a release that did not follow histories has value and at_ms only.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec

from schemas.dimensions import ALL, DIMENSIONS
from schemas.events import INTERACTIONS, WITHDRAWALS

Key = tuple[str | int, ...]

#: The most rows of a part of a bucket, each of at most about 450 bytes.
BUCKET_ROWS = 2_000

#: Scopes whose entries hold `actions`.
COUNTED_SCOPES: tuple[str, ...] = tuple(each.scope for each in DIMENSIONS)

_encode = msgspec.json.Encoder().encode
_decode_key = msgspec.json.Decoder(tuple[str | int, ...]).decode
_decode_value = msgspec.json.Decoder(dict[str, Any]).decode


def encode_key(key: Key) -> bytes:
    """The record key, compact JSON."""
    return _encode(key)


def decode_key(data: bytes) -> Key:
    """The key of a record. Raises msgspec.DecodeError if it cannot be read."""
    return _decode_key(data)


def encode_value(value: dict[str, Any]) -> bytes:
    """The record value, compact JSON."""
    return _encode(value)


def decode_value(data: bytes) -> dict[str, Any]:
    """The value of a record. Raises msgspec.DecodeError if it cannot be read."""
    return _decode_value(data)


class Gap(msgspec.Struct, frozen=True):
    """Offsets ``begin`` up to, but without, ``end``: the broker removed them before they were counted."""

    begin: int
    end: int
    noticed_at: int  # epoch milliseconds


class Checkpoint(msgspec.Struct, frozen=True, omit_defaults=False):
    """How far a source partition has been counted, and what was seen on the way. Counts are of events."""

    partition: int
    offset: int  # of the last record counted; -1 before the first
    stream_time_ms: int  # newest clock record; 0 before the first
    max_event_time_ms: int  # newest event time seen; 0 before the first
    counted: int  # events that count
    duplicates: int  # events left out because their id was seen within the dedup window
    late: int  # counted in the totals, too late for every bucket
    rejected: int  # entries of the log that were no events
    ordinal: int  # events seen, duplicates included; the dedup window is measured in it
    segment_events: int  # the dedup window, fixed for a stream
    segments: int
    gaps: tuple[Gap, ...] = ()  # accepted by the setting aggregate.accept_gaps
    voided: int = 0  # events that counted and have been taken back; they are still among `counted`
    forgotten_ids: int = 0  # the most events of the dedup window whose ids were removed before a restart
    segment_ms: int = 0  # 0: of an earlier release, which knew no limit in time


def net(actions: dict[str, int], action: str) -> int:
    """An action's gross count less its withdrawals."""
    taken_back = sum(actions.get(undo, 0) for undo, done in WITHDRAWALS.items() if done == action)
    return actions.get(action, 0) - taken_back


def interactions(actions: dict[str, int]) -> int:
    """Gross interactions: comments, likes, mentions, quotes, reposts and shares."""
    return sum(actions.get(action, 0) for action in INTERACTIONS)


#: A count of one subject within a bucket: the key of its totals entry, the action, and how many.
BucketRow = tuple[Key, str, int]


def bucket_rows(value: dict[str, Any]) -> Iterator[BucketRow]:
    """The counts of single subjects in a part of a bucket.

    Rows whose last name is empty are sums over all subjects of their scope, which the aggregator keeps for
    itself; they are left out.
    """
    for *subject, action, count in value["rows"]:
        if subject[-1] != ALL:
            yield tuple(subject), action, count


@dataclass
class TotalsView:
    """All partials read so far, but for buckets: those are many, and replaced each second, so readers keep
    what they need of them (``bucket_rows``). Not thread-safe; feed it records of each partition in order."""

    partials: dict[Key, dict[int, dict[str, Any]]] = field(default_factory=dict)
    checkpoints: dict[int, Checkpoint] = field(default_factory=dict)

    def apply(self, partition: int, key: bytes, value: bytes | None) -> Key:
        """Apply one record; returns its key. Raises msgspec.DecodeError if it cannot be read."""
        name = decode_key(key)
        if value is None:
            self.partials.get(name, {}).pop(partition, None)
            if name in self.partials and not self.partials[name]:
                del self.partials[name]
        elif name[0] == "checkpoint":
            self.checkpoints[partition] = msgspec.json.decode(value, type=Checkpoint)
        elif name[0] != "bucket":
            self.partials.setdefault(name, {})[partition] = decode_value(value)
        return name

    def as_of(self) -> list[dict[str, int]]:
        """The offset of each source partition up to which the figures count."""
        return [
            {"partition": p, "offset": checkpoint.offset}
            for p, checkpoint in sorted(self.checkpoints.items())
        ]

    def actions(self, key: Key) -> dict[str, int]:
        """Gross count of each action of a subject, over all partitions."""
        merged: dict[str, int] = {}
        for entry in self.partials.get(key, {}).values():
            for action, count in entry.get("actions", {}).items():
                merged[action] = merged.get(action, 0) + count
        return merged

    def last_ms(self, key: Key) -> int:
        """Newest event time of a subject; 0 if it has none."""
        return max((entry.get("last_ms", 0) for entry in self.partials.get(key, {}).values()), default=0)

    def keys(self, scope: str) -> Iterator[Key]:
        """The keys of a scope."""
        return (key for key in self.partials if key[0] == scope)

    def stream_time_ms(self) -> int:
        """The stream time that every partition has reached; 0 before that."""
        return min((checkpoint.stream_time_ms for checkpoint in self.checkpoints.values()), default=0)
