"""The Fuxi Grand Ceremony: an hour of preheat, forty live minutes with three moments, then twenty more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fanpulse.simulate.content import Draft, Payload, Post
from fanpulse.simulate.draw import interpolate
from fanpulse.simulate.engagement import Crowd
from fanpulse.simulate.organisation import (
    BROADCAST_ID,
    BROADCAST_TITLE,
    FUXI,
    MINUTE_MS,
    START_MS,
)

#: The minute in which each phase begins.
PHASES: dict[str, int] = {"scheduled": 0, "preheat": 1, "started": 60, "ended": 100}

#: Steady interactions per minute. They grow slowly (at most 2.4 times in a quarter of an hour), so that no
#: minute is far above the median of the half hour before it, even when the stream starts.
STEADY: tuple[tuple[int, float], ...] = (
    (0, 24), (15, 40), (30, 85), (45, 185), (60, 395), (75, 620), (90, 650), (99, 660), (102, 330),
    (108, 170), (120, 70),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Moment:
    """A moment that everybody reacts to: ``extra`` interactions in its minute, on top of the steady ones."""

    name: str
    minute: int
    extra: int


#: Each stays within its minute. The next minute is busy too, but far below three times the median.
MOMENTS: tuple[Moment, ...] = (
    Moment("the drums", 71, 1_700),  # 09:41
    Moment("the ritual dance", 84, 2_400),  # 09:54
    Moment("the finale", 97, 3_300),  # 10:07
)
_ECHO = 0.10  # further interactions in the next minute, as a share of a moment's extra ones


def phases(stream: Post) -> list[Draft]:
    """The broadcast's phases, sent by the account that hosts it."""
    drafts: list[Draft] = []
    for phase, minute in PHASES.items():
        payload: Payload = {
            "kind": "broadcast",
            "platform": stream.account.platform,
            "account": stream.account.handle,
            "broadcast_id": BROADCAST_ID,
            "phase": phase,
            "title": BROADCAST_TITLE,
            "campaign": FUXI,
            "hashtags": ["#FuxiCeremony", "#伏羲大典"],
        }
        drafts.append((START_MS + minute * MINUTE_MS, payload))
    return drafts


def expected_per_minute(minute: int) -> float:
    """Interactions with the broadcast that the scenario expects in a minute."""
    extra = sum(each.extra for each in MOMENTS if each.minute == minute)
    echo = sum(each.extra * _ECHO for each in MOMENTS if each.minute == minute - 1)
    return interpolate(STEADY, minute + 0.5) + extra + echo


def applause(crowd: Crowd, streams: Sequence[Post], minutes: int) -> list[Draft]:
    """Interactions with the live streams, by minute. Those of a moment come in the middle of its minute."""
    draw, drafts = crowd.draw, []
    extra = {each.minute: each.extra for each in MOMENTS}
    for minute in range(minutes):
        start_ms = START_MS + minute * MINUTE_MS
        steady = expected_per_minute(minute) - extra.get(minute, 0)
        times = draw.times(start_ms, MINUTE_MS, draw.count(steady * (0.94 + 0.12 * draw.random())))
        times += [
            start_ms + 4_000 + int((draw.random() + draw.random()) * 26_000)
            for _ in range(extra.get(minute, 0))
        ]
        for at_ms in sorted(times):
            stream = streams[draw.chance(0.56)]
            if at_ms > stream.at_ms:
                drafts.append((at_ms, crowd.reaction(stream)))
    return drafts
