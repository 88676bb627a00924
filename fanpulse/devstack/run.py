"""Runs a stack until a signal."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from fanpulse.devstack.detach import Link, event_log
from fanpulse.devstack.jars import Progress
from fanpulse.devstack.stack import Stack
from fanpulse.devstack.state import Status
from fanpulse.devstack.state_paths import StatePaths
from services.runtime.lifecycle import stop_event
from services.runtime.settings import Settings
from services.supervise.events import OnEvent, StackEvent


async def until_signal(
    settings: Settings,
    workers: int,
    on_event: OnEvent,
    progress: Progress,
    on_ready: Callable[[Status], None],
) -> None:
    """Start the stack, run it until SIGINT or SIGTERM, and stop it. Raises what `Stack.start` raises."""
    stack = Stack(settings, workers=workers, on_event=on_event, progress=progress)
    await _run(stack, stop_event().wait(), on_ready)


async def detached(settings: Settings, workers: int, link: Link) -> None:
    """The same for `up --detach`: it also stops if the command goes away before the stack is ready."""
    with event_log(StatePaths.of(settings).log("supervisor")) as note:

        def report(event: StackEvent) -> None:
            note(event)
            link.event(event)

        stack = Stack(settings, workers=workers, on_event=report, progress=link)
        await _run(stack, _either(stop_event().wait(), link.command_gone()), link.ready)


async def _run(stack: Stack, stop: Coroutine[Any, Any, Any], on_ready: Callable[[Status], None]) -> None:
    stopping = asyncio.create_task(stop)
    try:
        if not await _unless(stopping, stack.start()):
            on_ready(stack.status())
            await _unless(stopping, stack.wait())
    finally:
        stopping.cancel()
        await stack.stop()


async def _unless(stopping: asyncio.Task[Any], work: Coroutine[Any, Any, None]) -> bool:
    """Do the work, but cancel it when `stopping` is done; returns whether it was cancelled."""
    task = asyncio.create_task(work)
    try:
        await asyncio.wait({task, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            await task
            return False
        return True
    finally:
        if not task.done():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def _either(*waits: Coroutine[Any, Any, Any]) -> None:
    tasks = [asyncio.create_task(each) for each in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
