"""Summing up events before they touch the state.

Most events fall together: same post, same action, same second. They are counted into groups by loops that run
in C, over as many records as come in between two folds; the state is then changed once a group. This is what
makes the aggregator fast.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from operator import attrgetter
from typing import Any

from schemas.events import POST_ACTION
from services.aggregate.counters import Name
from services.aggregate.decode import Entry

#: (scope, subject, action, second of event time, count); country and vip have no second: 0.
Group = tuple[str, Name, str, int, int]

# Everything about a post is the same for all that is done to it, so this names about as many groups as there
# are posts that something happens to in a second.
_what = attrgetter(
    "kind", "platform", "account", "action", "quantity", "post_id", "broadcast_id", "hashtags", "campaign",
    "post_format", "format",
)  # fmt: skip
_actor, _action, _quantity = attrgetter("actor"), attrgetter("action"), attrgetter("quantity")


class Tally:
    """Counts of interactions and posts, in groups, since the last ``drain``."""

    def __init__(self) -> None:
        self.post_accounts: dict[Name, str] = {}
        self._groups: Counter[tuple[Any, int]] = Counter()
        self._actors: Counter[tuple[Any, ...]] = Counter()

    def add(self, events: Sequence[Entry], seconds: Sequence[int]) -> None:
        """Count interactions and posts, none of them a duplicate, each with its second of event time."""
        self._groups.update(zip(map(_what, events), seconds, strict=True))
        actors = list(map(_actor, events))
        if any(actors):
            countries = [actor and actor.country for actor in actors]
            marks = [actor and actor.verified for actor in actors]
            self._actors.update(
                zip(countries, marks, map(_action, events), map(_quantity, events), strict=True)
            )

    def drain(self) -> Iterator[Group]:
        """The groups of all that was added since the last call, several of one name among them."""
        groups, actors = self._groups, self._actors
        self._groups, self._actors = Counter(), Counter()
        for (what, second), count in groups.items():
            yield from self._expand(what, second, count)
        for (country, verified, action, quantity), count in actors.items():
            if action is None:
                continue  # a post has no actor that would count
            if country:
                yield "country", (country,), action, 0, count * quantity
            if verified:
                yield "vip", (), action, 0, count * quantity

    def _expand(self, what: tuple[Any, ...], second: int, count: int) -> Iterator[Group]:
        kind, platform, account, action, quantity, post_id, broadcast_id, tags, campaign, of_post, own = what
        if kind == "post":
            action, post_id, post_format = POST_ACTION, None, own  # it is nothing done to the post
        else:
            count *= quantity
            post_format = of_post
        yield "account", (platform, account), action, second, count
        for tag in dict.fromkeys(tags or ()):
            yield "hashtag", (tag,), action, second, count
        if campaign:
            yield "campaign", (campaign,), action, second, count
        if post_format:
            yield "format", (post_format,), action, second, count
        if broadcast_id:
            yield "broadcast", (broadcast_id,), action, second, count
        if post_id:
            yield "post", (platform, post_id), action, second, count
            self.post_accounts[platform, post_id] = account
