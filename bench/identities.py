"""How event ids are remembered: sets of Python strings, as the aggregator does, beside a compact form.

``python -m bench.identities`` prints time and memory per id of both, over the ids of a whole dedup window of
one partition (three segments of 250,000), in records of 500. The compact form keeps a digest of 16 bytes per
id in tables of a fixed size: two keyed 64-bit hashes (Python's own, SipHash with the key of the process).
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import psutil

from services.aggregate.counting.dedup import Deduplicator, DedupWindow

SEGMENT_EVENTS, SEGMENTS, RECORD = 250_000, 2, 500

Digests = npt.NDArray[np.uint64]  # shape (n, 2); the first column is never 0

#: The ids of a bucket share one cache line of the processor, so a lookup costs one miss.
BUCKET = 4
#: Up to this many ids are cheaper one by one than in arrays.
_FEW = 12


def digests(ids: Sequence[str]) -> Digests:
    """Two hashes of each id."""
    found = np.empty((len(ids), 2), np.int64)
    found[:, 0] = [*map(hash, ids)]
    found[:, 1] = [hash(event_id + "\n") for event_id in ids]
    found[:, 0] |= found[:, 0] == 0
    return found.view(np.uint64)


class IdSet:
    """Up to ``most`` ids. Buckets of four slots; a full bucket continues in the next."""

    def __init__(self, most: int) -> None:
        self._buckets = 1 << max(3, (most * 2 // BUCKET - 1).bit_length())
        # Zero is an empty slot. The system allocates memory when slots are first written.
        self._first = np.zeros((self._buckets, BUCKET), np.uint64)
        self._second = np.zeros((self._buckets, BUCKET), np.uint64)
        self._flat = self._first.data.cast("B").cast("Q")
        self._flat_second = self._second.data.cast("B").cast("Q")
        self._mask = self._buckets - 1
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def find(self, wanted: Digests) -> npt.NDArray[np.bool_]:
        """Whether each of the ids is in the set."""
        if len(wanted) <= _FEW:
            return np.array([self._has(a, b) for a, b in wanted.tolist()], bool)
        at = (wanted[:, 0] & np.uint64(self._mask)).astype(np.intp)
        rows = self._first[at]
        same = rows == wanted[:, :1]
        found = np.zeros(len(wanted), bool)
        if same.any():
            found = (same & (self._second[at] == wanted[:, 1:])).any(axis=1)
        # A full bucket may continue in the next.
        for index in np.flatnonzero((rows[:, -1] != 0) & ~found).tolist():
            found[index] = self._has(*wanted[index].tolist())
        return found

    def add(self, fresh: Digests) -> None:
        """Add ids, all different, none of them in the set."""
        self._size += len(fresh)
        if len(fresh) <= _FEW:
            for a, b in fresh.tolist():
                self._put(a, b)
            return
        at = (fresh[:, 0] & np.uint64(self._mask)).astype(np.intp)
        taken = (self._first[at] != 0).sum(axis=1)
        index = np.minimum(taken, BUCKET - 1)
        free = np.flatnonzero(taken < BUCKET)
        self._first[at[free], index[free]] = fresh[free, 0]
        self._second[at[free], index[free]] = fresh[free, 1]
        # If two ids chose the same slot, the last one has it now.
        lost = (self._first[at, index] != fresh[:, 0]) | (self._second[at, index] != fresh[:, 1])
        for a, b in fresh[lost].tolist():
            self._put(a, b)

    def _has(self, first: int, second: int) -> bool:
        return self._empty_slot(first, second) is None

    def _put(self, first: int, second: int) -> None:
        index = self._empty_slot(first, second)
        if index is not None:
            self._flat[index], self._flat_second[index] = first, second

    def _empty_slot(self, first: int, second: int) -> int | None:
        """The empty slot where an id belongs; None if the id is in the set already."""
        firsts, seconds, size = self._flat, self._flat_second, len(self._flat)
        index = (first & self._mask) * BUCKET
        while (seen := firsts[index]) != 0:
            if seen == first and seconds[index] == second:
                return None
            index = (index + 1) % size
        return index


def _records() -> list[list[str]]:
    """New ids in records, as ingest and the platforms make them: about 22 characters."""
    events = SEGMENT_EVENTS * (SEGMENTS + 1)
    return [
        [f"twitter-{number:014d}" for number in range(start, start + RECORD)]
        for start in range(0, events, RECORD)
    ]


def _strings(records: list[list[str]]) -> object:
    deduplicator = Deduplicator(DedupWindow(SEGMENT_EVENTS, SEGMENTS))
    while records:
        assert not deduplicator.duplicates(records.pop())
    return deduplicator


def _compact(records: list[list[str]]) -> object:
    segments = [IdSet(SEGMENT_EVENTS) for _ in range(SEGMENTS + 1)]
    taken = 0
    while records:
        wanted = digests(records.pop())
        assert not np.any([each.find(wanted) for each in segments], axis=0).any()
        segments[taken // SEGMENT_EVENTS].add(wanted)
        taken += RECORD
    return segments


def _measure(form: str) -> dict[str, float]:
    """Figures of a process that does nothing else. Records are dropped once read, like those of the log."""
    empty = psutil.Process().memory_info().rss
    records = _records()
    count = sum(map(len, records))
    started = time.process_time()
    kept = {"strings": _strings, "compact": _compact}[form](records)
    seconds = time.process_time() - started
    grown = psutil.Process().memory_info().rss - empty
    assert kept is not None
    return {"microseconds_per_id": seconds / count * 1e6, "bytes_per_id": grown / count}


def main() -> None:
    if len(sys.argv) > 1:
        print(json.dumps(_measure(sys.argv[1])))
        return
    for form in ("strings", "compact"):
        command = [sys.executable, "-m", "bench.identities", form]
        figures = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
        print(
            f"{form}: {figures['microseconds_per_id']:.2f} microseconds and "
            f"{figures['bytes_per_id']:.0f} bytes an id"
        )


if __name__ == "__main__":
    main()
