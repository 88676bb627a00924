"""Readings become deltas: what each cumulative figure gained and lost, from one reading to the next. Pure.

A platform reports where a figure stands, not how it came there. The readings of a figure are all in one
partition, in order, so the difference of two neighbours is what happened between them; it is counted, and
never made into events. The first reading is a baseline and no gain: what was before it is not known. What a
reading is, follows from the one before it and from what its metric counts:

- **rise**: adds to ``gained``.
- **fall**: adds to ``lost``. Of what people take back (followers, likes, comments, reposts) it is an ordinary
  fall. Reads cannot be taken back, so theirs is a
  **downward adjustment**: the platform has purged or recounted.
- **reset**: a fall by RESET_LEAST or more to less than half. A crowd does not leave between two readings; the
  figure was hidden, or began again (a new post under an old id, another way to count). Nothing is gained or
  lost by it; its jump goes to ``reset_by``, and later readings are measured from where it landed. Below
  RESET_LEAST it looks the same as people who changed their mind: one like of one taken back is a fall.
- **recovery**: the first change after a reset is a rise to half of the figure before it, or more. The figure
  was hidden for a while and shows again: the jump is taken back out of ``reset_by``, and the reading is
  measured from the figure before the reset. Otherwise 100,000 followers would be gained by a hiccup. It
  counts as a reset too.
- **late**: older in event time than the newest one. It says nothing about now and its deltas would overlap
  those that are counted: it is left out and counted. Of the same time, the later one in the log is newer.

``viewers`` is a gauge, how many there are at the moment: people come and go between readings, so a
difference says nothing, and every reading is a new baseline.

Invariant of every figure, to the unit: ``value == first + gained - lost + reset_by``. ``gained``, ``lost``
and all counters never fall; the net figure is ``value`` itself. All of it follows from the order of the log
alone, so live and replay agree.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from schemas.events import GAUGES, IRREVOCABLE
from schemas.log import RESET_LEAST
from schemas.totals import Key


class CounterHistory(msgspec.Struct, gc=False):
    """A cumulative figure: where it stands, and how it came there from the first reading on."""

    value: int
    at_ms: int  # event time of the newest reading
    first: int  # the baseline; of a gauge the newest value
    gained: int = 0
    lost: int = 0
    falls: int = 0
    downward_adjustments: int = 0
    resets: int = 0
    reset_by: int = 0  # sum of the jumps of resets, with sign
    late: int = 0
    before_reset: int = 0  # the figure before the reset that was the last change; 0 if it was none
    since: int = -1  # source offset of the baseline, where an older release had counted before it; else -1


def is_reset(old: int, new: int) -> bool:
    """Whether a figure that goes from one value to another is no longer the same count."""
    return old - new >= RESET_LEAST and 2 * new < old


class Readings:
    """The counter histories of a partition, and how often they were adjusted downward and reset."""

    def __init__(self) -> None:
        self.histories: dict[Key, CounterHistory] = {}
        self.downward_adjustments = self.resets = self.late = 0
        self._dirty: set[Key] = set()

    def take(self, key: Key, value: int, at_ms: int) -> None:
        """Take in the next reading of the log; ``key`` is that of its entry, the metric last."""
        self._dirty.add(key)
        history = self.histories.get(key)
        if history is None:
            self.histories[key] = CounterHistory(value, at_ms, value)
        elif at_ms < history.at_ms:
            history.late += 1
            self.late += 1
        else:
            history.at_ms = at_ms
            if key[-1] in GAUGES:
                history.value = history.first = value
            elif value != history.value:
                self._move(history, value, irrevocable=key[-1] in IRREVOCABLE)

    def _move(self, history: CounterHistory, value: int, *, irrevocable: bool) -> None:
        """Account for a change of the figure."""
        old, hidden = history.value, history.before_reset
        history.value, history.before_reset = value, 0
        if is_reset(old, value):
            history.before_reset = old
            history.reset_by += value - old
            history.resets += 1
            self.resets += 1
            return
        if hidden and value > old and 2 * value >= hidden:
            history.reset_by += hidden - old
            history.resets += 1
            self.resets += 1
            old = hidden
        if value >= old:
            history.gained += value - old
            return
        history.lost += old - value
        if irrevocable:
            history.downward_adjustments += 1
            self.downward_adjustments += 1
        else:
            history.falls += 1

    def take_changes(self) -> Iterator[tuple[Key, dict[str, Any]]]:
        """(key, entry to store) of each figure that had a reading since the last call."""
        dirty, self._dirty = self._dirty, set()
        for key in dirty:
            yield key, _entry(self.histories[key])

    def restore(self, key: Key, entry: dict[str, Any]) -> None:
        """Take in a stored entry.

        One of an older release has only ``value`` and ``at_ms``. The history begins with it: the baseline is
        its value, ``since`` its offset, and it is stored again, so that readers and audits know.
        """
        if "first" not in entry:
            self._dirty.add(key)
            entry = entry | {"first": entry["value"], "since": entry["offset"]}
        history = self.histories[key] = msgspec.convert(entry, CounterHistory)
        self.downward_adjustments += history.downward_adjustments
        self.resets += history.resets
        self.late += history.late


def _entry(history: CounterHistory) -> dict[str, Any]:
    entry = msgspec.structs.asdict(history)
    if not history.before_reset:
        del entry["before_reset"]
    if history.since < 0:
        del entry["since"]
    return entry
