"""engagement.selection.v1: which accounts and hashtags have Prometheus series of their own.

Each worker writes the busiest subjects of its partitions. The worker that owns partition 0 adds them up and
writes the selected ones, which all workers follow. The topic is compacted: the last record of a key counts.

| key | value |
|---|---|
| ["candidates", scope, partition] | subjects: [[...name, events of the last 24 hours, total], ...] |
| ["selected", scope] | subjects: [[...name], ...], sorted |

Scopes are "account" (name: platform, account) and "hashtag" (name: the tag). Counts are per partition.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import msgspec

from schemas.dimensions import WINDOWED_SCOPES

Name = tuple[str, ...]
SelectionKey = tuple[str | int, ...]

#: Dimensions with series: those that have rolling counts.
SCOPES = WINDOWED_SCOPES
#: A record has to fit into what brokers take by default; the least of the subjects are left out beyond this.
MAX_BYTES = 500_000


class Score(NamedTuple):
    """How busy a subject is, in events of all actions. Compared in this order."""

    recent: int  # in the last 24 hours
    total: int  # since the stream began


class _Subjects(msgspec.Struct):
    subjects: list[list[str | int]]


_encode = msgspec.json.Encoder().encode
_decode_key = msgspec.json.Decoder(tuple[str | int, ...]).decode
_decode_subjects = msgspec.json.Decoder(_Subjects).decode


def candidates_key(scope: str, partition: int) -> SelectionKey:
    """The key of a partition's candidates."""
    return ("candidates", scope, partition)


def selected_key(scope: str) -> SelectionKey:
    """The key of the selected subjects of a scope."""
    return ("selected", scope)


def encode_key(key: SelectionKey) -> bytes:
    """The record key, compact JSON."""
    return _encode(key)


def decode_key(data: bytes) -> SelectionKey:
    """The key of a record. Raises msgspec.DecodeError if it is not a key."""
    return _decode_key(data)


def encode_candidates(candidates: Mapping[Name, Score]) -> bytes:
    """The value of a candidates record: busiest first, equal bytes for equal candidates."""
    ranked = sorted(candidates.items(), key=lambda item: (item[1], item[0]), reverse=True)
    return _fitting([*name, *score] for name, score in ranked)


def decode_candidates(data: bytes) -> dict[Name, Score]:
    """The candidates of a record. Raises msgspec.DecodeError if it is not such a record."""
    found = {}
    for *name, recent, total in _decode_subjects(data).subjects:
        found[tuple(map(str, name))] = Score(int(recent), int(total))
    return found


def encode_selected(names: Iterable[Name]) -> bytes:
    """The value of a record of selected subjects."""
    return _fitting(map(list, sorted(names)))


def decode_selected(data: bytes) -> set[Name]:
    """The selected names of a record. Raises msgspec.DecodeError if it is not such a record."""
    return {tuple(map(str, name)) for name in _decode_subjects(data).subjects}


def _fitting(subjects: Iterable[list[str | int]]) -> bytes:
    kept, size = [], 0
    for subject in subjects:
        size += len(_encode(subject)) + 1
        if size > MAX_BYTES:
            break
        kept.append(subject)
    return _encode({"subjects": kept})
