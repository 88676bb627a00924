"""Reading the log: strict about what is counted, lenient about the rest."""

from __future__ import annotations

from dataclasses import dataclass
from operator import attrgetter
from typing import Annotated, Any, Literal

import msgspec

from schemas.events import VERSION, Action, Format, Metric, Phase
from schemas.fields import MAX_QUANTITY, MAX_VALUE
from schemas.reasons import Reason

Name = Annotated[str, msgspec.Meta(min_length=1)]
Milliseconds = Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]


class LogActor(msgspec.Struct, frozen=True, gc=False):
    """What counting needs of an actor."""

    country: str | None = None
    verified: bool | None = None


class _Event(msgspec.Struct, tag_field="kind", kw_only=True, gc=False):
    """What every event has. Fields that no kind knows are passed over. The order is that of the log: a
    decoder that meets a field where it expects it is faster."""

    v: Literal[1] = 1
    event_id: Name
    occurred_at: Milliseconds
    platform: Name
    account: Name


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
    """The present, told by ingest."""

    v: Literal[1] = 1
    stream_time: Milliseconds


Event = Interaction | Post | Reading | Broadcast
Entry = Event | Clock


@dataclass(frozen=True, slots=True)
class BadEntry:
    """An entry that is no event. ``index`` is -1 if the record as a whole could not be read."""

    index: int
    reason: Reason
    detail: str
    raw: bytes


_decode_batch = msgspec.json.Decoder(list[Entry]).decode
_decode_one = msgspec.json.Decoder(Entry).decode
_split = msgspec.json.Decoder(list[msgspec.Raw]).decode


class _Versioned(msgspec.Struct):
    v: Any = VERSION


_decode_version = msgspec.json.Decoder(_Versioned).decode


class _Identity(msgspec.Struct, gc=False):
    event_id: str = ""


_decode_identities = msgspec.json.Decoder(list[_Identity]).decode
_event_id = attrgetter("event_id")


def event_ids(data: bytes | None, *, all_good: bool) -> list[str]:
    """The ids of a record's events, in order. ``all_good``: it is known that no entry of it is bad, which
    spares most of the work."""
    if all_good and data is not None and data[:1] == b"[":
        ids = list(map(_event_id, _decode_identities(data)))
        return ids if "" not in ids else list(filter(None, ids))  # clock records have none
    return [entry.event_id for entry in decode_record(data)[0] if not isinstance(entry, Clock)]


def decode_record(data: bytes | None) -> tuple[list[Entry], list[BadEntry]]:
    """The entries of a record in order, and those that are none.

    A record is a JSON array of entries or one entry. What cannot be read as JSON is one bad entry.
    """
    try:
        return _decode_batch(data or b""), []
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return _decode_slowly(data or b"")


def _decode_slowly(data: bytes) -> tuple[list[Entry], list[BadEntry]]:
    try:
        raws = [bytes(raw) for raw in _split(data)] if data.lstrip()[:1] == b"[" else [data]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        return [], [BadEntry(-1, Reason.NOT_JSON, str(error), data)]
    entries, bad = [], []
    for index, raw in enumerate(raws):
        try:
            entries.append(_decode_one(raw))
        except msgspec.ValidationError as error:
            bad.append(BadEntry(index, *_invalid(raw, str(error)), raw))
        except UnicodeDecodeError as error:
            bad.append(BadEntry(index, Reason.NOT_UTF8, str(error), raw))
        except (msgspec.MsgspecError, RecursionError) as error:
            bad.append(BadEntry(index, Reason.NOT_JSON, str(error), raw))
    return entries, bad


def _invalid(raw: bytes, detail: str) -> tuple[Reason, str]:
    """Why JSON is no entry. Another version comes first: what its fields mean is not known here."""
    try:
        version = _decode_version(raw).v
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return Reason.BAD_VALUE, detail  # no object
    if version != VERSION:
        return Reason.UNSUPPORTED_VERSION, f"version {version}; this release reads version {VERSION}"
    missing = "missing required field" in detail
    return (Reason.MISSING_FIELD if missing else Reason.BAD_VALUE), detail
