"""The end of a service: asked for by a signal, reached in an orderly way."""

from __future__ import annotations

import asyncio
import signal

import structlog

_log = structlog.get_logger(__name__)


def stop_event() -> asyncio.Event:
    """An event that SIGINT or SIGTERM sets; call in the running event loop, once a process.

    The first signal asks the service to finish. A second one gets the default treatment, so that a service
    that hangs while it finishes can still be interrupted.
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
