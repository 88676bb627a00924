"""Leaves out log lines that repeat: at once, after 1 s, 2 s, 4 s, ... up to 10 minutes."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any

FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 600.0
#: A line that has not come for so long, and for twice its pause, is new again.
QUIET_SECONDS = 60.0
#: Different lines that are remembered; the one that has not come for longest is forgotten.
MOST_LINES = 1000
_TEXT_CHARACTERS = 300

_VARIABLE = re.compile(r"0x[0-9a-f]+|\d+", re.IGNORECASE)
#: Fields of our lines that say how it went, and not about what; and those that name something by a number.
_ERRORS = ("error", "problem", "reason", "exception")
_NUMBERS_THAT_NAME = ("partition", "port")


@dataclass(slots=True)
class _Line:
    """A line that was written: when one like it came last, when the next may be written."""

    came: float
    next_at: float
    pause: float
    left_out: int = 0


class RepetitionFilter(logging.Filter):
    """Lets a line pass at growing intervals while it repeats; the field ``left_out`` counts those between.

    Two lines are the same if logger, level and text are, numbers apart. Of our own events the fields count
    too: texts as they are, errors and problems without their numbers; other numbers are measures, and do not.
    INFO of our own is about events, not faults, and always passes; so does everything at DEBUG. Thread-safe.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._lock = threading.Lock()
        self._lines: OrderedDict[Hashable, _Line] = OrderedDict()

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to write the line."""
        ours = isinstance(record.msg, dict)
        if record.levelno <= logging.DEBUG or (ours and record.levelno <= logging.INFO):
            return True
        left_out = self._left_out(_sameness(record))
        if left_out is None:
            return False
        if left_out and isinstance(record.msg, dict):
            record.msg = {**record.msg, "left_out": left_out}
        elif left_out:
            record.left_out = left_out
        return True

    def _left_out(self, key: Hashable) -> int | None:
        """How many like it were left out since one was written; None if this one is left out, too."""
        now = self._clock()
        with self._lock:
            line = self._lines.get(key)
            if line is None:
                self._lines[key] = _Line(now, now + FIRST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS)
                if len(self._lines) > MOST_LINES:
                    self._lines.popitem(last=False)
                return 0
            self._lines.move_to_end(key)
            quiet, line.came = now - line.came, now
            if quiet > max(QUIET_SECONDS, 2 * line.pause):
                line.pause = FIRST_PAUSE_SECONDS
            elif now < line.next_at:
                line.left_out += 1
                return None
            else:
                line.pause = min(2 * line.pause, LONGEST_PAUSE_SECONDS)
            line.next_at = now + line.pause
            left_out, line.left_out = line.left_out, 0
            return left_out


def _sameness(record: logging.LogRecord) -> Hashable:
    if isinstance(record.msg, dict):
        return record.name, record.levelno, _of_event(record.msg)
    try:
        text = record.getMessage()
    except (TypeError, ValueError):  # arguments that do not fit: logging itself will say so
        text = str(record.msg)
    return record.name, record.levelno, _text(text)


def _of_event(event: Mapping[str, Any]) -> Hashable:
    parts: list[Hashable] = []
    for name, value in event.items():
        if name in _ERRORS:
            parts.append((name, _text(str(value))))
        elif isinstance(value, str) and name != "timestamp":
            parts.append((name, value))
        elif name in _NUMBERS_THAT_NAME:
            parts.append((name, str(value)))
    return tuple(parts)


def _text(text: str) -> str:
    return _VARIABLE.sub("#", text[:_TEXT_CHARACTERS])
