"""Spikes: minutes of a live broadcast that are far above the minutes before them.

Every rule that matches a broadcast decides for itself: it has its own history of minutes, numbers its own
spikes and gives them ids of its own. A rule reads closed minutes only, strictly in order. So its spikes
follow from the minutes and phases of the broadcast, not from when they arrived, how often the service looked
or which other rules there are. Pure: figures in, spikes out.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import NamedTuple

from schemas.alerts import AsOf, Spike, alert_id
from schemas.log import MINUTE_MS
from services.alerts.deciding.figures import Figures, metric_value
from services.alerts.deciding.milestones import top_actions
from services.alerts.deciding.rules import INTERACTIONS_METRIC, SpikeRule
from services.alerts.deciding.wording import spike_text

#: A minute this much older than stream time cannot be a spike any more. It is no news; and the aggregator
#: drops minutes after 48 hours, so the minutes before an older one may be incomplete.
OLDEST_MS = 24 * 3_600_000


@dataclass(frozen=True, slots=True)
class Burst:
    """A spike in a series: the count of its first minute, and the median of the ``minutes`` before it."""

    observed: int
    baseline: float
    minutes: int


class Detector:
    """Finds spikes in one series, fed minute by minute. See SpikeRule for what a spike is."""

    def __init__(self, rule: SpikeRule) -> None:
        self._rule = rule
        self._past: deque[int] = deque(maxlen=rule.window_minutes)
        self._calm_minutes = rule.quiet_minutes  # since the last minute that was far above

    def push(self, count: int, *, live: bool) -> Burst | None:
        """Take in the next minute; return the spike that begins with it. Only live minutes can be spikes."""
        baseline = float(median(self._past)) if self._past else 0.0
        minutes = len(self._past)
        self._past.append(count)
        rule = self._rule
        high = (
            live
            and minutes >= rule.min_history
            and count >= rule.min_count
            and count > rule.factor * baseline
        )
        begins = high and self._calm_minutes >= rule.quiet_minutes
        self._calm_minutes = 0 if high else self._calm_minutes + 1
        return Burst(count, baseline, minutes) if begins else None


@dataclass
class _Series:
    """The minutes of one broadcast as one rule sees them."""

    detector: Detector
    rule: SpikeRule
    next_ms: int  # start of the next minute to take in


class Spikes:
    """Decides the spikes of all broadcasts, by every rule that matches.

    ``last`` gives number and start of the last spike recorded before a restart, per (broadcast, rule name):
    the numbers of the rule go on from there, and nothing up to that minute is decided again.
    """

    def __init__(self, rules: Sequence[SpikeRule], last: Mapping[tuple[str, str], tuple[int, int]]) -> None:
        self._rules = rules
        self._last = dict(last)
        self._series: dict[str, list[_Series]] = {}  # by broadcast: one for each rule that matches
        self._decided_through_ms = -1

    def decide(self, figures: Figures, decided_at: int) -> list[Spike]:
        """New spikes, in order of event time. What is returned is expected to be recorded."""
        through_ms = figures.closed_through_ms() // MINUTE_MS * MINUTE_MS
        if not self._rules or through_ms <= self._decided_through_ms:
            return []  # no further minute has closed: the usual case, a few times a second
        found = [
            spike
            for broadcast_id in figures.broadcasts()
            for spike in self._decide_broadcast(figures, broadcast_id, through_ms, decided_at)
        ]
        self._decided_through_ms = through_ms
        return sorted(found, key=lambda spike: (spike.occurred_at, spike.subject, spike.rule))

    def _decide_broadcast(
        self, figures: Figures, broadcast_id: str, through_ms: int, decided_at: int
    ) -> list[Spike]:
        phases, account, _ = figures.about(broadcast_id)
        # The series may begin with a minute that a lagging partition still holds back: wait until the first
        # live minute has closed everywhere.
        if through_ms < _floor(phases.get("started", through_ms + MINUTE_MS)):
            return []
        if broadcast_id not in self._series:
            self._series[broadcast_id] = [
                _begin(figures, broadcast_id, phases, rule)
                for rule in self._rules
                if rule.matches(broadcast_id, account)
            ]
        return [
            spike
            for series in self._series[broadcast_id]
            for spike in self._decide_series(figures, broadcast_id, series, through_ms, decided_at)
        ]

    def _decide_series(
        self, figures: Figures, broadcast_id: str, series: _Series, through_ms: int, decided_at: int
    ) -> list[Spike]:
        phases, _, title = figures.about(broadcast_id)
        found: list[Spike] = []
        live_from_ms = max(_floor(phases["started"]), figures.newest_stream_time_ms() - OLDEST_MS)
        end_ms = min(through_ms, _live_until_ms(phases, through_ms))
        last_of = (broadcast_id, series.rule.name)
        while series.next_ms <= end_ms:
            start_ms = series.next_ms
            counts = figures.minute(broadcast_id, start_ms)
            if counts is None:
                break
            series.next_ms += MINUTE_MS
            count = metric_value(counts, series.rule.metric)
            burst = series.detector.push(count, live=start_ms >= live_from_ms)
            number, last_ms = self._last.get(last_of, (0, -1))
            if burst is not None and start_ms > last_ms:
                self._last[last_of] = (number + 1, start_ms)
                name = _Name(broadcast_id, title, number + 1, start_ms)
                found.append(_spike(name, series.rule, burst, counts, figures.as_of(), decided_at))
        return found


def _begin(figures: Figures, broadcast_id: str, phases: dict[str, int], rule: SpikeRule) -> _Series:
    """The series of a broadcast that has started: from its first phase or count, or as much as is needed."""
    first_ms = figures.first_minute_ms(broadcast_id)
    known_ms = min(*phases.values(), phases["started"] if first_ms is None else first_ms)
    live_ms = max(phases["started"], figures.newest_stream_time_ms() - OLDEST_MS)
    needed_ms = live_ms - rule.window_minutes * MINUTE_MS
    return _Series(Detector(rule), rule, _floor(max(known_ms, needed_ms)))


class _Name(NamedTuple):
    """Which spike it is."""

    broadcast_id: str
    title: str
    number: int
    start_ms: int


def _spike(
    name: _Name,
    rule: SpikeRule,
    burst: Burst,
    counts: dict[str, int],
    as_of: tuple[AsOf, ...],
    decided_at: int,
) -> Spike:
    top_contributors = top_actions(counts) if rule.metric == INTERACTIONS_METRIC else ()
    return Spike(
        id=alert_id("spike", name.broadcast_id, rule.name, name.number),
        rule=rule.name,
        scope="broadcast",
        subject=(name.broadcast_id,),
        metric=rule.metric,
        occurred_at=name.start_ms,
        decided_at=decided_at,
        top_contributors=top_contributors,
        as_of=as_of,
        text=spike_text(
            name.title,
            rule.name,
            rule.metric,
            name.start_ms,
            burst.observed,
            burst.baseline,
            burst.minutes,
            top_contributors,
        ),
        number=name.number,
        observed=burst.observed,
        baseline=burst.baseline,
        window_minutes=burst.minutes,
        factor=round(burst.observed / burst.baseline, 2) if burst.baseline else None,
    )


def _floor(at_ms: int) -> int:
    return at_ms - at_ms % MINUTE_MS


def _live_until_ms(phases: dict[str, int], otherwise: int) -> int:
    """The last millisecond of the live phase; ``otherwise`` while it has no end. A later start undoes it."""
    ended_ms = phases.get("ended")
    return otherwise if ended_ms is None or ended_ms < phases["started"] else ended_ms - 1
