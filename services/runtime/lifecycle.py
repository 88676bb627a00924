"""Graceful shutdown of a service after a signal."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import structlog

#: A service ends within so many seconds after a signal. A supervisor kills it after ten.
STOP_SECONDS = 9.0

_log = structlog.get_logger(__name__)


def stop_event(end_after_seconds: float | None = None) -> asyncio.Event:
    """An event that SIGINT or SIGTERM sets. Call it in the running event loop, once per process.

    The first signal asks the service to stop. A second signal has its default effect, so that you can still
    interrupt a service that hangs while it stops. If the process has not ended ``end_after_seconds`` after
    the first one, it ends as a signal would end it.
    """
    loop = asyncio.get_running_loop()
    event = asyncio.Event()

    def on_signal(number: signal.Signals) -> None:
        _log.info("stopping", signal=number.name)
        event.set()
        if end_after_seconds is not None:
            timer = threading.Timer(end_after_seconds, _end, [number, end_after_seconds])
            timer.daemon = True
            timer.start()
        for each in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(each)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, on_signal, number)
    return event


def _end(number: signal.Signals, seconds: float) -> None:
    _log.error("ended_by_force", seconds=seconds)
    os._exit(128 + number)


async def close_within(seconds: float, close: Callable[[], Coroutine[Any, Any, None]], what: str) -> None:
    """Close a connection to the broker. Leave it after some seconds or any error: the broker may be away."""
    closing = asyncio.create_task(close())
    await asyncio.wait({closing}, timeout=seconds)
    if not closing.done():
        closing.cancel()
        _log.warning("left_open", what=what, seconds=seconds)
    elif closing.cancelled() or closing.exception():
        # aiokafka cancels tasks of its own that it then waits for.
        _log.warning("left_open", what=what, error=repr(None if closing.cancelled() else closing.exception()))
