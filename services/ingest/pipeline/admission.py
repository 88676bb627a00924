"""From the bytes of a request to accepted and rejected events. Nothing here waits or writes.

A body of usual size in which all is well is admitted at once. Everything else is split into its events first,
and validated slice by slice, so that the caller can let other requests go on in between.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sized
from dataclasses import dataclass
from typing import NamedTuple

from msgspec import Raw

from schemas import codec
from schemas.reasons import Reason, Rejection
from schemas.structs import Event
from services.ingest.pipeline.stream_time import FutureTimestampCheck

#: A larger body is split first, even if all is well with it.
AT_ONCE_BYTES = 256 * 1024
#: Events of a slice. To reject one takes up to 0.1 ms, to accept one a fiftieth of that.
SLICE_EVENTS, SLICE_BYTES = 50, 128 * 1024
#: No event is larger: 50 hashtags of 300 characters, each escaped, are 90,000 bytes.
MAX_EVENT_BYTES = 256 * 1024
#: No event has more commas than this (a list of 50 hashtags among them), but a body of `0,0,0,...` has. What
#: is in texts counts too, so few events may have many.
_COMMAS_PER_EVENT, _COMMAS_AT_LEAST = 80, 200_000
#: Blank lines are skipped, up to so many an event.
_LINES_PER_EVENT, _LINES_AT_LEAST = 3, 1000
_FIRST = range(1)


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
Raws = Iterable[bytes | Raw]


def members(body: bytes, *, lines: bool) -> list[bytes | Raw]:
    """The bytes of each event of a body that was admitted, in order."""
    if not lines and codec.is_array(body):
        raws = codec.split_array(body)
        assert not isinstance(raws, Rejection)
        return list(raws)
    return [*codec.split_lines(body)] if lines or _is_really_lines(body) else [body.strip()]


def admit_singles(bodies: list[bytes], check: FutureTimestampCheck) -> list[Event] | None:
    """The events of bodies that are one JSON object each; None if one of them is not one good event."""
    events = codec.decode_lines(bodies)
    return events if events is not None and check.admits_all(events) else None


def admit(body: bytes, *, lines: bool, most: int, check: FutureTimestampCheck) -> Admitted | Raws | Rejection:
    """Admit a body: one JSON object, a JSON array of events, or (`lines`) NDJSON.

    Returns the events if all are good, and the body is not large; else its parts, for ``admit_in_slices``. A
    Rejection means that the body as a whole cannot be split into events. A body declared as JSON that is
    really several lines of JSON is read as NDJSON. Raises TooManyEventsError.
    """
    if lines:
        return _admit_lines(body, most, check)
    if not codec.is_array(body):
        return _admit_object(body, most, check)
    if len(body) > most and body.count(b",") > max(most * _COMMAS_PER_EVENT, _COMMAS_AT_LEAST):
        raise TooManyEventsError
    events = codec.decode_batch(body) if len(body) <= AT_ONCE_BYTES else None
    if events is not None:
        _check_number(len(events), most)
        if check.admits_all(events):
            return Admitted(events, range(len(events)), [])
    raws = codec.split_array(body)
    if isinstance(raws, Sized):
        _check_number(len(raws), most)
    return raws


def admit_in_slices(raws: Raws, *, most: int, check: FutureTimestampCheck) -> Iterator[Admitted]:
    """Validate the parts of a body, some at a time; the indexes are those in the body.

    Raises TooManyEventsError, and codec.SplitError if it shows only now that the body is not an array.
    """
    part: list[bytes] = []
    start = size = 0
    for raw in raws:
        part.append(bytes(raw))
        size += len(part[-1])
        if len(part) == SLICE_EVENTS or size >= SLICE_BYTES:
            _check_number(start + len(part), most)
            yield _validate(part, start, check)
            start, size, part = start + len(part), 0, []
    if part:
        _check_number(start + len(part), most)
        yield _validate(part, start, check)


def _admit_object(body: bytes, most: int, check: FutureTimestampCheck) -> Admitted | Raws | Rejection:
    body = body.strip()
    if len(body) <= MAX_EVENT_BYTES:
        event = codec.decode_one(body)
        if not isinstance(event, Rejection):
            return Admitted([event], _FIRST, []) if check.admits(event.occurred_at) else [body]
        if event.field or event.reason not in (Reason.NOT_JSON, Reason.NOT_UTF8):
            return [body]
        return _admit_lines(body, most, check) if _is_really_lines(body) else event
    return _admit_lines(body, most, check) if _is_really_lines(body) else [body]


def _is_really_lines(body: bytes) -> bool:
    first, newline, rest = body.lstrip().partition(b"\n")
    return bool(newline) and not rest.isspace() and len(first) <= MAX_EVENT_BYTES and codec.is_json(first)


def _admit_lines(body: bytes, most: int, check: FutureTimestampCheck) -> Admitted | Raws | Rejection:
    if body.count(b"\n") > max(most * _LINES_PER_EVENT, _LINES_AT_LEAST):
        raise TooManyEventsError
    lines = codec.split_lines(body)
    _check_number(len(lines), most)
    if not lines:
        return Rejection("", Reason.NOT_JSON, "the body has no event in it")
    events = codec.decode_lines(lines) if len(body) <= AT_ONCE_BYTES else None
    if events is not None and check.admits_all(events):
        return Admitted(events, range(len(events)), [])
    return lines


def _validate(raws: list[bytes], start: int, check: FutureTimestampCheck) -> Admitted:
    """Validate some of the events of a body, of which the first has the index `start`."""
    events = codec.decode_lines(raws)
    if events is not None and check.admits_all(events):
        return Admitted(events, range(start, start + len(events)), [])
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


def _validate_one(raw: bytes, check: FutureTimestampCheck) -> Event | Rejection:
    if len(raw) > MAX_EVENT_BYTES:
        return Rejection("", Reason.TOO_LARGE, f"an event has at most {MAX_EVENT_BYTES} bytes")
    found = codec.decode_one(raw)
    if not isinstance(found, Rejection) and not check.admits(found.occurred_at):
        return Rejection("occurred_at", Reason.AHEAD_OF_CLOCK, "further ahead of stream time than allowed")
    return found


def _check_number(number: int, most: int) -> None:
    if number > most:
        raise TooManyEventsError
