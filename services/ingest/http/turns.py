"""Turns at slow work: one slice of one request in each iteration of the event loop, fair between clients."""

from __future__ import annotations

import asyncio
import heapq
from collections import OrderedDict
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import TypeVar, cast

T = TypeVar("T")

#: A request is long that has more bytes than this, or takes more slices. While it is processed it holds many
#: times its bytes, so only so many are at it, and the others wait with their bytes alone.
LONG_BYTES, LONG_SLICES, MOST_LONG = 64 * 1024, 4, 4


@dataclass(order=True, slots=True)
class _Waiting:
    """A request that waits for its next turn: the one that had the fewest goes first."""

    had: int
    ordinal: int
    turn: asyncio.Future[None] = field(compare=False)


class Turns:
    """Gives turns to work that comes in slices. Belongs to the event loop in which it is used.

    Only one slice is done in an iteration of the loop, however many requests wait, so whatever else the loop
    does waits for one slice at most. Clients take turns. Of one client's requests that with the fewest slices
    so far is next, so that a short one does not wait for the long ones before it.
    """

    def __init__(self) -> None:
        self._waiting: OrderedDict[str, list[_Waiting]] = OrderedDict()
        self._ordinal = 0
        self._busy = False
        self._long = asyncio.Semaphore(MOST_LONG)

    async def run(self, slices: Generator[None, None, T], client: str, size: Callable[[], int] | None) -> T:
        """Do all slices, and return the result. The first is done at once, so it must be short.

        `size`: the bytes of the request as known after the first slice; None for work that holds little.
        """
        try:
            try:
                next(slices)
            except StopIteration as finished:
                return cast("T", finished.value)
            had = 0
            while size is None or (had < LONG_SLICES and size() <= LONG_BYTES):
                if (end := await self._slice(slices, client, had)) is not None:
                    return cast("T", end.value)
                had += 1
            async with self._long:
                while True:
                    if (end := await self._slice(slices, client, had)) is not None:
                        return cast("T", end.value)
                    had += 1
        finally:
            slices.close()

    async def _slice(self, slices: Generator[None, None, T], client: str, had: int) -> StopIteration | None:
        """Do one slice when its turn has come; returns the end of the generator, if it ended."""
        await self._turn(client, had)
        try:
            next(slices)
        except StopIteration as finished:
            return finished
        finally:
            self._pass_on()
        return None

    async def _turn(self, client: str, had: int) -> None:
        loop = asyncio.get_running_loop()
        waiting = _Waiting(had, self._ordinal, loop.create_future())
        self._ordinal += 1
        heapq.heappush(self._waiting.setdefault(client, []), waiting)
        if not self._busy:
            self._busy = True
            loop.call_soon(self._next)
        try:
            await waiting.turn
        except asyncio.CancelledError:
            if waiting.turn.done() and not waiting.turn.cancelled():
                self._pass_on()  # it was given the turn, and will not take it
            raise

    def _pass_on(self) -> None:
        asyncio.get_running_loop().call_soon(self._next)

    def _next(self) -> None:
        """Give the turn to the next client's next request."""
        while self._waiting:
            client, requests = self._waiting.popitem(last=False)
            waiting = heapq.heappop(requests)
            if requests:
                self._waiting[client] = requests  # at the end
            if not waiting.turn.done():
                waiting.turn.set_result(None)
                return
        self._busy = False
