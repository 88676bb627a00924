"""Counts per minute of event time, from the bucket entries of engagement.totals.v1 (schemas.totals).

Each event is in one bucket: of a second, a minute or longer, the finest that still holds it. Added up they
give the last hour minute by minute, exactly, however late a reader comes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from schemas.events import INTERACTIONS, POST_ACTION
from schemas.totals import Key, bucket_rows

SECOND_MS, MINUTE_MS = 1_000, 60_000
#: What counts as activity: interactions, and the account's own posts.
ACTIVITY = frozenset((*INTERACTIONS, POST_ACTION))
#: All accounts together.
ALL_ACCOUNTS: Key = ("all_accounts",)

Counts = dict[Key, int]


class Rolling:
    """Activity of each account and hashtag, and of the matrix, per minute and in the last minute."""

    def __init__(self) -> None:
        self._parts: dict[tuple[int, ...], Counts] = {}
        self._minutes: dict[int, Counts] = {}
        self._seconds: dict[int, Counts] = {}

    def apply(self, partition: int, key: Key, value: dict[str, Any] | None) -> None:
        """Take in one bucket entry: ``("bucket", width_ms, start_ms, part)``; None removes it."""
        width_ms, start_ms, part = int(key[1]), int(key[2]), int(key[3])
        if width_ms > MINUTE_MS:
            return
        new = dict(_activity(value)) if value is not None else {}
        name = (partition, width_ms, start_ms, part)
        old = self._parts.pop(name, {})
        if new:
            self._parts[name] = new
        change = dict(new)
        for subject, count in old.items():
            change[subject] = change.get(subject, 0) - count
        _add(self._minutes, start_ms - start_ms % MINUTE_MS, change)
        if width_ms == SECOND_MS:
            _add(self._seconds, start_ms, change)

    def minutes(self, subject: Key, stream_time_ms: int, count: int) -> tuple[int, ...]:
        """Activity in each of ``count`` minutes, the last one being that of stream time."""
        last = stream_time_ms - stream_time_ms % MINUTE_MS
        starts = range(last - (count - 1) * MINUTE_MS, last + 1, MINUTE_MS)
        return tuple(self._minutes.get(start, {}).get(subject, 0) for start in starts)

    def last_minute(self, subject: Key, stream_time_ms: int) -> int:
        """Activity in the sixty seconds up to and including that of stream time."""
        last = stream_time_ms - stream_time_ms % SECOND_MS
        starts = range(last - MINUTE_MS + SECOND_MS, last + 1, SECOND_MS)
        return sum(self._seconds.get(start, {}).get(subject, 0) for start in starts)


def _activity(entry: dict[str, Any]) -> Iterator[tuple[Key, int]]:
    """Activity by subject, and that of all accounts together."""
    sums: Counts = {}
    for subject, action, count in bucket_rows(entry):
        if action in ACTIVITY:
            sums[subject] = sums.get(subject, 0) + count
            if subject[0] == "account":
                sums[ALL_ACCOUNTS] = sums.get(ALL_ACCOUNTS, 0) + count
    yield from sums.items()


def _add(buckets: dict[int, Counts], start_ms: int, change: Counts) -> None:
    counts = buckets.setdefault(start_ms, {})
    for subject, count in change.items():
        total = counts.get(subject, 0) + count
        if total:
            counts[subject] = total
        else:
            counts.pop(subject, None)
    if not counts:
        del buckets[start_ms]
