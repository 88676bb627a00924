"""Summing up events before they touch the state.

Most events fall together: same post, same action, same second. They are counted into groups by loops that run
in C, over as many records as come in between two folds; the state is then changed once a group. What a group
changes is a *plan*, a few integers that are looked up once and remembered. This is what makes the aggregator
fast.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, cast

from schemas.events import POST_ACTION
from services.aggregate.broadcasts import Broadcasts
from services.aggregate.counters import ALL, Counters, Name
from services.aggregate.decode import Interaction, LogActor, Post
from services.aggregate.windows import Windows

#: (platform, account, action, post_id, broadcast_id, hashtags, campaign, post_format)
What = tuple[str, str, str, str | None, str | None, tuple[str, ...] | None, str | None, str | None]

# Everything about a post is the same for all that is done to it, so this names about as many groups as there
# are posts that something happens to in a second.
_what = attrgetter(
    "platform", "account", "action", "post_id", "broadcast_id", "hashtags", "campaign", "post_format"
)
_actor, _action, _quantity = attrgetter("actor"), attrgetter("action"), attrgetter("quantity")

_ONCE = {1}
#: Plans are remembered up to this many; a stream that has more pays for making them again.
_MOST_PLANS = 100_000
#: To fold so many groups takes some 50 ms, in which nothing else is done.
_MOST_GROUPS = 4_000
#: From so many groups on it is not worth waiting for events to fall into them, if few have.
_FEW_GROUPS, _FEW_EVENTS_PER_GROUP = 1_000, 1.2


@dataclass(slots=True, eq=False)
class Plan:
    """What one event of a kind changes, as integers of ``Counters``; within a fold, how many there were."""

    counted: tuple[int, ...]  # names whose counts grow; a sum is in it once for each of its subjects
    subjects: tuple[int, ...]
    rolling: int  # place in ``Tally._rolling`` of the names that have windows
    broadcast_id: str | None
    action: str
    count: int = 0
    newest_second: int = 0


class Tally:
    """Counts of interactions and posts since the last ``fold``."""

    def __init__(self, counters: Counters, windows: Windows, broadcasts: Broadcasts) -> None:
        self.post_accounts: dict[tuple[str, str], str] = {}  # of (platform, post_id), as its first event says
        self._counters = counters
        self._windows = windows
        self._broadcasts = broadcasts
        self._plans: dict[What, Plan] = {}
        self._parts: dict[Any, Any] = {}
        self._rolling: list[tuple[int, ...]] = []  # distinct ones; far fewer than plans
        self._place_of: dict[tuple[int, ...], int] = {}
        self._groups: Counter[tuple[Plan, int]] = Counter()
        self._added = 0
        self._actors: Counter[tuple[LogActor | None, str]] = Counter()

    def add(self, events: Sequence[Interaction], seconds: Sequence[int]) -> None:
        """Count interactions, none of them a duplicate, each with its second of event time."""
        found = list(map(self._plans.get, map(_what, events)))
        if None in found:
            found = [plan or self._plan(_what(event)) for plan, event in zip(found, events, strict=True)]
        plans = cast(list[Plan], found)
        self._groups.update(zip(plans, seconds, strict=True))
        self._actors.update(zip(map(_actor, events), map(_action, events), strict=True))
        if set(map(_quantity, events)) != _ONCE:
            for event, plan, second in zip(events, plans, seconds, strict=True):
                self._groups[plan, second] += event.quantity - 1
                self._actors[event.actor, event.action] += event.quantity - 1
        self._added += len(events)
        groups = len(self._groups)
        if groups > _MOST_GROUPS or _FEW_GROUPS < groups > self._added / _FEW_EVENTS_PER_GROUP:
            self.fold()

    def add_post(self, post: Post) -> None:
        """Count a post, no duplicate: something that its account does, and nothing that is done to it."""
        what = (
            post.platform, post.account, POST_ACTION, None,
            post.broadcast_id, post.hashtags, post.campaign, post.format,
        )  # fmt: skip
        self._groups[self._plan(what), post.occurred_at // 1000] += 1

    def fold(self) -> None:
        """Bring all that was added into counters, windows and minutes of broadcasts."""
        groups, self._groups, self._added = self._groups, Counter(), 0
        touched: list[Plan] = []
        rolling: dict[tuple[int, int], int] = {}
        for (plan, second), count in groups.items():
            if plan.count == 0:
                touched.append(plan)
            plan.count += count
            if second > plan.newest_second:
                plan.newest_second = second
            at = plan.rolling, second
            rolling[at] = rolling.get(at, 0) + count
            if plan.broadcast_id:
                self._broadcasts.count(plan.broadcast_id, plan.action, count, second * 1000)
        self._fold_plans(touched)
        self._fold_rolling(rolling)
        self._fold_actors()
        if len(self._plans) > _MOST_PLANS:
            self._plans.clear()
            self._parts.clear()
            self._rolling.clear()
            self._place_of.clear()

    def _fold_plans(self, touched: list[Plan]) -> None:
        counts, last_seconds = self._counters.counts, self._counters.last_seconds
        dirty = self._counters.dirty
        for plan in touched:
            count, plan.count = plan.count, 0
            for number in plan.counted:
                counts[number] += count
            for subject in plan.subjects:
                if plan.newest_second > last_seconds[subject]:
                    last_seconds[subject] = plan.newest_second
            dirty.update(plan.subjects)

    def _fold_rolling(self, rolling: dict[tuple[int, int], int]) -> None:
        by_name: dict[tuple[int, int], int] = {}
        for (place, second), count in rolling.items():
            for number in self._rolling[place]:
                at = number, second
                by_name[at] = by_name.get(at, 0) + count
        for (number, second), count in by_name.items():
            self._windows.add(number, second * 1000, count)

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

    def _plan(self, what: What) -> Plan:
        return self._plans.get(what) or self._new_plan(what)

    def _new_plan(self, what: What) -> Plan:
        # Plans that have texts in common share them, so that to compare them touches less memory.
        what = cast(What, tuple(map(self._shared, what)))
        platform, account, action, post_id, broadcast_id, hashtags, campaign, post_format = what
        number = self._counters.number
        own: list[Name] = [("account", platform, account)]
        own += [("hashtag", tag) for tag in dict.fromkeys(hashtags or ())]
        rolling = [name for subject in own for name in (subject, (subject[0], ALL))]
        subjects = list(own)
        if campaign:
            subjects.append(("campaign", campaign))
        if post_format:
            subjects.append(("format", post_format))
        if broadcast_id:
            subjects.append(("broadcast", broadcast_id))
        if post_id:
            subjects.append(("post", platform, post_id))
            self.post_accounts.setdefault((platform, post_id), account)
        rolling_numbers = tuple(number((*name, action)) for name in rolling)
        plan = self._plans[what] = Plan(
            counted=rolling_numbers + tuple(number((*name, action)) for name in subjects[len(own) :]),
            subjects=tuple(map(self._counters.subject_number, subjects)),
            rolling=self._place(rolling_numbers),
            broadcast_id=broadcast_id,
            action=action,
        )
        return plan

    def _shared(self, part: Any) -> Any:
        if isinstance(part, tuple):
            part = tuple(map(self._shared, part))
        return self._parts.setdefault(part, part)

    def _place(self, numbers: tuple[int, ...]) -> int:
        place = self._place_of.get(numbers)
        if place is None:
            place = self._place_of[numbers] = len(self._rolling)
            self._rolling.append(numbers)
        return place
