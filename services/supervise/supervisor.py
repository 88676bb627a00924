"""Keeps one part of the stack running."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable

from services.supervise.backoff import Backoff
from services.supervise.events import Happening, OnEvent, StackEvent
from services.supervise.managed_process import Unit, UnitError

STARTING_PROBE_SECONDS = 0.1
PROBE_SECONDS = 3.0
#: Five silent probes, three seconds apart.
SILENT_PROBES = 5


class Keeper:
    """Starts a unit, and starts it again when it dies or falls silent, until it is cancelled."""

    def __init__(
        self,
        unit: Unit,
        tell: OnEvent,
        *,
        backoff: Backoff | None = None,
        probe_seconds: float = PROBE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.unit = unit
        self._tell = tell
        self._backoff = backoff or Backoff()
        self._probe_seconds = probe_seconds
        self._clock = clock
        self._launched_at = clock()

    async def start(self) -> None:
        """Launch it and wait until it does its job. Raises UnitError; the process may still run then."""
        self._say(Happening.STARTING)
        await self._launch()
        deadline = self._clock() + self.unit.start_seconds
        while not await self.unit.ready():
            if self._ended():
                raise UnitError(self.unit.name, self.unit.why_it_ended())
            if self._clock() > deadline:
                raise UnitError(
                    self.unit.name,
                    f"not ready after {self.unit.start_seconds:.0f} s{self.unit.where_to_look()}"
                    f"{self.unit.end_of_log()}",
                )
            await asyncio.sleep(STARTING_PROBE_SECONDS)
        self._say(Happening.READY, self.unit.address)

    async def keep(self, *, started: bool = True) -> None:
        """For ever: when it dies or falls silent, start it again. `started` tells that it is ready now."""
        while True:
            await self._until_trouble(ready=started)
            started = False
            await self._again()

    async def _launch(self) -> None:
        self._launched_at = self._clock()
        await self.unit.launch()

    def _ended(self) -> bool:
        return self.unit.pid is None

    async def _until_trouble(self, *, ready: bool) -> None:
        silent = 0
        while True:
            await self._pause(self._probe_seconds if ready else STARTING_PROBE_SECONDS)
            if self._ended():
                self._say(Happening.EXITED, self.unit.how_it_ended())
                return
            if not ready:
                ready = await self.unit.ready()
                if ready:
                    self._say(Happening.READY, self.unit.address)
                elif self._clock() - self._launched_at < self.unit.start_seconds:
                    continue
            silent = 0 if await self.unit.healthy() else silent + 1
            if silent >= SILENT_PROBES:
                self._say(Happening.HUNG, f"no answer to {silent} probes in a row; it is killed")
                await self.unit.kill()
                return

    async def _again(self) -> None:
        while True:
            delay = self._backoff.after(self._clock() - self._launched_at)
            self._say(Happening.RESTARTING, f"in {delay:.1f} s")
            await asyncio.sleep(delay)
            try:
                await self._launch()
            except UnitError as error:
                self._say(Happening.FAILED, error.reason)
            else:
                self._say(Happening.STARTING)
                return

    async def _pause(self, seconds: float) -> None:
        """Until the time is over or the process has ended."""
        child = self.unit.child
        if child is None:
            return
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(child.wait(), seconds)

    def _say(self, happening: Happening, text: str = "") -> None:
        self._tell(StackEvent(happening, self.unit.name, text, self.unit.pid))
