"""A bound on the bytes that requests and their events may hold in memory at one time."""

from __future__ import annotations


class ByteLimiter:
    """Bytes held now, against a limit. One that alone exceeds the limit is let in when nothing is held."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.reserved = 0

    def take(self, size: int, *, own: int = 0, share: float = 1.0) -> bool:
        """Hold `size` more bytes, if there is room.

        `own`: what the same request holds already. `share`: how much of the limit may be held afterwards.
        """
        if self.reserved > own and self.reserved + size > self._limit * share:
            return False
        self.reserved += size
        return True

    def force(self, size: int) -> None:
        """Hold `size` more bytes, room or not."""
        self.reserved += size

    def give(self, size: int) -> None:
        """Hold `size` bytes less."""
        self.reserved -= size
        assert self.reserved >= 0, self.reserved
