"""The rule file: which thresholds are milestones, and what counts as a spike.

A file is TOML with tables ``[[milestone]]`` and ``[[spike]]``; ``rules.toml`` beside this module is the one
that comes with fanpulse, and documents every key. Pure: text in, rules out.
"""

from __future__ import annotations

import tomllib
from bisect import bisect_right
from fnmatch import fnmatchcase
from functools import cached_property
from itertools import pairwise
from typing import Annotated, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from schemas.events import ACTIONS, POST_ACTION, Metric
from schemas.hashtags import AliasTable, HashtagError, canonical

Scope = Literal["all_accounts", "platform", "account", "post", "hashtag", "campaign"]

INTERACTIONS_METRIC = "interactions"
READING_PREFIX = "reading:"

#: Scopes that have readings: an account has its own; a platform and all accounts have sums.
_READING_SCOPES: frozenset[str] = frozenset({"all_accounts", "platform", "account"})
#: Which lists of ``match`` say something about a subject of the scope.
_MATCHABLE: dict[str, frozenset[str]] = {
    "all_accounts": frozenset(),
    "platform": frozenset({"platforms"}),
    "account": frozenset({"platforms", "accounts"}),
    "post": frozenset({"platforms", "accounts"}),
    "hashtag": frozenset({"hashtags"}),
    "campaign": frozenset({"campaigns"}),
    "broadcast": frozenset({"accounts", "broadcasts"}),
}

Glob = Annotated[str, Field(min_length=1, max_length=300)]
Threshold = Annotated[int, Field(strict=True, ge=1, le=10**18)]


class RulesError(ValueError):
    """The rules cannot be used. The message is one line that names the rule and the key."""


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


class Match(_Table):
    """Which subjects a rule is for. If a list is given, one of its patterns must match; patterns are globs.

    Platforms, accounts, campaigns and broadcasts compare as written; an account is ``handle`` or
    ``platform:handle``. Hashtags compare as they are counted: without #, in any case, any alias.
    """

    platforms: tuple[Glob, ...] | None = None
    accounts: tuple[Glob, ...] | None = None
    hashtags: tuple[Glob, ...] | None = None
    campaigns: tuple[Glob, ...] | None = None
    broadcasts: tuple[Glob, ...] | None = None

    @field_validator("platforms", "accounts", "hashtags", "campaigns", "broadcasts")
    @classmethod
    def _not_empty(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if value == ():
            raise ValueError("an empty list matches nothing; leave it out to match all")
        return value

    @field_validator("hashtags")
    @classmethod
    def _canonical_hashtags(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        try:
            return None if value is None else tuple(map(canonical, value))
        except HashtagError as error:
            raise ValueError(str(error)) from None

    def matches_platform(self, platform: str) -> bool:
        """Whether the rule is for this platform."""
        return _any(self.platforms, platform)

    def matches_account(self, platform: str | None, account: str) -> bool:
        """Whether the rule is for this account; the platform may be unknown (broadcasts)."""
        names = (account,) if platform is None else (account, f"{platform}:{account}")
        return self.accounts is None or any(_any(self.accounts, name) for name in names)

    def matches_hashtag(self, tag: str, aliases: AliasTable) -> bool:
        """Whether the rule is for this canonical hashtag, by its own name or by an alias."""
        return self.hashtags is None or _any(tuple(map(aliases.resolve, self.hashtags)), tag)

    def matches_campaign(self, campaign: str) -> bool:
        """Whether the rule is for this campaign."""
        return _any(self.campaigns, campaign)

    def matches_broadcast(self, broadcast_id: str) -> bool:
        """Whether the rule is for this broadcast."""
        return _any(self.broadcasts, broadcast_id)


def _any(globs: tuple[str, ...] | None, name: str) -> bool:
    return globs is None or any(fnmatchcase(name, glob) for glob in globs)


class _Rule(_Table):
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")
    match: Match = Match()

    def _check_match(self, scope: str) -> None:
        odd = sorted(self.match.model_fields_set - _MATCHABLE[scope])
        if odd:
            raise ValueError(f"match.{odd[0]} says nothing about scope {scope}")


class MilestoneRule(_Rule):
    """Thresholds of one metric of every subject of a scope.

    ``thresholds`` lists them, or ``ladder`` makes them: the leading digits of each power of ten, so that
    ``1-2-5`` from 1000 is 1000, 2000, 5000, 10000, and so on, up to and including ``to`` if that is given.
    """

    scope: Scope
    metric: str
    thresholds: tuple[Threshold, ...] | None = None
    ladder: str | None = Field(None, pattern=r"^1(-[2-9])*$")
    from_: Threshold | None = Field(None, alias="from")
    to: Threshold | None = None

    @field_validator("metric")
    @classmethod
    def _known_metric(cls, value: str) -> str:
        readings = get_args(Metric)
        if value.startswith(READING_PREFIX):
            if value.removeprefix(READING_PREFIX) not in readings:
                raise ValueError(f"a reading is one of {', '.join(readings)}")
        elif value not in (INTERACTIONS_METRIC, POST_ACTION, *ACTIONS):
            actions = ", ".join((INTERACTIONS_METRIC, POST_ACTION, *ACTIONS))
            raise ValueError(f"a metric is one of {actions}, or reading: and the name of a reading")
        return value

    @model_validator(mode="after")
    def _matches_all(self) -> Self:
        self._check_match(self.scope)
        if self.metric.startswith(READING_PREFIX) and self.scope not in _READING_SCOPES:
            raise ValueError(
                f"metric {self.metric} is of accounts: scope is account, platform or all_accounts"
            )
        if self.metric == POST_ACTION and self.scope == "post":
            raise ValueError("metric post is not counted for scope post")
        if (self.ladder is None) == (self.thresholds is None):
            raise ValueError("either ladder or thresholds is needed, and not both")
        if self.ladder is None:
            if self.from_ is not None or self.to is not None:
                raise ValueError("from and to belong to ladder")
            self._check_thresholds()
        else:
            self._check_ladder()
        return self

    def _check_thresholds(self) -> None:
        listed = self.thresholds or ()
        if not listed or any(low >= high for low, high in pairwise(listed)):
            raise ValueError("thresholds is a list of numbers that rise")

    def _check_ladder(self) -> None:
        if self.from_ is None:
            raise ValueError("ladder needs from")
        if list(self._digits) != sorted(set(self._digits)):
            raise ValueError("the digits of ladder rise, as in 1-2-5")
        if self.first is None:
            raise ValueError("ladder has no step between from and to")

    @cached_property
    def _digits(self) -> tuple[int, ...]:
        return tuple(int(digit) for digit in (self.ladder or "").split("-") if digit)

    @cached_property
    def first(self) -> int | None:
        """The lowest threshold."""
        return self.after(0)

    def after(self, value: int) -> int | None:
        """The lowest threshold above ``value``; None if there is none."""
        if self.thresholds is not None:
            index = bisect_right(self.thresholds, value)
            return self.thresholds[index] if index < len(self.thresholds) else None
        assert self.from_ is not None
        least = max(value + 1, self.from_)
        power = 10 ** (len(str(least)) - 1)
        step = next((digit * power for digit in self._digits if digit * power >= least), 10 * power)
        return step if self.to is None or step <= self.to else None

    def matches(self, subject: tuple[str, ...], account: str | None, aliases: AliasTable) -> bool:
        """Whether the rule is for a subject of its scope; ``account`` is whose post it is, if it is one."""
        match self.scope:
            case "all_accounts":
                return True
            case "hashtag":
                return self.match.matches_hashtag(subject[0], aliases)
            case "campaign":
                return self.match.matches_campaign(subject[0])
        platform = subject[0]
        handle = subject[1] if self.scope == "account" else account or ""
        return self.match.matches_platform(platform) and self.match.matches_account(platform, handle)


class SpikeRule(_Rule):
    """A minute of a live broadcast that is far above the minutes before it.

    A closed minute is a spike if its count is at least ``min_count`` and more than ``factor`` times the
    median of the ``window_minutes`` minutes before, of which there must be ``min_history``. Spikes with fewer
    than ``quiet_minutes`` calm minutes between them are one. Several rules may match one broadcast: each
    finds and numbers its own spikes.
    """

    metric: str = INTERACTIONS_METRIC
    factor: float = Field(3.0, gt=1, le=1000, allow_inf_nan=False)
    min_count: int = Field(50, ge=1)
    window_minutes: int = Field(30, ge=3, le=240)
    min_history: int = Field(10, ge=1)
    quiet_minutes: int = Field(5, ge=1, le=240)

    @field_validator("metric")
    @classmethod
    def _known_metric(cls, value: str) -> str:
        if value not in (INTERACTIONS_METRIC, *ACTIONS):
            raise ValueError(f"a metric is one of {', '.join((INTERACTIONS_METRIC, *ACTIONS))}")
        return value

    @model_validator(mode="after")
    def _matches_all(self) -> Self:
        self._check_match("broadcast")
        if self.min_history > self.window_minutes:
            raise ValueError("min_history is at most window_minutes")
        return self

    def matches(self, broadcast_id: str, account: str) -> bool:
        """Whether the rule is for a broadcast. Every rule that is decides for itself."""
        return self.match.matches_broadcast(broadcast_id) and self.match.matches_account(None, account)


class Rules(_Table):
    """All rules, in the order of the file. At least one."""

    milestone: tuple[MilestoneRule, ...] = ()
    spike: tuple[SpikeRule, ...] = ()


def parse_rules(text: str, source: str) -> Rules:
    """The rules of a file; ``source`` names it in errors. Raises RulesError."""
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RulesError(f"{source} is not TOML: {' '.join(str(error).split())}") from error
    try:
        rules = Rules.model_validate(tables)
    except ValidationError as error:
        raise RulesError(f"{source}: {_one_line(error, tables)}") from error
    if not rules.milestone and not rules.spike:
        raise RulesError(f"{source} has no [[milestone]] and no [[spike]]")
    seen: set[str] = set()
    for rule in (*rules.milestone, *rules.spike):
        if rule.name in seen:
            raise RulesError(f"{source}: two rules have the name {rule.name!r}; give each its own")
        seen.add(rule.name)
    return rules


def _one_line(error: ValidationError, tables: dict[str, object]) -> str:
    """The first error: the rule by its name (or by its number if it has none), then the key."""
    first = error.errors(include_url=False)[0]
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        message = "unknown key"
    index = list(first["loc"])
    words = [str(index.pop(0))] if index else []
    if index and isinstance(index[0], int):
        number = index.pop(0)
        assert isinstance(number, int)
        words.append(_name_of(tables.get(words[0]), number))
    key = ".".join(str(part) for part in index)
    given = f" (it is {first['input']!r})" if key and not isinstance(first["input"], dict) else ""
    return ": ".join(part for part in (" ".join(words), f"{key}{given}", message) if part)


def _name_of(tables: object, number: int) -> str:
    table = tables[number] if isinstance(tables, list) else None
    name = table.get("name") if isinstance(table, dict) else None
    return repr(name) if isinstance(name, str) and name else f"number {number + 1}"
