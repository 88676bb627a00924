"""From the bytes of a request to accepted and rejected events. Nothing here waits or writes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from schemas import codec
from schemas.reasons import Reason, Rejection
from schemas.structs import Event
from services.ingest.pipeline.stream_time import FutureTimestampCheck

#: No event has more commas than this (a list of 50 hashtags among them), but a body of `0,0,0,...` has.
_COMMAS_PER_EVENT = 80
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


def members(body: bytes, *, lines: bool) -> list[bytes]:
    """The bytes of each event of a body that was admitted, in order."""
    if not lines and codec.is_array(body):
        raws = codec.split_array(body)
        assert not isinstance(raws, Rejection)
        return raws
    return codec.split_lines(body) if lines or _is_really_lines(body) else [body.strip()]


def admit_singles(bodies: list[bytes], check: FutureTimestampCheck) -> list[Event] | None:
    """The events of bodies that are one JSON object each; None if one of them is not one good event."""
    events = codec.decode_lines(bodies)
    return events if events is not None and check.admits_all(events) else None


def admit(body: bytes, *, lines: bool, most: int, check: FutureTimestampCheck) -> Admitted | Rejection:
    """Validate a body: one JSON object, a JSON array of events, or (`lines`) NDJSON.

    A Rejection means that the body as a whole cannot be split into events. A body declared as JSON that
    is really several lines of JSON is read as NDJSON. Raises TooManyEventsError.
    """
    if lines:
        return _admit_lines(codec.split_lines(body), most, check)
    if not codec.is_array(body):
        return _admit_object(body, most, check)
    if len(body) > most and body.count(b",") > most * _COMMAS_PER_EVENT:
        raise TooManyEventsError
    events = codec.decode_batch(body)
    if events is not None:
        _check_number(len(events), most)
        if check.admits_all(events):
            return Admitted(events, range(len(events)), [])
    members = codec.split_array(body)
    return members if isinstance(members, Rejection) else _validate(members, most, check)


def _admit_object(body: bytes, most: int, check: FutureTimestampCheck) -> Admitted | Rejection:
    body = body.strip()
    event = codec.decode_one(body)
    if not isinstance(event, Rejection) and check.admits(event.occurred_at):
        return Admitted([event], _FIRST, [])
    validated = _validate([body], most, check)
    broken = validated.rejected[0].rejection if validated.rejected else None
    if broken is None or broken.field or broken.reason not in (Reason.NOT_JSON, Reason.NOT_UTF8):
        return validated
    return _admit_lines(codec.split_lines(body), most, check) if _is_really_lines(body) else broken


def _is_really_lines(body: bytes) -> bool:
    lines = codec.split_lines(body)
    return len(lines) > 1 and codec.is_json(lines[0])


def _admit_lines(lines: list[bytes], most: int, check: FutureTimestampCheck) -> Admitted | Rejection:
    _check_number(len(lines), most)
    if not lines:
        return Rejection("", Reason.NOT_JSON, "the body has no event in it")
    events = codec.decode_lines(lines)
    if events is not None and check.admits_all(events):
        return Admitted(events, range(len(events)), [])
    return _validate(lines, most, check)


def _validate(raws: list[bytes], most: int, check: FutureTimestampCheck) -> Admitted:
    _check_number(len(raws), most)
    admitted = Admitted([], [], [])
    assert isinstance(admitted.indexes, list)
    for index, raw in enumerate(raws):
        found = codec.decode_one(raw)
        if not isinstance(found, Rejection) and not check.admits(found.occurred_at):
            found = Rejection(
                "occurred_at", Reason.AHEAD_OF_CLOCK, "further ahead of stream time than allowed"
            )
        if isinstance(found, Rejection):
            admitted.rejected.append(RejectedEvent(index, raw, found))
        else:
            admitted.events.append(found)
            admitted.indexes.append(index)
    return admitted


def _check_number(number: int, most: int) -> None:
    if number > most:
        raise TooManyEventsError
