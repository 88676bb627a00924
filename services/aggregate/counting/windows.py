"""Rolling counts in event time, from buckets. ``WINDOWS`` is the one place that says which windows there are.

Each bucket width of the table makes a level of buckets, as long as the longest of its windows: with the table
as it is, seconds for the windows of 1 and 5 minutes, minutes for 1 hour, ten minutes for 24 hours. A window
is half-open, ``[end - length, end)``. Its ``end`` is the end of the bucket that stream time lies in:
``(stream_time // width + 1) * width``. Its count is kept up to date as events come in and as buckets enter or
leave, so reading it costs nothing.

Each event is stored once: in the finest level that still holds its time, the *finest bucket*. Seconds are
stored until they leave the 5-minute window, then their minute is, and so on. The other levels are sums of
finer ones and are rebuilt from them.

To add a window, add a line to ``WINDOWS``, for instance ``"7d": (HOUR_MS, 7 * DAY_MS)``, and run
``python -m grafana.build``. Wider buckets take less memory and move the end of the window in larger steps.
A stream that was begun without the window fills it from the buckets that are stored. If you take a window out
of the table, its buckets move into the levels that are left.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise

Counts = dict[int, int]
BucketId = tuple[int, int]  # (width_ms, start_ms)

SECOND_MS, MINUTE_MS, TEN_MINUTES_MS, HOUR_MS, DAY_MS = 1_000, 60_000, 600_000, 3_600_000, 86_400_000
#: name of each window -> (bucket width, length), in milliseconds. Each width divides the next wider one.
WINDOWS: dict[str, tuple[int, int]] = {
    "1m": (SECOND_MS, MINUTE_MS),
    "5m": (SECOND_MS, 5 * MINUTE_MS),
    "1h": (MINUTE_MS, HOUR_MS),
    "24h": (TEN_MINUTES_MS, DAY_MS),
}
#: The window that says which accounts and hashtags are the busiest: those get Prometheus series of their own.
TOP_K_WINDOW = "24h"


@dataclass
class Level:
    """Buckets of one width, and the sums of the windows made of them."""

    width_ms: int
    lengths_ms: tuple[int, ...]
    coarser_ms: int  # buckets are evicted in whole buckets of the next coarser level
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

    def take_back(self, start_ms: int, counts: Counts) -> None:
        """Take out of a bucket what it holds."""
        _subtract(self.buckets[start_ms], counts)
        if start_ms < self.end_ms:
            for length_ms, sums in zip(self.lengths_ms, self.sums, strict=True):
                if start_ms >= self.end_ms - length_ms:
                    _subtract(sums, counts)

    def advance(self, stream_time_ms: int) -> list[int]:
        """Move on to a later stream time; returns the starts of the buckets evicted."""
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


def _levels(table: Mapping[str, tuple[int, int]]) -> tuple[Level, ...]:
    """A level for each width of the table, the finest first. Raises ValueError if the table has a slip."""
    widths = sorted({width_ms for width_ms, _ in table.values()})
    for finer, coarser in pairwise([SECOND_MS, *widths]):
        if coarser % finer:
            raise ValueError(f"WINDOWS: buckets of {coarser} ms are not made of whole ones of {finer} ms")
    for name, (width_ms, length_ms) in table.items():
        if length_ms <= 0 or length_ms % width_ms:
            raise ValueError(f"WINDOWS: {name} is not made of whole buckets of {width_ms} ms")
    if TOP_K_WINDOW not in table:
        raise ValueError(
            f"WINDOWS: there is no {TOP_K_WINDOW}, by which the busiest are chosen (TOP_K_WINDOW)"
        )
    return tuple(
        Level(width_ms, tuple(length for width, length in table.values() if width == width_ms), coarser_ms)
        for width_ms, coarser_ms in pairwise([*widths, widths[-1]])
    )


class Windows:
    """Rolling counts of any number of keys (integers), and what has to be stored of them."""

    def __init__(self) -> None:
        self._levels = _levels(WINDOWS)
        self._level_of = {level.width_ms: level for level in self._levels}
        self.floor_ms = 0  # an event before this is too late for every bucket
        #: The count of each window of the table, by its name.
        self.sums: dict[str, Counts] = {}
        for name, (width_ms, length_ms) in WINDOWS.items():
            level = self._level_of[width_ms]
            self.sums[name] = level.sums[level.lengths_ms.index(length_ms)]
        self._dirty: set[BucketId] = set()
        self._gone: set[BucketId] = set()

    @property
    def busiest(self) -> Counts:
        """The count by which the busiest accounts and hashtags are chosen."""
        return self.sums[TOP_K_WINDOW]

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

    def holds(self, at_ms: int, counts: Counts) -> bool:
        """Whether every bucket of that time that is held has so much."""
        for level in self._levels:
            if at_ms >= level.floor_ms:
                bucket = level.buckets.get(at_ms - at_ms % level.width_ms, {})
                if any(bucket.get(key, 0) < count for key, count in counts.items()):
                    return False
        return True

    def take_back(self, at_ms: int, counts: Counts) -> None:
        """Take events of one time out of the buckets that hold them (``holds``)."""
        finest = True
        for level in self._levels:
            if at_ms >= level.floor_ms and counts:
                start_ms = at_ms - at_ms % level.width_ms
                level.take_back(start_ms, counts)
                if finest:
                    self._dirty.add((level.width_ms, start_ms))
                    finest = False

    def advance(self, stream_time_ms: int) -> None:
        """Move on to a later stream time; an earlier one changes nothing."""
        for level, coarser in zip(self._levels, (*self._levels[1:], None), strict=True):
            for start_ms in level.advance(stream_time_ms):
                self._dirty.discard((level.width_ms, start_ms))
                self._gone.add((level.width_ms, start_ms))
                if coarser is not None:
                    self._dirty.add((coarser.width_ms, start_ms - start_ms % coarser.width_ms))
        self.floor_ms = min(level.floor_ms for level in self._levels)

    def restore(self, bucket: BucketId, counts: Counts) -> None:
        """Take in a stored bucket; stream time has to be set first (``advance``).

        A bucket that was stored under another table moves into the finest level that holds it now.
        """
        width_ms, start_ms = bucket
        moves = width_ms not in self._level_of or start_ms < self._level_of[width_ms].floor_ms
        if moves:
            self._gone.add(bucket)
        for level in self._levels:
            if level.width_ms >= width_ms and start_ms >= level.floor_ms:
                into_ms = start_ms - start_ms % level.width_ms
                level.add(into_ms, counts)
                if moves:
                    self._dirty.add((level.width_ms, into_ms))
                    moves = False

    def take_changes(self) -> tuple[dict[BucketId, Counts], set[BucketId]]:
        """Buckets to store, and those to remove, since the last call."""
        changed = {
            (width_ms, start_ms): self._level_of[width_ms].buckets[start_ms]
            for width_ms, start_ms in self._dirty
            if start_ms in self._level_of[width_ms].buckets
        }
        gone = self._gone
        self._dirty, self._gone = set(), set()
        return changed, gone
