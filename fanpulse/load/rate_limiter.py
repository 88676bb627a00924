"""Replaying at recorded speed: when a row is due."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from pydantic_core import PydanticCustomError

from schemas.fields import parse_time

_SPEED = re.compile(r"(\d+(?:\.\d+)?)x", re.ASCII)


class SpeedError(ValueError):
    """The text is not a speed. The message is one line."""


def parse_speed(text: str) -> float | None:
    """How many recorded seconds pass in a second (``60x``: 60.0), or None for ``max``. Raises SpeedError."""
    if text == "max":
        return None
    match = _SPEED.fullmatch(text.strip())
    if not match or float(match[1]) == 0:
        raise SpeedError(f"--speed {text}: write max, or a number with an x, such as 1x, 60x or 0.5x")
    return float(match[1])


class RateLimiter:
    """When rows are due, by their recorded times: the first one now, the others as much later as recorded.

    ``clock`` gives seconds that never go back, ``sleep`` lets them pass. Rows keep the order of the file: one
    that is recorded earlier than one before it is due at once.
    """

    def __init__(self, speed: float, clock: Callable[[], float], sleep: Callable[[float], None]) -> None:
        self._speed = speed
        self._clock = clock
        self.sleep = sleep
        self._first: tuple[int, float] | None = None

    def delay(self, event: dict[str, Any] | None) -> float:
        """Seconds until an event is due; 0 for one without a time that can be read."""
        recorded = _time_of(event)
        if recorded is None:
            return 0.0
        now = self._clock()
        if self._first is None:
            self._first = recorded, now
        first_ms, started = self._first
        return max(0.0, started + (recorded - first_ms) / 1000 / self._speed - now)


def _time_of(event: dict[str, Any] | None) -> int | None:
    value = (event or {}).get("occurred_at")
    if not isinstance(value, int | str) or isinstance(value, bool):
        return None
    try:
        return parse_time(value)
    except PydanticCustomError:
        return None
