"""Faust's worker, which owns the process: ended by signals in bounded time."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable

import faust
import structlog

log = structlog.get_logger(__name__)
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Worker(faust.Worker):  # type: ignore[misc]
    """Runs the application until SIGINT or SIGTERM. A second signal has its default effect."""

    def __init__(
        self,
        app: faust.App,
        loop: asyncio.AbstractEventLoop,
        stop: asyncio.Event,
        on_stop: Callable[[], None],
    ) -> None:
        """``stop`` is set if a signal came before the worker started; ``on_stop`` is called at the first."""
        super().__init__(
            app, loop=loop, override_logging=False, redirect_stdouts=False, quiet=True, loglevel="WARN"
        )
        self.spinner = None  # it writes to the terminal even with quiet=True
        self._stop_asked = stop
        self._on_stop = on_stop

    def install_signal_handlers(self) -> None:
        """Listen to signals from now on."""
        for number in _SIGNALS:
            self.loop.add_signal_handler(number, self._on_signal, number)
        if self._stop_asked.is_set():
            self._begin_stop(signal.SIGTERM)

    def _on_signal(self, number: signal.Signals) -> None:
        log.info("stopping", signal=number.name)
        self._begin_stop(number)

    def _begin_stop(self, number: signal.Signals) -> None:
        for each in _SIGNALS:
            self.loop.remove_signal_handler(each)
        self._on_stop()
        self._flag_as_shutdown_by_signal()
        self._schedule_shutdown(number)
