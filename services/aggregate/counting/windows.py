"""Rolling counts in event time, from buckets.

Three levels of buckets hold the counts of the last day: seconds for the windows of 1 and 5 minutes, minutes
for 1 hour, ten minutes for 24 hours. A window is half-open, ``[end - length, end)``, with ``end`` the end of
the bucket that the present lies in: ``(present // width + 1) * width``. Its count is kept up to date as
events come in and buckets enter or leave, so reading it costs nothing.

What has to be stored is each event once, in the finest level that still holds its time, its *home*: seconds
are stored until they leave the 5-minute window, then their minute is, and so on. The other levels are sums of
finer ones and are rebuilt from them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

Counts = dict[int, int]
BucketId = tuple[int, int]  # (width_ms, start_ms)

SECOND_MS, MINUTE_MS, TEN_MINUTES_MS = 1_000, 60_000, 600_000
#: name of each window -> (bucket width, length), in milliseconds
WINDOWS: dict[str, tuple[int, int]] = {
    "1m": (SECOND_MS, 60_000),
    "5m": (SECOND_MS, 300_000),
    "1h": (MINUTE_MS, 3_600_000),
    "24h": (TEN_MINUTES_MS, 86_400_000),
}


@dataclass
class Level:
    """Buckets of one width, and the sums of the windows made of them."""

    width_ms: int
    lengths_ms: tuple[int, ...]
    coarser_ms: int  # buckets are given up in whole buckets of the next coarser level
    end_ms: int = 0
    floor_ms: int = 0  # start of the oldest bucket that is held
    buckets: dict[int, Counts] = field(default_factory=dict)
    sums: list[Counts] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.sums = [{} for _ in self.lengths_ms]

    def add(self, start_ms: int, counts: Counts) -> None:
        """Count into a bucket that is held."""
        _add(self.buckets.setdefault(start_ms, {}), counts)
        if start_ms < self.end_ms:
            for length_ms, sums in zip(self.lengths_ms, self.sums, strict=True):
                if start_ms >= self.end_ms - length_ms:
                    _add(sums, counts)

    def advance(self, stream_time_ms: int) -> list[int]:
        """Move on to a later present; returns the starts of the buckets given up."""
        old_end, end = self.end_ms, (stream_time_ms // self.width_ms + 1) * self.width_ms
        if end <= old_end:
            return []
        self.end_ms = end
        for length_ms, sums in zip(self.lengths_ms, self.sums, strict=True):
            for start_ms in self._starts(old_end - length_ms, min(end - length_ms, old_end)):
                _subtract(sums, self.buckets[start_ms])
            for start_ms in self._starts(max(old_end, end - length_ms), end):
                _add(sums, self.buckets[start_ms])
        oldest = end - max(self.lengths_ms)
        self.floor_ms = oldest - oldest % self.coarser_ms
        gone = [start_ms for start_ms in self.buckets if start_ms < self.floor_ms]
        for start_ms in gone:
            del self.buckets[start_ms]
        return gone

    def _starts(self, low_ms: int, high_ms: int) -> Iterator[int]:
        """Starts of the buckets held within [low, high)."""
        if (high_ms - low_ms) // self.width_ms <= len(self.buckets):
            low_ms += -low_ms % self.width_ms
            return (start for start in range(low_ms, high_ms, self.width_ms) if start in self.buckets)
        return (start for start in self.buckets if low_ms <= start < high_ms)


def _add(sums: Counts, bucket: Counts) -> None:
    for key, count in bucket.items():
        sums[key] = sums.get(key, 0) + count


def _subtract(sums: Counts, bucket: Counts) -> None:
    for key, count in bucket.items():
        rest = sums[key] - count
        if rest:
            sums[key] = rest
        else:
            del sums[key]


class Windows:
    """Rolling counts of any number of keys (integers), and what has to be stored of them."""

    def __init__(self) -> None:
        self.seconds = Level(SECOND_MS, (60_000, 300_000), MINUTE_MS)
        self.minutes = Level(MINUTE_MS, (3_600_000,), TEN_MINUTES_MS)
        self.tens = Level(TEN_MINUTES_MS, (86_400_000,), TEN_MINUTES_MS)
        self._levels = (self.seconds, self.minutes, self.tens)
        self.sums: dict[str, Counts] = {
            "1m": self.seconds.sums[0],
            "5m": self.seconds.sums[1],
            "1h": self.minutes.sums[0],
            "24h": self.tens.sums[0],
        }
        self._dirty: set[BucketId] = set()
        self._gone: set[BucketId] = set()

    @property
    def floor_ms(self) -> int:
        """An event before this is too late for every bucket."""
        return self.tens.floor_ms

    def add(self, at_ms: int, counts: Counts) -> None:
        """Count events of one time; if it is too late for every bucket, nothing changes."""
        finest = True
        for level in self._levels:
            if at_ms >= level.floor_ms:
                start_ms = at_ms - at_ms % level.width_ms
                level.add(start_ms, counts)
                if finest:
                    self._dirty.add((level.width_ms, start_ms))
                    finest = False

    def advance(self, stream_time_ms: int) -> None:
        """Move on to a later present; an earlier one changes nothing."""
        coarser_levels = (self.minutes, self.tens, None)
        for level, coarser in zip(self._levels, coarser_levels, strict=True):
            for start_ms in level.advance(stream_time_ms):
                self._dirty.discard((level.width_ms, start_ms))
                self._gone.add((level.width_ms, start_ms))
                if coarser is not None:
                    self._dirty.add((coarser.width_ms, start_ms - start_ms % coarser.width_ms))

    def restore(self, bucket: BucketId, counts: Counts) -> None:
        """Take in a stored bucket; the present has to be set first (``advance``)."""
        width_ms, start_ms = bucket
        for level in self._levels:
            if level.width_ms >= width_ms and start_ms >= level.floor_ms:
                level.add(start_ms - start_ms % level.width_ms, counts)

    def take_changes(self) -> tuple[dict[BucketId, Counts], set[BucketId]]:
        """Buckets to store, and those to remove, since the last call."""
        held = {level.width_ms: level.buckets for level in self._levels}
        changed = {
            (width_ms, start_ms): held[width_ms][start_ms]
            for width_ms, start_ms in self._dirty
            if start_ms in held[width_ms]
        }
        gone = self._gone
        self._dirty, self._gone = set(), set()
        return changed, gone
