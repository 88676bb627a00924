"""Turns: one slice in an iteration of the event loop, fair between clients and short requests."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from dataclasses import dataclass, field

import pytest

from services.ingest.http.turns import LONG_BYTES, LONG_SLICES, MOST_LONG, Turns


@dataclass
class Work:
    """What was done, and in which iteration of the event loop."""

    turns: Turns = field(default_factory=Turns)
    iteration: int = 0
    done: list[tuple[int, str]] = field(default_factory=list)

    def slices(self, name: str, count: int) -> Generator[None, None, str]:
        for _ in range(count):
            self.done.append((self.iteration, name))
            yield
        return name

    def start(self, name: str, count: int, client: str, size: int = 0) -> asyncio.Task[str]:
        return asyncio.create_task(self.turns.run(self.slices(name, count), client, lambda: size))

    async def count_iterations(self) -> None:
        while True:
            await asyncio.sleep(0)
            self.iteration += 1

    async def finish(self, *tasks: asyncio.Task[str]) -> list[str]:
        counting = asyncio.create_task(self.count_iterations())
        async with asyncio.timeout(60):
            results = await asyncio.gather(*tasks)
        counting.cancel()
        return list(results)

    async def reach(self, state: Callable[[], bool]) -> None:
        async with asyncio.timeout(60):
            while not state():  # noqa: ASYNC110 - what is waited for has no event
                await asyncio.sleep(0)

    def order(self) -> str:
        return "".join(name for _, name in self.done)


async def test_what_needs_one_slice_does_not_wait() -> None:
    """A good request of usual size is done at once, however many wait."""
    work = Work()
    slow = work.start("a", 50, "x")
    await asyncio.sleep(0)
    assert await work.turns.run(work.slices("q", 0), "y", lambda: 0) == "q"
    assert work.order() == "a"
    await work.finish(slow)


async def test_one_slice_is_done_in_an_iteration_of_the_loop() -> None:
    """Of all that wait: the others of the loop wait for one slice, not for one of each."""
    work = Work()
    tasks = [work.start(name, 4, name) for name in "abcdefgh"]
    assert await work.finish(*tasks) == list("abcdefgh")
    later = [iteration for iteration, _ in work.done[8:]]
    assert len(later) == len(set(later)) == 24


async def test_clients_take_turns() -> None:
    """However many requests one of them has."""
    work = Work()
    many = [work.start("m", 20, "x") for _ in range(10)]
    await work.finish(*many, work.start("o", 4, "y"))
    turns = work.order()[11:]
    assert turns[:8].count("o") == 3, turns


async def test_a_short_request_overtakes_the_long_ones_of_its_client() -> None:
    """The request that had the fewest slices is next."""
    work = Work()
    long = [work.start("l", 200, "x") for _ in range(3)]
    await work.reach(lambda: len(work.done) >= 30)
    before = len(work.done)
    short = work.start("s", 3, "x")
    await short
    assert len(work.done) - before <= 3 + 2
    await work.finish(*long)


@pytest.mark.parametrize(("size", "free"), [(0, LONG_SLICES + 1), (LONG_BYTES + 1, 1)])
async def test_few_long_requests_are_at_it(size: int, free: int) -> None:
    """The others wait with what they have: a large one before its second slice, any before its sixth."""
    work = Work()
    tasks = [work.start(name, 30, name, size) for name in "abcdefgh"]
    await work.reach(lambda: work.order().count("a") >= 30)
    begun = [name for name in "abcdefgh" if work.order().count(name) > free]
    assert len(begun) == MOST_LONG
    await work.finish(*tasks)
    assert all(work.order().count(name) == 30 for name in "abcdefgh")


async def test_a_request_that_ends_early_passes_its_turn_on() -> None:
    """By an error, or cancelled while it waits, or as it gets its turn."""
    work = Work()

    def failing() -> Generator[None, None, str]:
        yield
        raise ValueError("no room")

    failed = asyncio.create_task(work.turns.run(failing(), "f", None))
    others = [work.start(name, 6, name) for name in "abc"]
    cancelled = [work.start("x", 6, "x") for _ in range(3)]
    for each in cancelled:
        await asyncio.sleep(0)
        each.cancel()
    assert await work.finish(*others) == list("abc")
    with pytest.raises(ValueError, match="no room"):
        await failed
    assert await work.turns.run(work.slices("d", 3), "d", None) == "d"
