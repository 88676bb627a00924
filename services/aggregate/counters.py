"""Gross counts per subject and action, and which of them changed since they were last stored."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from schemas.totals import Key

#: Subject of the sums over all accounts, or all hashtags: a name that no account or hashtag can have. The
#: sums have no entry of their own in the totals.
ALL = ""


@dataclass
class Counters:
    """Counts of the subjects of every counted scope.

    Accounts and hashtags have rolling counts too; each of their (subject, action) pairs has a small integer
    by which the windows know it.
    """

    actions: dict[Key, dict[str, int]] = field(default_factory=dict)
    last_ms: dict[Key, int] = field(default_factory=dict)
    dirty: set[Key] = field(default_factory=set)
    _number_of: dict[tuple[Key, str], int] = field(default_factory=dict)
    _pair_of: list[tuple[Key, str]] = field(default_factory=list)

    def add(self, key: Key, action: str, count: int, at_ms: int) -> None:
        """Count an action of a subject."""
        actions = self.actions.get(key)
        if actions is None:
            actions = self.actions[key] = {}
        actions[action] = actions.get(action, 0) + count
        if at_ms > self.last_ms.get(key, 0):
            self.last_ms[key] = at_ms
        self.dirty.add(key)

    def number(self, key: Key, action: str) -> int:
        """The integer of a pair, given on first use."""
        pair = (key, action)
        number = self._number_of.get(pair)
        if number is None:
            number = self._number_of[pair] = len(self._pair_of)
            self._pair_of.append(pair)
        return number

    def numbers(self, key: Key) -> Iterator[tuple[str, int]]:
        """(action, integer) of a subject's pairs."""
        for action in self.actions.get(key, ()):
            number = self._number_of.get((key, action))
            if number is not None:
                yield action, number

    def pair(self, number: int) -> tuple[Key, str]:
        """The pair of an integer."""
        return self._pair_of[number]

    def entry(self, key: Key) -> dict[str, Any]:
        """What is stored of a subject."""
        return {"actions": self.actions.get(key, {}), "last_ms": self.last_ms.get(key, 0)}

    def restore(self, key: Key, entry: dict[str, Any]) -> None:
        """Take in a stored entry."""
        self.actions[key] = dict(entry["actions"])
        self.last_ms[key] = entry["last_ms"]

    def keys(self, scope: str) -> Iterator[Key]:
        """Subjects of a scope."""
        return (key for key in self.actions if key[0] == scope)
