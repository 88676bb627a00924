"""The state of the board, built from records of the totals and alerts topics, and snapshots to draw."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
from pydantic import ValidationError

from fanpulse.board import wording
from fanpulse.board.leaders import Leaders
from fanpulse.board.rolling import ALL_ACCOUNTS, MINUTE_MS, Rolling
from schemas.alerts import ALERT, Milestone, Retraction, Spike
from schemas.events import POST_ACTION
from schemas.hashtags import AliasTable
from schemas.totals import COUNTED_SCOPES, Key, TotalsView, decode_key, decode_value, interactions

_RANKED = ("account", "hashtag", "country")
#: Scopes that the board does not show; a stream may have millions of subjects of one.
_UNSEEN = frozenset(COUNTED_SCOPES) - {*_RANKED, "broadcast"}
_LEADERS = 64
#: Minutes in a chart.
MINUTES = 120
_RATE_MS = 4_000  # the span of real time that events per second are averaged over
PHASES = ("scheduled", "preheat", "started", "ended")


@dataclass(frozen=True, slots=True)
class Row:
    """An account, hashtag or country. ``minutes``: activity per minute of the last hour, the newest last."""

    name: str
    platform: str
    actions: dict[str, int]
    activity: int
    per_minute: int
    minutes: tuple[int, ...]
    followers: int | None = None


@dataclass(frozen=True, slots=True)
class BroadcastPanel:
    """A live broadcast. ``minutes``: interactions per minute; ``spikes``: starts of minutes with a spike."""

    title: str
    phase: str
    since_ms: int
    started_ms: int | None
    viewers: int | None
    interactions: int
    last_start_ms: int
    minutes: tuple[int, ...]
    spikes: frozenset[int]


@dataclass(frozen=True, slots=True)
class AlertLine:
    """One alert, shortened to a line."""

    kind: str
    at_ms: int
    text: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All that is drawn. Counts are of events; ``per_second`` is in real time, the rest in event time."""

    stream_time_ms: int
    age_seconds: float | None
    counted: int
    per_second: float
    duplicates: int
    late: int
    rejected: int
    all_accounts: Row
    accounts: tuple[Row, ...]
    accounts_seen: int
    hashtags: tuple[Row, ...]
    hashtags_seen: int
    countries: tuple[Row, ...]
    broadcasts: tuple[BroadcastPanel, ...]
    alerts: tuple[AlertLine, ...]
    milestones: int
    spikes: int


class Board:
    """Apply the records of each partition in order, and take snapshots. Not thread-safe."""

    def __init__(self, aliases: AliasTable) -> None:
        self._aliases = aliases
        self._view = TotalsView()
        self._rolling = Rolling()
        self._leaders = {scope: Leaders(_LEADERS) for scope in _RANKED}
        self._seen = dict.fromkeys(_RANKED, 0)
        self._all_accounts_actions: dict[str, int] = {}
        self._followers: set[Key] = set()
        self._broadcasts: set[str] = set()
        self._viewers: dict[str, set[Key]] = {}
        self._alerts: dict[str, Milestone | Spike] = {}
        self._newest_record_ms = 0
        self._samples: deque[tuple[int, int]] = deque()

    def apply_total(self, partition: int, key: bytes, value: bytes | None, timestamp_ms: int) -> None:
        """Apply a record of engagement.totals.v1 written at ``timestamp_ms``. Ignores unknown records."""
        try:
            name = decode_key(key)
            scope = name[0] if name else None
            if scope == "bucket":
                self._rolling.apply(partition, name, None if value is None else decode_value(value))
            elif scope not in _UNSEEN:
                before = self._view.partials.get(name, {})
                old = before.get(partition, {}).get("actions", {})
                known = bool(before)
                self._view.apply(partition, key, value)
                self._update_indexes(partition, name, old, known)
        except (msgspec.DecodeError, AssertionError, LookupError, TypeError, ValueError):
            return  # written by a newer version or by hand
        self._newest_record_ms = max(self._newest_record_ms, timestamp_ms)

    def apply_alert(self, key: bytes, value: bytes | None) -> AlertLine | None:
        """Apply a record of engagement.alerts.v1; returns its line if the alert is new and not superseded."""
        alert_id = key.decode(errors="replace")
        if value is None:
            self._alerts.pop(alert_id, None)
            return None
        try:
            alert = ALERT.validate_json(value)
        except ValidationError:
            return None
        if isinstance(alert, Retraction):
            self._alerts.pop(alert.retracts, None)
            return None
        known = alert_id in self._alerts
        self._alerts[alert_id] = alert
        return None if known or _superseded(alert) else self._alert_line(alert)

    def events_processed(self) -> int:
        """The events of the log that are processed so far: counted, or recognised as duplicates."""
        return sum(
            checkpoint.counted + checkpoint.duplicates for checkpoint in self._view.checkpoints.values()
        )

    def snapshot(
        self, now_ms: int, accounts: int = 8, hashtags: int = 12, countries: int = 12, alerts: int = 40
    ) -> Snapshot:
        """The board at the wall-clock time ``now_ms``, with at most the given number of rows of each kind."""
        checkpoints = self._view.checkpoints.values()
        counted = sum(checkpoint.counted for checkpoint in checkpoints)
        return Snapshot(
            stream_time_ms=self._view.stream_time_ms(),
            age_seconds=max(0, now_ms - self._newest_record_ms) / 1000 if self._newest_record_ms else None,
            counted=counted,
            per_second=self._events_per_second(now_ms, counted),
            duplicates=sum(checkpoint.duplicates for checkpoint in checkpoints),
            late=sum(checkpoint.late for checkpoint in checkpoints),
            rejected=sum(checkpoint.rejected for checkpoint in checkpoints),
            all_accounts=self._all_accounts(),
            accounts=self._rows("account", accounts),
            accounts_seen=self._seen["account"],
            hashtags=self._rows("hashtag", hashtags),
            hashtags_seen=self._seen["hashtag"],
            countries=self._rows("country", countries),
            broadcasts=self._panels(),
            alerts=self._newest_alerts(alerts),
            milestones=sum(alert.kind == "milestone" for alert in self._alerts.values()),
            spikes=sum(alert.kind == "spike" for alert in self._alerts.values()),
        )

    def _update_indexes(self, partition: int, name: Key, old: dict[str, int], known: bool) -> None:
        """Update what is too slow to compute at each snapshot. ``old``: the actions of the replaced entry."""
        match name:
            case (str(scope), *_) if scope in _RANKED:
                actions = self._view.actions(name)
                self._leaders[scope].update(name, _activity(actions))
                self._seen[scope] += not known
                if scope == "account":
                    self._add_to_all_accounts(partition, name, old)
            case ("broadcast", broadcast_id):
                self._broadcasts.add(str(broadcast_id))
            case ("reading", _, subject, "viewers"):
                self._viewers.setdefault(str(subject), set()).add(name)
            case ("reading", _, subject, "followers") if "/" not in str(subject):
                self._followers.add(name)

    def _add_to_all_accounts(self, partition: int, name: Key, old: dict[str, int]) -> None:
        new = self._view.partials.get(name, {}).get(partition, {}).get("actions", {})
        for action in new.keys() | old.keys():
            change = new.get(action, 0) - old.get(action, 0)
            self._all_accounts_actions[action] = self._all_accounts_actions.get(action, 0) + change

    def _events_per_second(self, now_ms: int, counted: int) -> float:
        samples = self._samples
        if not counted:
            return 0.0
        samples.append((now_ms, counted))
        while len(samples) > 2 and samples[1][0] <= now_ms - _RATE_MS:
            samples.popleft()
        then_ms, before = samples[0]
        return max(0, counted - before) * 1000 / (now_ms - then_ms) if now_ms > then_ms else 0.0

    def _reading(self, key: Key) -> int | None:
        """The newest value. A subject is in one partition, but may be in two after a move."""
        entries = self._view.partials.get(key, {}).values()
        newest = max(entries, key=lambda entry: entry.get("at_ms", 0), default=None)
        return None if newest is None else int(newest["value"])

    def _row(self, key: Key) -> Row:
        actions = self._view.actions(key)
        stream_time_ms = self._view.stream_time_ms()
        account = key[0] == "account"
        name = str(key[-1])
        return Row(
            name=name if account else self._aliases.display(name),
            platform=str(key[1]) if account else "",
            actions=actions,
            activity=_activity(actions),
            per_minute=self._rolling.last_minute(key, stream_time_ms),
            minutes=self._rolling.minutes(key, stream_time_ms, 60),
            followers=self._reading(("reading", key[1], name, "followers")) if account else None,
        )

    def _rows(self, scope: str, count: int) -> tuple[Row, ...]:
        """The top rows. If all accounts fit, their order is fixed, so that rows stay in place."""
        top = self._leaders[scope].top(count)
        if scope == "account" and self._seen[scope] <= count:
            top.sort(key=lambda key: tuple(map(str, key)))
        return tuple(self._row(key) for key in top)

    def _all_accounts(self) -> Row:
        """All accounts together."""
        followers = [self._reading(key) for key in self._followers]
        stream_time_ms = self._view.stream_time_ms()
        return Row(
            name="all",
            platform="",
            actions=dict(self._all_accounts_actions),
            activity=_activity(self._all_accounts_actions),
            per_minute=self._rolling.last_minute(ALL_ACCOUNTS, stream_time_ms),
            minutes=self._rolling.minutes(ALL_ACCOUNTS, stream_time_ms, 60),
            followers=sum(value for value in followers if value is not None) if followers else None,
        )

    def _panels(self) -> tuple[BroadcastPanel, ...]:
        """Broadcasts: live ones first, then by the start of their phase, the newest first."""
        panels = [panel for panel in map(self._panel, sorted(self._broadcasts)) if panel is not None]
        return tuple(sorted(panels, key=lambda panel: (panel.phase != "started", -panel.since_ms)))

    def _panel(self, broadcast_id: str) -> BroadcastPanel | None:
        phases: dict[str, int] = {}
        title = broadcast_id
        for entry in self._view.partials.get(("broadcast", broadcast_id), {}).values():
            phases |= entry.get("phases", {})
            title = entry.get("title", title)
        stream_time_ms = self._view.stream_time_ms()
        entered = [(at_ms, PHASES.index(phase)) for phase, at_ms in phases.items() if phase in PHASES]
        if not entered:
            return None
        since_ms, number = max(entered)
        viewers = [self._reading(key) for key in self._viewers.get(f"broadcast/{broadcast_id}", ())]
        last = stream_time_ms - stream_time_ms % MINUTE_MS
        starts = range(last - (MINUTES - 1) * MINUTE_MS, last + 1, MINUTE_MS)
        return BroadcastPanel(
            title=title,
            phase=PHASES[number],
            since_ms=since_ms,
            started_ms=phases.get("started"),
            viewers=sum(value for value in viewers if value is not None) if viewers else None,
            interactions=interactions(self._view.actions(("broadcast", broadcast_id))),
            last_start_ms=last,
            minutes=tuple(
                interactions(self._view.actions(("minute", broadcast_id, start_ms))) for start_ms in starts
            ),
            spikes=frozenset(
                alert.occurred_at - alert.occurred_at % MINUTE_MS
                for alert in self._alerts.values()
                if alert.kind == "spike" and alert.subject[-1] == broadcast_id
            ),
        )

    def _newest_alerts(self, count: int) -> tuple[AlertLine, ...]:
        shown = (alert for alert in self._alerts.values() if not _superseded(alert))
        newest = heapq.nlargest(count, shown, key=lambda each: (each.occurred_at, each.id))
        return tuple(self._alert_line(alert) for alert in newest)

    def _alert_line(self, alert: Milestone | Spike) -> AlertLine:
        text = wording.spike(alert) if alert.kind == "spike" else wording.milestone(alert, self._aliases)
        return AlertLine(alert.kind, alert.occurred_at, text)


def _superseded(alert: Milestone | Spike) -> bool:
    """Whether the same series reached a higher milestone at the same time, which is shown instead."""
    return alert.kind == "milestone" and alert.superseded_by is not None


def _activity(actions: dict[str, int]) -> int:
    return interactions(actions) + actions.get(POST_ACTION, 0)


def shares(rows: Sequence[Row]) -> list[float]:
    """Each row's activity as a share of the greatest."""
    most = max((row.activity for row in rows), default=0)
    return [row.activity / most if most else 0.0 for row in rows]
