"""The clocks of ingest: followed when they are right, noticed when they are wrong."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
import structlog

from services.ingest.kafka.stream_clock import ClockWriter
from services.ingest.pipeline.stream_time import EventStreamTime, WallStreamTime

NOW = 1_782_120_600_000


def test_a_wall_clock_that_was_far_ahead_is_followed_when_it_is_right_again() -> None:
    """Held still for a little, as after a correction of seconds; but not for the 50 minutes it was wrong."""
    readings = iter([NOW, NOW + 3_000_000, NOW + 1000, NOW + 500, NOW + 2000])
    stream_time = WallStreamTime(lambda: next(readings), ahead_ms=1000)
    found = [stream_time.now() for _ in range(5)]
    assert found == [NOW, NOW + 3_000_000, NOW + 1000, NOW + 1000, NOW + 2000]


class Appending:
    """A publisher whose broker has a clock of its own."""

    def __init__(self) -> None:
        self.appended_ms = 0
        self.written: list[int] = []

    def submit_everywhere(self, entry: bytes) -> asyncio.Future[None]:
        self.written.append(json.loads(entry)["stream_time"])
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        done.set_result(None)
        return done


async def test_a_clock_that_is_ahead_of_the_broker_is_noticed_and_so_is_its_end() -> None:
    """By the broker's time of its own clock records. One that is behind harms nobody."""
    publisher: Any = Appending()
    wall = [NOW]
    writer = ClockWriter(publisher, WallStreamTime(lambda: wall[0], ahead_ms=1000), interval_ms=1000)
    for wall[0], publisher.appended_ms, wrong in [
        (NOW, NOW + 5, False),
        (NOW + 300_000, NOW, False),
        (NOW + 300_001, NOW, True),
        (NOW, NOW + 2, False),
        (NOW + 1000, NOW + 9_000_000, False),
    ]:
        await writer.write()
        assert (writer.is_wrong, writer.ahead_ms) == (wrong, wall[0] - publisher.appended_ms)
    assert publisher.written == [NOW, NOW + 300_000, NOW + 300_001, NOW, NOW + 1000]


@pytest.mark.parametrize(
    ("apart_ms", "line"), [(300_001, "clock_ahead_of_broker"), (-300_001, "clock_behind_broker")]
)
async def test_a_wrong_clock_is_told_once_and_so_is_its_end(apart_ms: int, line: str) -> None:
    """In the log, with the seconds, in whichever direction it is wrong."""
    publisher: Any = Appending()
    wall = [NOW]
    writer = ClockWriter(publisher, WallStreamTime(lambda: wall[0], ahead_ms=1000), interval_ms=1000)
    with structlog.testing.capture_logs() as logged:
        for wall[0], apart in [(NOW, 0), (NOW + 1, apart_ms), (NOW + 2, apart_ms), (NOW + 3, 0)]:
            publisher.appended_ms = wall[0] - apart
            await writer.write()
    assert [(each["event"], each["log_level"], each["seconds"]) for each in logged] == [
        (line, "error", 300), ("clock_agrees_with_broker", "info", 0),
    ]  # fmt: skip


async def test_the_event_clock_is_never_compared() -> None:
    """A simulation of last year is not behind."""
    publisher: Any = Appending()
    publisher.appended_ms = NOW
    stream_time = EventStreamTime(lambda: NOW, ahead_ms=1000)
    stream_time.saw(NOW - 10**9)
    writer = ClockWriter(publisher, stream_time, interval_ms=1000)
    await writer.write()
    assert (writer.is_wrong, writer.ahead_ms) == (False, 0)


async def test_a_clock_that_was_wrong_is_followed_wherever_it_goes() -> None:
    """Set back from 400 s ahead to 150 s: it is right enough again, and found to be so at once."""
    publisher: Any = Appending()
    wall = [NOW + 400_000]
    publisher.appended_ms = NOW
    writer = ClockWriter(publisher, WallStreamTime(lambda: wall[0], ahead_ms=1000), interval_ms=1000)
    await writer.write()
    assert writer.is_wrong
    wall[0] = NOW + 150_000
    await writer.write()
    assert (writer.is_wrong, writer.ahead_ms) == (False, 150_000)
