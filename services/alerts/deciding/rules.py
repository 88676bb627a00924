"""The rule file: which thresholds are milestones, and what counts as a spike.

A rule file is TOML with tables ``[[milestone]]`` and ``[[spike]]``, which ``rule_file`` reads. The one that
comes with fanpulse, ``services/alerts/rules.toml``, documents every key.
"""

from __future__ import annotations

from bisect import bisect_right
from fnmatch import fnmatchcase
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Self, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    create_model,
    field_validator,
    model_validator,
)

from schemas.alerts import AlertScope
from schemas.dimensions import MATCH_LISTS, Dimension, Scope, scope_named
from schemas.events import ACTIONS, POST_ACTION, Metric
from schemas.hashtags import AliasTable, HashtagError, canonical_glob
from schemas.problems import meant

INTERACTIONS_METRIC = "interactions"
READING_PREFIX = "reading:"

Glob = Annotated[str, Field(min_length=1, max_length=300)]
Threshold = Annotated[int, Field(strict=True, ge=1, le=10**18)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


class _Match(_Table):
    """Which subjects a rule is for: a list of globs for each of ``schemas.dimensions.MATCH_LISTS``. A subject
    must match one glob of every list that is given.

    Names compare as written; an account is ``handle`` or ``platform:handle``. Hashtags compare as they are
    counted: without #, in any case, any alias.
    """

    @field_validator("*")
    @classmethod
    def _not_empty(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if value == ():
            raise ValueError("an empty list matches nothing; leave it out to match all")
        return value

    @field_validator("*")
    @classmethod
    def _canonical_hashtags(
        cls, value: tuple[str, ...] | None, info: ValidationInfo
    ) -> tuple[str, ...] | None:
        if value is None or info.field_name != "hashtags":
            return value
        try:
            return tuple(map(canonical_glob, value))
        except HashtagError as error:
            raise ValueError(str(error)) from None

    def matches(
        self, scope: Scope, subject: tuple[str, ...], account: str | None, aliases: AliasTable
    ) -> bool:
        """Whether a subject of the scope is meant; ``account`` is whose it is, for a scope that is owned."""
        found = {key.match: name for key, name in zip(scope.keys, subject, strict=True)}
        if scope.owned:
            found["accounts"] = account or ""
        platform = found.get("platforms")
        for name in scope.match:
            globs, value = getattr(self, name), found[name]
            if globs is not None and name == "hashtags":
                globs = tuple(map(aliases.resolve, globs))
            values = [value, f"{platform}:{value}"] if name == "accounts" and platform else [value]
            if globs is not None and not any(fnmatchcase(each, glob) for each in values for glob in globs):
                return False
        return True


if TYPE_CHECKING:
    Match = _Match
else:
    _LISTS = dict.fromkeys(MATCH_LISTS, (tuple[Glob, ...] | None, None))
    Match = create_model("Match", __base__=_Match, **_LISTS)


class _Rule(_Table):
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")
    match: Match = Match()

    def _check_match(self, scope: str) -> None:
        odd = sorted(self.match.model_fields_set - set(scope_named(scope).match))
        if odd:
            raise ValueError(f"match.{odd[0]} says nothing about scope {scope}")


class MilestoneRule(_Rule):
    """Thresholds of one metric of every subject of a scope.

    ``thresholds`` lists them, or ``ladder`` makes them: the leading digits of each power of ten, so that
    ``1-2-5`` from 1000 is 1000, 2000, 5000, 10000, and so on, up to and including ``to`` if that is given.
    """

    scope: AlertScope
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
            name = value.removeprefix(READING_PREFIX)
            if name not in readings:
                raise ValueError(f"a reading is one of {', '.join(readings)}{meant(name, readings)}")
        elif value not in (known := (INTERACTIONS_METRIC, POST_ACTION, *ACTIONS)):
            listed = f"a metric is one of {', '.join(known)}, or reading: and the name of a reading"
            raise ValueError(
                f"{listed}{meant(value, (*known, *(f'{READING_PREFIX}{each}' for each in readings)))}"
            )
        return value

    @model_validator(mode="after")
    def _matches_all(self) -> Self:
        self._check_match(self.scope)
        scope = scope_named(self.scope)
        if self.metric.startswith(READING_PREFIX) and not scope.readings:
            raise ValueError(
                f"metric {self.metric} is of accounts: scope is account, platform or all_accounts"
            )
        if self.metric == POST_ACTION and isinstance(scope, Dimension) and "post" not in scope.kinds:
            raise ValueError(f"metric post is not counted for scope {self.scope}")
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
        """Whether the rule is for a subject of its scope; ``account`` is whose post or broadcast it is."""
        return self.match.matches(scope_named(self.scope), subject, account, aliases)


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
        known = (INTERACTIONS_METRIC, *ACTIONS)
        if value not in known:
            raise ValueError(f"a metric is one of {', '.join(known)}{meant(value, known)}")
        return value

    @model_validator(mode="after")
    def _matches_all(self) -> Self:
        self._check_match("broadcast")
        if self.min_history > self.window_minutes:
            raise ValueError("min_history is at most window_minutes")
        return self

    def matches(self, broadcast_id: str, account: str) -> bool:
        """Whether the rule is for this broadcast. Every rule that is decides for itself."""
        return self.match.matches(scope_named("broadcast"), (broadcast_id,), account, AliasTable())


class Rules(_Table):
    """All rules, in the order of the file. At least one."""

    milestone: tuple[MilestoneRule, ...] = ()
    spike: tuple[SpikeRule, ...] = ()
