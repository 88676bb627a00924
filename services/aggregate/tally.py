"""Summing up events before they touch the state.

Most events fall together: same account, same action, same second. They are counted into groups by loops that
run in C, over as many records as come in between two folds; the state is then changed once a group. This is
what makes the aggregator fast.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from operator import attrgetter
from typing import Any

from schemas.events import POST_ACTION
from schemas.totals import COUNTED_SCOPES
from services.aggregate.decode import Entry

#: (*subject, action, second of event time) -> count
Groups = Counter[tuple[Any, ...]]

_platform, _account, _time = attrgetter("platform"), attrgetter("account"), attrgetter("occurred_at")
_post_id, _tags, _actor = attrgetter("post_id"), attrgetter("hashtags"), attrgetter("actor")
#: Scopes with one name, and where it stands in an event.
_NAMED = {
    "campaign": attrgetter("campaign"),
    "format": attrgetter("post_format"),
    "broadcast": attrgetter("broadcast_id"),
}


class Tally:
    """Counts of interactions and posts, in groups per scope, since the last ``drain``."""

    def __init__(self) -> None:
        self.post_accounts: dict[tuple[str, ...], str] = {}
        self._tag_sets: Groups = Counter()
        self._scopes: dict[str, Groups] = {scope: Counter() for scope in COUNTED_SCOPES}

    def add(self, events: Sequence[Entry]) -> None:
        """Count interactions and posts, none of them a duplicate. Posts are changed: give them up."""
        single = [event for event in events if event.quantity == 1 and event.kind == "interaction"]
        if single:
            self._add(single, [event.action or "" for event in single])
        if len(single) == len(events):
            return
        posts = [event for event in events if event.kind == "post"]
        for event in posts:
            event.post_format = event.format
            event.post_id = event.actor = None  # a post is no interaction with itself, and has no actor
        if posts:
            self._add(posts, [POST_ACTION] * len(posts))
        for event in events:
            if event.quantity != 1 and event.kind == "interaction":
                self._add_quantity(event)

    def drain(self) -> Iterator[tuple[str, Iterable[tuple[tuple[Any, ...], int]]]]:
        """(scope, groups) of all that was added; empties the tally as it is read."""
        hashtags = self._scopes["hashtag"]
        for (tags, action, second), count in self._tag_sets.items():
            for tag in dict.fromkeys(tags or ()):
                hashtags[tag, action, second] += count
        self._tag_sets = Counter()
        for scope, groups in self._scopes.items():
            if groups:
                self._scopes[scope] = Counter()
                yield scope, groups.items()

    def _add(self, events: Sequence[Entry], actions: list[str]) -> None:
        seconds = [at_ms // 1000 for at_ms in map(_time, events)]
        platforms, accounts = list(map(_platform, events)), list(map(_account, events))
        self._scopes["account"].update(zip(platforms, accounts, actions, seconds, strict=True))
        self._tag_sets.update(zip(map(_tags, events), actions, seconds, strict=True))
        for scope, read in _NAMED.items():
            self._add_named(scope, list(map(read, events)), actions, seconds)
        posts = list(map(_post_id, events))
        if any(posts):
            rows: Iterable[tuple[Any, ...]] = zip(platforms, posts, actions, seconds, strict=True)
            if not all(posts):
                rows = [row for row in rows if row[1]]
            self._scopes["post"].update(rows)
            self.post_accounts.update(zip(zip(platforms, posts, strict=True), accounts, strict=True))
        actors = list(map(_actor, events))
        if any(actors):
            countries = [actor and actor.country for actor in actors]
            self._add_named("country", countries, actions, seconds)
            marks = [actor and actor.verified for actor in actors]
            if True in marks:
                rows = zip(marks, actions, seconds, strict=True)
                self._scopes["vip"].update([row[1:] for row in rows if row[0]])

    def _add_named(self, scope: str, names: list[Any], actions: list[str], seconds: list[int]) -> None:
        if any(names):
            rows: Iterable[tuple[Any, ...]] = zip(names, actions, seconds, strict=True)
            if not all(names):
                rows = [row for row in rows if row[0]]
            self._scopes[scope].update(rows)

    def _add_quantity(self, event: Entry) -> None:
        """One event that stands for several, such as 500 reads."""
        many = Tally()
        event_quantity, event.quantity = event.quantity, 1
        many.add([event])
        event.quantity = event_quantity
        self.post_accounts.update(many.post_accounts)
        for scope, groups in many.drain():
            for name, count in groups:
                self._scopes[scope][name] += count * event_quantity
