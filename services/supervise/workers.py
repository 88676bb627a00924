"""Several aggregators on one machine, which share the partitions: `fanpulse aggregate --workers N`.

A worker that ends by itself, since it can no longer count exactly or because somebody killed it, is started
again; its partitions are with the others meanwhile. Workers end with this process, however that ends.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

import structlog

from schemas.topics import EVENTS, qualified
from services.runtime.kafka import create_topics
from services.runtime.lifecycle import stop_event
from services.runtime.settings import Settings, SettingsError
from services.runtime.topic_scan import open_reader
from services.supervise.addresses import free_ports, reachable
from services.supervise.environment import as_environment
from services.supervise.events import EventType, StackEvent
from services.supervise.managed_process import HttpProcess, ProcessError
from services.supervise.supervisor import Supervisor

log = structlog.get_logger(__name__)

#: Exit statuses of a worker, and what they mean.
_ENDINGS = {
    2: "a setting is wrong, and its last line says which",
    3: "the broker cannot be reached",
    70: "it ended itself since it could no longer count exactly, and its last line says why",
    0: "it was asked to end by somebody else",
    -9: "it was killed",
}
_WRONG_SETTING = 2
_GRAVE = frozenset((EventType.EXITED, EventType.HUNG, EventType.FAILED, EventType.RESTARTING))


class Worker(HttpProcess):
    """One of them; its output goes where ours goes."""

    def __init__(self, number: int, settings: Settings, port: int) -> None:
        host = reachable(settings.aggregate.metrics_host)
        super().__init__(
            f"aggregate-{number}",
            "aggregate",
            [sys.executable, "-P", "-m", "fanpulse", "aggregate"],
            url=f"http://{host}:{port}",
            entry={},
            log=None,
            env={**os.environ, **as_environment(settings), "FANPULSE_AGGREGATE_METRICS_PORT": str(port)},
        )

    @property
    def wrong_setting(self) -> bool:
        """Whether it ended for a reason that another start does not mend."""
        return self.child is not None and self.child.returncode == _WRONG_SETTING

    def how_it_ended(self) -> str:
        status = self.child.returncode if self.child is not None else None
        meaning = _ENDINGS.get(status) if status is not None else None
        return super().how_it_ended() + (f": {meaning}" if meaning else "")


async def require_partitions(settings: Settings, workers: int) -> None:
    """Create the topics that are missing. Raises SettingsError if a worker would have nothing to do."""
    await create_topics(settings)
    if workers == 1:
        return
    async with open_reader(settings) as reader:
        partitions = len(await reader.spans(qualified(settings.namespace, EVENTS.name)))
    if workers > partitions:
        raise SettingsError(
            f"{workers} workers are asked for, but {EVENTS.name} has {partitions} partitions, and each is "
            f"counted by one worker; use --workers {partitions} or fewer (a new stream may have more: "
            "kafka.partitions)"
        )


def make_workers(settings: Settings, count: int) -> list[Worker]:
    """The first one's port is the one of the settings, and the next ones follow; or all have free ones.

    Raises SettingsError.
    """
    first = settings.aggregate.metrics_port
    if first + count - 1 > 65535:
        raise SettingsError(f"aggregate.metrics_port is {first}, which leaves no ports for {count} workers")
    ports = list(range(first, first + count)) if first else free_ports(count)
    return [Worker(number, settings, port) for number, port in enumerate(ports, 1)]


async def run(settings: Settings, count: int, targets: Path | None) -> None:
    """Run until SIGINT or SIGTERM, then end all in an orderly way.

    `targets` is a file for Prometheus' file_sd_configs; it is written, and left, since a worker that is away
    is to be missed. Raises SettingsError, also if a worker ends with one at its start, and
    BrokerUnavailableError.
    """
    await require_partitions(settings, count)
    workers = make_workers(settings, count)
    if targets is not None:
        _write_targets(targets, workers)
    stopping = asyncio.create_task(stop_event().wait())
    tasks = [asyncio.create_task(_keep(worker)) for worker in workers]
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


async def _keep(worker: Worker) -> None:
    """For ever."""
    supervisor = Supervisor(worker, _report)
    try:
        await supervisor.start()
    except ProcessError as error:
        if worker.wrong_setting:
            raise SettingsError(str(error)) from error
        _report(StackEvent(EventType.FAILED, worker.name, error.reason))
        await supervisor.keep(started=False)
    await supervisor.keep()


def _report(event: StackEvent) -> None:
    level = log.warning if event.event_type in _GRAVE else log.info
    level(f"worker {event.event_type.value}", worker=event.service, pid=event.pid, detail=event.text)


def _write_targets(path: Path, workers: list[Worker]) -> None:
    """At once, so that Prometheus does not read half of it."""
    if not path.parent.is_dir():
        raise SettingsError(f"--targets: {path.parent} is not a folder; make it, or name another file")
    addresses = [worker.url.removeprefix("http://") for worker in workers]
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.write_text(json.dumps([{"targets": addresses}]) + "\n")
    fresh.replace(path)
