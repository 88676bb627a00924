"""Milestones: thresholds that a total has crossed upward for the first time.

Gross totals only rise, but for voids (docs/adr/0016). So which milestones exist follows from the totals
alone: not from how often they are evaluated, and not from when the service was restarted. One that no longer
holds since events were voided is retracted, and decided again if it is reached again. (Readings can fall. A
reading is compared as it stands at each evaluation, and what was decided stays decided.) Pure: figures in,
milestones out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from schemas.alerts import Contributor, Milestone, Retraction, milestone_id, retraction_id
from schemas.dimensions import Rollup, scope_named
from schemas.events import INTERACTIONS
from schemas.hashtags import AliasTable
from schemas.totals import Key
from services.alerts.deciding.decided import Decided, Standing
from services.alerts.deciding.figures import Figures, metric_value
from services.alerts.deciding.rules import INTERACTIONS_METRIC, READING_PREFIX, MilestoneRule
from services.alerts.deciding.wording import milestone_text, retraction_text, subject_name

TOP_CONTRIBUTORS = 3


class Milestones:
    """Decides the milestones of subjects that changed. ``decided``: what is on record; it is only read.

    The next threshold of each subject is kept, so a change costs a few comparisons. The caller records what
    ``decide`` returns; it is not returned again.
    """

    def __init__(
        self, rules: Sequence[MilestoneRule], decided: Decided, aliases: AliasTable | None = None
    ) -> None:
        self._rules: dict[str, list[tuple[int, MilestoneRule]]] = {}
        for index, rule in enumerate(rules):
            self._rules.setdefault(rule.scope, []).append((index, rule))
        self._decided = decided
        self._aliases = aliases or AliasTable()
        # Only of subjects that have reached the first threshold; None: no further one, or no match.
        self._next: dict[tuple[int, Key], int | None] = {}

    def decide(self, figures: Figures, changed: Iterable[Key], decided_at: int) -> list[Milestone]:
        """New milestones of the changed subjects, in order of event time, then threshold.

        If several thresholds of one series are crossed at once, each is a milestone; the lower ones name the
        highest in ``superseded_by``.
        """
        found: list[Milestone] = []
        for subject in changed:
            for metric, crossed in self._crossed(figures, subject).items():
                found += self._milestones(figures, subject, metric, crossed, decided_at)
        return sorted(found, key=lambda each: (each.occurred_at, each.scope, each.subject, each.threshold))

    def retract(self, figures: Figures, changed: Iterable[Key], decided_at: int) -> list[Retraction]:
        """The milestones on record that the changed subjects have fallen below, since events were voided.

        Those that name one of these in ``superseded_by`` go with it: ``decide`` decides what holds of them
        again, so that somebody hears of it. Readings fall by themselves; theirs stay. Record what this
        returns before you call ``decide``.
        """
        if not figures.voided():
            return []
        found: list[Retraction] = []
        for subject in changed:
            scope, names = str(subject[0]), _names(subject)
            for metric in {rule.metric for _, rule in self._rules.get(scope, ())}:
                standing = self._decided.standing.get((scope, names, metric))
                if not standing or metric.startswith(READING_PREFIX):
                    continue
                total = metric_value(figures.counts(subject), metric)
                gone = {each.id for threshold, each in standing.items() if threshold > total}
                if not gone:
                    continue
                for index, rule in self._rules[scope]:
                    if rule.metric == metric:
                        self._next.pop((index, subject), None)
                found += [
                    self._retraction(figures, subject, metric, threshold, each, total, decided_at)
                    for threshold, each in sorted(standing.items())
                    if each.id in gone or each.superseded_by in gone
                ]
        return found

    def _retraction(
        self,
        figures: Figures,
        subject: Key,
        metric: str,
        threshold: int,
        standing: Standing,
        total: int,
        decided_at: int,
    ) -> Retraction:
        scope = str(subject[0])
        account = figures.owner(subject) if scope_named(scope).owned else None
        name = subject_name(scope, figures.display_names(subject), account, self._aliases)
        return Retraction(
            id=retraction_id(standing.id),
            rule=standing.rule,
            scope=scope,
            subject=_names(subject),
            metric=metric,
            occurred_at=standing.occurred_at,
            decided_at=decided_at,
            as_of=figures.as_of(),
            text=retraction_text(name, metric, threshold, total, standing.occurred_at),
            retracts=standing.id,
            threshold=threshold,
            total=total,
            superseded_by=standing.superseded_by,
        )

    def _crossed(self, figures: Figures, subject: Key) -> dict[str, dict[int, MilestoneRule]]:
        """Thresholds crossed since the last evaluation, by metric; the first rule with a threshold has it."""
        crossed: dict[str, dict[int, MilestoneRule]] = {}
        rules = self._rules.get(str(subject[0]), ())
        counts = figures.counts(subject) if rules else {}
        for index, rule in rules:
            figure = metric_value(counts, rule.metric)
            series = (index, subject)
            threshold = self._next.get(series, rule.first)
            if threshold is None or figure < threshold:
                continue
            if series not in self._next and not self._matches(figures, rule, subject):
                if not scope_named(rule.scope).owned or figures.owner(subject) is not None:
                    self._next[series] = None
                continue
            thresholds = crossed.setdefault(rule.metric, {})
            while threshold is not None and threshold <= figure:
                thresholds.setdefault(threshold, rule)
                threshold = rule.after(threshold)
            self._next[series] = threshold
        return crossed

    def _matches(self, figures: Figures, rule: MilestoneRule, subject: Key) -> bool:
        account = figures.owner(subject) if scope_named(rule.scope).owned else None
        return rule.matches(_names(subject), account, self._aliases)

    def _milestones(
        self,
        figures: Figures,
        subject: Key,
        metric: str,
        crossed: dict[int, MilestoneRule],
        decided_at: int,
    ) -> list[Milestone]:
        scope, names = str(subject[0]), _names(subject)
        retraction_counts = {each: self._decided.retractions(scope, names, metric, each) for each in crossed}
        ids = {each: milestone_id(scope, names, metric, each, retraction_counts[each]) for each in crossed}
        new = sorted(threshold for threshold, name in ids.items() if name not in self._decided.ids)
        if not new:
            return []
        highest = max(crossed)
        total = metric_value(figures.counts(subject), metric)
        at_ms = figures.last_ms(subject, metric)
        top_contributors = _top_contributors(figures, subject, metric)
        account = figures.owner(subject) if scope_named(scope).owned else None
        name = subject_name(scope, figures.display_names(subject), account, self._aliases)
        as_of = figures.as_of()
        return [
            Milestone(
                id=ids[threshold],
                rule=crossed[threshold].name,
                scope=crossed[threshold].scope,
                subject=names,
                metric=metric,
                occurred_at=at_ms,
                decided_at=decided_at,
                top_contributors=top_contributors,
                as_of=as_of,
                text=milestone_text(name, metric, threshold, total, at_ms, top_contributors),
                threshold=threshold,
                total=total,
                superseded_by=ids[highest] if threshold != highest else None,
                retractions=retraction_counts[threshold],
            )
            for threshold in new
        ]


def _names(subject: Key) -> tuple[str, ...]:
    return tuple(map(str, subject[1:]))


def top_actions(counts: dict[str, int]) -> tuple[Contributor, ...]:
    """The most frequent interactions."""
    return _top((action, counts.get(action, 0)) for action in INTERACTIONS)


def _top_contributors(figures: Figures, subject: Key, metric: str) -> tuple[Contributor, ...]:
    """Accounts for sums over accounts, else actions; none for the metric of a single action."""
    if isinstance(scope_named(str(subject[0])), Rollup):
        accounts = ((f"{key[1]}:{key[2]}", figures.counts(key)) for key in figures.accounts(subject))
        return _top((name, metric_value(counts, metric)) for name, counts in accounts)
    return top_actions(figures.counts(subject)) if metric == INTERACTIONS_METRIC else ()


def _top(parts: Iterable[tuple[str, int]]) -> tuple[Contributor, ...]:
    """The largest parts, by count, then name."""
    largest = sorted(((-count, name) for name, count in parts if count > 0))[:TOP_CONTRIBUTORS]
    return tuple(Contributor(name=name, count=-negative) for negative, name in largest)
