"""A rule in plain words: what it will tell, and when. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from schemas.dimensions import scope_named
from schemas.hashtags import AliasTable
from services.alerts.deciding.rules import Match, MilestoneRule, SpikeRule
from services.alerts.deciding.wording import listing, unit

#: How many thresholds of a ladder are shown.
_STEPS = 4


def milestone_words(rule: MilestoneRule, aliases: AliasTable) -> str:
    """E.g. tells when a hashtag reaches 5 likes, then 100 and 1,000; only hashtags #GansuHeritage."""
    scope = scope_named(rule.scope)
    subject = f"one {rule.scope}" if scope.keys else f"the sum of {scope.short}"
    first, *others = _thresholds(rule)
    then = f", then {listing(others)}" if others else ""
    return f"tells when {subject} reaches {first} {unit(rule.metric)}{then}{_only(rule.match, aliases)}"


def spike_words(rule: SpikeRule, aliases: AliasTable) -> str:
    """E.g. tells when a minute of a live broadcast has at least 50 interactions, and more than 3 times ..."""
    return (
        f"tells when a minute of a live broadcast has at least {rule.min_count:,} {unit(rule.metric)} and "
        f"more than {rule.factor:g} times as many as is typical of the {rule.window_minutes} minutes before "
        f"(at least {rule.min_history} of them); after {_minutes(rule.quiet_minutes)} again"
        f"{_only(rule.match, aliases)}"
    )


def _minutes(count: int) -> str:
    return f"{count} calm minute{'' if count == 1 else 's'}"


def _thresholds(rule: MilestoneRule) -> list[str]:
    """The thresholds; of a ladder without an end only the first."""
    steps: list[str] = []
    step = rule.after(0)
    while step is not None:
        if rule.thresholds is None and len(steps) == _STEPS:
            return [*steps, f"so on up to {rule.to:,}" if rule.to else "so on"]
        steps.append(f"{step:,}")
        step = rule.after(step)
    return steps


def _only(match: Match, aliases: AliasTable) -> str:
    parts = [
        f"{name} {_either(_shown(name, globs, aliases))}"
        for name in type(match).model_fields
        if (globs := getattr(match, name)) is not None
    ]
    return f"; only {' and '.join(parts)}" if parts else ""


def _either(names: Iterable[str]) -> str:
    return " or ".join(names)


def _shown(name: str, globs: Iterable[str], aliases: AliasTable) -> list[str]:
    if name != "hashtags":
        return list(globs)
    return [f"#{aliases.display(aliases.resolve(each))}" for each in globs]
