"""Gross counts per subject and action, and which subjects changed since they were last stored.

Counts are kept flat, by name: ``(*subject, action)``, e.g. ("twitter", "GansuTravel", "like"). The entries of
the totals, one a subject, are put together when they are stored, about once a second.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from schemas.events import ACTIONS, POST_ACTION
from schemas.totals import COUNTED_SCOPES, Key

Name = tuple[str, ...]

ALL_ACTIONS = (*ACTIONS, POST_ACTION)
#: Stands for the sum over all subjects of a scope: a name that no account or hashtag can have.
ALL = ""


@dataclass
class ScopeCounts:
    """Counts of one scope."""

    counts: dict[Name, int] = field(default_factory=dict)
    last_second: dict[Name, int] = field(default_factory=dict)  # newest of a subject's events
    dirty: set[Name] = field(default_factory=set)  # subjects

    def add(self, name: Name, subject: Name, count: int, second: int) -> None:
        """Count, at a second of event time; ``name`` is the subject with the action."""
        self.counts[name] = self.counts.get(name, 0) + count
        if second > self.last_second.get(subject, 0):
            self.last_second[subject] = second
        self.dirty.add(subject)

    def actions(self, subject: Name) -> dict[str, int]:
        """Gross count of each action of a subject."""
        get = self.counts.get
        return {action: n for action in ALL_ACTIONS if (n := get((*subject, action)))}

    def entry(self, subject: Name) -> dict[str, Any]:
        """What is stored of a subject."""
        return {"actions": self.actions(subject), "last_ms": self.last_second.get(subject, 0) * 1000}

    def restore(self, subject: Name, entry: dict[str, Any]) -> None:
        """Take in a stored entry."""
        for action, count in entry["actions"].items():
            self.counts[*subject, action] = count
        if entry["actions"]:
            self.last_second[subject] = entry["last_ms"] // 1000


@dataclass
class Counters:
    """Counts of every scope, sums over all its subjects, and the integers by which windows know names."""

    scopes: dict[str, ScopeCounts] = field(
        default_factory=lambda: {scope: ScopeCounts() for scope in COUNTED_SCOPES}
    )
    sums: dict[str, dict[str, int]] = field(default_factory=lambda: {"account": {}, "hashtag": {}})
    _number_of: dict[Name, int] = field(default_factory=dict)
    _name_of: list[Name] = field(default_factory=list)

    def number(self, name: Name) -> int:
        """The integer of a name that begins with its scope, given on first use."""
        number = self._number_of.get(name)
        if number is None:
            number = self._number_of[name] = len(self._name_of)
            self._name_of.append(name)
        return number

    def known_number(self, name: Name) -> int | None:
        """The integer of a name, if it has one."""
        return self._number_of.get(name)

    def name(self, number: int) -> Name:
        """The name of an integer, its scope first."""
        return self._name_of[number]

    def add_sum(self, scope: str, action: str, count: int) -> None:
        """Count into the sum over all subjects."""
        sums = self.sums[scope]
        sums[action] = sums.get(action, 0) + count

    def restore_sums(self) -> None:
        """Make the sums from the counts."""
        for scope, sums in self.sums.items():
            sums.clear()
            for name, count in self.scopes[scope].counts.items():
                sums[name[-1]] = sums.get(name[-1], 0) + count

    def dirty_entries(self) -> Iterator[tuple[Key, dict[str, Any]]]:
        """(key, entry) of each subject changed since the last call."""
        for scope, counts in self.scopes.items():
            dirty, counts.dirty = counts.dirty, set()
            for subject in dirty:
                yield (scope, *subject), counts.entry(subject)
