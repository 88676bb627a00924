"""Summing up events before they touch the state.

Most events fall together: same post, same action, same second. They are counted into groups by loops that run
in C, over as many records as come in between two folds; the state is then changed once a group. What a group
changes is a *plan*, a few integers that are looked up once and remembered. This is what makes the aggregator
fast.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from itertools import islice
from operator import itemgetter
from typing import Any, cast

import msgspec
from msgspec.structs import astuple

from schemas.events import POST_ACTION
from services.aggregate.counting.broadcasts import Broadcasts
from services.aggregate.counting.counters import ALL, Counters, Name
from services.aggregate.counting.decode import Interaction, LogActor, Post
from services.aggregate.counting.windows import Windows

#: (platform, account, action, post_id, broadcast_id, hashtags, campaign, post_format)
What = tuple[str, str, str, str | None, str | None, tuple[str, ...] | None, str | None, str | None]

#: What, and the second of event time. Everything about a post is the same for all that is done to it, so
#: these are about as many as there are posts that something happens to in a second.
Group = tuple[Any, ...]

#: The fields of an event.
Row = tuple[Any, ...]
#: A field each, of events in their order.
Columns = Sequence[tuple[Any, ...]]

_FIELDS = Interaction.__struct_fields__
EVENT_ID, OCCURRED_AT = map(_FIELDS.index, ["event_id", "occurred_at"])
_ACTOR, _ACTION, _QUANTITY = map(_FIELDS.index, ["actor", "action", "quantity"])
_WHAT = ["platform", "account", "action", "post_id", "broadcast_id", "hashtags", "campaign", "post_format"]
_what = itemgetter(*map(_FIELDS.index, _WHAT))
_without_second, _second = itemgetter(slice(0, -1)), itemgetter(-1)

#: Plans are remembered up to this many; a stream that has more pays for making them again.
_MOST_PLANS = 100_000
#: To fold so many groups takes some 10 ms, in which nothing else is done.
_MOST_GROUPS = 4_000
#: To make plans for so many takes as long. In a stream of ever new ones that is not left to the fold.
_MOST_WITHOUT_PLAN = 250
#: From so many groups on it is not worth waiting for events to fall into them, if few have.
_FEW_GROUPS, _FEW_EVENTS_PER_GROUP = 1_000, 1.2


def rows_of(events: Sequence[Interaction]) -> list[Row]:
    """The fields of each interaction. Taking them out all at once, and turning the table, costs less than to
    get two of them from each event."""
    return list(map(astuple, events))


def columns_of(rows: Sequence[Row]) -> Columns:
    """The table turned: by column. Of at least one row."""
    return tuple(zip(*rows, strict=True))


class Plan(msgspec.Struct, eq=False, gc=False):  # of which there may be many, and no cycles
    """What one event of a kind changes, as integers of ``Counters``; within a fold, how many there were."""

    rolling: int  # place in ``Tally._rolling`` of the names that have windows
    others: tuple[int, ...]  # names without
    subjects: tuple[int, ...]
    broadcast_id: str | None
    action: str
    count: int = 0
    newest_second: int = 0


class _Plans(dict[What, Plan]):
    """Plans by what they are for, made when they are asked for."""

    def __init__(self, make: Callable[[What], Plan]) -> None:
        super().__init__()
        self._make = make

    def __missing__(self, what: What) -> Plan:
        return self._make(what)


class Tally:
    """Counts of interactions and posts since the last ``fold``."""

    def __init__(self, counters: Counters, windows: Windows, broadcasts: Broadcasts) -> None:
        self.post_accounts: dict[tuple[str, str], str] = {}  # of (platform, post_id), as its first event says
        self._counters = counters
        self._windows = windows
        self._broadcasts = broadcasts
        self._plans = _Plans(self._new_plan)
        self._plan_like: dict[tuple[Any, ...], Plan] = {}  # with any action, by the rest of What
        self._parts: dict[Any, Any] = {}
        self._rolling: list[tuple[int, ...]] = []  # distinct ones; far fewer than plans
        self._place_of: dict[tuple[int, ...], int] = {}
        self._groups: Counter[Group] = Counter()
        self._added = 0
        self._planned: list[Plan] = []  # of the first groups, in their order
        self._expects_new = False
        self._actors: Counter[tuple[LogActor | None, str]] = Counter()

    def add(self, columns: Columns) -> None:
        """Count interactions, at least one and none of them a duplicate."""
        seconds = [at_ms // 1000 for at_ms in columns[OCCURRED_AT]]
        what, actors, actions = _what(columns), columns[_ACTOR], columns[_ACTION]
        quantities = columns[_QUANTITY]
        self._groups.update(zip(*what, seconds, strict=True))
        self._actors.update(zip(actors, actions, strict=True))
        if quantities.count(1) != len(seconds):
            for group, more in zip(zip(*what, seconds, strict=True), quantities, strict=True):
                self._groups[group] += more - 1
            for actor, action, more in zip(actors, actions, quantities, strict=True):
                self._actors[actor, action] += more - 1
        self._added += len(seconds)
        groups = len(self._groups)
        if self._expects_new and groups - len(self._planned) > _MOST_WITHOUT_PLAN:
            self._plan_groups()
        if groups > _MOST_GROUPS or _FEW_GROUPS < groups > self._added / _FEW_EVENTS_PER_GROUP:
            self.fold()

    def add_post(self, post: Post) -> None:
        """Count a post, no duplicate: something that its account does, and nothing that is done to it."""
        group = (
            post.platform, post.account, POST_ACTION, None,
            post.broadcast_id, post.hashtags, post.campaign, post.format, post.occurred_at // 1000,
        )  # fmt: skip
        self._groups[group] += 1

    def fold(self) -> None:
        """Bring all that was added into counters, windows and minutes of broadcasts."""
        self._plan_groups()
        groups, self._groups, self._added = self._groups, Counter(), 0
        plans, self._planned = self._planned, []
        rolling: defaultdict[tuple[int, int], int] = defaultdict(int)
        for plan, second, count in zip(plans, map(_second, groups), groups.values(), strict=True):
            plan.count += count
            rolling[second, plan.rolling] += count
            if second > plan.newest_second:
                plan.newest_second = second
            if plan.broadcast_id:
                self._broadcasts.count(plan.broadcast_id, plan.action, count, second * 1000)
        self._fold_plans(set(plans))
        self._fold_rolling(rolling)
        self._fold_actors()
        if len(self._plans) > _MOST_PLANS:
            self._plans.clear()
            self._plan_like.clear()
            self._parts.clear()
            self._rolling.clear()
            self._place_of.clear()

    def _plan_groups(self) -> None:
        """Look up the plans of groups that have none yet."""
        known = len(self._plans)
        whats = map(_without_second, islice(self._groups, len(self._planned), None))
        self._planned += map(self._plans.__getitem__, whats)
        self._expects_new = len(self._plans) - known > _MOST_WITHOUT_PLAN // 2

    def _fold_plans(self, plans: set[Plan]) -> None:
        counts, last_seconds = self._counters.counts, self._counters.last_seconds
        dirty = self._counters.dirty
        for plan in plans:
            count, plan.count = plan.count, 0
            for number in plan.others:
                counts[number] += count
            for subject in plan.subjects:
                if plan.newest_second > last_seconds[subject]:
                    last_seconds[subject] = plan.newest_second
            dirty.update(plan.subjects)

    def _fold_rolling(self, rolling: dict[tuple[int, int], int]) -> None:
        by_second: defaultdict[int, defaultdict[int, int]] = defaultdict(lambda: defaultdict(int))
        for (second, place), count in rolling.items():
            found = by_second[second]
            for number in self._rolling[place]:
                found[number] += count
        for second, found in by_second.items():
            for number, count in found.items():
                self._counters.counts[number] += count
            self._windows.add(second * 1000, found)

    def _fold_actors(self) -> None:
        actors, self._actors = self._actors, Counter()
        for (actor, action), count in actors.items():
            if actor is not None and actor.country:
                self._count(("country", actor.country), action, count)
            if actor is not None and actor.verified:
                self._count(("vip",), action, count)

    def _count(self, subject: Name, action: str, count: int) -> None:
        self._counters.counts[self._counters.number((*subject, action))] += count
        self._counters.dirty.add(self._counters.subject_number(subject))

    def _new_plan(self, what: What) -> Plan:
        # Plans that have texts in common share them, so that to compare them touches less memory.
        what = cast(What, tuple(map(self.shared, what)))
        concerned, action = what[:2] + what[3:], what[2]
        like = self._plan_like.get(concerned)
        if like is None:
            plan = self._plan_like[concerned] = self._first_plan(*concerned, action=action)
        else:
            plan = Plan(
                rolling=self._place(self._with_action(self._rolling[like.rolling], action)),
                others=self._with_action(like.others, action),
                subjects=like.subjects,
                broadcast_id=like.broadcast_id,
                action=action,
            )
        self._plans[what] = plan
        return plan

    def _with_action(self, numbers: tuple[int, ...], action: str) -> tuple[int, ...]:
        """The integers of the same subjects with another action."""
        name, number = self._counters.name, self._counters.number
        return tuple([number((*name(each)[:-1], action)) for each in numbers])

    def _first_plan(
        self,
        platform: str,
        account: str,
        post_id: str | None,
        broadcast_id: str | None,
        hashtags: tuple[str, ...] | None,
        campaign: str | None,
        post_format: str | None,
        *,
        action: str,
    ) -> Plan:
        own: list[Name] = [("account", platform, account)]
        own += [("hashtag", tag) for tag in dict.fromkeys(hashtags or ())]
        others: list[Name] = []
        if campaign:
            others.append(("campaign", campaign))
        if post_format:
            others.append(("format", post_format))
        if broadcast_id:
            others.append(("broadcast", broadcast_id))
        if post_id:
            others.append(("post", platform, post_id))
            self.post_accounts.setdefault((platform, post_id), account)
        number = self._counters.number
        rolling = [number((*name, action)) for each in own for name in (each, (each[0], ALL))]
        return Plan(
            rolling=self._place(tuple(rolling)),
            others=tuple([number((*name, action)) for name in others]),
            subjects=tuple(map(self._counters.subject_number, own + others)),
            broadcast_id=broadcast_id,
            action=action,
        )

    def shared(self, part: Any) -> Any:
        """Of equal parts of plans always the same one."""
        if isinstance(part, tuple):
            part = tuple(map(self.shared, part))
        return self._parts.setdefault(part, part)

    def _place(self, numbers: tuple[int, ...]) -> int:
        place = self._place_of.get(numbers)
        if place is None:
            place = self._place_of[numbers] = len(self._rolling)
            self._rolling.append(numbers)
        return place
