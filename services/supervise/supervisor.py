"""Keeps one part of the stack running."""

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
#: Five silent probes, three seconds apart.
SILENT_PROBES = 5


class Supervisor:
    """Starts a unit, and starts it again when it dies or falls silent, until it is cancelled."""

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
        """Launch it and wait until it does its job. Raises ProcessError; the process may still run then."""
        self._say(EventType.STARTING)
        await self._launch()
        deadline = self._clock() + self.process.start_seconds
        while not await self.process.ready():
            if self._ended():
                raise ProcessError(self.process.name, self.process.why_it_ended())
            if self._clock() > deadline:
                raise ProcessError(
                    self.process.name,
                    f"not ready after {self.process.start_seconds:.0f} s{self.process.where_to_look()}"
                    f"{self.process.end_of_log()}",
                )
            await asyncio.sleep(STARTING_PROBE_SECONDS)
        self._say(EventType.READY, self.process.address)

    async def keep(self, *, started: bool = True) -> None:
        """For ever: when it dies or falls silent, start it again. `started` tells that it is ready now."""
        while True:
            await self._until_trouble(ready=started)
            started = False
            await self._again()

    async def _launch(self) -> None:
        self._launched_at = self._clock()
        await self.process.launch()

    def _ended(self) -> bool:
        return self.process.pid is None

    async def _until_trouble(self, *, ready: bool) -> None:
        silent = 0
        while True:
            await self._pause(self._probe_seconds if ready else STARTING_PROBE_SECONDS)
            if self._ended():
                self._say(EventType.EXITED, self.process.how_it_ended())
                return
            if not ready:
                ready = await self.process.ready()
                if ready:
                    self._say(EventType.READY, self.process.address)
                elif self._clock() - self._launched_at < self.process.start_seconds:
                    continue
            silent = 0 if await self.process.healthy() else silent + 1
            if silent >= SILENT_PROBES:
                self._say(EventType.HUNG, f"no answer to {silent} probes in a row; it is killed")
                await self.process.kill()
                return

    async def _again(self) -> None:
        while True:
            delay = self._backoff.after(self._clock() - self._launched_at)
            self._say(EventType.RESTARTING, f"in {delay:.1f} s")
            await asyncio.sleep(delay)
            try:
                await self._launch()
            except ProcessError as error:
                self._say(EventType.FAILED, error.reason)
            else:
                self._say(EventType.STARTING)
                return

    async def _pause(self, seconds: float) -> None:
        """Until the time is over or the process has ended."""
        child = self.process.child
        if child is None:
            return
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(child.wait(), seconds)

    def _say(self, event_type: EventType, text: str = "") -> None:
        self._report(StackEvent(event_type, self.process.name, text, self.process.pid))
