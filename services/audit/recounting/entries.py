"""The log as rows: each entry of each record becomes one row, whether it is an event or not.

This is the audit's own reading of the log contract (schemas.events). It shares no code with the aggregator:
what both make of the same bytes is compared, not assumed.

A field that is added to the contract becomes a column of its name here (``_LEFT_OUT`` aside). What is counted
by it is written in ``sql/recount.sql``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import msgspec
import pyarrow as pa
from pydantic import BaseModel

from schemas.events import MODELS, Action, Actor, Format, Metric, Phase
from schemas.fields import MAX_QUANTITY, MAX_VALUE

#: Fields of the contract that no figure depends on, or whose column has another name.
_LEFT_OUT = {
    "interaction": frozenset({"kind"}),
    "post": frozenset({"kind", "language", "format"}),
    "actor": frozenset({"id", "name"}),
}
_MODELS: dict[str, type[BaseModel]] = {**MODELS, "actor": Actor}
#: One row per log entry. ``index`` is its index in the record's array. ``problem`` says why an entry is no
#: event; such a row has only its address and the problem.
SCHEMA = pa.schema(
    [
        pa.field("partition", pa.int32(), nullable=False),
        pa.field("offset", pa.int64(), nullable=False),
        pa.field("index", pa.int32(), nullable=False),
        pa.field("record_timestamp_ms", pa.int64(), nullable=False),
        ("kind", pa.string()),
        ("event_id", pa.string()),
        ("occurred_at_ms", pa.int64()),
        ("platform", pa.string()),
        ("account", pa.string()),
        ("action", pa.string()),
        ("quantity", pa.int64()),
        ("post_id", pa.string()),
        ("broadcast_id", pa.string()),
        ("hashtags", pa.list_(pa.string())),
        ("campaign", pa.string()),
        ("post_format", pa.string()),
        ("country", pa.string()),
        ("verified", pa.bool_()),
        ("metric", pa.string()),
        ("value", pa.int64()),
        ("phase", pa.string()),
        ("title", pa.string()),
        ("stream_time_ms", pa.int64()),
        # A void has the columns of the event that it takes back, but for kind and event_id.
        ("void_partition", pa.int64()),
        ("void_offset", pa.int64()),
        ("void_index", pa.int64()),
        ("void_kind", pa.string()),
        ("void_event_id", pa.string()),
        ("reason", pa.string()),
        ("by", pa.string()),
        ("voided_at_ms", pa.int64()),
        ("problem", pa.string()),
    ]
)

_ARROW = {str: pa.string(), int: pa.int64(), bool: pa.bool_()}
#: 2100-01-01: later times are nobody's.
_LARGEST = 4_102_444_800_000 - 1
#: Clock records of the wall clock may be so far ahead of the broker's time of their record.
MAX_CLOCK_AHEAD_MS = 300_000
_Text = Annotated[str, msgspec.Meta(min_length=1)]
_Positive = Annotated[int, msgspec.Meta(ge=1, le=_LARGEST)]


#: The columns of fields that are read by their name alone: those of events, and those of their actors.
_NEW: dict[str, dict[str, pa.DataType]] = {"event": {}, "actor": {}}
_S = TypeVar("_S", bound=type[msgspec.Struct])


def _bare(hint: Any) -> Any:
    """A type of the contract without its limits, and without None."""
    origin, args = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _bare(args[0])
    if origin in (Union, UnionType):
        (only,) = [arg for arg in args if arg is not NoneType]
        return _bare(only)
    return list[_bare(args[0])] if origin is tuple else hint  # type: ignore[misc]


def _arrow(hint: Any) -> pa.DataType:
    if get_origin(hint) is list:
        return pa.list_(_arrow(get_args(hint)[0]))
    return _ARROW[type(get_args(hint)[0]) if get_origin(hint) is Literal else hint]


def _complete(name: str, **options: Any) -> Callable[[_S], _S]:
    """Adds the fields of the contract that a struct does not name."""

    def completed(struct: _S) -> _S:
        fields = _MODELS[name].model_fields
        new = {
            field: _bare(fields[field].annotation)
            for field in fields.keys() - set(struct.__struct_fields__) - _LEFT_OUT[name]
        }
        _NEW["actor" if name == "actor" else "event"] |= {field: _arrow(hint) for field, hint in new.items()}
        if not new:
            return struct
        members: list[Any] = [(field, hint | None, None) for field, hint in sorted(new.items())]
        return msgspec.defstruct(struct.__name__, members, bases=(struct,), **options)  # type: ignore[return-value]

    return completed


@_complete("actor")
class _Actor(msgspec.Struct):
    country: str | None = None
    verified: bool | None = None


class _Entry(msgspec.Struct, tag_field="kind", kw_only=True):
    """A kind has the fields that the contract gives it; other fields of an entry are ignored."""

    v: Literal[1] = 1


class _Event(_Entry, kw_only=True):
    event_id: _Text
    occurred_at: _Positive
    platform: _Text
    account: _Text


@_complete("interaction", tag="interaction", tag_field="kind", kw_only=True)
class _Interaction(_Event, tag="interaction", kw_only=True):
    action: Action
    quantity: Annotated[int, msgspec.Meta(ge=1, le=MAX_QUANTITY)] = 1
    post_id: str | None = None
    broadcast_id: str | None = None
    hashtags: list[str] | None = None
    campaign: str | None = None
    post_format: Format | None = None
    actor: _Actor | None = None


@_complete("post", tag="post", tag_field="kind", kw_only=True)
class _Post(_Event, tag="post", kw_only=True):
    post_id: _Text
    broadcast_id: str | None = None
    hashtags: list[str] | None = None
    campaign: str | None = None
    post_format: Format | None = msgspec.field(name="format", default=None)


class _Reading(_Event, tag="reading", kw_only=True):
    metric: Metric
    value: Annotated[int, msgspec.Meta(ge=0, le=MAX_VALUE)]
    post_id: str | None = None
    broadcast_id: str | None = None


class _Broadcast(_Event, tag="broadcast", kw_only=True):
    broadcast_id: _Text
    phase: Phase
    title: str | None = None


class _Clock(_Entry, tag="clock", kw_only=True):
    stream_time: _Positive
    source: str | None = None


class _Void(_Entry, tag="void", kw_only=True):
    event_id: _Text
    partition: int
    offset: int
    index: int
    event: _Interaction | _Post
    reason: str = ""
    by: str = ""
    voided_at: int = 0


class _Problem(_Entry, tag="", kw_only=True):
    """An entry that is not an event, and why."""

    problem: str = ""


_KINDS: dict[type[_Entry], str | None] = {
    _Interaction: "interaction",
    _Post: "post",
    _Reading: "reading",
    _Broadcast: "broadcast",
    _Clock: "clock",
    _Void: "void",
    _Problem: None,
}
_LogEntry = _Interaction | _Post | _Reading | _Broadcast | _Clock | _Void
_many = msgspec.json.Decoder(list[_LogEntry])
_one = msgspec.json.Decoder(_LogEntry)
_raw = msgspec.json.Decoder(list[msgspec.Raw])
_ADDRESS = ("partition", "offset", "index", "record_timestamp_ms")
#: Columns that are an attribute of the entries of some kinds, and its name.
_ATTRIBUTES = {
    "occurred_at_ms": "occurred_at",
    "stream_time_ms": "stream_time",
    **{
        name: name
        for name in (
            "platform", "account", "action", "quantity", "post_id", "broadcast_id", "hashtags",
            "campaign", "post_format", "metric", "value", "phase", "title", "problem",
        )
    },
}  # fmt: skip
#: Columns of voids alone.
_VOID_ATTRIBUTES = {
    "void_partition": "partition", "void_offset": "offset", "void_index": "index",
    "reason": "reason", "by": "by", "voided_at_ms": "voided_at",
}  # fmt: skip
_ATTRIBUTES |= {name: name for name in _NEW["event"]}
_ACTOR_ATTRIBUTES = ("country", "verified", *_NEW["actor"])
for _name, _type in sorted({**_NEW["event"], **_NEW["actor"]}.items()):
    SCHEMA = SCHEMA.append(pa.field(_name, _type))
_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def parse_record(value: bytes | None) -> Sequence[_Entry]:
    """The entries of a record, in order. A record that cannot be parsed is one entry with a problem."""
    try:
        return _many.decode(value or b"")
    except _ERRORS:
        return _parse_piecewise(value or b"")


def _parse_piecewise(value: bytes) -> list[_Entry]:
    pieces: list[Any] = [value]
    if value.lstrip().startswith(b"["):
        try:
            pieces = _raw.decode(value)
        except _ERRORS as error:
            return [_Problem(problem=f"record cannot be read: {error}")]
    found: list[_Entry] = []
    for piece in pieces:
        try:
            found.append(_one.decode(piece))
        except _ERRORS as error:
            found.append(_Problem(problem=str(error)))
    return found


def _believed(entry: _Entry, timestamp_ms: int) -> _Entry:
    """The entry, or a problem in its place if it is a clock record from a clock that is ahead."""
    if isinstance(entry, _Clock):
        ahead_ms = entry.stream_time - timestamp_ms
        if ahead_ms > MAX_CLOCK_AHEAD_MS:
            return _Problem(problem=f"clock record {ahead_ms} ms ahead of the broker's time of its record")
    return entry


class Rows:
    """Collects records as rows until they are taken as one Arrow batch."""

    def __init__(self) -> None:
        self._addresses: list[tuple[int, int, int, int]] = []
        self._entries: list[_Entry] = []

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, partition: int, offset: int, timestamp_ms: int, value: bytes | None) -> None:
        """Append the entries of one record of engagement.events.v1."""
        entries = [_believed(entry, timestamp_ms) for entry in parse_record(value)]
        self._entries += entries
        self._addresses += [(partition, offset, index, timestamp_ms) for index in range(len(entries))]

    def take(self) -> pa.RecordBatch:
        """All rows so far, in the order in which they came; then none are left."""
        entries, addresses = self._entries, self._addresses
        self._entries, self._addresses = [], []
        about = [entry.event if isinstance(entry, _Void) else entry for entry in entries]
        voids = [entry if isinstance(entry, _Void) else None for entry in entries]
        actors = [getattr(entry, "actor", None) for entry in about]
        columns: dict[str, list[Any]] = {
            **{name: [address[column] for address in addresses] for column, name in enumerate(_ADDRESS)},
            **{
                column: [getattr(entry, name, None) for entry in about]
                for column, name in _ATTRIBUTES.items()
            },
            "event_id": [getattr(entry, "event_id", None) for entry in entries],
            **{
                column: [void and getattr(void, name) for void in voids]
                for column, name in _VOID_ATTRIBUTES.items()
            },
            "void_kind": [void and _KINDS[type(void.event)] for void in voids],
            "void_event_id": [void and void.event.event_id for void in voids],
            "kind": [_KINDS[type(entry)] for entry in entries],
            **{name: [actor and getattr(actor, name) for actor in actors] for name in _ACTOR_ATTRIBUTES},
        }
        arrays = [pa.array(columns[field.name], field.type) for field in SCHEMA]
        return pa.RecordBatch.from_arrays(arrays, schema=SCHEMA)
