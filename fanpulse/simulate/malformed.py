"""Mistakes that clients make: ways to corrupt an event, each with the reason that ingest must give."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from schemas.reasons import Reason

Event = dict[str, Any]
_encode = msgspec.json.Encoder().encode
_HOUR_MS = 3_600_000


def _with(**fields: Any) -> Callable[[Event], bytes]:
    return lambda event: _encode({**event, **fields})


def _without(field: str) -> Callable[[Event], bytes]:
    return lambda event: _encode({name: value for name, value in event.items() if name != field})


def _raw(old: bytes, new: bytes) -> Callable[[Event], bytes]:
    """The encoded event with its first ``old`` replaced, for bytes that no JSON encoder writes."""

    def corrupt(event: Event) -> bytes:
        line = _encode(event)
        assert old in line, "every event of the scenario has this"
        return line.replace(old, new, 1)

    return corrupt


def _ahead(event: Event) -> bytes:
    return _encode({**event, "occurred_at": event["occurred_at"] + 2 * _HOUR_MS})


def _nested(event: Event) -> bytes:
    return _encode(event)[:-1] + b',"context":' + b"[" * 300 + b"]" * 300 + b"}"


#: The mistakes. Each corrupts a valid interaction that has an actor and a time in milliseconds.
MISTAKES: tuple[tuple[Reason, Callable[[Event], bytes]], ...] = (
    (Reason.UNKNOWN_KIND, _with(kind="reaction")),
    (Reason.UNKNOWN_KIND, _with(kind="clock")),
    (Reason.MISSING_FIELD, _without("account")),
    (Reason.MISSING_FIELD, _without("event_id")),
    (Reason.MISSING_FIELD, _without("occurred_at")),
    (Reason.UNKNOWN_FIELD, _with(likes=3)),
    (Reason.UNKNOWN_FIELD, _with(acton="like")),
    (Reason.WRONG_TYPE, _with(quantity="3")),
    (Reason.WRONG_TYPE, _with(actor="u00017")),
    (Reason.WRONG_TYPE, _with(hashtags="#FuxiCeremony #Tianshui")),
    (Reason.OUT_OF_RANGE, _with(quantity=0)),
    (Reason.OUT_OF_RANGE, _with(quantity=-4)),
    (Reason.BAD_VALUE, _with(action="adore")),
    (Reason.BAD_VALUE, _with(platform="social network")),
    (Reason.BAD_TIME, _with(occurred_at="yesterday evening")),
    (Reason.BAD_TIME, _with(occurred_at="2026-06-22T09:41:00")),
    (Reason.BAD_TIME, _with(occurred_at=1_782_117_000)),
    (Reason.BAD_TIME, _with(occurred_at="2026-06-31T09:41:00Z")),
    (Reason.AHEAD_OF_CLOCK, _ahead),
    (Reason.BAD_HASHTAG, _with(hashtags=["#Fuxi Ceremony"])),
    (Reason.BAD_HASHTAG, _with(hashtags=["#"])),
    (Reason.TOO_SHORT, _with(event_id="")),
    (Reason.TOO_LONG, _with(post_id="p" * 201)),
    (Reason.TOO_LONG, _with(hashtags=[f"#tag{number}" for number in range(51)])),
    (Reason.BAD_CHARACTERS, _with(account="Gansu\u0007Travel")),
    (Reason.UNSUPPORTED_VERSION, _with(v=2)),
    (Reason.REPEATED_KEY, _raw(b'"action":', b'"action":"like","action":')),
    (Reason.NOT_JSON, lambda event: _encode(event)[:-9]),
    (Reason.NOT_JSON, _raw(b'"action":', b"action:")),
    (Reason.NOT_JSON, _raw(b'"kind":"interaction"', b'"kind":"interaction","score":NaN')),
    (Reason.NOT_UTF8, _raw(b'"id":"', b'"id":"\xff\xfe')),
    (Reason.NOT_UTF8, _raw(b'"id":"', b'"id":"\\ud83d')),
    (Reason.NOT_AN_OBJECT, lambda event: _encode(event["event_id"])),
    (Reason.NOT_AN_OBJECT, lambda event: b"42"),
    (Reason.TOO_DEEP, _nested),
)
