"""Keeps one process running."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable

from services.supervise.backoff import Backoff
from services.supervise.events import EventType, OnEvent, StackEvent
from services.supervise.managed_process import ManagedProcess, ProcessError

STARTING_PROBE_SECONDS = 0.1
PROBE_SECONDS = 3.0
#: A process that leaves so many probes in a row unanswered hangs.
SILENT_PROBES = 5


class Supervisor:
    """Starts a process, and restarts it when it dies or hangs, until it is cancelled."""

    def __init__(
        self,
        process: ManagedProcess,
        report: OnEvent,
        *,
        backoff: Backoff | None = None,
        probe_seconds: float = PROBE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.process = process
        self._report = report
        self._backoff = backoff or Backoff()
        self._probe_seconds = probe_seconds
        self._clock = clock
        self._launched_at = clock()

    async def start(self) -> None:
        """Launch the process and wait until it is ready. Raises ProcessError; it may still run then."""
        self._report_event(EventType.STARTING)
        await self._launch()
        deadline = self._clock() + self.process.start_seconds
        while not await self.process.ready():
            if self._ended():
                raise ProcessError(self.process.name, self.process.exit_reason())
            if self._clock() > deadline:
                raise ProcessError(
                    self.process.name,
                    f"not ready after {self.process.start_seconds:.0f} s{self.process.log_hint()}"
                    f"{self.process.log_tail()}",
                )
            await asyncio.sleep(STARTING_PROBE_SECONDS)
        self._report_event(EventType.READY, self.process.address)

    async def keep_running(self, *, started: bool = True) -> None:
        """Restart the process whenever it dies or hangs; never returns. `started`: it is ready now."""
        while True:
            await self._watch_until_failure(ready=started)
            started = False
            await self._restart()

    async def _launch(self) -> None:
        self._launched_at = self._clock()
        await self.process.launch()

    def _ended(self) -> bool:
        return self.process.pid is None

    async def _watch_until_failure(self, *, ready: bool) -> None:
        silent = 0
        while True:
            await self._wait_for_exit(self._probe_seconds if ready else STARTING_PROBE_SECONDS)
            if self._ended():
                self._report_event(EventType.EXITED, self.process.exit_status_text())
                return
            if not ready:
                ready = await self.process.ready()
                if ready:
                    self._report_event(EventType.READY, self.process.address)
                elif self._clock() - self._launched_at < self.process.start_seconds:
                    continue
            silent = 0 if await self.process.healthy() else silent + 1
            if silent >= SILENT_PROBES:
                self._report_event(EventType.HUNG, f"no answer to {silent} probes in a row; killing it")
                await self.process.kill()
                return

    async def _restart(self) -> None:
        while True:
            delay = self._backoff.after(self._clock() - self._launched_at)
            self._report_event(EventType.RESTARTING, f"in {delay:.1f} s")
            await asyncio.sleep(delay)
            try:
                await self._launch()
            except ProcessError as error:
                self._report_event(EventType.FAILED, error.reason)
            else:
                self._report_event(EventType.STARTING)
                return

    async def _wait_for_exit(self, seconds: float) -> None:
        """Wait until the time is over or the process has ended."""
        child = self.process.child
        if child is None:
            return
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(child.wait(), seconds)

    def _report_event(self, event_type: EventType, text: str = "") -> None:
        self._report(StackEvent(event_type, self.process.name, text, self.process.pid))
