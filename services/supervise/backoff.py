"""How long to wait before a dead process is restarted."""

from __future__ import annotations


class Backoff:
    """Delays that double. A process that ran well for a while starts from the first delay again."""

    def __init__(self, first: float = 0.2, last: float = 10.0, well_after: float = 30.0) -> None:
        """All in seconds."""
        self._first = first
        self._last = last
        self._well_after = well_after
        self._next = first

    def after(self, ran_seconds: float) -> float:
        """The delay in seconds before the next start of a process that ran for `ran_seconds`."""
        if ran_seconds >= self._well_after:
            self._next = self._first
        delay = self._next
        self._next = min(self._last, self._next * 2)
        return delay
