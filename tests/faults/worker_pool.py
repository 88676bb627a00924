"""The workers of a scenario run, and their supervisor: a worker that ends is started again."""

from __future__ import annotations

import asyncio
import contextlib
import json
import multiprocessing
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any, Self

from services.runtime.settings import Settings
from tests.faults import worker
from tests.faults.failpoints import write_orders
from tests.faults.plan import Order
from tests.faults.recount import DedupWindow
from tests.faults.stream import ACCOUNTS, TAGS

SESSION_SECONDS = 2
#: Segments end by their size, and by time as often as the stream time leaps.
DEDUP_WINDOW = DedupWindow(segment_events=1_000, segments=2, segment_ms=1_800_000)
KILLED, FAILED, UNAVAILABLE = -signal.SIGKILL, 70, 3
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["tests.faults.worker"])


async def until(claim: Callable[[], bool], seconds: float, what: str) -> None:
    """Wait until a claim holds; AssertionError with its name if it does not in time."""
    deadline = time.monotonic() + seconds
    while not claim():
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}"
        await asyncio.sleep(0.05)


class Worker:
    """A worker: one process after the other, since it is started again whenever it has ended."""

    def __init__(self, name: str, settings: Settings, folder: Path, build: str) -> None:
        self.name = name
        self._process: ForkServerProcess | None = None
        self._starts_before = 0
        self._process_run = worker.ProcessRun(
            environment(settings),
            build,
            folder / f"{name}.orders",
            folder / f"{name}.marks",
            folder / f"{name}.log",
        )

    def start(self) -> None:
        """Start a process."""
        self._starts_before = len(self.marks("url"))
        self._process = _CONTEXT.Process(target=worker.run, args=(self._process_run,), name=self.name)
        self._process.start()

    @property
    def exit_code(self) -> int | None:
        """Exit code of the last process; None while it runs."""
        return None if self._process is None else self._process.exitcode

    @property
    def has_started(self) -> bool:
        """Whether this process came as far as to listen."""
        return len(self.marks("url")) > self._starts_before

    def order(self, orders: Iterable[Order]) -> None:
        """What is to strike, one after the other, in this process or the next ones."""
        write_orders(self._process_run.orders, [asdict(order) for order in orders])

    def marks(self, name: str = "") -> list[dict[str, Any]]:
        """What its processes have left behind, of one name or all."""
        with contextlib.suppress(FileNotFoundError):
            lines = self._process_run.marks.read_text().splitlines(keepends=True)
            found = [json.loads(line) for line in lines if line.endswith("\n")]
            return [mark for mark in found if name in mark] if name else found
        return []

    def signal(self, number: signal.Signals) -> None:
        """Send a signal if it runs."""
        if self._process is not None and self._process.pid is not None and self.exit_code is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._process.pid, number)

    def tail(self) -> str:
        """The end of its log."""
        with contextlib.suppress(FileNotFoundError):
            lines = self._process_run.log.read_text(errors="replace").splitlines()
            return "\n".join([f"--- {self.name}", *[line for line in lines if "rejected" not in line][-15:]])
        return ""


def environment(settings: Settings) -> dict[str, str]:
    """The settings of a worker, for a short run."""
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("FANPULSE_")},
        "FANPULSE_KAFKA_BOOTSTRAP": str(settings.kafka.bootstrap),
        "FANPULSE_NAMESPACE": settings.namespace,
        "FANPULSE_STATE_DIR": str(settings.state_dir),
        "FANPULSE_AGGREGATE_METRICS_PORT": "0",
        "FANPULSE_AGGREGATE_FLUSH_INTERVAL_MS": "300",
        "FANPULSE_AGGREGATE_SESSION_TIMEOUT_SECONDS": str(SESSION_SECONDS),
        "FANPULSE_AGGREGATE_DEDUP_SEGMENT_EVENTS": str(DEDUP_WINDOW.segment_events),
        "FANPULSE_AGGREGATE_DEDUP_SEGMENTS": str(DEDUP_WINDOW.segments),
        "FANPULSE_AGGREGATE_DEDUP_SEGMENT_SECONDS": str(DEDUP_WINDOW.segment_ms // 1000),
        "FANPULSE_AGGREGATE_TRACKED_ACCOUNTS": json.dumps([":".join(name) for name in ACCOUNTS]),
        "FANPULSE_AGGREGATE_TRACKED_HASHTAGS": json.dumps(TAGS),
    }


class WorkerPool:
    """The workers that are to run. ``ended`` counts, by exit code, the processes that ended by themselves."""

    def __init__(self, settings: Settings, folder: Path, build: str) -> None:
        self._settings = settings
        self._folder = folder
        self._build = build
        self._supervisor: asyncio.Task[None] | None = None
        self.workers: list[Worker] = []
        self.ended: Counter[int] = Counter()
        self.endings: list[str] = []  # the ends of their logs at that time

    def add(self) -> Worker:
        """One more worker, started."""
        added = Worker(
            f"worker-{len(list(self._folder.glob('*.marks')))}", self._settings, self._folder, self._build
        )
        self._folder.joinpath(f"{added.name}.marks").touch()
        added.start()
        self.workers.append(added)
        return added

    async def dismiss(self, leaver: Worker) -> None:
        """Stop a worker by SIGTERM; AssertionError if it does not end, or ends with an error."""
        self.workers.remove(leaver)
        leaver.signal(signal.SIGTERM)
        try:
            await until(lambda: leaver.exit_code is not None, 40, f"{leaver.name} ends after SIGTERM")
        finally:
            leaver.signal(signal.SIGKILL)
        if leaver.exit_code == FAILED:  # it could not end in order, and says so
            self.ended[leaver.exit_code] += 1
        elif leaver.exit_code == -signal.SIGTERM:  # it was about to start, and did not handle signals yet
            assert not leaver.has_started, f"{leaver.name} did not handle SIGTERM\n{leaver.tail()}"
        else:
            assert leaver.exit_code == 0, (
                f"{leaver.name} ended with {leaver.exit_code} after SIGTERM\n{leaver.tail()}"
            )

    async def _supervise(self) -> None:
        while True:
            for each in self.workers:
                if each.exit_code is not None:
                    if each.exit_code != KILLED:
                        self.ended[each.exit_code] += 1
                        self.endings.append(f"{each.tail()}\n... ended with {each.exit_code}")
                    each.start()
            await asyncio.sleep(0.2)

    async def __aenter__(self) -> Self:
        self._supervisor = asyncio.create_task(self._supervise())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._supervisor is not None
        self._supervisor.cancel()
        for each in self.workers:
            each.signal(signal.SIGKILL)
