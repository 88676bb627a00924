"""Graceful shutdown of a service after a signal."""

from __future__ import annotations

import asyncio
import signal

import structlog

_log = structlog.get_logger(__name__)


def stop_event() -> asyncio.Event:
    """An event that SIGINT or SIGTERM sets. Call it in the running event loop, once per process.

    The first signal asks the service to stop. A second signal has its default effect, so that you can still
    interrupt a service that hangs while it stops.
    """
    loop = asyncio.get_running_loop()
    event = asyncio.Event()

    def on_signal(number: signal.Signals) -> None:
        _log.info("stopping", signal=number.name)
        event.set()
        for each in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(each)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, on_signal, number)
    return event
