"""From the bytes of a request to accepted and rejected events. Nothing here waits or writes.

A body of usual size in which all is well is admitted at once. Everything else is split into its events first,
and validated slice by slice, so that the caller can let other requests go on in between.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from msgspec import Raw

from schemas import codec
from schemas.reasons import Reason, Rejection
from schemas.structs import Event
from services.ingest.pipeline.access import EventCheck
from services.ingest.pipeline.stream_time import FutureTimestampCheck

Check = EventCheck | FutureTimestampCheck

#: A larger body is split first, even if all is well with it.
AT_ONCE_BYTES = 256 * 1024
#: Events of a slice. To reject one takes up to 0.1 ms, to accept one a fiftieth of that.
SLICE_EVENTS, SLICE_BYTES = 50, 128 * 1024
#: Events of a slice once one of them is bad.
BAD_SLICE_EVENTS = 10
#: No event is larger: 50 hashtags of 300 characters, each escaped, are 90,000 bytes.
MAX_EVENT_BYTES = 256 * 1024
#: No event has more commas, those in its texts included: 50 hashtags of 140, and ten texts of 300.
MAX_EVENT_COMMAS = 10_000
_AT_ONCE_LINES = 2000
_WHOLE = (Reason.NOT_JSON, Reason.NOT_UTF8)
#: Blank lines are skipped, up to so many an event.
_LINES_PER_EVENT, _LINES_AT_LEAST = 3, 1000


class TooManyEventsError(ValueError):
    """More events in one request than the settings allow."""


@dataclass(slots=True)
class RejectedEvent:
    """A rejected event of a request, with its bytes as sent."""

    index: int
    raw: bytes
    rejection: Rejection


class Admitted(NamedTuple):
    """The content of a request: the good events, the index of each in it, and the bad ones."""

    events: list[Event]
    indexes: list[int] | range
    rejected: list[RejectedEvent]


#: How a body begins that is not text in UTF-8, and what to do then.
_FOREIGN = {
    b"\x1f\x8b": "it looks like gzip; send the header Content-Encoding: gzip with it",
    b"\x28\xb5\x2f\xfd": "it looks like zstd; send it plain, or as gzip with Content-Encoding: gzip",
    b"PK\x03\x04": "it looks like a zip file; unpack it, and send what is in it",
    b"BZh": "it looks like bzip2; send it plain, or as gzip with Content-Encoding: gzip",
    b"\xfd7zXZ": "it looks like xz; send it plain, or as gzip with Content-Encoding: gzip",
    b"PAR1": "it looks like Parquet; load it with `fanpulse load`",
    b"\xff\xfe": "it looks like UTF-16; events are UTF-8",
    b"\xfe\xff": "it looks like UTF-16; events are UTF-8",
    b"\x78\x01": "it looks like deflate; send it plain, or as gzip with Content-Encoding: gzip",
    b"\x78\x9c": "it looks like deflate; send it plain, or as gzip with Content-Encoding: gzip",
    b"\x78\xda": "it looks like deflate; send it plain, or as gzip with Content-Encoding: gzip",
}
_BEGINNINGS = tuple(_FOREIGN)


def foreign_format(body: bytes) -> str | None:
    """What a body looks like that is no JSON in UTF-8, and what to do; None if it may be."""
    if body.startswith(_BEGINNINGS):
        return next(
            f"the body is not JSON: {says}" for begins, says in _FOREIGN.items() if body.startswith(begins)
        )
    return None


#: The events of a body as they were sent.
Raws = Sequence[bytes | Raw]


def members(body: bytes, *, lines: bool) -> list[bytes | Raw]:
    """The bytes of each event of a body that was admitted, in order."""
    if not lines and codec.is_array(body):
        return [raw for part in codec.split_array(body) for raw in part]
    return [*codec.split_lines(body)] if lines or _is_really_lines(body) else [body.strip()]


def admit_singles(bodies: list[bytes], check: Check) -> list[Event] | None:
    """The events of bodies that are one JSON object each; None if one of them is not one good event."""
    events = codec.decode_lines(bodies)
    return events if events is not None and check.admits_all(events) else None


def admit_at_once(body: bytes, *, lines: bool, most: int, check: Check) -> Admitted | None:
    """The events of a body of usual size in which all is well, or None. Takes no more than a millisecond."""
    if len(body) > AT_ONCE_BYTES:
        return None
    if lines:
        if body.count(b"\n") > _AT_ONCE_LINES:
            return None
        events = codec.decode_lines(codec.split_lines(body))
    elif codec.is_array(body):
        events = codec.decode_batch(body)
        if not events:
            return None if events is None else Admitted([], range(0), [])
    else:
        events = codec.decode_lines([body.strip()])
    if not events or len(events) > most or not check.admits_all(events):
        return None
    return Admitted(events, range(len(events)), [])


def split(body: bytes, *, lines: bool, most: int) -> Generator[None, None, Raws | Rejection]:
    """The events of a body as they were sent: one JSON object, a JSON array of events, or (`lines`) NDJSON.

    Yields after each few milliseconds. A Rejection means that the body as a whole cannot be split.
    A body declared as JSON that is really several lines of JSON is read as NDJSON. Raises TooManyEventsError.
    """
    if lines or (not codec.is_array(body) and _is_really_lines(body)):
        return _split_lines(body, most)
    if not codec.is_array(body):
        return _split_object(body.strip())
    raws: list[bytes | Raw] = []
    try:
        for part in codec.split_array(body):
            raws += part
            _check_number(len(raws), most)
            yield
    except codec.SplitError as error:
        return error.rejection
    return raws


def admit_in_slices(raws: Raws, check: Check) -> Iterator[Admitted]:
    """Validate the parts of a body, some at a time; the indexes are those in the body."""
    part: list[bytes] = []
    start = size = 0
    for raw in raws:
        part.append(bytes(raw))
        size += len(part[-1])
        if len(part) == SLICE_EVENTS or size >= SLICE_BYTES:
            yield from _validate(part, start, check)
            start, size, part = start + len(part), 0, []
    if part:
        yield from _validate(part, start, check)


def _split_object(body: bytes) -> Raws | Rejection:
    if len(body) > MAX_EVENT_BYTES or _is_no_event(body):
        return [body]
    event = codec.decode_one(body)
    if isinstance(event, Rejection) and not event.field and event.reason in _WHOLE:
        return event
    return [body]


def _is_really_lines(body: bytes) -> bool:
    first, newline, rest = body.lstrip().partition(b"\n")
    return bool(newline) and not rest.isspace() and len(first) <= MAX_EVENT_BYTES and codec.is_json(first)


def _split_lines(body: bytes, most: int) -> Raws | Rejection:
    if body.count(b"\n") > max(most * _LINES_PER_EVENT, _LINES_AT_LEAST):
        raise TooManyEventsError
    lines = codec.split_lines(body)
    _check_number(len(lines), most)
    if not lines:
        return Rejection("", Reason.NOT_JSON, "the body has no event in it")
    return [*lines]


def _validate(raws: list[bytes], start: int, check: Check) -> Iterator[Admitted]:
    """Validate some of the events of a body, of which the first has the index `start`."""
    events = codec.decode_lines(raws) if max(map(len, raws)) <= MAX_EVENT_BYTES else None
    if events is not None and check.admits_all(events):
        yield Admitted(events, range(start, start + len(events)), [])
        return
    for at in range(0, len(raws), BAD_SLICE_EVENTS):
        yield _validate_each(raws[at : at + BAD_SLICE_EVENTS], start + at, check)


def _validate_each(raws: list[bytes], start: int, check: Check) -> Admitted:
    admitted = Admitted([], [], [])
    assert isinstance(admitted.indexes, list)
    for index, raw in enumerate(raws, start):
        found = _validate_one(raw, check)
        if isinstance(found, Rejection):
            admitted.rejected.append(RejectedEvent(index, raw, found))
        else:
            admitted.events.append(found)
            admitted.indexes.append(index)
    return admitted


def _validate_one(raw: bytes, check: Check) -> Event | Rejection:
    if len(raw) > MAX_EVENT_BYTES:
        return Rejection("", Reason.TOO_LARGE, f"an event has at most {MAX_EVENT_BYTES} bytes")
    if _is_no_event(raw):
        return Rejection("", Reason.TOO_LARGE, f"an event has at most {MAX_EVENT_COMMAS} commas")
    found = codec.decode_one(raw)
    if isinstance(found, Rejection):
        return found
    return check.rejection(found) or found


def _is_no_event(raw: bytes) -> bool:
    """Whether it has more members than any event, which take long to look at."""
    return len(raw) > MAX_EVENT_COMMAS and raw.count(b",") > MAX_EVENT_COMMAS


def _check_number(number: int, most: int) -> None:
    if number > most:
        raise TooManyEventsError
