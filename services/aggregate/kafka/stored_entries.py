"""The latest stored entry of each key, as far as the totals have been read."""

from __future__ import annotations

from collections.abc import Collection

from services.runtime.topic_scan import Record


class StoredEntries:
    """Entries of engagement.totals.v1 by source partition. Knows where to read on."""

    def __init__(self) -> None:
        self.bytes = 0  # of values
        self._entries: dict[int, dict[bytes, bytes]] = {}
        self._next: dict[int, int] = {}

    def of(self, partition: int) -> dict[bytes, bytes]:
        """Entries by key."""
        return self._entries.get(partition, {})

    def next_offset(self, partition: int) -> int:
        """Offset in the totals at which to read on."""
        return self._next.get(partition, 0)

    def keep(self, partitions: Collection[int]) -> None:
        """Forget those of other partitions."""
        for partition in self._entries.keys() - set(partitions):
            del self._entries[partition]
            del self._next[partition]
        self.bytes = sum(len(value) for entries in self._entries.values() for value in entries.values())

    def take(self, batch: list[Record]) -> None:
        """Take the next records of one partition of the totals."""
        partition = batch[0].partition
        entries = self._entries.setdefault(partition, {})
        for record in batch:
            key = record.key or b""
            self.bytes -= len(entries.get(key, b""))
            if record.value is None:
                entries.pop(key, None)
            else:
                entries[key] = record.value
                self.bytes += len(record.value)
        self._next[partition] = batch[-1].offset + 1
