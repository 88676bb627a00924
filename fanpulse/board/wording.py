"""How the board writes numbers, times and alerts: short, so that you can read a line at a glance."""

from __future__ import annotations

from datetime import UTC, datetime

from schemas.alerts import Milestone, Spike
from schemas.dimensions import scope_named
from schemas.hashtags import AliasTable

_UNITS = {
    "reading:followers": "followers",
    "reading:viewers": "viewers",
    "reading:reads": "reads",
    "follow": "new followers",
    "delete_comment": "deleted comments",
}


def clock(at_ms: int) -> str:
    """Time of day in UTC: 09:41:20."""
    return f"{datetime.fromtimestamp(at_ms / 1000, UTC):%H:%M:%S}"


def minute(at_ms: int) -> str:
    """Time of day in UTC to the minute: 09:41."""
    return clock(at_ms)[:5]


def day(at_ms: int) -> str:
    """2026-06-22."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).date().isoformat()


def elapsed(duration_ms: int) -> str:
    """0:11:20."""
    seconds = max(0, duration_ms) // 1000
    return f"{seconds // 3600}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"


def compact(count: float) -> str:
    """Three digits and a unit, at most five characters: 950, 1.2k, 12.3k, 1.25M."""
    if count < 999.5:
        return f"{count:.0f}"
    for limit, unit in ((1e6, "k"), (1e9, "M"), (1e12, "G")):
        if count < 0.9995 * limit:
            value = count / limit * 1000
            digits = f"{value:.{2 if value < 9.995 else 1 if value < 99.95 else 0}f}"
            return (digits.rstrip("0").rstrip(".") if "." in digits else digits) + unit
    return f"{count / 1e12:.0f}T"


def age(seconds: float) -> str:
    """0.4 s, 12 s, 5 min, 3 h."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.0f} h"


def unit(metric: str) -> str:
    """The unit of a metric, in the plural: likes, followers."""
    return _UNITS.get(metric, metric.removeprefix("reading:").removesuffix("s") + "s")


def subject(scope: str, names: tuple[str, ...], aliases: AliasTable) -> str:
    """Who or what an alert is about, in a word or two.

    Raises UnknownScopeError if the scope is no row of ``schemas.dimensions``.
    """
    row = scope_named(scope)
    shown = dict(zip(row.names, names, strict=True))
    if "platform" in shown:
        shown["platform"] = shown["platform"].capitalize()
    if "hashtag" in shown:
        shown["hashtag"] = aliases.display(shown["hashtag"])
    return row.short.format_map(shown)


def milestone(alert: Milestone, aliases: AliasTable) -> str:
    """@GansuTravel 10,000 likes."""
    name = subject(alert.scope, alert.subject, aliases)
    return f"{name} {alert.threshold:,} {unit(alert.metric)}"


def spike(alert: Spike) -> str:
    """6.8x normal: 2,273/min, was 334. The metric is named unless it is the usual one."""
    what = "" if alert.metric == "interactions" else f" {unit(alert.metric)}"
    multiple = f"{alert.factor:.1f}x normal" if alert.factor else "out of nothing"
    return f"{multiple}: {alert.observed:,}{what}/min, was {alert.baseline:,.0f}"
