"""Time limits: what takes too long ends, and nothing else is disturbed."""

from __future__ import annotations

import asyncio

import pytest

from services.ingest.http.deadlines import Deadlines


async def test_what_needs_no_wait_is_returned() -> None:
    """It is not even noted."""

    async def at_once() -> int:
        return 7

    assert await Deadlines(0.0).within(at_once()) == 7


async def test_what_is_ready_in_time_is_returned() -> None:
    """After any number of waits, and errors come through too."""
    deadlines = Deadlines(60.0)

    async def later() -> str:
        for _ in range(3):
            await asyncio.sleep(0)
            deadlines.sweep()
        return "done"

    async def failing() -> None:
        await asyncio.sleep(0)
        raise KeyError("x")

    assert await deadlines.within(later()) == "done"
    with pytest.raises(KeyError):
        await deadlines.within(failing())


async def test_what_takes_too_long_ends_and_cleans_up() -> None:
    """The coroutine's finally runs, the task gets TimeoutError and can go on."""
    deadlines, cleaned = Deadlines(0.0), []

    async def stuck() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cleaned.append(True)

    async def request() -> str:
        with pytest.raises(TimeoutError):
            await deadlines.within(stuck())
        await asyncio.sleep(0)
        return "answered"

    task = asyncio.create_task(request())
    while not task.done():
        await asyncio.sleep(0)
        deadlines.sweep()
    assert (task.result(), cleaned) == ("answered", [True])


async def test_a_cancellation_from_outside_stays_one() -> None:
    """It is not taken for a time limit."""
    deadlines = Deadlines(60.0)
    task = asyncio.create_task(deadlines.within(asyncio.Event().wait()))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    deadlines.sweep()


async def test_only_the_overdue_end() -> None:
    """A later wait goes on while an earlier one is ended."""
    time, event = [0.0], asyncio.Event()
    deadlines = Deadlines(10.0, lambda: time[0])
    early = asyncio.create_task(deadlines.within(event.wait()))
    await asyncio.sleep(0)
    time[0] = 10.0
    late = asyncio.create_task(deadlines.within(event.wait()))
    await asyncio.sleep(0)
    deadlines.sweep()
    with pytest.raises(TimeoutError):
        await early
    event.set()
    assert await late
