"""The log as rows: each entry of each record becomes one row, whether it is an event or not.

This is the audit's own reading of the log contract (schemas.events). It shares no code with the aggregator:
what both say of the same bytes is compared, not assumed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal

import msgspec
import pyarrow as pa

from schemas.events import Action, Format, Metric, Phase

#: One row per log entry. ``index`` is the place in the record's array. ``problem`` says why an entry is no
#: event; of such an entry only the address and the problem are known.
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
        ("present_ms", pa.int64()),
        ("problem", pa.string()),
    ]
)

_LARGEST = 2**63 - 1
_Text = Annotated[str, msgspec.Meta(min_length=1)]
_Positive = Annotated[int, msgspec.Meta(ge=1, le=_LARGEST)]
_Natural = Annotated[int, msgspec.Meta(ge=0, le=_LARGEST)]


class _Actor(msgspec.Struct):
    country: str | None = None
    verified: bool | None = None


class _Entry(msgspec.Struct, tag_field="kind"):
    """Every attribute that a column asks for exists on every kind; a kind's own fields replace these."""

    kind: ClassVar[str]
    event_id: ClassVar[Any] = None
    occurred_at: ClassVar[Any] = None
    platform: ClassVar[Any] = None
    account: ClassVar[Any] = None
    action: ClassVar[Any] = None
    quantity: ClassVar[Any] = None
    post_id: ClassVar[Any] = None
    broadcast_id: ClassVar[Any] = None
    hashtags: ClassVar[Any] = None
    campaign: ClassVar[Any] = None
    post_format: ClassVar[Any] = None
    actor: ClassVar[Any] = None
    metric: ClassVar[Any] = None
    value: ClassVar[Any] = None
    phase: ClassVar[Any] = None
    title: ClassVar[Any] = None
    present: ClassVar[Any] = None
    v: Literal[1] = 1


class _Interaction(_Entry, tag="interaction", kw_only=True):
    kind: ClassVar[str] = "interaction"
    event_id: _Text
    occurred_at: _Positive
    platform: _Text
    account: _Text
    action: Action
    quantity: _Positive = 1
    post_id: str | None = None
    broadcast_id: str | None = None
    hashtags: list[str] | None = None
    campaign: str | None = None
    post_format: Format | None = None
    actor: _Actor | None = None


class _Post(_Entry, tag="post", kw_only=True):
    kind: ClassVar[str] = "post"
    event_id: _Text
    occurred_at: _Positive
    platform: _Text
    account: _Text
    post_id: _Text
    broadcast_id: str | None = None
    hashtags: list[str] | None = None
    campaign: str | None = None
    post_format: Format | None = msgspec.field(name="format", default=None)


class _Reading(_Entry, tag="reading", kw_only=True):
    kind: ClassVar[str] = "reading"
    event_id: _Text
    occurred_at: _Positive
    platform: _Text
    account: _Text
    metric: Metric
    value: _Natural
    post_id: str | None = None
    broadcast_id: str | None = None


class _Broadcast(_Entry, tag="broadcast", kw_only=True):
    kind: ClassVar[str] = "broadcast"
    event_id: _Text
    occurred_at: _Positive
    platform: _Text
    account: _Text
    broadcast_id: _Text
    phase: Phase
    title: str | None = None
    hashtags: list[str] | None = None
    campaign: str | None = None


class _Clock(_Entry, tag="clock", kw_only=True):
    kind: ClassVar[str] = "clock"
    present: _Positive


class _Problem(_Entry):
    """An entry that is no event, and why."""

    kind: ClassVar[str | None] = None  # type: ignore[assignment]
    problem: str = ""


_LogEntry = _Interaction | _Post | _Reading | _Broadcast | _Clock
_many = msgspec.json.Decoder(list[_LogEntry])
_one = msgspec.json.Decoder(_LogEntry)
_raw = msgspec.json.Decoder(list[msgspec.Raw])
_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def parse_record(value: bytes | None) -> Sequence[_Entry]:
    """The entries of a record, in order. A record that cannot be taken apart is one entry with a problem."""
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


class Rows:
    """Gathers records as rows, column by column, until they are taken as one Arrow batch."""

    def __init__(self) -> None:
        self._addresses: list[tuple[int, int, int, int]] = []
        self._entries: list[_Entry] = []

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, partition: int, offset: int, timestamp_ms: int, value: bytes | None) -> None:
        """Append the entries of one record of engagement.events.v1."""
        entries = parse_record(value)
        self._entries += entries
        self._addresses += [(partition, offset, index, timestamp_ms) for index in range(len(entries))]

    def take(self) -> pa.RecordBatch:
        """All rows so far, in the order they came; afterwards there are none."""
        entries, addresses = self._entries, self._addresses
        self._entries, self._addresses = [], []
        columns = [
            *([address[place] for address in addresses] for place in range(4)),
            *([getattr(entry, name) for entry in entries] for name in _PLAIN),
            [actor and actor.country for actor in (entry.actor for entry in entries)],
            [actor and actor.verified for actor in (entry.actor for entry in entries)],
            *([getattr(entry, name) for entry in entries] for name in _PLAIN_AFTER_ACTOR),
            [entry.problem if isinstance(entry, _Problem) else None for entry in entries],
        ]
        arrays = [pa.array(column, field.type) for column, field in zip(columns, SCHEMA, strict=True)]
        return pa.RecordBatch.from_arrays(arrays, schema=SCHEMA)


_ATTRIBUTE = {"occurred_at_ms": "occurred_at", "present_ms": "present"}
_PLAIN = [_ATTRIBUTE.get(name, name) for name in SCHEMA.names[4:16]]
_PLAIN_AFTER_ACTOR = [_ATTRIBUTE.get(name, name) for name in SCHEMA.names[18:23]]
