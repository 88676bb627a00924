"""Gross counts per subject and action, and which subjects changed since they were last stored.

Names are tuples that begin with the scope: a subject is ("account", "twitter", "GansuTravel"), a count is a
subject with an action, ("account", "twitter", "GansuTravel", "like"). Each name has an integer, given on
first use, so that counting is adding to a place in a list; windows and update targets (`pre_aggregator`) hold
these integers.
The entries of the totals, one a subject, are put together when they are stored, about once a second.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from schemas.dimensions import ALL, SUMMED_SCOPES
from schemas.totals import Key

Name = tuple[str, ...]


class Counters:
    """Counts of every scope. An integer stands for a name as long as the object lives."""

    def __init__(self) -> None:
        self.counts: list[int] = []  # by the number of a name
        self.last_seconds: list[int] = []  # newest event time of a subject, by its number
        self.dirty: set[int] = set()  # numbers of subjects
        self._number_of: dict[Name, int] = {}
        self._name_of: list[Name] = []
        self._subject_number_of: dict[Name, int] = {}
        self._subjects: list[Name] = []
        self._numbers_of_subject: list[tuple[int, ...]] = []
        self._subjects_of_scope: dict[str, list[Name]] = {}
        self._sums: dict[str, dict[str, int]] = {scope: {} for scope in SUMMED_SCOPES}  # -> numbers

    def number(self, name: Name) -> int:
        """The integer of a name, given on first use."""
        number = self._number_of.get(name)
        if number is None:
            number = self._number_of[name] = len(self._name_of)
            self._name_of.append(name)
            self.counts.append(0)
            if name[0] in self._sums and name[1] == ALL:
                self._sums[name[0]][name[-1]] = number
            else:
                self._numbers_of_subject[self.subject_number(name[:-1])] += (number,)
        return number

    def subject_number(self, subject: Name) -> int:
        """The integer of a subject, given on first use; not of the same row as those of names."""
        number = self._subject_number_of.get(subject)
        if number is None:
            number = self._subject_number_of[subject] = len(self._subjects)
            self._subjects.append(subject)
            self._numbers_of_subject.append(())
            self.last_seconds.append(0)
            self._subjects_of_scope.setdefault(subject[0], []).append(subject)
        return number

    def known_number(self, name: Name) -> int | None:
        """The integer of a name, if it has one."""
        return self._number_of.get(name)

    def name(self, number: int) -> Name:
        """The name of an integer, its scope first."""
        return self._name_of[number]

    def subjects(self, scope: str) -> Sequence[Name]:
        """Subjects of a scope, in the order of their first event; do not change the list."""
        return self._subjects_of_scope.get(scope, ())

    def numbers(self, subject: Name) -> tuple[int, ...]:
        """The integers of a subject's counts, one an action; some of the counts may be zero."""
        number = self._subject_number_of.get(subject)
        return () if number is None else self._numbers_of_subject[number]

    def last_second(self, subject: Name) -> int:
        """Newest event time of a subject in epoch seconds; 0 if it has no event."""
        number = self._subject_number_of.get(subject)
        return 0 if number is None else self.last_seconds[number]

    def actions(self, subject: Name) -> dict[str, int]:
        """Gross count of each action of a subject; none are zero."""
        number = self._subject_number_of.get(subject)
        return {} if number is None else self._actions(number)

    def _actions(self, subject_number: int) -> dict[str, int]:
        counts, names = self.counts, self._name_of
        numbers = self._numbers_of_subject[subject_number]
        return {names[number][-1]: count for number in numbers if (count := counts[number])}

    def sums(self, scope: str) -> dict[str, int]:
        """Gross count of each action over all subjects of a scope of SUMMED_SCOPES."""
        return {action: self.counts[number] for action, number in self._sums[scope].items()}

    def entry(self, subject: Name) -> dict[str, Any]:
        """What is stored of a subject."""
        number = self.subject_number(subject)
        return {"actions": self._actions(number), "last_ms": self.last_seconds[number] * 1000}

    def restore(self, subject: Name, entry: dict[str, Any]) -> None:
        """Take in a stored entry."""
        for action, count in entry["actions"].items():
            self.counts[self.number((*subject, action))] = count
            if subject[0] in SUMMED_SCOPES:
                self.counts[self.number((subject[0], ALL, action))] += count
        if entry["last_ms"]:  # a subject whose events have all been voided still has it
            self.last_seconds[self.subject_number(subject)] = entry["last_ms"] // 1000

    def dirty_entries(self) -> Iterator[tuple[Key, dict[str, Any]]]:
        """(key, entry) of each subject changed since the last call."""
        dirty, self.dirty = self.dirty, set()
        for number in dirty:
            subject = self._subjects[number]
            yield subject, self.entry(subject)
