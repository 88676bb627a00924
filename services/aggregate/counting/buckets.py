"""How buckets of the rolling windows are stored: as entries of engagement.totals.v1, in bounded parts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from schemas.totals import BUCKET_ROWS, Key, encode_key, encode_value
from services.aggregate.counting.counters import Counters
from services.aggregate.counting.windows import BucketId, Counts, Windows


class BucketStore:
    """Turns buckets into records and back; knows which parts are stored, so as to remove them."""

    def __init__(self) -> None:
        self._parts: dict[BucketId, int] = {}

    def records(
        self, changed: dict[BucketId, Counts], gone: Iterable[BucketId], counters: Counters, offset: int
    ) -> Iterator[tuple[bytes, bytes | None]]:
        """Records that store the changed buckets and remove those given up."""
        for bucket, counts in changed.items():
            numbers, parts = list(counts), 0
            for start in range(0, len(numbers), BUCKET_ROWS):
                rows = [
                    [*counters.name(number), counts[number]]
                    for number in numbers[start : start + BUCKET_ROWS]
                ]
                key = encode_key(("bucket", *bucket, parts))
                yield key, encode_value({"rows": rows, "offset": offset})
                parts += 1
            yield from self._removals(bucket, parts)
            self._parts[bucket] = parts
        for bucket in gone:
            yield from self._removals(bucket, 0)
            self._parts.pop(bucket, None)

    def _removals(self, bucket: BucketId, first: int) -> list[tuple[bytes, bytes | None]]:
        stored = self._parts.get(bucket, 0)
        return [(encode_key(("bucket", *bucket, part)), None) for part in range(first, stored)]

    def restore(self, key: Key, entry: dict[str, Any], counters: Counters, windows: Windows) -> None:
        """Take in a stored part."""
        _, width_ms, start_ms, part = key
        bucket = (int(width_ms), int(start_ms))
        self._parts[bucket] = max(self._parts.get(bucket, 0), int(part) + 1)
        counts = {counters.number(tuple(row[:-1])): row[-1] for row in entry["rows"]}
        windows.restore(bucket, counts)
