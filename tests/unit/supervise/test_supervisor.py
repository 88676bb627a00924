"""What a supervisor does when its process dies, hangs or does not start."""

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
from services.supervise.events import EventType, StackEvent
from services.supervise.managed_process import HttpProcess, ProcessError
from services.supervise.supervisor import Supervisor

SLEEP = [sys.executable, "-c", "import time; time.sleep(300)"]


class ManagedProcess(HttpProcess):
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
    """Collects the events of a supervisor."""

    def __init__(self) -> None:
        self.events: list[StackEvent] = []
        self._more = asyncio.Event()

    def __call__(self, event: StackEvent) -> None:
        self.events.append(event)
        self._more.set()

    async def until(self, claim: Callable[[list[EventType]], bool]) -> list[EventType]:
        """Wait until the claim holds for the types of the events so far."""
        async with asyncio.timeout(20):
            while not claim(self.types):
                self._more.clear()
                await self._more.wait()
        return self.types

    @property
    def types(self) -> list[EventType]:
        return [event.event_type for event in self.events]


@asynccontextmanager
async def supervised(process: ManagedProcess, watcher: Watcher) -> AsyncIterator[None]:
    """The process, started and supervised, with no delays."""
    supervisor = Supervisor(process, watcher, backoff=Backoff(0.0, 0.0), probe_seconds=0.01)
    task = None
    try:
        await supervisor.start()
        task = asyncio.create_task(supervisor.keep_running())
        yield
    finally:
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        await process.kill()


async def test_a_dead_process_is_started_again(tmp_path: Path) -> None:
    """A process that is killed is reported and replaced; the new one is reported when it is ready."""
    process, watcher = ManagedProcess(SLEEP, tmp_path), Watcher()
    async with supervised(process, watcher):
        first = process.pid
        await process.kill()
        types = await watcher.until(lambda types: types.count(EventType.READY) == 2)
        assert process.pid not in (None, first)
    assert types == [
        EventType.STARTING,
        EventType.READY,
        EventType.EXITED,
        EventType.RESTARTING,
        EventType.STARTING,
        EventType.READY,
    ]
    assert "killed by signal 9" in watcher.events[2].text


async def test_a_hanging_process_is_killed_and_started_again(tmp_path: Path) -> None:
    """A process that lives and does not answer five times in a row is ended by force and replaced."""
    process, watcher = ManagedProcess(SLEEP, tmp_path), Watcher()
    async with supervised(process, watcher):
        process.answers = False
        await watcher.until(lambda types: types.count(EventType.STARTING) == 2)
        process.answers = True
        await watcher.until(lambda types: types.count(EventType.READY) == 2)
        assert watcher.types == [
            EventType.STARTING,
            EventType.READY,
            EventType.HUNG,
            EventType.RESTARTING,
            EventType.STARTING,
            EventType.READY,
        ]
        assert "5 probes" in watcher.events[2].text
        assert process.children[0].returncode == -9
        assert process.pid == process.children[-1].pid


async def test_a_process_that_ends_at_its_start_is_an_error(tmp_path: Path) -> None:
    """The first start fails with the exit status and the last of the log, and is not tried again."""
    process, watcher = (
        ManagedProcess([sys.executable, "-c", "import sys; sys.exit('no such rule file')"], tmp_path),
        Watcher(),
    )
    process.answers = False
    with pytest.raises(ProcessError, match=r"(?s)ingest: ended with status 1; .*no such rule file"):
        async with supervised(process, watcher):
            pass
    assert watcher.types == [EventType.STARTING]


async def test_a_process_that_cannot_be_run_again_is_tried_again(tmp_path: Path) -> None:
    """A restart that fails is reported, with the reason, and tried again."""
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\nexec sleep 300\n")
    program.chmod(0o755)
    process, watcher = ManagedProcess([str(program)], tmp_path), Watcher()
    async with supervised(process, watcher):
        program.chmod(0o644)
        await process.kill()
        await watcher.until(lambda types: types.count(EventType.FAILED) >= 2)
        program.chmod(0o755)
        await watcher.until(lambda types: types.count(EventType.READY) == 2)
    failed = next(event for event in watcher.events if event.event_type is EventType.FAILED)
    assert "Permission denied" in failed.text
