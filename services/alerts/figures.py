"""What the totals say, at points where every figure belongs to one stated offset of the log.

The aggregator writes the changed entries of a source partition and its source offset in one transaction,
the ``position`` entry last. So a partition's entries are held back until the position that they belong to
has come, and are then taken in together: a figure of ``Figures`` is always that of a recount of the log up
to ``as_of``. Pure: records in, figures out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec

from schemas.alerts import AsOf
from schemas.events import INTERACTIONS
from schemas.totals import Key, TotalsView, decode_key
from services.alerts.rules import INTERACTIONS_METRIC, READING_PREFIX

MATRIX: Key = ("matrix",)
MINUTE_MS = 60_000
#: How long after its end a minute takes events, as the aggregator counts.
GRACE_MS = 5_000

#: Scopes of engagement.totals.v1 that alerts are made of. The rest is passed over: it can be much.
_USED = frozenset({"account", "hashtag", "campaign", "post", "broadcast", "reading", "minute", "position"})
_POSITION: Key = ("position",)


def amount(counts: dict[str, int], metric: str) -> int:
    """The figure of a metric among the counts of a subject."""
    if metric == INTERACTIONS_METRIC:
        return sum(counts.get(action, 0) for action in INTERACTIONS)
    return counts.get(metric, 0)


@dataclass(slots=True)
class _Sum:
    """The sum over the accounts of a platform, or over all."""

    counts: dict[str, int] = field(default_factory=dict)
    last_ms: dict[str, int] = field(default_factory=dict)  # newest event time: of actions ("") and readings

    def move(self, name: str, by: int) -> None:
        self.counts[name] = self.counts.get(name, 0) + by

    def touch(self, name: str, at_ms: int) -> None:
        if at_ms > self.last_ms.get(name, 0):
            self.last_ms[name] = at_ms


class Figures:
    """Merged totals of every subject, with sums over accounts. ``partitions``: how many the totals have.

    Subjects go by the keys of the totals; sums by ("platform", name) and ("matrix",). ``changed`` collects
    the subjects whose figures may have changed since ``take_changed``.
    """

    def __init__(self, partitions: int) -> None:
        self.partitions = partitions
        self.view = TotalsView()
        self._held: dict[int, list[tuple[bytes, bytes | None]]] = {}
        self._sums: dict[Key, _Sum] = {}
        self._readings: dict[Key, set[str]] = {}  # account -> metrics of its readings
        self._accounts: dict[Key, None] = {}  # in order of first appearance
        self._broadcasts: dict[str, int | None] = {}  # id -> start of its first minute with a count
        self._changed: set[Key] = set()

    # -- taking in --------------------------------------------------------------------------------------

    def feed(self, partition: int, key: bytes, value: bytes | None) -> int:
        """Take in the next record of a partition. It shows once the partition's next position has come.

        Returns how many records could not be read and were left out: of those that show now, or this one.
        """
        try:
            name = decode_key(key)
        except msgspec.DecodeError:
            return 1
        if not name or name[0] not in _USED:
            return 0
        held = self._held.setdefault(partition, [])
        held.append((key, value))
        if name != _POSITION:
            return 0
        self._held[partition] = []
        return sum(not self._apply(partition, *record) for record in held)

    def _apply(self, partition: int, key: bytes, value: bytes | None) -> bool:
        name = decode_key(key)
        before = self.view.partials.get(name, {}).get(partition, {})
        try:
            self.view.apply(partition, key, value)
        except msgspec.DecodeError:
            return False
        after = self.view.partials.get(name, {}).get(partition, {})
        scope = name[0]
        if scope == "account":
            self._sum_actions(name, before, after)
        elif scope == "reading":
            self._sum_reading(name, before, after)
        elif scope == "broadcast":
            self._broadcasts.setdefault(str(name[1]), None)
        elif scope == "minute" and after:
            broadcast_id, start_ms = str(name[1]), int(name[2])
            first = self._broadcasts.get(broadcast_id)
            self._broadcasts[broadcast_id] = start_ms if first is None else min(first, start_ms)
        elif scope in ("hashtag", "campaign", "post"):
            self._changed.add(name)
        return True

    def _sum_actions(self, name: Key, before: dict[str, Any], after: dict[str, Any]) -> None:
        was, now = before.get("actions", {}), after.get("actions", {})
        for key in (MATRIX, ("platform", name[1])):
            total = self._sums.setdefault(key, _Sum())
            for action in was.keys() | now.keys():
                total.move(action, now.get(action, 0) - was.get(action, 0))
            total.touch("", after.get("last_ms", 0))
            self._changed.add(key)
        self._accounts.setdefault(name)
        self._changed.add(name)

    def _sum_reading(self, name: Key, before: dict[str, Any], after: dict[str, Any]) -> None:
        _, platform, subject, metric = map(str, name)
        if subject.startswith(("post/", "broadcast/")):
            return
        metric = READING_PREFIX + metric
        for key in (MATRIX, ("platform", platform)):
            total = self._sums.setdefault(key, _Sum())
            total.move(metric, after.get("value", 0) - before.get("value", 0))
            total.touch(metric, after.get("at_ms", 0))
            self._changed.add(key)
        account: Key = ("account", platform, subject)
        self._accounts.setdefault(account)
        self._readings.setdefault(account, set()).add(metric)
        self._changed.add(account)

    # -- subjects ---------------------------------------------------------------------------------------

    def take_changed(self) -> set[Key]:
        """The subjects that may have changed since the last call."""
        changed, self._changed = self._changed, set()
        return changed

    def counts(self, subject: Key) -> dict[str, int]:
        """Gross count of each action, and value of each reading under ``reading:<metric>``."""
        if subject[0] in ("matrix", "platform"):
            found = self._sums.get(subject)
            return found.counts if found else {}
        counts = self.view.actions(subject)
        for metric in self._readings.get(subject, ()):
            counts[metric] = max((entry["value"] for entry in self._reading(subject, metric)), default=0)
        return counts

    def last_ms(self, subject: Key, metric: str) -> int:
        """Newest event time that the subject's figure rests on; 0 if there is none."""
        reading = metric if metric.startswith(READING_PREFIX) else ""
        if subject[0] in ("matrix", "platform"):
            found = self._sums.get(subject)
            return found.last_ms.get(reading, 0) if found else 0
        if reading:
            return max((entry["at_ms"] for entry in self._reading(subject, metric)), default=0)
        return self.view.last_ms(subject)

    def _reading(self, account: Key, metric: str) -> list[dict[str, Any]]:
        """The entries of a reading: one, since readings are partitioned by their subject."""
        key = ("reading", account[1], account[2], metric.removeprefix(READING_PREFIX))
        return list(self.view.partials.get(key, {}).values())

    def accounts(self, subject: Key) -> Iterator[Key]:
        """The accounts that a sum is over, also those with readings only."""
        return (key for key in self._accounts if subject == MATRIX or key[1] == subject[1])

    def account_of(self, post: Key) -> str | None:
        """The account whose post it is."""
        return next((entry["account"] for entry in self.view.partials.get(post, {}).values()), None)

    def as_of(self) -> tuple[AsOf, ...]:
        """The offset of each source partition that all figures stand at."""
        return tuple(AsOf(**each) for each in self.view.as_of())

    # -- broadcasts -------------------------------------------------------------------------------------

    def broadcasts(self) -> Iterable[str]:
        """Ids of the broadcasts."""
        return self._broadcasts.keys()

    def about(self, broadcast_id: str) -> tuple[dict[str, int], str, str]:
        """Start of each phase, account, and title (the id if it has none) of a broadcast."""
        entries = self.view.partials.get(("broadcast", broadcast_id), {}).values()
        phases = {phase: at_ms for entry in entries for phase, at_ms in entry.get("phases", {}).items()}
        account = next((entry["account"] for entry in entries if entry.get("account")), "")
        title = next((entry["title"] for entry in entries if entry.get("title")), broadcast_id)
        return phases, account, title

    def first_minute_ms(self, broadcast_id: str) -> int | None:
        """Start of the first minute with a count."""
        return self._broadcasts.get(broadcast_id)

    def newest_present_ms(self) -> int:
        """The latest present of any partition; 0 before the first."""
        return max((position.present_ms for position in self.view.positions.values()), default=0)

    def closed_through_ms(self) -> int:
        """Minutes that start at or before this are closed in every partition; negative if none is."""
        if len(self.view.positions) < self.partitions:
            return -1
        return self.view.present_ms() - MINUTE_MS - GRACE_MS

    def minute(self, broadcast_id: str, start_ms: int) -> dict[str, int] | None:
        """Counts of a minute once it is closed in every partition; None before."""
        if start_ms > self.closed_through_ms():
            return None
        key: Key = ("minute", broadcast_id, start_ms)
        entries = self.view.partials.get(key, {}).values()
        return self.view.actions(key) if all(entry.get("closed") for entry in entries) else None
