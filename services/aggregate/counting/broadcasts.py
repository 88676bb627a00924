"""Live broadcasts: their phases, and their counts per closed minute, from which spikes are decided."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from schemas.log import GRACE_MS, KEEP_MS, MINUTE_MS
from schemas.totals import Key


@dataclass
class Broadcasts:
    """Phases and minutes.

    A minute of event time closes when the stream time passes its end by GRACE_MS. After that it never
    changes, so what is decided from it does not depend on when you look.
    """

    about: dict[str, dict[str, Any]] = field(default_factory=dict)
    minutes: dict[tuple[str, int], dict[str, int]] = field(default_factory=dict)
    closed: set[tuple[str, int]] = field(default_factory=set)
    dirty: set[Key] = field(default_factory=set)
    gone: set[Key] = field(default_factory=set)
    stream_time_ms: int = 0

    def enter(self, broadcast_id: str, account: str, phase: str, at_ms: int, title: str | None) -> None:
        """A broadcast enters a phase; the last record of the log counts."""
        entry = self.about.setdefault(broadcast_id, {"phases": {}})
        entry["phases"][phase] = at_ms
        entry["account"] = account
        if title:
            entry["title"] = title
        self.dirty.add(("broadcast", broadcast_id))

    def count(self, broadcast_id: str, action: str, count: int, at_ms: int) -> None:
        """Count into the minute of the event, unless it is closed."""
        start_ms = at_ms - at_ms % MINUTE_MS
        if start_ms + MINUTE_MS + GRACE_MS <= self.stream_time_ms:
            return
        actions = self.minutes.setdefault((broadcast_id, start_ms), {})
        actions[action] = actions.get(action, 0) + count
        self.dirty.add(("minute", broadcast_id, start_ms))

    def holds(self, broadcast_id: str | None, action: str, count: int, at_ms: int) -> bool:
        """Whether the minute of an event has so much, or is closed and so stays as it is."""
        start_ms = at_ms - at_ms % MINUTE_MS
        if not broadcast_id or start_ms + MINUTE_MS + GRACE_MS <= self.stream_time_ms:
            return True
        return self.minutes.get((broadcast_id, start_ms), {}).get(action, 0) >= count

    def take_back(self, broadcast_id: str | None, action: str, count: int, at_ms: int) -> None:
        """Take out of the minute of an event what it holds (``holds``), unless it is closed."""
        start_ms = at_ms - at_ms % MINUTE_MS
        if not broadcast_id or start_ms + MINUTE_MS + GRACE_MS <= self.stream_time_ms:
            return
        actions = self.minutes[broadcast_id, start_ms]
        actions[action] -= count
        if not actions[action]:
            del actions[action]
        self.dirty.add(("minute", broadcast_id, start_ms))

    def advance(self, stream_time_ms: int) -> None:
        """Close what the stream time has passed; drop what is long past."""
        self.stream_time_ms = stream_time_ms
        for name in self.minutes.keys() - self.closed:
            if name[1] + MINUTE_MS + GRACE_MS <= stream_time_ms:
                self.closed.add(name)
                self.dirty.add(("minute", *name))
        for name in [name for name in self.closed if name[1] + KEEP_MS <= stream_time_ms]:
            del self.minutes[name]
            self.closed.discard(name)
            self.dirty.discard(("minute", *name))
            self.gone.add(("minute", *name))

    def minute_entry(self, broadcast_id: str, start_ms: int) -> dict[str, Any]:
        """What is stored of a minute."""
        name = (broadcast_id, start_ms)
        return {"actions": self.minutes[name], "closed": name in self.closed}

    def restore_minute(self, broadcast_id: str, start_ms: int, entry: dict[str, Any]) -> None:
        """Take in a stored minute."""
        name = (broadcast_id, start_ms)
        self.minutes[name] = dict(entry["actions"])
        if entry["closed"]:
            self.closed.add(name)

    def restore_about(self, broadcast_id: str, entry: dict[str, Any]) -> None:
        """Take in a stored broadcast."""
        if "phases" in entry:
            names = ("phases", "account", "title")
            self.about[broadcast_id] = {name: entry[name] for name in names if name in entry}
