"""Several aggregators on one machine that share the partitions: `fanpulse serve aggregate --workers N`.

A worker may end by itself because it can no longer count exactly, or somebody may kill it. It is restarted;
until then the other workers own its partitions. All workers end with this process, however this process ends.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

import structlog

from schemas.topics import EVENTS, TOTALS
from services.runtime.kafka import create_topics
from services.runtime.lifecycle import stop_event
from services.runtime.private import files_for_the_user
from services.runtime.settings import Settings, SettingsError
from services.runtime.stream import open_stream
from services.supervise.addresses import free_ports, reachable
from services.supervise.environment import as_environment
from services.supervise.events import EventType, StackEvent
from services.supervise.managed_process import HttpProcess, ProcessError
from services.supervise.supervisor import Supervisor

log = structlog.get_logger(__name__)

#: Exit statuses of a worker, and what they mean.
_EXIT_MEANINGS = {
    2: "a setting is wrong, and its last line says which",
    3: "the broker cannot be reached",
    1: "its last line says why",
    70: "it stopped because it could no longer count exactly, or met a defect; its last line says why",
    0: "somebody else asked it to stop",
    -9: "it was killed",
}
_WRONG_SETTING = 2
_WARNINGS = frozenset((EventType.EXITED, EventType.HUNG, EventType.FAILED, EventType.RESTARTING))


class Worker(HttpProcess):
    """One aggregator process. Its output goes to our standard error."""

    def __init__(self, number: int, settings: Settings, port: int) -> None:
        host = reachable(settings.aggregate.metrics_host)
        super().__init__(
            f"aggregate-{number}",
            "aggregate",
            [sys.executable, "-P", "-m", "fanpulse", "serve", "aggregate"],
            url=f"http://{host}:{port}",
            entry={},
            log=None,
            env={**os.environ, **as_environment(settings), "FANPULSE_AGGREGATE_METRICS_PORT": str(port)},
        )

    @property
    def wrong_setting(self) -> bool:
        """Whether it ended because of a wrong setting, which a restart does not mend."""
        return self.child is not None and self.child.returncode == _WRONG_SETTING

    def exit_status_text(self) -> str:
        status = self.child.returncode if self.child is not None else None
        meaning = _EXIT_MEANINGS.get(status) if status is not None else None
        return super().exit_status_text() + (f": {meaning}" if meaning else "")


async def require_partitions(settings: Settings, workers: int) -> None:
    """Create missing topics. Raises SettingsError if there are more workers than partitions."""
    stream = await open_stream(settings, (EVENTS, TOTALS))
    await create_topics(settings)
    partitions = stream.partitions()
    if workers > partitions:
        raise SettingsError(
            f"--workers {workers} is more than {EVENTS.name} has partitions ({partitions}), and one worker "
            f"counts each partition; use --workers {partitions} or fewer (a new stream may have more: "
            "kafka.partitions)"
        )


def make_workers(settings: Settings, count: int) -> list[Worker]:
    """Make the workers. Their ports count up from aggregate.metrics_port; with 0 each takes a free port.

    Raises SettingsError.
    """
    first = settings.aggregate.metrics_port
    if first + count - 1 > 65535:
        raise SettingsError(f"aggregate.metrics_port is {first}: too few ports follow it for {count} workers")
    ports = list(range(first, first + count)) if first else free_ports(count)
    return [Worker(number, settings, port) for number, port in enumerate(ports, 1)]


async def run(settings: Settings, count: int, targets: Path | None) -> None:
    """Run until SIGINT or SIGTERM, then stop all workers gracefully.

    Writes their addresses to the file `targets`, for Prometheus' file_sd_configs. The file stays, so that
    Prometheus notices a worker that is down. Raises BrokerUnavailableError, and SettingsError, also if a
    worker finds a wrong setting when it starts.
    """
    await require_partitions(settings, count)
    workers = make_workers(settings, count)
    if targets is not None:
        _write_targets(targets, workers)
    stopping = asyncio.create_task(stop_event().wait())
    tasks = [asyncio.create_task(_supervise(worker)) for worker in workers]
    try:
        done, _ = await asyncio.wait({stopping, *tasks}, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in (stopping, *tasks):
            task.cancel()
        await asyncio.gather(stopping, *tasks, return_exceptions=True)
        await asyncio.gather(*(worker.stop() for worker in workers))
    log.info("workers ended", workers=count)


async def _supervise(worker: Worker) -> None:
    """Start a worker and keep it running; never returns."""
    supervisor = Supervisor(worker, _report)
    try:
        await supervisor.start()
    except ProcessError as error:
        if worker.wrong_setting:
            raise SettingsError(str(error)) from error
        _report(StackEvent(EventType.FAILED, worker.name, error.reason))
        await supervisor.keep_running(started=False)
    await supervisor.keep_running()


def _report(event: StackEvent) -> None:
    level = log.warning if event.event_type in _WARNINGS else log.info
    level(f"worker {event.event_type.value}", worker=event.service, pid=event.pid, detail=event.text)


def _write_targets(path: Path, workers: list[Worker]) -> None:
    """Replace the file in one step, so that Prometheus never reads half of it."""
    if not path.parent.is_dir():
        raise SettingsError(f"--targets: {path.parent} is not a folder; make it, or name another file")
    addresses = [worker.url.removeprefix("http://") for worker in workers]
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    with files_for_the_user():
        fresh.write_text(json.dumps([{"targets": addresses}]) + "\n")
    fresh.replace(path)
