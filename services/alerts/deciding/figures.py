"""The totals, at points where every figure belongs to one stated offset of the log.

The aggregator writes the changed entries of a source partition and its source offset in one transaction,
the ``checkpoint`` entry last. So the entries of a partition are held back until their checkpoint comes, and
then applied together: a figure of ``Figures`` is always that of a recount of the log up to ``as_of``. Pure:
records in, figures out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec

from schemas.alerts import AsOf
from schemas.dimensions import DIMENSIONS, ROLLUPS
from schemas.events import INTERACTIONS
from schemas.log import GRACE_MS, MINUTE_MS
from schemas.totals import Key, TotalsView, decode_key, decode_value
from services.alerts.deciding.rules import INTERACTIONS_METRIC, READING_PREFIX

ALL_ACCOUNTS: Key = ("all_accounts",)

#: Scopes of engagement.totals.v1 that alerts are made of, and how long their keys are. The rest is skipped:
#: it can be much.
_KEY_LENGTHS = {
    **{dimension.scope: 1 + len(dimension.keys) for dimension in DIMENSIONS},
    "reading": 4,
    "minute": 3,
    "checkpoint": 1,
}
#: Of these, the ones that spikes are decided from; entries of the others are many, and seldom looked at.
_VIEWED = frozenset({"broadcast", "minute", "checkpoint"})
#: Scopes whose figures are kept up by what an entry changes: of readings and counts, over accounts.
_SUMMED = frozenset({"account", *(rollup.scope for rollup in ROLLUPS)})
_CHECKPOINT: Key = ("checkpoint",)


def metric_value(counts: dict[str, int], metric: str) -> int:
    """The figure of a metric among the counts of a subject."""
    if metric == INTERACTIONS_METRIC:
        return sum(counts.get(action, 0) for action in INTERACTIONS)
    return counts.get(metric, 0)


@dataclass(slots=True)
class _Sum:
    """Counts and readings of an account, or summed over the accounts of a platform, or over all."""

    counts: dict[str, int] = field(default_factory=dict)
    last_ms: dict[str, int] = field(default_factory=dict)  # newest event time: of actions ("") and readings

    def move(self, name: str, by: int) -> None:
        self.counts[name] = self.counts.get(name, 0) + by

    def touch(self, name: str, at_ms: int) -> None:
        if at_ms > self.last_ms.get(name, 0):
            self.last_ms[name] = at_ms


class _EncodedEntries:
    """Entries as they came, decoded when they are read: this takes a quarter of the memory."""

    def __init__(self, partitions: int) -> None:
        self._empty = (b"",) * partitions
        self._rows: dict[Key, list[bytes]] = {}

    def put(self, key: Key, partition: int, value: bytes | None) -> None:
        row = self._rows.get(key)
        if row is None:
            row = self._rows[key] = list(self._empty)
        row[partition] = value or b""

    def get(self, key: Key, partition: int) -> dict[str, Any]:
        encoded = self._rows.get(key, self._empty)[partition]
        return decode_value(encoded) if encoded else {}

    def all(self, key: Key) -> Iterator[dict[str, Any]]:
        return (decode_value(encoded) for encoded in self._rows.get(key, self._empty) if encoded)


class Figures:
    """Merged totals of every subject, with sums over accounts. ``partitions``: how many the totals have.

    Subjects have the keys of the totals; sums have ("platform", name) and ("all_accounts",).
    ``take_changed`` gives the subjects whose figures may have changed.
    """

    def __init__(self, partitions: int) -> None:
        self.partitions = partitions
        self._view = TotalsView()  # checkpoints, broadcasts and minutes
        self._encoded = _EncodedEntries(partitions)
        self._held: dict[int, list[tuple[Key, bytes, bytes | None]]] = {}
        self._sums: dict[Key, _Sum] = {}
        self._accounts: dict[Key, None] = {}  # in order of first appearance
        self._broadcasts: dict[str, int | None] = {}  # id -> start of its first minute with a count
        self._changed: set[Key] = set()

    # -- feeding ---------------------------------------------------------------------------------------

    def feed(self, partition: int, key: bytes, value: bytes | None) -> int:
        """Take the next record of a partition. It shows once the partition's next checkpoint has come.

        Returns how many records could not be read and were left out: of those that show now, or this one.
        """
        try:
            name = decode_key(key)
        except msgspec.DecodeError:
            return 1
        if not name or name[0] not in _KEY_LENGTHS:
            return 0
        if len(name) != _KEY_LENGTHS[name[0]]:
            return 1
        if _is_part_reading(name):
            return 0
        held = self._held.setdefault(partition, [])
        held.append((name, key, value))
        if name != _CHECKPOINT:
            return 0
        self._held[partition] = []
        return sum(not self._apply(partition, *record) for record in held)

    def _apply(self, partition: int, name: Key, key: bytes, value: bytes | None) -> bool:
        """Apply one record; returns whether it could be read."""
        scope = name[0]
        try:
            if scope in _VIEWED:
                self._view.apply(partition, key, value)
                self._note(name, value)
                return True
            after = decode_value(value) if value is not None else {}
        except msgspec.DecodeError:
            return False
        if scope == "account":
            self._sum_actions(name, self._encoded.get(name, partition), after)
        elif scope == "reading":
            self._sum_reading(name, self._encoded.get(name, partition), after)
        else:
            self._changed.add(name)
        self._encoded.put(name, partition, value)
        return True

    def _note(self, name: Key, value: bytes | None) -> None:
        """Keep the list of broadcasts, and when each has its first minute."""
        if name[0] == "broadcast":
            self._broadcasts.setdefault(str(name[1]), None)
            self._changed.add(name)
        elif name[0] == "minute" and value is not None:
            broadcast_id, start_ms = str(name[1]), int(name[2])
            first = self._broadcasts.get(broadcast_id)
            self._broadcasts[broadcast_id] = start_ms if first is None else min(first, start_ms)

    def _sum_actions(self, account: Key, before: dict[str, Any], after: dict[str, Any]) -> None:
        was, now = before.get("actions", {}), after.get("actions", {})
        for total in self._sums_of(account):
            for action in was.keys() | now.keys():
                total.move(action, now.get(action, 0) - was.get(action, 0))
            total.touch("", after.get("last_ms", 0))

    def _sum_reading(self, name: Key, before: dict[str, Any], after: dict[str, Any]) -> None:
        _, platform, handle, metric = name
        for total in self._sums_of(("account", platform, handle)):
            total.move(f"{READING_PREFIX}{metric}", after.get("value", 0) - before.get("value", 0))
            total.touch(f"{READING_PREFIX}{metric}", after.get("at_ms", 0))

    def _sums_of(self, account: Key) -> Iterator[_Sum]:
        """The sums that an account is part of, marked as changed."""
        self._accounts.setdefault(account)
        for key in (account, *((each.scope, *account[1 : 1 + len(each.keys)]) for each in ROLLUPS)):
            self._changed.add(key)
            yield self._sums.setdefault(key, _Sum())

    # -- subjects ---------------------------------------------------------------------------------------

    def take_changed(self) -> set[Key]:
        """The subjects that may have changed since the last call."""
        changed, self._changed = self._changed, set()
        return changed

    def counts(self, subject: Key) -> dict[str, int]:
        """Gross count of each action, and value of each reading under ``reading:<metric>``."""
        if subject[0] in _SUMMED:
            return self._sums[subject].counts if subject in self._sums else {}
        if subject[0] in _VIEWED:
            return self._view.actions(subject)
        merged: dict[str, int] = {}
        for entry in self._encoded.all(subject):
            for action, count in entry.get("actions", {}).items():
                merged[action] = merged.get(action, 0) + count
        return merged

    def last_ms(self, subject: Key, metric: str) -> int:
        """Newest event time that the subject's figure rests on; 0 if there is none."""
        if subject[0] in _SUMMED:
            name = metric if metric.startswith(READING_PREFIX) else ""
            return self._sums[subject].last_ms.get(name, 0) if subject in self._sums else 0
        if subject[0] in _VIEWED:
            return self._view.last_ms(subject)
        return max((entry.get("last_ms", 0) for entry in self._encoded.all(subject)), default=0)

    def accounts(self, subject: Key) -> Iterator[Key]:
        """The accounts that a sum is over, also those with readings only."""
        return (key for key in self._accounts if subject == ALL_ACCOUNTS or key[1] == subject[1])

    def owner(self, subject: Key) -> str | None:
        """The account whose post or broadcast it is; None if that is not known, or of another scope."""
        if subject[0] in _VIEWED:
            return self.about(str(subject[1]))[1] or None
        return next((entry.get("account") for entry in self._encoded.all(subject)), None)

    def display_names(self, subject: Key) -> tuple[str, ...]:
        """The names of a subject for people: the title of a broadcast, else what its key says."""
        if subject[0] == "broadcast":
            return (self.about(str(subject[1]))[2],)
        return tuple(map(str, subject[1:]))

    def voided(self) -> int:
        """How many events have been voided; before the first, no gross total falls."""
        return sum(checkpoint.voided for checkpoint in self._view.checkpoints.values())

    def as_of(self) -> tuple[AsOf, ...]:
        """The offset of each source partition that all figures stand at."""
        return tuple(AsOf(**each) for each in self._view.as_of())

    # -- broadcasts -------------------------------------------------------------------------------------

    def broadcasts(self) -> Iterable[str]:
        """Ids of the broadcasts."""
        return self._broadcasts.keys()

    def about(self, broadcast_id: str) -> tuple[dict[str, int], str, str]:
        """Start of each phase, account, and title (the id if it has none) of a broadcast."""
        entries = self._view.partials.get(("broadcast", broadcast_id), {}).values()
        phases = {phase: at_ms for entry in entries for phase, at_ms in entry.get("phases", {}).items()}
        account = next((entry["account"] for entry in entries if entry.get("account")), "")
        title = next((entry["title"] for entry in entries if entry.get("title")), broadcast_id)
        return phases, account, title

    def first_minute_ms(self, broadcast_id: str) -> int | None:
        """Start of the first minute with a count."""
        return self._broadcasts.get(broadcast_id)

    def newest_stream_time_ms(self) -> int:
        """The latest stream time of any partition; 0 before the first."""
        return max((checkpoint.stream_time_ms for checkpoint in self._view.checkpoints.values()), default=0)

    def closed_through_ms(self) -> int:
        """Minutes that start at or before this are closed in every partition; negative if none is."""
        if len(self._view.checkpoints) < self.partitions:
            return -1
        return self._view.stream_time_ms() - MINUTE_MS - GRACE_MS

    def minute(self, broadcast_id: str, start_ms: int) -> dict[str, int] | None:
        """Counts of a minute once it is closed in every partition; None before."""
        if start_ms > self.closed_through_ms():
            return None
        key: Key = ("minute", broadcast_id, start_ms)
        entries = self._view.partials.get(key, {}).values()
        return self._view.actions(key) if all(entry.get("closed") for entry in entries) else None


def _is_part_reading(name: Key) -> bool:
    """Whether it is a reading of a post or a broadcast, which is no part of an account's figure."""
    return name[0] == "reading" and str(name[2]).startswith(("post/", "broadcast/"))
