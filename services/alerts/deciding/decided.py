"""The milestones on record: which hold, and how often each was retracted. Pure."""

from __future__ import annotations

from typing import NamedTuple

from schemas.alerts import Alert, Milestone, Retraction, milestone_id, retraction_id

#: Scope, subject, metric.
Series = tuple[str, tuple[str, ...], str]


class Standing(NamedTuple):
    """A milestone that holds."""

    id: str
    rule: str
    occurred_at: int
    superseded_by: str | None


class Decided:
    """What is on record. ``ids``: of every alert; ``standing``: the milestones that hold, by threshold."""

    def __init__(self) -> None:
        self.ids: set[str] = set()
        self.standing: dict[Series, dict[int, Standing]] = {}
        self._retractions: dict[str, int] = {}  # of a milestone, by the id that it had at first

    def note(self, alert: Alert) -> None:
        """Take in an alert of the record, in order."""
        self.ids.add(alert.id)
        if isinstance(alert, Milestone):
            if retraction_id(alert.id) not in self.ids:
                standing = Standing(alert.id, alert.rule, alert.occurred_at, alert.superseded_by)
                self.standing.setdefault(_series(alert), {})[alert.threshold] = standing
        elif isinstance(alert, Retraction):
            series = _series(alert)
            first = milestone_id(*series, alert.threshold)
            self._retractions[first] = self._retractions.get(first, 0) + 1
            held = self.standing.get(series, {})
            if (found := held.get(alert.threshold)) and found.id == alert.retracts:
                del held[alert.threshold]

    def retractions(self, scope: str, subject: tuple[str, ...], metric: str, threshold: int) -> int:
        """How often a milestone was retracted."""
        if not self._retractions:
            return 0
        return self._retractions.get(milestone_id(scope, subject, metric, threshold), 0)


def _series(alert: Milestone | Retraction) -> Series:
    return alert.scope, alert.subject, alert.metric
