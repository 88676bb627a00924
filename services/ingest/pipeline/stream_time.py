"""Stream time, as clock records write it to the log, and how far ahead of it an event may be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Literal, Protocol

from schemas.log import MAX_CLOCK_AHEAD_MS
from schemas.reasons import Reason, Rejection
from schemas.structs import Event

_occurred_at = attrgetter("occurred_at")
#: How far the clock of a source may be ahead of ours where stream time follows events. It is less than what
#: clock records are granted, since the broker's clock may be behind ours.
_LEEWAY_MS = MAX_CLOCK_AHEAD_MS // 2


class FutureTimestampCheck:
    """Checks the times of one request's events, in order. ``newest`` is the newest accepted one."""

    __slots__ = ("_ahead_ms", "_bound", "_limit", "newest")

    def __init__(self, limit: int | None, bound: int, ahead_ms: int | None = None) -> None:
        """No event is beyond the `bound`. `limit` None: the first event sets it, by `ahead_ms`; each accepted
        one moves it on."""
        self._limit = limit
        self._bound = bound
        self._ahead_ms = ahead_ms
        self.newest: int | None = None

    def admits_all(self, events: Sequence[Event]) -> bool:
        """Whether no event is too far ahead. If one is, nothing has changed."""
        newest = max(map(_occurred_at, events), default=None)
        if newest is None or (self._limit is not None and newest <= min(self._limit, self._bound)):
            if newest is not None:
                self._accept(newest)
            return True
        return False

    def admits(self, occurred_at: int) -> bool:
        """Whether the next event is not too far ahead."""
        if occurred_at > self._bound or (self._limit is not None and occurred_at > self._limit):
            return False
        self._accept(occurred_at)
        return True

    def _accept(self, occurred_at: int) -> None:
        if self.newest is None or occurred_at > self.newest:
            self.newest = occurred_at
            if self._ahead_ms is not None:
                self._limit = max(self._limit or 0, occurred_at + self._ahead_ms)

    def rejection(self, event: Event) -> Rejection | None:
        """Why the next event is rejected; None if it is not too far ahead."""
        if self.admits(event.occurred_at):
            return None
        return Rejection("occurred_at", Reason.AHEAD_OF_CLOCK, "further ahead of stream time than allowed")


class StreamTime(Protocol):
    """Stream time in epoch milliseconds. It does not go back, unless it was wrong before."""

    source: Literal["wall", "event"]

    def now(self) -> int | None:
        """Stream time, or None as long as it is not known."""

    def check(self) -> FutureTimestampCheck:
        """A check of the next request's events."""

    def saw(self, newest: int | None) -> None:
        """Follow the newest event time that was accepted."""


class WallStreamTime:
    """The wall clock, held still when it is set back by a little.

    Set back by more than MAX_CLOCK_AHEAD_MS, it is followed: what was written before was so far ahead of the
    broker's time that no reader has obeyed it.
    """

    source: Literal["wall", "event"] = "wall"

    def __init__(self, wall_ms: Callable[[], int], ahead_ms: int) -> None:
        self._wall_ms = wall_ms
        self._ahead_ms = ahead_ms
        self._last = 0

    def now(self) -> int:
        """The newest reading of the clock."""
        now = self._wall_ms()
        if now > self._last or now < self._last - MAX_CLOCK_AHEAD_MS:
            self._last = now
        return self._last

    def forget(self) -> None:
        """What was read so far was wrong, and no reader has obeyed it: follow the clock wherever it goes."""
        self._last = 0

    def check(self) -> FutureTimestampCheck:
        """Accepts what is at most `ahead_ms` ahead of now."""
        limit = self.now() + self._ahead_ms
        return FutureTimestampCheck(limit, limit)

    def saw(self, newest: int | None) -> None:
        """The wall clock does not depend on events."""


class EventStreamTime:
    """The newest event time that was accepted: simulations and replays have a stream time of their own.

    It stays in the past: a clock record of a time that has not come is obeyed by nobody.
    """

    source: Literal["wall", "event"] = "event"

    def __init__(self, wall_ms: Callable[[], int], ahead_ms: int) -> None:
        self._wall_ms = wall_ms
        self._ahead_ms = ahead_ms
        self._newest: int | None = None

    def now(self) -> int | None:
        """The newest event time; None before the first event."""
        return self._newest

    def check(self) -> FutureTimestampCheck:
        """Accepts what has happened, and is at most `ahead_ms` ahead of the newest event; the first one sets
        it."""
        limit = None if self._newest is None else self._newest + self._ahead_ms
        return FutureTimestampCheck(limit, self._wall_ms() + _LEEWAY_MS, self._ahead_ms)

    def saw(self, newest: int | None) -> None:
        """Move stream time to the newest event time accepted."""
        if newest is not None and (self._newest is None or newest > self._newest):
            self._newest = newest
