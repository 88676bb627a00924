"""Summing up events before they touch the state.

Most events look alike: same post, same action, same second. They are counted into groups by loops that run in
C, over as many records as come in between two flushes; the state is then changed once per group. What a group
changes are its *update targets*, a few integers that are looked up once and cached. This is what makes the
aggregator fast.

Which fields make a group, and what it changes, follows from ``schemas.dimensions``. What happened and who did
it are grouped apart: every actor with every post would be as many groups as events.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, islice
from operator import itemgetter
from typing import Any

import msgspec
from msgspec.structs import astuple

from schemas.dimensions import ALL, DIMENSIONS, Dimension, Kind, counted_fields
from schemas.events import POST_ACTION
from schemas.log import Interaction, LogActor, Post
from services.aggregate.counting.broadcasts import Broadcasts
from services.aggregate.counting.counters import Counters, Name
from services.aggregate.counting.posts import PostAccounts
from services.aggregate.counting.windows import Windows

#: The action, then the other fields of an event that it is counted by: those of _CONCERNED.
What = tuple[Any, ...]

#: What, and the second of event time. Everything about a post is the same for all that is done to it, so
#: these are about as many as there are posts that something happens to in a second.
Group = tuple[Any, ...]

#: The fields of an event.
Row = tuple[Any, ...]
#: A field each, of events in their order.
Columns = Sequence[tuple[Any, ...]]
#: The subjects of a dimension, of an event with these fields.
NamesOf = Callable[[Sequence[Any]], Iterable[Name]]

_FIELDS = Interaction.__struct_fields__
EVENT_ID, OCCURRED_AT = map(_FIELDS.index, ["event_id", "occurred_at"])
_ACTOR, _ACTION, _QUANTITY = map(_FIELDS.index, ["actor", "action", "quantity"])
_ACTOR_PREFIX = "actor."
#: What happened, the action aside. Besides what is counted, minutes of broadcasts and owners of posts need
#: some of it.
_CONCERNED = tuple(
    dict.fromkeys(
        ["platform", "account", "post_id", "broadcast_id"]
        + [name for name in counted_fields("interaction") if not name.startswith(_ACTOR_PREFIX)]
    )
)
_what = itemgetter(_ACTION, *map(_FIELDS.index, _CONCERNED))
_without_second, _second = itemgetter(slice(0, -1)), itemgetter(-1)
_about_post = itemgetter(*map(_CONCERNED.index, ["platform", "account", "post_id", "broadcast_id"]))

#: Update targets are cached up to this many; a stream that has more pays for making them again.
_MAX_TARGETS = 100_000
#: To flush so many groups takes some 10 ms, in which nothing else is done.
_MAX_GROUPS = 4_000
#: To make targets for so many takes as long. In a stream of ever new ones that is not left to the flush.
_MAX_WITHOUT_TARGETS = 250
#: From so many groups on it is not worth waiting for events to fall into them, if few have.
_FEW_GROUPS, _FEW_EVENTS_PER_GROUP = 1_000, 1.2


def _post_fields() -> Iterator[str | None]:
    """Where a post has what an interaction has in _CONCERNED; None if no count of posts needs it."""
    sources = {"platform": "platform", "account": "account"}
    for dimension in DIMENSIONS:
        if "post" in dimension.kinds:
            sources |= zip(dimension.sources("interaction"), dimension.sources("post"), strict=True)
    yield from map(sources.get, _CONCERNED)


_POST_FIELDS = tuple(_post_fields())


def _names_of(dimension: Dimension, fields: Sequence[str], prefix: str = "") -> NamesOf:
    """The function that gives the subjects of a dimension, from a row of these fields. A subject whose name
    is absent or empty is none."""
    places = [fields.index(source.removeprefix(prefix)) for source in dimension.sources("interaction")]
    scope, keys = dimension.scope, len(dimension.keys)
    many = bool(dimension.keys) and dimension.keys[-1].many
    if many or keys > 2 or dimension.only_if:

        def general(row: Sequence[Any]) -> Iterable[Name]:
            values = [row[place] for place in places]
            if not all(values):
                return ()
            names = values[:keys]
            if many:
                return [(scope, *names[:-1], name) for name in dict.fromkeys(names[-1])]
            return ((scope, *names),)

        return general
    first, last = places[0], places[-1]
    if keys == 1:
        return lambda row: ((scope, row[first]),) if row[first] else ()
    return lambda row: ((scope, row[first], row[last]),) if row[first] and row[last] else ()


def _all_names_of(kind: Kind) -> list[tuple[Dimension, NamesOf]]:
    return [
        (each, _names_of(each, _CONCERNED)) for each in DIMENSIONS if kind in each.kinds and not each.of_actor
    ]


_NAMES_OF: dict[Kind, list[tuple[Dimension, NamesOf]]] = {
    "interaction": _all_names_of("interaction"),
    "post": _all_names_of("post"),
}
_NAMES_OF_ACTOR = [
    (each, _names_of(each, LogActor.__struct_fields__, _ACTOR_PREFIX)) for each in DIMENSIONS if each.of_actor
]


def rows_of(events: Sequence[Interaction]) -> list[Row]:
    """The fields of each interaction. Taking them out all at once, and turning the table, costs less than to
    get two of them from each event."""
    return list(map(astuple, events))


def columns_of(rows: Sequence[Row]) -> Columns:
    """The table turned: by column. Of at least one row."""
    return tuple(zip(*rows, strict=True))


class UpdateTargets(msgspec.Struct, eq=False, gc=False):  # of which there may be many, and no cycles
    """What one event of a group changes, as integers of ``Counters``; within a flush, how many there were."""

    rolling: int  # place in ``PreAggregator._rolling`` of the names that have windows
    others: tuple[int, ...]  # names without
    subjects: tuple[int, ...]
    broadcast_id: str | None
    action: str
    count: int = 0
    newest_second: int = 0


class _TargetsByKey(dict[What, UpdateTargets]):
    """Update targets by what they are for, made when they are asked for."""

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
        self._actor_targets: dict[tuple[Any, ...], UpdateTargets] = {}
        self._parts: dict[Any, Any] = {}
        self._rolling: list[tuple[int, ...]] = []  # distinct ones; far fewer than targets
        self._index_of: dict[tuple[int, ...], int] = {}
        self._groups: Counter[Group] = Counter()
        self._added = 0
        self._found_targets: list[UpdateTargets] = []  # of the first groups, in their order
        self._expects_new = False
        self._actors: Counter[tuple[LogActor | None, str, int]] = Counter()

    def add(self, columns: Columns) -> None:
        """Count interactions, at least one and none of them a duplicate."""
        seconds = [at_ms // 1000 for at_ms in columns[OCCURRED_AT]]
        what, actors, actions = _what(columns), columns[_ACTOR], columns[_ACTION]
        quantities = columns[_QUANTITY]
        self._groups.update(zip(*what, seconds, strict=True))
        self._actors.update(zip(actors, actions, seconds, strict=True))
        if quantities.count(1) != len(seconds):
            for group, more in zip(zip(*what, seconds, strict=True), quantities, strict=True):
                self._groups[group] += more - 1
            for actor, more in zip(zip(actors, actions, seconds, strict=True), quantities, strict=True):
                self._actors[actor] += more - 1
        self._added += len(seconds)
        groups = len(self._groups)
        if self._expects_new and groups - len(self._found_targets) > _MAX_WITHOUT_TARGETS:
            self._look_up_targets()
        if groups > _MAX_GROUPS or _FEW_GROUPS < groups > self._added / _FEW_EVENTS_PER_GROUP:
            self.flush()

    def add_post(self, post: Post) -> None:
        """Count a post, no duplicate: something that its account does, and nothing that is done to it."""
        fields = [name and getattr(post, name) for name in _POST_FIELDS]
        group = (POST_ACTION, *fields, post.occurred_at // 1000)
        self._groups[group] += 1

    def take_back(self, event: Interaction | Post) -> bool:
        """Take an event that has been counted out of counters, windows, and its minute unless it is closed.

        What is known of its subjects (newest event time, account of the post) stays. If less was counted than
        the event says, nothing changes and the result is False. Not fast: flushes what was added before.
        """
        self.flush()
        found, quantity = self._targets_of(event), event.quantity if isinstance(event, Interaction) else 1
        at_ms = event.occurred_at // 1000 * 1000
        rolling = Counter[int]()
        for number in chain.from_iterable(self._rolling[targets.rolling] for targets in found):
            rolling[number] += quantity
        taken = Counter(rolling)
        for number in chain.from_iterable(targets.others for targets in found):
            taken[number] += quantity
        counts, minute = self._counters.counts, (found[0].broadcast_id, found[0].action, quantity, at_ms)
        enough = all(counts[number] >= count for number, count in taken.items())
        if not (enough and self._windows.holds(at_ms, rolling) and self._broadcasts.holds(*minute)):
            return False
        for number, count in taken.items():
            counts[number] -= count
        self._windows.take_back(at_ms, rolling)
        self._broadcasts.take_back(*minute)
        for targets in found:
            self._counters.dirty.update(targets.subjects)
        return True

    def _targets_of(self, event: Interaction | Post) -> list[UpdateTargets]:
        """The targets of a single event, those of its actor last."""
        if isinstance(event, Post):
            return [self._targets[POST_ACTION, *(name and getattr(event, name) for name in _POST_FIELDS)]]
        found = [self._targets[_what(astuple(event))]]
        if event.actor is not None:
            found.append(self._targets_of_actor((event.action, *astuple(event.actor))))
        return found

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
        self._flush_targets({*target_list, *self._count_actors(rolling)})
        self._flush_rolling(rolling)
        if len(self._targets) + len(self._actor_targets) > _MAX_TARGETS:
            self._targets.clear()
            self._targets_like.clear()
            self._actor_targets.clear()
            self._parts.clear()
            self._rolling.clear()
            self._index_of.clear()

    def _look_up_targets(self) -> None:
        """Look up the targets of groups that have none yet."""
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

    def _count_actors(self, rolling: defaultdict[tuple[int, int], int]) -> set[UpdateTargets]:
        """Count the groups of actors since the last flush into their targets, and into ``rolling``."""
        actors, self._actors = self._actors, Counter()
        found: set[UpdateTargets] = set()
        for (actor, action, second), count in actors.items():
            if actor is None:
                continue
            targets = self._targets_of_actor((action, *astuple(actor)))
            targets.count += count
            if second > targets.newest_second:
                targets.newest_second = second
            if self._rolling[targets.rolling]:
                rolling[second, targets.rolling] += count
            found.add(targets)
        return found

    def _targets_of_actor(self, key: tuple[Any, ...]) -> UpdateTargets:
        """The targets of an action, and the fields of its actor."""
        targets = self._actor_targets.get(key)
        if targets is None:
            targets = self._actor_targets[key] = self._first_actor_targets(key[1:], key[0])
        return targets

    def _first_actor_targets(self, actor: tuple[Any, ...], action: str) -> UpdateTargets:
        named = [(each, names_of(actor)) for each, names_of in _NAMES_OF_ACTOR]
        return self._make_targets(named, action, None)

    def _new_targets(self, what: What) -> UpdateTargets:
        # Targets that have texts in common share them, so that to compare them touches less memory.
        what = tuple(map(self.shared, what))
        action, concerned = what[0], what[1:]
        kind: Kind = "post" if action == POST_ACTION else "interaction"
        like = self._targets_like.get((kind, *concerned))
        if like is None:
            targets = self._targets_like[kind, *concerned] = self._first_targets(kind, concerned, action)
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

    def _first_targets(self, kind: Kind, concerned: tuple[Any, ...], action: str) -> UpdateTargets:
        platform, account, post_id, broadcast_id = _about_post(concerned)
        if post_id:
            self._posts.see(platform, post_id, account)
        named = [(each, names_of(concerned)) for each, names_of in _NAMES_OF[kind]]
        return self._make_targets(named, action, broadcast_id)

    def _make_targets(
        self, named: Iterable[tuple[Dimension, Iterable[Name]]], action: str, broadcast_id: str | None
    ) -> UpdateTargets:
        """Targets that count ``action`` for these subjects, and in the sums that they are part of."""
        subjects: list[Name] = []
        rolling: list[Name] = []
        others: list[Name] = []
        for dimension, names in named:
            counted = rolling if dimension.windowed else others
            for name in names:
                subjects.append(name)
                counted.append(name)
                if dimension.summed:
                    counted.append((dimension.scope, ALL))
        number = self._counters.number
        return UpdateTargets(
            rolling=self._index(tuple([number((*name, action)) for name in rolling])),
            others=tuple([number((*name, action)) for name in others]),
            subjects=tuple(map(self._counters.subject_number, subjects)),
            broadcast_id=broadcast_id,
            action=action,
        )

    def shared(self, part: Any) -> Any:
        """Of equal parts of targets always the same one."""
        if isinstance(part, tuple):
            part = tuple(map(self.shared, part))
        return self._parts.setdefault(part, part)

    def _index(self, numbers: tuple[int, ...]) -> int:
        index = self._index_of.get(numbers)
        if index is None:
            index = self._index_of[numbers] = len(self._rolling)
            self._rolling.append(numbers)
        return index
