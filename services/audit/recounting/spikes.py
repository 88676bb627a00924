"""Spikes recounted: which minutes of a broadcast stood out by which rule, from minutes that were recounted.

Each rule of the file is recounted by itself. A published spike is compared as of the offsets that it names:
with the phases known there and the minutes closed there. Missing ones are looked for as of the published
totals.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from schemas.alerts import alert_id
from schemas.events import INTERACTIONS
from services.audit.recounting.alerts import PublishedSpike
from services.audit.recounting.differences import Difference, moment
from services.audit.recounting.engine import GRACE_MS, MINUTE_MS, Engine
from services.audit.recounting.rules import SpikeRule


@dataclass(frozen=True, slots=True)
class Spike:
    """A spike as recounted: the minute from ``start_ms``, and the median of the ``minutes`` before it."""

    id: str
    broadcast_id: str
    rule: str
    number: int
    start_ms: int
    observed: int
    baseline: float
    minutes: int

    @property
    def name(self) -> str:
        """Its name in a line."""
        return f"spike {self.broadcast_id} {self.rule} number {self.number}"


@dataclass(frozen=True, slots=True)
class _Phase:
    partition: int
    offset: int
    phase: str
    at_ms: int
    account: str


@dataclass(frozen=True, slots=True)
class State:
    """What was known at some offsets: the phases, whose broadcast it is, the last closed minute."""

    phases: Mapping[str, int]
    account: str
    closed_through_ms: int


def spikes_of(
    broadcast_id: str, rule: SpikeRule, minutes: Mapping[int, Mapping[str, int]], state: State
) -> list[Spike]:
    """The spikes of a broadcast by one rule, in order. ``minutes``: counts of each minute that has any."""
    started = state.phases.get("started")
    if started is None or not rule.matches(broadcast_id, state.account):
        return []
    ended = state.phases.get("ended")
    live_until = ended - 1 if ended is not None and ended >= started else state.closed_through_ms
    first_live = _minute_of(started)
    begin = _minute_of(min([*state.phases.values(), *minutes]))
    begin = max(begin, first_live - rule.window_minutes * MINUTE_MS)
    end = min(live_until, state.closed_through_ms)
    series = [_figure(minutes.get(start, {}), rule.metric) for start in range(begin, end + 1, MINUTE_MS)]
    found: list[Spike] = []
    calm = rule.quiet_minutes
    for index, observed in enumerate(series):
        start_ms = begin + index * MINUTE_MS
        past = series[max(0, index - rule.window_minutes) : index]
        baseline = _median(past)
        enough = len(past) >= rule.min_history and observed >= rule.min_count
        high = start_ms >= first_live and enough and observed > rule.factor * baseline
        if high and calm >= rule.quiet_minutes:
            number = len(found) + 1
            name = alert_id("spike", broadcast_id, rule.name, number)
            found.append(
                Spike(name, broadcast_id, rule.name, number, start_ms, observed, baseline, len(past))
            )
        calm = 0 if high else calm + 1
    return found


def _minute_of(at_ms: int) -> int:
    return at_ms // MINUTE_MS * MINUTE_MS


def _figure(actions: Mapping[str, int], metric: str) -> int:
    names = INTERACTIONS if metric == "interactions" else (metric,)
    return sum(actions.get(name, 0) for name in names)


def _median(values: Sequence[int]) -> float:
    ordered, half = sorted(values), len(values) // 2
    if not ordered:
        return 0.0
    return float(ordered[half]) if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2


class SpikeCheck:
    """Checks published spikes, and finds those that are missing. ``partitions``: all of the log."""

    def __init__(self, engine: Engine, rules: Sequence[SpikeRule], partitions: Sequence[int]) -> None:
        self._engine = engine
        self._rules = rules
        self._partitions = partitions
        self._minutes: dict[str, dict[int, dict[str, int]]] = defaultdict(lambda: defaultdict(dict))
        for broadcast_id, start_ms, action, count in engine.rows("alerts.minutes"):
            self._minutes[broadcast_id][start_ms][action] = int(count)
        self._phases: dict[str, list[_Phase]] = defaultdict(list)
        for broadcast_id, *phase in engine.rows("alerts.phases"):
            self._phases[broadcast_id].append(_Phase(*phase))

    def expected(self) -> list[Spike]:
        """The spikes that follow from the log up to the published checkpoints."""
        offsets = dict(self._engine.rows("compare.checkpoints"))
        through_ms = self._closed_through_ms(offsets)
        return [
            spike for broadcast_id in sorted(self._phases) for rule in self._rules
            for spike in self._spikes(broadcast_id, rule, offsets, through_ms)
        ]  # fmt: skip

    def ambiguous(self, broadcast_id: str) -> bool:
        """Whether a phase was reported with several times: then spikes depend on when they were decided."""
        shown = {(phase.phase, phase.at_ms) for phase in self._phases[broadcast_id]}
        return len(shown) > len({phase for phase, _ in shown})

    def closed_at_record_timestamp_ms(self, start_ms: int) -> int:
        """The record time at which a minute had closed in every partition; 0 if none closed it."""
        timestamp_ms: int | None = self._engine.value(
            "alerts.minute_closed_at", bound_ms=start_ms + MINUTE_MS + GRACE_MS
        )
        return timestamp_ms or 0

    def check(self, published: PublishedSpike) -> Iterator[Difference]:
        """What is wrong with a published spike."""
        broadcast_id, offsets = (*published.subject, "")[0], published.offsets
        rule = next((rule for rule in self._rules if rule.name == published.rule), None)
        if rule is None:
            yield _differs(published, "FALSE", f"the rule file has no spike rule {published.rule}", None)
            return
        if published.metric != rule.metric:
            text = f"published metric {published.metric}, the rule's is {rule.metric}"
            yield _differs(published, "DIFFERS", text, None)
        spikes = self._spikes(broadcast_id, rule, offsets, self._closed_through_ms(offsets))
        found = next((each for each in spikes if each.number == published.number), None)
        if found is None:
            yield _differs(published, "FALSE", f"the log shows {len(spikes):,} spikes at its offsets", None)
            return
        pairs = [
            ("minute", moment(published.occurred_at), moment(found.start_ms)),
            ("observed", f"{published.observed:,}", f"{found.observed:,}"),
            ("baseline", f"{published.baseline:,.1f}", f"{found.baseline:,.1f}"),
            ("minutes before", f"{published.window_minutes}", f"{found.minutes}"),
            ("factor", _factor(published.factor), _factor(_ratio(found))),
        ]
        for name, shown, counted in pairs:
            if shown != counted:
                text = f"published {name} {shown}, recounted {counted}"
                yield _differs(published, "DIFFERS", text, found.observed)
        actions = self._minutes[broadcast_id].get(found.start_ms, {})
        for contributor in published.top_contributors:
            if contributor.count != actions.get(contributor.name, 0):
                figure = f"recounted {actions.get(contributor.name, 0):,}"
                text = f"top contributor {contributor.name}: published {contributor.count:,}, {figure}"
                yield _differs(published, "DIFFERS", text, found.observed)

    def _spikes(
        self, broadcast_id: str, rule: SpikeRule, offsets: Mapping[int, int], through_ms: int
    ) -> list[Spike]:
        known = [p for p in self._phases[broadcast_id] if p.offset <= offsets.get(p.partition, -1)]
        state = State({p.phase: p.at_ms for p in known}, known[-1].account if known else "", through_ms)
        return spikes_of(broadcast_id, rule, self._minutes[broadcast_id], state)

    def _closed_through_ms(self, offsets: Mapping[int, int]) -> int:
        """The last start of a minute that was closed in every partition at these offsets; below 0: none."""
        stream_times = []
        for partition in self._partitions:
            stream_time = self._engine.value(
                "alerts.stream_time_at", partition=partition, last_offset=offsets.get(partition, -1)
            )
            stream_times.append(stream_time or 0)
        return min(stream_times, default=0) - MINUTE_MS - GRACE_MS


def missing_spike(found: Spike) -> Difference:
    """The difference for a spike that was there, but not published."""
    text = (
        f"{found.name}: the minute from {moment(found.start_ms)} had {found.observed:,} against a median of "
        f"{found.baseline:,.1f}, but was never published"
    )
    return Difference("spike", "MISSING", text, "broadcast", (found.broadcast_id,), "", None, found.observed)


def _ratio(found: Spike) -> float | None:
    return found.observed / found.baseline if found.baseline else None


def _factor(value: float | None) -> str:
    return "none" if value is None else f"{value:,.2f}"


def _differs(published: PublishedSpike, word: str, text: str, recounted: int | None) -> Difference:
    return Difference(
        kind="spike",
        word=word,
        text=f"{published.name}: {text}",
        scope="broadcast",
        subject=published.subject,
        metric=published.metric,
        published=published.observed,
        recounted=recounted,
    )
