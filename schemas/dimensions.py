"""What is counted: one table, which every reader and writer of totals iterates.

A dimension is a set of subjects that have counts: accounts, hashtags, countries, and so on. Its row says how
a subject is named, which event fields the names come from, whether rolling counts and a sum over all subjects
are kept, what an alert rule can match, and how people read it. The aggregator, the schemas of totals, the
alert rules, the wording of alerts, the board and `fanpulse totals` follow from it. The audit counts by code
of its own; a contract test compares its list of scopes with this one.

Every dimension is timestamped: the entry of a subject holds ``last_ms``, its newest event time.

To count a field: add it to the model in ``schemas.events``, and a row here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["interaction", "post"]
BOTH: tuple[Kind, ...] = ("interaction", "post")

#: Stands for the sum over all subjects of a dimension, where a name would be: no subject has an empty name.
ALL = ""
_ACTOR = "actor."


class UnknownScopeError(LookupError):
    """A scope that is no row of the table."""


@dataclass(frozen=True, slots=True)
class KeyField:
    """One name of a subject, as in the key of its totals entry, in labels of series and in rules.

    ``field``: the field of an interaction that it comes from, ``actor.<field>`` for one of its actor; empty
    if it is called ``name``. ``post_field``: the field of a post; empty if it is called the same. ``many``:
    the field is a list, and each member names a subject. ``match``: the list of an alert rule's ``match``
    that is compared with it, if there is one.
    """

    name: str
    field: str = ""
    post_field: str = ""
    many: bool = False
    match: str = ""

    def source(self, kind: Kind) -> str:
        """The field of an event of this kind, dotted."""
        field = self.field or self.name
        return field if kind == "interaction" else self.post_field or field


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """Something that an alert can be about.

    ``title`` names a subject in a sentence, ``short`` in a line of the board; in both, ``{name}`` stands for
    a name of its key. ``readings``: it has what platforms report, such as followers. ``owned``: each subject
    belongs to an account.
    """

    scope: str
    keys: tuple[KeyField, ...]
    title: str
    short: str
    readings: bool = False
    owned: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """What the names of a subject are called."""
        return tuple(key.name for key in self.keys)

    @property
    def match(self) -> tuple[str, ...]:
        """The lists of an alert rule's ``match`` that say something about a subject."""
        lists = [key.match for key in self.keys if key.match] + (["accounts"] if self.owned else [])
        return tuple(dict.fromkeys(lists))


@dataclass(frozen=True, slots=True, kw_only=True)
class Dimension(Scope):
    """Subjects that the aggregator counts, and stores as entries ``[scope, *names]`` of the totals.

    ``kinds``: events that feed it. ``only_if``: a field that has to be true, dotted. ``windowed``: it has
    rolling counts, and Prometheus series. ``summed``: the aggregator keeps the sum over all subjects too. If
    it is ``owned``, the entry has the account. ``listed``: `fanpulse totals` shows it. ``meaning`` and
    ``heading`` are words for texts and tables.
    """

    meaning: str
    heading: str
    kinds: tuple[Kind, ...] = BOTH
    only_if: str = ""
    windowed: bool = False
    summed: bool = False
    listed: bool = True

    def __post_init__(self) -> None:
        assert self.keys or not self.summed, f"{self.scope}: a sum needs a name to leave empty"
        assert not any(key.many for key in self.keys[:-1]), f"{self.scope}: only the last name can be many"
        sources = self.sources("interaction")
        assert self.of_actor or not any(source.startswith(_ACTOR) for source in sources), (
            f"{self.scope}: counts are of an event's fields or of its actor's, not of both together"
        )
        assert not self.of_actor or "post" not in self.kinds, f"{self.scope}: a post has no actor"

    @property
    def of_actor(self) -> bool:
        """Whether it counts who acted, rather than what happened."""
        return all(source.startswith(_ACTOR) for source in self.sources("interaction"))

    def sources(self, kind: Kind) -> tuple[str, ...]:
        """The fields of an event that it is counted by, dotted."""
        names = tuple(key.source(kind) for key in self.keys)
        return (*names, self.only_if) if self.only_if else names


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollup(Scope):
    """A sum over accounts that is not stored: readers add it up. ``keys``: the names that accounts share."""


_PLATFORM = KeyField("platform", match="platforms")
_ACCOUNT = KeyField("account", match="accounts")

DIMENSIONS: tuple[Dimension, ...] = (
    Dimension(
        scope="account",
        keys=(_PLATFORM, _ACCOUNT),
        windowed=True,
        summed=True,
        readings=True,
        meaning="an account: platform, account",
        heading="Accounts",
        title="{platform} @{account}",
        short="@{account}",
    ),
    Dimension(
        scope="hashtag",
        keys=(KeyField("hashtag", field="hashtags", many=True, match="hashtags"),),
        windowed=True,
        summed=True,
        meaning="a canonical hashtag",
        heading="Hashtags",
        title="#{hashtag}",
        short="#{hashtag}",
    ),
    Dimension(
        scope="campaign",
        keys=(KeyField("campaign", match="campaigns"),),
        meaning="a campaign",
        heading="Campaigns",
        title="Campaign {campaign}",
        short="campaign {campaign}",
    ),
    Dimension(
        scope="country",
        keys=(KeyField("country", field="actor.country", match="countries"),),
        kinds=("interaction",),
        meaning="the actors of a country (ISO 3166-1 alpha-2)",
        heading="Countries",
        title="Country {country}",
        short="country {country}",
    ),
    Dimension(
        scope="format",
        keys=(KeyField("format", field="post_format", post_field="format", match="formats"),),
        meaning="posts of a format",
        heading="Formats",
        title="Post format {format}",
        short="format {format}",
    ),
    Dimension(
        scope="vip",
        keys=(),
        only_if="actor.verified",
        kinds=("interaction",),
        meaning="verified actors",
        heading="Verified actors",
        title="Verified actors together",
        short="verified actors",
    ),
    Dimension(
        scope="post",
        keys=(_PLATFORM, KeyField("post_id")),
        kinds=("interaction",),
        owned=True,
        listed=False,
        meaning="a post: platform, post_id",
        heading="Posts",
        title="Post {post_id}",
        short="post {post_id}",
    ),
    Dimension(
        scope="broadcast",
        keys=(KeyField("broadcast_id", match="broadcasts"),),
        owned=True,
        meaning="a live broadcast",
        heading="Broadcasts",
        title="Live broadcast {broadcast_id}",
        short="broadcast {broadcast_id}",
    ),
)

#: From the widest to the narrowest; the narrowest of all is the account itself.
ROLLUPS: tuple[Rollup, ...] = (
    Rollup(
        scope="all_accounts",
        keys=(),
        readings=True,
        title="The matrix, all accounts together,",
        short="all accounts",
    ),
    Rollup(
        scope="platform",
        keys=(_PLATFORM,),
        readings=True,
        title="{platform}, all accounts together,",
        short="{platform}",
    ),
)

COUNTED_SCOPES: tuple[str, ...] = tuple(each.scope for each in DIMENSIONS)
WINDOWED_SCOPES: tuple[str, ...] = tuple(each.scope for each in DIMENSIONS if each.windowed)
SUMMED_SCOPES: tuple[str, ...] = tuple(each.scope for each in DIMENSIONS if each.summed)
#: Scopes of alerts.
ALERT_SCOPES: tuple[str, ...] = tuple(each.scope for each in (*ROLLUPS, *DIMENSIONS))
#: Lists of an alert rule's ``match``.
MATCH_LISTS: tuple[str, ...] = tuple(
    dict.fromkeys(name for each in (*ROLLUPS, *DIMENSIONS) for name in each.match)
)

_BY_SCOPE: dict[str, Scope] = {each.scope: each for each in (*ROLLUPS, *DIMENSIONS)}


def scope_named(scope: str) -> Scope:
    """The row of a scope; raises UnknownScopeError, which names it."""
    if scope not in _BY_SCOPE:
        raise UnknownScopeError(f"unknown scope {scope!r}; it is one of {', '.join(_BY_SCOPE)}")
    return _BY_SCOPE[scope]


def dimension_named(scope: str) -> Dimension:
    """The dimension of a scope; raises UnknownScopeError, which names it."""
    found = scope_named(scope)
    if not isinstance(found, Dimension):
        raise UnknownScopeError(f"scope {scope!r} is a sum over accounts; it has no entries of its own")
    return found


def counted_fields(kind: Kind) -> tuple[str, ...]:
    """The fields of an event of this kind that something is counted by, dotted, each once."""
    rows = (each.sources(kind) for each in DIMENSIONS if kind in each.kinds)
    return tuple(dict.fromkeys(field for fields in rows for field in fields))
