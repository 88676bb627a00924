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
from services.aggregate.counting.posts import PostAccounts
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
_MAX_TARGETS = 100_000
#: To fold so many groups takes some 10 ms, in which nothing else is done.
_MAX_GROUPS = 4_000
#: To make plans for so many takes as long. In a stream of ever new ones that is not left to the fold.
_MAX_WITHOUT_TARGETS = 250
#: From so many groups on it is not worth waiting for events to fall into them, if few have.
_FEW_GROUPS, _FEW_EVENTS_PER_GROUP = 1_000, 1.2


def rows_of(events: Sequence[Interaction]) -> list[Row]:
    """The fields of each interaction. Taking them out all at once, and turning the table, costs less than to
    get two of them from each event."""
    return list(map(astuple, events))


def columns_of(rows: Sequence[Row]) -> Columns:
    """The table turned: by column. Of at least one row."""
    return tuple(zip(*rows, strict=True))


class UpdateTargets(msgspec.Struct, eq=False, gc=False):  # of which there may be many, and no cycles
    """What one event of a kind changes, as integers of ``Counters``; within a fold, how many there were."""

    rolling: int  # place in ``PreAggregator._rolling`` of the names that have windows
    others: tuple[int, ...]  # names without
    subjects: tuple[int, ...]
    broadcast_id: str | None
    action: str
    count: int = 0
    newest_second: int = 0


class _TargetsByKey(dict[What, UpdateTargets]):
    """Plans by what they are for, made when they are asked for."""

    def __init__(self, make: Callable[[What], UpdateTargets]) -> None:
        super().__init__()
        self._make = make

    def __missing__(self, what: What) -> UpdateTargets:
        return self._make(what)


class PreAggregator:
    """Counts of interactions and posts since the last ``flush``."""

    def __init__(
        self, counters: Counters, windows: Windows, broadcasts: Broadcasts, posts: PostAccounts
    ) -> None:
        self._counters = counters
        self._windows = windows
        self._broadcasts = broadcasts
        self._posts = posts
        self._targets = _TargetsByKey(self._new_targets)
        self._targets_like: dict[tuple[Any, ...], UpdateTargets] = {}  # with any action, by the rest of What
        self._parts: dict[Any, Any] = {}
        self._rolling: list[tuple[int, ...]] = []  # distinct ones; far fewer than plans
        self._index_of: dict[tuple[int, ...], int] = {}
        self._groups: Counter[Group] = Counter()
        self._added = 0
        self._found_targets: list[UpdateTargets] = []  # of the first groups, in their order
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
        if self._expects_new and groups - len(self._found_targets) > _MAX_WITHOUT_TARGETS:
            self._look_up_targets()
        if groups > _MAX_GROUPS or _FEW_GROUPS < groups > self._added / _FEW_EVENTS_PER_GROUP:
            self.flush()

    def add_post(self, post: Post) -> None:
        """Count a post, no duplicate: something that its account does, and nothing that is done to it."""
        group = (
            post.platform, post.account, POST_ACTION, None,
            post.broadcast_id, post.hashtags, post.campaign, post.format, post.occurred_at // 1000,
        )  # fmt: skip
        self._groups[group] += 1

    def flush(self) -> None:
        """Bring all that was added into counters, windows and minutes of broadcasts.

        Costs next to nothing if nothing was added.
        """
        if not self._groups:
            return
        self._look_up_targets()
        groups, self._groups, self._added = self._groups, Counter(), 0
        target_list, self._found_targets = self._found_targets, []
        rolling: defaultdict[tuple[int, int], int] = defaultdict(int)
        for targets, second, count in zip(target_list, map(_second, groups), groups.values(), strict=True):
            targets.count += count
            rolling[second, targets.rolling] += count
            if second > targets.newest_second:
                targets.newest_second = second
            if targets.broadcast_id:
                self._broadcasts.count(targets.broadcast_id, targets.action, count, second * 1000)
        self._flush_targets(set(target_list))
        self._flush_rolling(rolling)
        self._flush_actors()
        if len(self._targets) > _MAX_TARGETS:
            self._targets.clear()
            self._targets_like.clear()
            self._parts.clear()
            self._rolling.clear()
            self._index_of.clear()

    def _look_up_targets(self) -> None:
        """Look up the plans of groups that have none yet."""
        known = len(self._targets)
        whats = map(_without_second, islice(self._groups, len(self._found_targets), None))
        self._found_targets += map(self._targets.__getitem__, whats)
        self._expects_new = len(self._targets) - known > _MAX_WITHOUT_TARGETS // 2

    def _flush_targets(self, target_list: set[UpdateTargets]) -> None:
        counts, last_seconds = self._counters.counts, self._counters.last_seconds
        dirty = self._counters.dirty
        for targets in target_list:
            count, targets.count = targets.count, 0
            for number in targets.others:
                counts[number] += count
            for subject in targets.subjects:
                if targets.newest_second > last_seconds[subject]:
                    last_seconds[subject] = targets.newest_second
            dirty.update(targets.subjects)

    def _flush_rolling(self, rolling: dict[tuple[int, int], int]) -> None:
        by_second: defaultdict[int, defaultdict[int, int]] = defaultdict(lambda: defaultdict(int))
        for (second, index), count in rolling.items():
            found = by_second[second]
            for number in self._rolling[index]:
                found[number] += count
        for second, found in by_second.items():
            for number, count in found.items():
                self._counters.counts[number] += count
            self._windows.add(second * 1000, found)

    def _flush_actors(self) -> None:
        actors, self._actors = self._actors, Counter()
        for (actor, action), count in actors.items():
            if actor is not None and actor.country:
                self._count(("country", actor.country), action, count)
            if actor is not None and actor.verified:
                self._count(("vip",), action, count)

    def _count(self, subject: Name, action: str, count: int) -> None:
        self._counters.counts[self._counters.number((*subject, action))] += count
        self._counters.dirty.add(self._counters.subject_number(subject))

    def _new_targets(self, what: What) -> UpdateTargets:
        # Plans that have texts in common share them, so that to compare them touches less memory.
        what = cast(What, tuple(map(self.shared, what)))
        concerned, action = what[:2] + what[3:], what[2]
        like = self._targets_like.get(concerned)
        if like is None:
            targets = self._targets_like[concerned] = self._first_targets(*concerned, action=action)
        else:
            targets = UpdateTargets(
                rolling=self._index(self._with_action(self._rolling[like.rolling], action)),
                others=self._with_action(like.others, action),
                subjects=like.subjects,
                broadcast_id=like.broadcast_id,
                action=action,
            )
        self._targets[what] = targets
        return targets

    def _with_action(self, numbers: tuple[int, ...], action: str) -> tuple[int, ...]:
        """The integers of the same subjects with another action."""
        name, number = self._counters.name, self._counters.number
        return tuple([number((*name(each)[:-1], action)) for each in numbers])

    def _first_targets(
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
    ) -> UpdateTargets:
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
            self._posts.see(platform, post_id, account)
        number = self._counters.number
        rolling = [number((*name, action)) for each in own for name in (each, (each[0], ALL))]
        return UpdateTargets(
            rolling=self._index(tuple(rolling)),
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

    def _index(self, numbers: tuple[int, ...]) -> int:
        index = self._index_of.get(numbers)
        if index is None:
            index = self._index_of[numbers] = len(self._rolling)
            self._rolling.append(numbers)
        return index
