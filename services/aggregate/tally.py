"""Summing up the events of a record before they touch the state.

Most events of a record fall together: same account, same action, same second. Counting them in groups, with
loops that run in C, is what makes the aggregator fast; the state is then changed once a group.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

from schemas.events import POST_ACTION
from services.aggregate.counters import Name
from services.aggregate.decode import Entry

_platform, _account, _post_id = attrgetter("platform"), attrgetter("account"), attrgetter("post_id")
_broadcast, _campaign, _tags = attrgetter("broadcast_id"), attrgetter("campaign"), attrgetter("hashtags")
_time, _format, _actor = attrgetter("occurred_at"), attrgetter("post_format"), attrgetter("actor")


@dataclass
class Groups:
    """One scope: counts by name; with the second of event time where windows need it; newest seconds."""

    counts: dict[Name, int] = field(default_factory=dict)
    timed: dict[tuple[Any, ...], int] = field(default_factory=dict)  # (*subject, action, second)
    last_second: dict[Name, int] = field(default_factory=dict)


class Tally:
    """Counts of interactions and posts, in groups per scope."""

    def __init__(self, events: list[Entry]) -> None:
        """``events`` are interactions and posts, none of them a duplicate."""
        self.scopes: dict[str, Groups] = {}
        self.post_accounts: dict[Name, str] = {}
        single = [event for event in events if event.kind == "interaction" and event.quantity == 1]
        if single:
            self._add(single, [event.action or "" for event in single], 1)
        if len(single) == len(events):
            return
        posts = [event for event in events if event.kind == "post"]
        for event in posts:
            event.post_format = event.format
            event.post_id = event.actor = None  # a post is no interaction with itself, and has no actor
        if posts:
            self._add(posts, [POST_ACTION] * len(posts), 1)
        for event in events:
            if event.kind == "interaction" and event.quantity != 1:
                self._add([event], [event.action or ""], event.quantity)

    def _add(self, events: list[Entry], actions: list[str], quantity: int) -> None:
        """Every event stands for ``quantity`` of its action."""
        seconds = [at_ms // 1000 for at_ms in map(_time, events)]
        platforms, accounts = list(map(_platform, events)), list(map(_account, events))
        groups = self._groups("account")
        _merge(groups.timed, Counter(zip(platforms, accounts, actions, seconds, strict=True)), quantity)
        groups.last_second.update(zip(zip(platforms, accounts, strict=True), seconds, strict=True))
        self._add_tags(Counter(zip(map(_tags, events), actions, seconds, strict=True)), quantity)
        for scope, read in (("campaign", _campaign), ("format", _format)):
            self._add_named(scope, list(map(read, events)), actions, seconds, quantity)
        self._add_broadcasts(list(map(_broadcast, events)), actions, seconds, quantity)
        posts = list(map(_post_id, events))
        if any(posts):
            groups = self._groups("post")
            subjects = list(zip(platforms, posts, strict=True))
            _merge(groups.counts, Counter(zip(platforms, posts, actions, strict=True)), quantity)
            groups.last_second.update(zip(subjects, seconds, strict=True))
            self.post_accounts.update(zip(subjects, accounts, strict=True))
            if not all(posts):
                groups.counts = {name: n for name, n in groups.counts.items() if name[1]}
                groups.last_second = {name: at for name, at in groups.last_second.items() if name[1]}
                self.post_accounts = {name: by for name, by in self.post_accounts.items() if name[1]}
        actors = list(map(_actor, events))
        if any(actors):
            countries = [actor.country if actor else None for actor in actors]
            self._add_named("country", countries, actions, seconds, quantity)
            self._add_vips(actors, actions, seconds, quantity)

    def _add_named(
        self,
        scope: str,
        names: list[str | None],
        actions: list[str],
        seconds: list[int],
        quantity: int,
    ) -> None:
        if not any(names):
            return
        groups = self._groups(scope)
        found: dict[tuple[Any, ...], int] = Counter(zip(names, actions, strict=True))
        _merge(groups.counts, {name: n for name, n in found.items() if name[0]}, quantity)
        last = dict(zip(names, seconds, strict=True))
        groups.last_second.update({(name,): second for name, second in last.items() if name})

    def _add_broadcasts(
        self, names: list[str | None], actions: list[str], seconds: list[int], quantity: int
    ) -> None:
        if not any(names):
            return
        groups = self._groups("broadcast")
        found: dict[tuple[Any, ...], int] = Counter(zip(names, actions, seconds, strict=True))
        _merge(groups.timed, {name: n for name, n in found.items() if name[0]}, quantity)
        last = dict(zip(names, seconds, strict=True))
        groups.last_second.update({(name,): second for name, second in last.items() if name})

    def _add_vips(self, actors: list[Any], actions: list[str], seconds: list[int], quantity: int) -> None:
        marks = [actor.verified if actor else None for actor in actors]
        if True not in marks:
            return
        groups = self._groups("vip")
        rows = [row for row in zip(marks, actions, seconds, strict=True) if row[0]]
        _merge(groups.counts, Counter((action,) for _, action, _ in rows), quantity)
        groups.last_second[()] = rows[-1][2]

    def _add_tags(self, sets: dict[tuple[Any, ...], int], quantity: int) -> None:
        groups = self._groups("hashtag")
        timed, last = groups.timed, groups.last_second
        for (tags, action, second), n in sets.items():
            for tag in dict.fromkeys(tags or ()):
                name = (tag, action, second)
                timed[name] = timed.get(name, 0) + n * quantity
                last[tag,] = second

    def _groups(self, scope: str) -> Groups:
        groups = self.scopes.get(scope)
        if groups is None:
            groups = self.scopes[scope] = Groups()
        return groups


def _merge(into: dict[Any, int], groups: dict[Any, int], quantity: int) -> None:
    if not into and quantity == 1:
        into.update(groups)
        return
    for name, n in groups.items():
        into[name] = into.get(name, 0) + n * quantity
