"""What a keeper does when its unit dies, hangs or does not start."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from services.supervise.backoff import Backoff
from services.supervise.child import Child
from services.supervise.events import Happening, StackEvent
from services.supervise.managed_process import HttpUnit, UnitError
from services.supervise.supervisor import Keeper

SLEEP = [sys.executable, "-c", "import time; time.sleep(300)"]


class Unit(HttpUnit):
    """A real process whose answers the test decides."""

    def __init__(self, command: list[str], folder: Path) -> None:
        super().__init__(
            "ingest", "ingest", command, url="http://127.0.0.1:1", entry={}, log=folder / "log", env={}
        )
        self.answers = True
        self.children: list[Child] = []

    async def launch(self) -> None:
        await super().launch()
        assert self.child is not None
        self.children.append(self.child)

    async def ready(self) -> bool:
        return self.answers

    async def healthy(self) -> bool:
        return self.answers


class Watcher:
    """Collects what a keeper tells."""

    def __init__(self) -> None:
        self.events: list[StackEvent] = []
        self._more = asyncio.Event()

    def __call__(self, event: StackEvent) -> None:
        self.events.append(event)
        self._more.set()

    async def until(self, claim: Callable[[list[Happening]], bool]) -> list[Happening]:
        """Wait until what was told makes the claim true."""
        async with asyncio.timeout(20):
            while not claim(self.happenings):
                self._more.clear()
                await self._more.wait()
        return self.happenings

    @property
    def happenings(self) -> list[Happening]:
        return [event.happening for event in self.events]


@asynccontextmanager
async def kept(unit: Unit, watcher: Watcher) -> AsyncIterator[None]:
    """The unit, started and kept, with no delays."""
    keeper = Keeper(unit, watcher, backoff=Backoff(0.0, 0.0), probe_seconds=0.01)
    task = None
    try:
        await keeper.start()
        task = asyncio.create_task(keeper.keep())
        yield
    finally:
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        await unit.kill()


async def test_a_dead_process_is_started_again(tmp_path: Path) -> None:
    """A process that is killed is told of and replaced by a new one, which is told when it is ready."""
    unit, watcher = Unit(SLEEP, tmp_path), Watcher()
    async with kept(unit, watcher):
        first = unit.pid
        await unit.kill()
        told = await watcher.until(lambda told: told.count(Happening.READY) == 2)
        assert unit.pid not in (None, first)
    assert told == [
        Happening.STARTING,
        Happening.READY,
        Happening.EXITED,
        Happening.RESTARTING,
        Happening.STARTING,
        Happening.READY,
    ]
    assert "killed by signal 9" in watcher.events[2].text


async def test_a_hanging_process_is_killed_and_started_again(tmp_path: Path) -> None:
    """A process that lives and does not answer five times in a row is ended by force and replaced."""
    unit, watcher = Unit(SLEEP, tmp_path), Watcher()
    async with kept(unit, watcher):
        unit.answers = False
        await watcher.until(lambda told: told.count(Happening.STARTING) == 2)
        unit.answers = True
        await watcher.until(lambda told: told.count(Happening.READY) == 2)
        assert Happening.HUNG in watcher.happenings
        assert unit.children[0].returncode == -9
        assert unit.pid == unit.children[-1].pid


async def test_a_process_that_ends_at_its_start_is_an_error(tmp_path: Path) -> None:
    """The first start fails with the exit status and the last of the log, and is not tried again."""
    unit, watcher = (
        Unit([sys.executable, "-c", "import sys; sys.exit('no such rule file')"], tmp_path),
        Watcher(),
    )
    unit.answers = False
    with pytest.raises(UnitError, match=r"(?s)ingest: ended with status 1; .*no such rule file"):
        async with kept(unit, watcher):
            pass
    assert watcher.happenings == [Happening.STARTING]


async def test_a_process_that_cannot_be_run_again_is_tried_again(tmp_path: Path) -> None:
    """A restart that fails is told, with the reason, and tried again."""
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\nexec sleep 300\n")
    program.chmod(0o755)
    unit, watcher = Unit([str(program)], tmp_path), Watcher()
    async with kept(unit, watcher):
        program.chmod(0o644)
        await unit.kill()
        await watcher.until(lambda told: told.count(Happening.FAILED) >= 2)
        program.chmod(0o755)
        await watcher.until(lambda told: told.count(Happening.READY) == 2)
    failed = next(event for event in watcher.events if event.happening is Happening.FAILED)
    assert "Permission denied" in failed.text
