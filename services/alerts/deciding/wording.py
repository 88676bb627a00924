"""The sentence of an alert: the figure first, then when, then the top contributors. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from schemas.alerts import Contributor
from schemas.dimensions import scope_named
from schemas.events import WITHDRAWALS
from schemas.hashtags import AliasTable
from schemas.printable import printable_line
from services.alerts.deciding.rules import READING_PREFIX

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_PLATFORMS = {"wechat": "WeChat", "tiktok": "TikTok", "youtube": "YouTube", "x": "X", "vk": "VK"}
#: Singular and plural of each metric that is not simply its name.
_METRICS = {
    **{undo: (f"withdrawn {action}", f"withdrawn {action}s") for undo, action in WITHDRAWALS.items()},
    "interactions": ("interaction", "interactions"),
    "delete_comment": ("deleted comment", "deleted comments"),
    "follow": ("new follower", "new followers"),
    "unfollow": ("lost follower", "lost followers"),
    "reading:followers": ("follower", "followers"),
    "reading:viewers": ("viewer", "viewers"),
    "reading:reads": ("reported read", "reported reads"),
    "reading:likes": ("reported like", "reported likes"),
    "reading:comments": ("reported comment", "reported comments"),
    "reading:reposts": ("reported repost", "reported reposts"),
}


def moment(at_ms: int) -> str:
    """A time to the minute, e.g. 22 Jun 2026 09:41 UTC."""
    return f"{day(at_ms)} {clock_time(at_ms)}"


def day(at_ms: int) -> str:
    """A day in UTC, e.g. 22 Jun 2026. (strftime would follow the locale of the process.)"""
    date = datetime.fromtimestamp(at_ms / 1000, UTC)
    return f"{date.day} {_MONTHS[date.month - 1]} {date.year}"


def clock_time(at_ms: int) -> str:
    """A time of day to the minute, e.g. 09:41 UTC."""
    return f"{datetime.fromtimestamp(at_ms / 1000, UTC):%H:%M} UTC"


def quantity(count: int, metric: str) -> str:
    """A count with its unit, e.g. 10,003 likes."""
    one, many = _METRICS.get(metric, (metric, f"{metric}s"))
    return f"{count:,} {one if count == 1 else many}"


def unit(metric: str) -> str:
    """What a metric counts, in the plural, e.g. likes."""
    return _METRICS.get(metric, (metric, f"{metric}s"))[1]


def platform_name(platform: str) -> str:
    """A platform for people, e.g. Twitter."""
    return _PLATFORMS.get(platform, platform.capitalize())


def account_name(platform: str, account: str) -> str:
    """An account for people, e.g. Twitter @GansuTravel."""
    return f"{platform_name(platform)} @{account}"


def subject_name(scope: str, subject: tuple[str, ...], account: str | None, aliases: AliasTable) -> str:
    """The subject of a milestone for people; ``account`` is whose post it is, if it is one.

    Raises UnknownScopeError if the scope is no row of ``schemas.dimensions``.
    """
    row = scope_named(scope)
    names = dict(zip(row.names, subject, strict=True))
    shown = dict(names)
    if "platform" in names:
        shown["platform"] = platform_name(names["platform"])
    if "hashtag" in names:
        shown["hashtag"] = aliases.display(names["hashtag"])
    text = row.title.format_map(shown)
    if row.owned and "platform" in names:
        text += f" by {account_name(names['platform'], account)}" if account else f" on {names['platform']}"
    return text


def listing(parts: Iterable[str]) -> str:
    """``a, b and c``."""
    *head, last = parts
    return f"{', '.join(head)} and {last}" if head else last


def milestone_text(
    name: str, metric: str, threshold: int, total: int, at_ms: int, top_contributors: tuple[Contributor, ...]
) -> str:
    """E.g. Twitter @GansuTravel passed 10,000 likes (10,003) at 22 Jun 2026 09:41 UTC."""
    verb, figure = ("reached", "") if total == threshold else ("passed", f" ({total:,})")
    text = f"{name} {verb} {quantity(threshold, metric)}{figure} at {moment(at_ms)}"
    return printable_line(
        f"{text}; {_top_contributors(top_contributors, metric)}" if top_contributors else text
    )


def retraction_text(name: str, metric: str, threshold: int, total: int, at_ms: int) -> str:
    """E.g. Correction: Twitter @GansuTravel had not reached 10,000 likes at 22 Jun 2026 09:41 UTC: ..."""
    return (
        f"Correction: {name} had not reached {quantity(threshold, metric)} at {moment(at_ms)}: events that "
        f"were sent by mistake have been taken back, and the figure is {total:,}"
    )


def _top_contributors(top_contributors: tuple[Contributor, ...], metric: str) -> str:
    """Actions by count, or accounts by their share of the metric."""
    if all(":" not in contributor.name for contributor in top_contributors):
        return listing(quantity(contributor.count, contributor.name) for contributor in top_contributors)
    names = (account_name(*contributor.name.split(":", 1)) for contributor in top_contributors)
    counts = (contributor.count for contributor in top_contributors)
    what = "most by" if metric.startswith(READING_PREFIX) else "most at"
    return f"{what} {listing(f'{name} ({count:,})' for name, count in zip(names, counts, strict=True))}"


def spike_text(
    title: str,
    rule: str,
    metric: str,
    at_ms: int,
    observed: int,
    baseline: float,
    minutes: int,
    top_contributors: tuple[Contributor, ...],
) -> str:
    """E.g. ... 4.7x its normal rate (412 likes in the minute from 09:41 UTC vs 87 typical of the ...).

    The rule comes last, in brackets: several rules may report the same minute.
    """
    typical = f"{baseline:,.1f}".removesuffix(".0")
    multiple = f"{observed / baseline:,.1f}x its normal rate" if baseline else "far above its normal rate"
    text = (
        f"Live broadcast {title}, {day(at_ms)}: {multiple} "
        f"({quantity(observed, metric)} in the minute from {clock_time(at_ms)} vs {typical} typical of the "
        f"{minutes} minutes before)"
    )
    if top_contributors:
        text += f"; {listing(quantity(part.count, part.name) for part in top_contributors)}"
    return printable_line(f"{text} [{rule}]")
