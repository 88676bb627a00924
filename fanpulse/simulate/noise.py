"""What goes wrong between a platform and us: late, repeated and corrupted events."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import msgspec

from fanpulse.simulate.content import Draft, Payload
from fanpulse.simulate.draw import Draw
from fanpulse.simulate.malformed import MISTAKES
from fanpulse.simulate.organisation import END_MS, MINUTE_MS
from schemas.reasons import Reason

LATE_SHARE = 0.01
_LATEST_MS = 20 * MINUTE_MS
VERY_LATE_SHARE = 0.00015
_VERY_LATE_MS = 180 * MINUTE_MS
DUPLICATE_SHARE = 0.02
_DUPLICATE_WITHIN_MS = 90_000
CORRUPT_SHARE = 0.005
_DAY_MS = 86_400_000
_CHINA_MS = 8 * 3_600_000

ACCEPTED, DUPLICATE = "accepted", "duplicate"
#: The expected result of an item: ACCEPTED (and counted), DUPLICATE (accepted), or the reason of a rejection.
Expected = str | Reason

_encode = msgspec.json.Encoder().encode


class Item(NamedTuple):
    """One event as sent. ``line`` is one line of JSON, or of what should have been JSON, without its end."""

    send_at_ms: int
    line: bytes
    expected: Expected
    #: Nothing later is sent before this item is acknowledged: it is a post, to which later items refer.
    barrier: bool = False


def add_noise(seed: int, drafts: Iterable[Draft]) -> Iterator[Item]:
    """Number the drafts (in order of time), encode them as lines, and add noise. Items are not in order."""
    draw = Draw(seed, 9)
    for number, (at_ms, payload) in enumerate(drafts):
        event_id = f"{seed}-{number:06d}"
        barrier = payload["kind"] == "post"
        occurred_ms, send_ms = at_ms, at_ms
        if payload["kind"] in ("interaction", "reading"):
            occurred_ms, send_ms = _delay(draw, at_ms, payload)
        line = _encode(
            {"event_id": event_id, "occurred_at": written(payload["platform"], occurred_ms), **payload}
        )
        yield Item(send_ms, line, ACCEPTED, barrier)
        if payload["kind"] != "broadcast" and draw.chance(DUPLICATE_SHARE):
            again_ms = send_ms + draw.between(1_000, _DUPLICATE_WITHIN_MS)
            if again_ms < END_MS:
                yield Item(again_ms, line, DUPLICATE)
        if "actor" in payload and draw.chance(CORRUPT_SHARE):
            reason, corrupt = draw.pick(MISTAKES)
            corrupted = {"event_id": f"{event_id}x", "occurred_at": send_ms, **payload}
            yield Item(send_ms, corrupt(corrupted), reason)


def _delay(draw: Draw, at_ms: int, payload: Payload) -> tuple[int, int]:
    """When the event happened, and when it is sent. No delay reaches beyond the scenario's end."""
    chance = draw.random()
    if chance < VERY_LATE_SHARE and "broadcast_id" not in payload:
        return at_ms - _VERY_LATE_MS, at_ms  # its source was offline since before the scenario
    if chance < LATE_SHARE:
        send_ms = at_ms + draw.between(MINUTE_MS, _LATEST_MS)
        return (at_ms, send_ms) if send_ms < END_MS else (at_ms, at_ms)
    return at_ms, at_ms


def written(platform: str, at_ms: int) -> int | str:
    """A time as the platform writes it: RFC 3339 in UTC or with an offset, or epoch milliseconds.

    The scenario stays within one day, in UTC and in China, so the date needs no calendar.
    """
    if platform == "instagram":
        return at_ms
    shift, offset = (_CHINA_MS, "+08:00") if platform == "facebook" else (0, "Z")
    seconds, ms = divmod((at_ms + shift) % _DAY_MS, 1000)
    minutes, seconds = divmod(seconds, 60)
    return f"2026-06-22T{minutes // 60:02d}:{minutes % 60:02d}:{seconds:02d}.{ms:03d}{offset}"
