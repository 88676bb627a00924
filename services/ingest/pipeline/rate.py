"""How many events a second a key may send: a token bucket that may go into debt."""

from __future__ import annotations

import math
from collections.abc import Callable

#: A key that was idle may send what it is allowed in this time at once.
BURST_SECONDS = 2.0


class EventRate:
    """Allows ``per_second`` events on average. Belongs to one event loop.

    A request is let in while nothing is owed, however many events it has; afterwards it owes for them. So a
    large request goes through, and the client waits longer after it.
    """

    def __init__(self, per_second: float, clock: Callable[[], float]) -> None:
        """`clock` in seconds, monotonic."""
        self.per_second = per_second
        self._most = max(1.0, per_second * BURST_SECONDS)
        self._clock = clock
        self._tokens = self._most
        self._at = clock()

    def wait_seconds(self) -> int:
        """0 if a request may come in now, else the whole seconds until it may."""
        now = self._clock()
        self._tokens = min(self._most, self._tokens + (now - self._at) * self.per_second)
        self._at = now
        return 0 if self._tokens > 0 else max(1, math.ceil(-self._tokens / self.per_second))

    def spend(self, events: int) -> None:
        """Events were taken in, accepted or not."""
        self._tokens -= events
