"""The alert rules, read for the recount: which thresholds a figure has, which minutes are spikes.

The rule file is the published criterion of every alert (services/alerts/rules.toml documents it). It is read
here again by code of the audit's own, leniently: the alerts service rejects a file that is wrong.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from importlib.resources import files
from pathlib import Path
from typing import Any

from schemas.hashtags import AliasTable, HashtagError, canonical_glob
from services.audit.recounting.errors import AuditError

_DEFAULT_PACKAGE, _DEFAULT_FILE = "services.alerts", "rules.toml"


_LISTS = {"campaign": "campaigns", "country": "countries", "format": "formats"}


class RuleFileError(AuditError):
    """The rule file cannot be read."""


def rules_text(path: Path | None) -> str:
    """The text of the rule file of the settings, or of the one that comes with fanpulse."""
    try:
        if path is not None:
            return path.read_text(encoding="utf-8")
        return files(_DEFAULT_PACKAGE).joinpath(_DEFAULT_FILE).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RuleFileError(f"rule file {path or _DEFAULT_FILE} cannot be read: {error}") from error


@dataclass(frozen=True, slots=True)
class Match:
    """Which subjects a rule is for: lists of globs by sort of name; without a list, all names match."""

    globs: Mapping[str, Sequence[str]]

    def matches(self, sort: str, *names: str) -> bool:
        """Whether one of the names matches one of the globs for names of this sort."""
        globs = self.globs.get(sort)
        return globs is None or any(fnmatchcase(name, glob) for name in names for glob in globs)

    def matches_hashtag(self, tag: str, aliases: AliasTable) -> bool:
        """Like ``matches``; the globs are brought into the form in which hashtags are counted."""
        globs = self.globs.get("hashtags")
        return globs is None or any(fnmatchcase(tag, aliases.resolve(_canonical(glob))) for glob in globs)


def _canonical(glob: str) -> str:
    try:
        return canonical_glob(glob)
    except HashtagError:
        return glob


@dataclass(frozen=True, slots=True)
class MilestoneRule:
    """Thresholds of one metric of the subjects of a scope."""

    name: str
    scope: str
    metric: str
    match: Match
    listed: tuple[int, ...]
    digits: tuple[int, ...]
    lowest: int
    highest: int | None

    def thresholds(self, value: int) -> Iterator[int]:
        """The thresholds that a figure of ``value`` has reached, rising."""
        if self.listed:
            yield from sorted(threshold for threshold in self.listed if threshold <= value)
            return
        top = value if self.highest is None else min(value, self.highest)
        power = 1
        while power <= top:
            yield from (digit * power for digit in self.digits if self.lowest <= digit * power <= top)
            power *= 10

    def matches(self, subject: Sequence[str], account: str, aliases: AliasTable) -> bool:
        """Whether a subject of the rule's scope is meant; ``account`` is whose post or broadcast it is."""
        match self.scope:
            case "all_accounts" | "vip":
                return True
            case "hashtag":
                return self.match.matches_hashtag(subject[0], aliases)
            case "campaign" | "country" | "format":
                return self.match.matches(_LISTS[self.scope], subject[0])
            case "broadcast":
                return self.match.matches("broadcasts", subject[0]) and self.match.matches(
                    "accounts", account
                )
            case "platform":
                return self.match.matches("platforms", subject[0])
            case "account" | "post":
                platform, handle = subject[0], subject[1] if self.scope == "account" else account
                return self.match.matches("platforms", platform) and self.match.matches(
                    "accounts", handle, f"{platform}:{handle}"
                )
        raise RuleFileError(f"rule {self.name!r}: the audit knows no scope {self.scope!r}")


@dataclass(frozen=True, slots=True)
class SpikeRule:
    """When a minute of a broadcast is a spike. Every rule that matches a broadcast counts for itself."""

    name: str
    metric: str
    match: Match
    factor: float
    min_count: int
    window_minutes: int
    min_history: int
    quiet_minutes: int

    def matches(self, broadcast_id: str, account: str) -> bool:
        """Whether the rule is for a broadcast of an account."""
        return self.match.matches("broadcasts", broadcast_id) and self.match.matches("accounts", account)


@dataclass(frozen=True, slots=True)
class Rules:
    """All rules, in the order of the file."""

    milestones: tuple[MilestoneRule, ...]
    spikes: tuple[SpikeRule, ...]


def read_rules(text: str) -> Rules:
    """The rules of a file's text. Raises RuleFileError."""
    try:
        tables = tomllib.loads(text)
        return Rules(
            tuple(map(_milestone, tables.get("milestone", ()))), tuple(map(_spike, tables.get("spike", ())))
        )
    except (tomllib.TOMLDecodeError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise RuleFileError(f"the rule file cannot be read: {' '.join(str(error).split())}") from error


def _milestone(table: dict[str, Any]) -> MilestoneRule:
    ladder = str(table.get("ladder", ""))
    return MilestoneRule(
        name=str(table["name"]),
        scope=str(table["scope"]),
        metric=str(table["metric"]),
        match=Match(table.get("match", {})),
        listed=tuple(int(threshold) for threshold in table.get("thresholds", ())),
        digits=tuple(int(digit) for digit in ladder.split("-") if digit),
        lowest=int(table.get("from", 1)),
        highest=int(table["to"]) if "to" in table else None,
    )


def _spike(table: dict[str, Any]) -> SpikeRule:
    return SpikeRule(
        name=str(table["name"]),
        metric=str(table.get("metric", "interactions")),
        match=Match(table.get("match", {})),
        factor=float(table.get("factor", 3.0)),
        min_count=int(table.get("min_count", 50)),
        window_minutes=int(table.get("window_minutes", 30)),
        min_history=int(table.get("min_history", 10)),
        quiet_minutes=int(table.get("quiet_minutes", 5)),
    )
