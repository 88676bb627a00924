"""What an entry of engagement.events.v1 is to those who count, and the constants by which they count.

``schemas.events`` is the contract, with every field and in normal form; a reader of the log needs less. It is
strict about what is counted, and lenient about the rest: fields that it does not know are skipped. The
aggregator and all other readers use these structs. The audit reads the log by code of its own, and has its
own copies of the constants; a contract test compares them.

A field that ``schemas.dimensions`` counts by, and that no struct names here, is added to the struct as the
contract declares it.
"""

from __future__ import annotations

from collections.abc import Callable
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import msgspec
from pydantic import BaseModel

from schemas.dimensions import Kind, counted_fields
from schemas.events import MODELS, Action, Actor, Format, Metric, Phase
from schemas.fields import LATEST_MS, MAX_QUANTITY, MAX_VALUE

MINUTE_MS = 60_000
#: A minute of a broadcast takes events until stream time passes its end by this: then it is closed.
GRACE_MS = 5_000
#: A minute is removed from the totals when stream time has passed its start by this.
KEEP_MS = 48 * 3_600_000
#: A clock record that is further ahead of the broker's time of its record is not obeyed: what it says has not
#: come yet, and stream time never goes back.
MAX_CLOCK_AHEAD_MS = 300_000
#: A reading that falls by at least this, to less than half, is a reset and not a loss.
RESET_LEAST = 100

Name = Annotated[str, msgspec.Meta(min_length=1)]
#: No time is later than what ingest accepts: one of another millennium would end all windows for good.
Milliseconds = Annotated[int, msgspec.Meta(ge=1, lt=LATEST_MS)]

_S = TypeVar("_S", bound=type[msgspec.Struct])


def _counted(kind: Kind, prefix: str, model: type[BaseModel], **options: Any) -> Callable[[_S], _S]:
    """Adds the counted fields of a kind of event to its struct. ``prefix``: of those of its actor."""

    def completed(struct: _S) -> _S:
        counted = [name.removeprefix(prefix) for name in counted_fields(kind) if name.startswith(prefix)]
        missing = [name for name in counted if "." not in name and name not in struct.__struct_fields__]
        if not missing:
            return struct
        fields: list[Any] = [(name, _lenient(model.model_fields[name].annotation), None) for name in missing]
        made = msgspec.defstruct(struct.__name__, fields, bases=(struct,), gc=False, **options)
        made.__doc__ = struct.__doc__
        return made  # type: ignore[return-value] # a subclass, by its name the same

    return completed


def _lenient(hint: Any) -> Any:
    """The type of a field without its limits; it may be absent or null."""
    origin, args = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _lenient(args[0])
    if origin in (Union, UnionType):
        members = tuple(_lenient(arg) for arg in args if arg is not NoneType)
        return Union[(*members, None)]
    if origin is tuple:
        item = args[0] if get_origin(args[0]) is not Annotated else get_args(args[0])[0]
        return tuple[item, ...] | None  # type: ignore[valid-type]
    return Union[hint, None]  # noqa: UP007 - the type is known at import only


@_counted("interaction", "actor.", Actor, frozen=True)
class LogActor(msgspec.Struct, frozen=True, gc=False):
    """What counting needs of an actor."""

    country: str | None = None
    verified: bool | None = None


class _Event(msgspec.Struct, tag_field="kind", kw_only=True, gc=False):
    """What every event has. Fields that no kind knows are skipped. The order is that of the log: a decoder
    is faster where it finds a field at its place."""

    v: Literal[1] = 1
    event_id: Name
    occurred_at: Milliseconds
    platform: Name
    account: Name


@_counted("interaction", "", MODELS["interaction"], tag_field="kind", tag="interaction", kw_only=True)
class Interaction(_Event, tag="interaction", kw_only=True, gc=False):
    """Something that somebody did, once or ``quantity`` times."""

    action: Action
    quantity: Annotated[int, msgspec.Meta(ge=1, le=MAX_QUANTITY)] = 1
    post_id: str | None = None
    broadcast_id: str | None = None
    hashtags: tuple[str, ...] | None = None
    campaign: str | None = None
    post_format: Format | None = None
    actor: LogActor | None = None


@_counted("post", "", MODELS["post"], tag_field="kind", tag="post", kw_only=True)
class Post(_Event, tag="post", kw_only=True, gc=False):
    """A post that an account of the matrix published."""

    post_id: Name
    format: Format | None = None
    hashtags: tuple[str, ...] | None = None
    campaign: str | None = None
    broadcast_id: str | None = None


class Reading(_Event, tag="reading", kw_only=True, gc=False):
    """A cumulative figure, as its platform reports it."""

    metric: Metric
    value: Annotated[int, msgspec.Meta(ge=0, le=MAX_VALUE)]
    post_id: str | None = None
    broadcast_id: str | None = None


class Broadcast(_Event, tag="broadcast", kw_only=True, gc=False):
    """A live broadcast enters a phase."""

    broadcast_id: Name
    phase: Phase
    title: str | None = None


class Clock(msgspec.Struct, tag_field="kind", tag="clock", kw_only=True, gc=False):
    """Stream time, written by ingest."""

    v: Literal[1] = 1
    stream_time: Milliseconds
    source: str | None = None

    def is_ahead_of(self, appended_ms: int) -> bool:
        """Whether it is of a time that had not come when the broker wrote its record.

        Then the clock of the machine that wrote it is wrong or, where stream time follows events, the time of
        an event is.
        """
        return self.stream_time > appended_ms + MAX_CLOCK_AHEAD_MS


class Void(msgspec.Struct, tag_field="kind", tag="void", kw_only=True, gc=False):
    """Takes back an event of the same partition, which it carries (schemas.events.Void)."""

    v: Literal[1] = 1
    event_id: Name
    partition: int
    offset: int
    index: int
    event: Interaction | Post


Event = Interaction | Post | Reading | Broadcast
Entry = Event | Clock | Void


class _Times(msgspec.Struct):
    """The time in an entry of any kind."""

    occurred_at: int = 0
    stream_time: int = 0


_decode_times = msgspec.json.Decoder(list[_Times] | _Times).decode


def newest_time_ms(record: bytes | None) -> int:
    """The newest time in a record of the log, of an event or a clock record; 0 if it has none.

    Times that no entry may have are left out.
    """
    try:
        entries = _decode_times(record or b"[]")
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return 0  # somebody else wrote it; the aggregator makes it a dead letter
    listed = entries if isinstance(entries, list) else [entries]
    times = (time_ms for entry in listed for time_ms in (entry.occurred_at, entry.stream_time))
    return max((time_ms for time_ms in times if time_ms < LATEST_MS), default=0)  # others are no times
