"""The outcome of an audit: verdict, figures and differences, as an object and as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from services.audit.recounting.differences import Difference, moment
from services.audit.recounting.milestones import Milestone
from services.audit.recounting.spikes import Spike

Verdict = Literal["AGREES", "AGREES, WITH NOTES", "DIFFERS", "CANNOT BE DETERMINED"]


@dataclass(frozen=True, slots=True)
class Window:
    """Event times from ``from_ms`` (inclusive) to ``to_ms`` (exclusive); None: without a bound."""

    from_ms: int | None = None
    to_ms: int | None = None

    def holds(self, at_ms: int) -> bool:
        """Whether a time is in the window."""
        return (self.from_ms is None or at_ms >= self.from_ms) and (self.to_ms is None or at_ms < self.to_ms)


@dataclass(frozen=True, slots=True)
class Counts:
    """What the log holds up to the published checkpoints; ``uncounted`` events come after them.

    ``late`` events are counted, but too old for every rolling count. ``figures`` and ``rolling`` say how many
    totals, and how many counts in buckets of the rolling counts, were compared.
    """

    events: int = 0
    counted: int = 0
    duplicates: int = 0
    rejected: int = 0
    late: int = 0
    uncounted: int = 0
    figures: int = 0
    rolling: int = 0


@dataclass(frozen=True, slots=True)
class Total:
    """A recounted total: ``scope`` is account or hashtag."""

    scope: str
    subject: tuple[str, ...]
    action: str
    total: int


@dataclass(frozen=True, slots=True)
class VoidedEvent:
    """An event that was taken back, by whom and why. ``problem``: why its void does not count; else empty."""

    partition: int
    offset: int
    index: int
    event_id: str
    platform: str
    account: str
    action: str
    quantity: int
    occurred_at_ms: int
    reason: str
    by: str
    voided_at_ms: int
    problem: str = ""

    @property
    def text(self) -> str:
        """It in a line."""
        what = f"{self.quantity:,} {self.action} of {self.platform} {self.account}"
        where = f"partition {self.partition}, offset {self.offset:,}, index {self.index}"
        return (
            f"{self.event_id} ({what}; {where}), by {self.by} at {moment(self.voided_at_ms)}: {self.reason}"
        )


@dataclass(frozen=True, slots=True)
class AuditResult:
    """All that an audit found.

    ``exact`` is true if everything could be compared and nothing differs. ``obstacle`` says why nothing
    could be determined, if so. ``awaited`` counts alerts that are missing.
    """

    namespace: str
    read_at: str
    counts: Counts
    as_of: tuple[dict[str, int], ...]
    differences: tuple[Difference, ...] = ()
    notes: tuple[str, ...] = ()
    milestones: tuple[Milestone, ...] = ()
    spikes: tuple[Spike, ...] = ()
    voids: tuple[VoidedEvent, ...] = ()
    obstacle: str = ""
    awaited: int = 0
    window: Window | None = None
    window_totals: tuple[Total, ...] = ()
    seconds: float = 0.0
    dedup_window: tuple[dict[str, int], ...] = field(default=())

    @property
    def verdict(self) -> Verdict:
        """One of the four verdicts."""
        if self.obstacle:
            return "CANNOT BE DETERMINED"
        if self.differences:
            return "DIFFERS"
        return "AGREES, WITH NOTES" if self.notes else "AGREES"

    @property
    def exact(self) -> bool:
        """Whether every published figure that is counted is right to the unit."""
        return not self.obstacle and not self.differences

    @property
    def events(self) -> int:
        """Events of the log up to the published checkpoints, duplicates included."""
        return self.counts.events

    @property
    def counted(self) -> int:
        """Events that count."""
        return self.counts.counted

    @property
    def duplicates(self) -> int:
        """Events that do not count because their id was seen before."""
        return self.counts.duplicates

    def as_json(self) -> dict[str, Any]:
        """The report."""
        return {
            "verdict": self.verdict,
            "exact": self.exact,
            "reason": self.obstacle or None,
            "namespace": self.namespace,
            "read_at": self.read_at,
            "as_of": list(self.as_of),
            "duplicates_rule": list(self.dedup_window),
            "events": self.counts.events,
            "counted": self.counts.counted,
            "duplicates": self.counts.duplicates,
            "rejected": self.counts.rejected,
            "late": self.counts.late,
            "not_yet_counted": self.counts.uncounted,
            "figures": self.counts.figures,
            "rolling": self.counts.rolling,
            "differences": [difference.as_json() for difference in self.differences],
            "notes": list(self.notes),
            "milestones": [_milestone_json(each) for each in self.milestones],
            "spikes": [_spike_json(each) for each in self.spikes],
            "voids": [_void_json(each) for each in self.voids],
            "window": self.window and {"from": self.window.from_ms, "to": self.window.to_ms},
            "window_totals": [_total_json(each) for each in self.window_totals],
            "seconds": round(self.seconds, 3),
        }


def verdict_line(result: AuditResult) -> str:
    """E.g. ``VERDICT: DIFFERS (3 figures, 1 milestone)``."""
    if result.obstacle:
        return f"VERDICT: {result.verdict} ({result.obstacle})"
    if result.differences:
        return f"VERDICT: {result.verdict} ({_by_kind(result.differences)})"
    return f"VERDICT: {result.verdict}"


def _by_kind(differences: Sequence[Difference]) -> str:
    counts = Counter(difference.kind for difference in differences)
    return ", ".join(f"{count:,} {kind}{'' if count == 1 else 's'}" for kind, count in counts.items())


def _milestone_json(each: Milestone) -> dict[str, Any]:
    crossing = each.crossing
    return {
        "id": each.id,
        "scope": each.scope,
        "subject": list(each.subject),
        "metric": each.metric,
        "threshold": each.threshold,
        "published": each.total,
        "recounted": each.recounted,
        "occurred_at": each.occurred_at_ms,
        "crossed_by": crossing
        and {
            "event_id": crossing.event_id,
            "partition": crossing.partition,
            "offset": crossing.offset,
            "index": crossing.index,
            "occurred_at": crossing.occurred_at_ms,
            "recorded_at": crossing.recorded_at_ms,
        },
    }


def _void_json(each: VoidedEvent) -> dict[str, Any]:
    return {
        "event_id": each.event_id,
        "partition": each.partition,
        "offset": each.offset,
        "index": each.index,
        "platform": each.platform,
        "account": each.account,
        "action": each.action,
        "quantity": each.quantity,
        "occurred_at": each.occurred_at_ms,
        "reason": each.reason,
        "by": each.by,
        "voided_at": each.voided_at_ms,
    }


def _spike_json(each: Spike) -> dict[str, Any]:
    return {
        "id": each.id,
        "broadcast_id": each.broadcast_id,
        "rule": each.rule,
        "number": each.number,
        "occurred_at": each.start_ms,
        "observed": each.observed,
        "baseline": each.baseline,
        "window_minutes": each.minutes,
    }


def _total_json(each: Total) -> dict[str, Any]:
    if each.scope == "account":
        platform, account = each.subject
        return {"platform": platform, "account": account, "action": each.action, "total": each.total}
    return {"hashtag": each.subject[0], "action": each.action, "total": each.total}
