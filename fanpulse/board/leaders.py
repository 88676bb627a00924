"""The top subjects, among any number of subjects whose counts only grow."""

from __future__ import annotations

from schemas.totals import Key


class Leaders:
    """The ``size`` subjects with the highest counts. Exact, since a gross count never falls."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._counts: dict[Key, int] = {}
        self._least = 0

    def update(self, key: Key, count: int) -> None:
        """Set a subject's count."""
        if key in self._counts or len(self._counts) < self._size or count > self._least:
            self._counts[key] = count
            if len(self._counts) > self._size:
                del self._counts[min(self._counts, key=lambda each: (self._counts[each], each))]
            self._least = min(self._counts.values())

    def top(self, count: int) -> list[Key]:
        """The first ``count`` subjects, the highest count first; equal counts by name."""
        return sorted(self._counts, key=lambda key: (-self._counts[key], key))[:count]
