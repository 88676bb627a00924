"""Time limits for many short waits at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any, TypeVar

T = TypeVar("T")

#: How late a limit may be noticed.
SWEEP_SECONDS = 0.25


class Deadlines:
    """Ends waits that take longer than ``seconds`` (and up to SWEEP_SECONDS more).

    ``asyncio.timeout`` sets and clears a timer for each wait, a tenth of what a request of one event costs.
    Here a wait is noted in a dictionary, and ``run`` looks through it now and then.
    """

    def __init__(self, seconds: float, now: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._now = now
        #: In the order of their limits, since all are given the same time.
        self._waits: dict[asyncio.Task[Any], float] = {}
        self._overdue: set[asyncio.Task[Any]] = set()

    async def within(self, wait: Coroutine[Any, Any, T]) -> T:
        """What `wait` returns; raises TimeoutError if it took too long. One at a time in a task."""
        try:
            awaited = wait.send(None)
        except StopIteration as finished:  # there was nothing to wait for: a small body comes with its head
            result: T = finished.value
            return result
        task = asyncio.current_task()
        assert task is not None
        self._waits[task] = self._now() + self._seconds
        try:
            return await _Begun(wait, awaited)
        except asyncio.CancelledError:
            if task in self._overdue and not task.uncancel():
                raise TimeoutError from None
            raise
        finally:
            self._waits.pop(task, None)
            self._overdue.discard(task)

    async def run(self) -> None:
        """Look for overdue waits until cancelled."""
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            self.sweep()

    def sweep(self) -> None:
        """End the waits that are overdue now."""
        now = self._now()
        for task, limit in list(self._waits.items()):
            if limit > now:
                break
            del self._waits[task]
            self._overdue.add(task)
            task.cancel()


class _Begun(Awaitable[T]):
    """The rest of a coroutine that was begun and has asked for something."""

    __slots__ = ("_awaited", "_coroutine")

    def __init__(self, coroutine: Coroutine[Any, Any, T], awaited: Any) -> None:
        self._coroutine = coroutine
        self._awaited = awaited

    def __await__(self) -> Generator[Any, Any, T]:
        awaited = self._awaited
        try:
            while True:
                try:
                    answer = yield awaited
                except BaseException as error:  # noqa: BLE001 - what the task throws in is for the coroutine
                    awaited = self._coroutine.throw(error)
                else:
                    awaited = self._coroutine.send(answer)
        except StopIteration as finished:
            result: T = finished.value
            return result
