"""Runs one task with others in the background."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def run_with_background(work: Coroutine[Any, Any, T], *others: Coroutine[Any, Any, None]) -> T:
    """Do the work while the others run in the background; cancel them when it is done.

    The first error of any task cancels all, and is raised as it is, not in an exception group.
    """
    main = asyncio.create_task(work)
    tasks: list[asyncio.Task[Any]] = [main, *(asyncio.create_task(other) for other in others)]
    try:
        waiting = set(tasks)
        while not main.done():
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in done - {main}:
                task.result()
        return await main
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
