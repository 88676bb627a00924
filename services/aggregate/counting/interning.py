"""Decoding with names that were seen before.

An ordinary decoder makes a new string of each name in each event, which then has to be hashed and compared to
find that it is one of the same few accounts, posts and hashtags as always. A decoder that knows the names
beforehand, as a ``Literal``, gives out one object for each, which remembers its hash and is found equal by
identity. What is decoded is the same.

The names are learned from the log, of every field of text that ``schemas.dimensions`` counts by. A name that
is not known yet makes the decoder fail; then the record is decoded in the ordinary way, and the names in it
are learned.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from operator import attrgetter
from typing import Any, Literal, cast, get_args, get_type_hints

import msgspec

from schemas.dimensions import counted_fields
from schemas.log import Broadcast, Clock, Entry, Interaction, LogActor, Post, Reading, Void
from services.aggregate.counting.decode import BadEntry, decode_record

#: A field with more names than this is decoded in the ordinary way from then on.
MOST_NAMES = 5_000
#: The decoder is made again once one record, and another for so many names it knows, had names that it does
#: not know. To make it takes 3 microseconds a name; a record that it fails at is decoded twice.
NAMES_PER_MISS = 16

Names = dict[str, set[str]]
Decode = Callable[[bytes], list[Entry]]

_ACTOR_PREFIX = "actor."
_TEXT, _TEXTS = (str, str | None), tuple[str, ...] | None


def _interned() -> tuple[dict[str, bool], list[str], list[str]]:
    """The fields of text that are counted by: single ones of an event and whether each is required, its
    lists, and those of its actor. What a ``Literal`` declares is one object for each name already."""
    counted = counted_fields("interaction")
    names = [name for name in counted if not name.startswith(_ACTOR_PREFIX)]
    hints, actor_hints = get_type_hints(Interaction), get_type_hints(LogActor)
    single = {name: type(None) not in get_args(hints[name]) for name in names if hints[name] in _TEXT}
    of_actor = [name.removeprefix(_ACTOR_PREFIX) for name in counted if name.startswith(_ACTOR_PREFIX)]
    return (
        single,
        [name for name in names if hints[name] == _TEXTS],
        [name for name in of_actor if actor_hints[name] in _TEXT],
    )


_SINGLE, _LISTS, _OF_ACTOR = _interned()
_get = {field: attrgetter(field) for field in (*_SINGLE, *_LISTS, *_OF_ACTOR)}
_actor = attrgetter("actor")


class InterningDecoder:
    """The names in the interactions of a partition, and the decoder that knows them."""

    def __init__(self, shared: Callable[[str], str] = str) -> None:
        """``shared`` gives, of equal strings, always the same one."""
        self._shared = shared
        self._to_come: Names = {field: set() for field in _get}
        self._new: Names = {field: set() for field in _get}
        self._misses = 0
        self._decode: Decode | None = None

    def decode(self, data: bytes | None) -> tuple[list[Entry], list[BadEntry]]:
        """The entries of a record and its bad entries, as ``decode_record`` gives them."""
        if self._decode is not None:
            try:
                return self._decode(data or b""), []
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                pass  # a new name, or a bad entry
        entries, bad = decode_record(data)
        self._learn([entry for entry in entries if isinstance(entry, Interaction)])
        return entries, bad

    def _learn(self, events: list[Interaction]) -> None:
        missed = False
        for field, names in _names_in(events).items():
            if field in self._to_come and not names <= self._to_come[field]:
                self._new[field].update(map(self._shared, names - self._to_come[field]))
                missed = True
        self._misses += missed
        if self._misses > sum(map(len, self._to_come.values())) // NAMES_PER_MISS:
            self._renew()

    def _renew(self) -> None:
        for field, names in self._new.items():
            self._to_come[field] |= names
        self._to_come = {field: names for field, names in self._to_come.items() if len(names) <= MOST_NAMES}
        self._new = {field: set() for field in self._to_come}
        self._misses = 0
        self._decode = _decoder(self._to_come)


def _names_in(events: list[Interaction]) -> Names:
    actors = set(map(_actor, events)) - {None}
    found = {field: set(map(_get[field], events)) for field in _SINGLE}
    for field in _LISTS:
        found[field] = set(chain.from_iterable(filter(None, map(_get[field], events))))
    for field in _OF_ACTOR:
        found[field] = set(map(_get[field], actors))
    return {field: names - {None} for field, names in found.items()}


def _decoder(known: Names) -> Decode:
    """A decoder of records that fails at an interaction with other names. Fields that ``known`` lacks, and
    all other kinds, are decoded in the ordinary way."""
    types: dict[str, Any] = {
        field: _one_of(*known[field]) if required else _one_of(None, *known[field])
        for field, required in _SINGLE.items()
        if field in known
    }
    for field in _LISTS:
        if field in known:
            members = known[field]
            types[field] = (tuple[_one_of(*members), ...] if members else tuple[()]) | None  # type: ignore[misc]
    of_actor = {field: _one_of(None, *known[field]) for field in _OF_ACTOR if field in known}
    types["actor"] = _narrowed(LogActor, of_actor, frozen=True) | None
    interaction = _narrowed(Interaction, types, tag_field="kind", tag="interaction", kw_only=True)
    record: Any = list.__class_getitem__(interaction | Post | Reading | Broadcast | Clock | Void)
    return cast(Decode, msgspec.json.Decoder(record).decode)


def _one_of(*names: str | None) -> Any:
    return Literal[names]


def _narrowed(struct: type[msgspec.Struct], types: dict[str, Any], **options: Any) -> Any:
    """A subclass of a struct, the types of some of its fields replaced, their order kept."""
    hints = get_type_hints(struct, include_extras=True)
    fields: list[Any] = []
    for field in msgspec.structs.fields(struct):
        kind = types.get(field.name, hints[field.name])
        fields.append((field.name, kind) if field.required else (field.name, kind, field.default))
    return msgspec.defstruct(struct.__name__, fields, bases=(struct,), gc=False, **options)
