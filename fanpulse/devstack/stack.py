"""The whole stack under one supervisor."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from fanpulse.devstack import monitoring, state
from fanpulse.devstack.jars import Progress
from fanpulse.devstack.kafka import EmbeddedKafka
from fanpulse.devstack.kafka_process import KafkaProcess
from fanpulse.devstack.lock import FileLock, LockedError
from fanpulse.devstack.ports import PortTakenError
from fanpulse.devstack.services import ServiceProcesses
from fanpulse.devstack.state import Status
from fanpulse.devstack.state_paths import StatePaths
from services.runtime.settings import Settings
from services.supervise.events import EventType, OnEvent, StackEvent
from services.supervise.managed_process import HttpProcess, ManagedProcess, ProcessError
from services.supervise.supervisor import Supervisor
from services.supervise.workers import require_partitions

#: An earlier stack whose supervisor was killed is ended by its guards within this time.
STARTUP_SECONDS = 30.0
#: Readers of what others write stop first, the broker last.
_STOP_ORDER = ("alerts", "aggregate", "ingest", "grafana", "prometheus", "kafka")


class StackError(RuntimeError):
    """The stack did not start; the message says why, with the tail of a log on further lines."""


class AlreadyUpError(RuntimeError):
    """A stack of this state folder and namespace runs already."""


class Stack:
    """Kafka, ingest, aggregate, alerts, and Prometheus and Grafana where they are installed.

    All run from `start` to `stop`; one that dies or hangs is started again. Nothing outlives this process,
    whatever ends it, and nothing is left by a start that fails or is cancelled. Use as ``async with``.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        extra_env: Mapping[str, str] | None = None,
        workers: int = 1,
        on_event: OnEvent | None = None,
        progress: Progress | None = None,
    ) -> None:
        """A broker that the settings name is used; without one an embedded broker is part of the stack.

        `extra_env` are further variables for the services, `workers` the number of aggregator processes,
        `progress` is told about a download of the broker.
        """
        self._given = settings
        self._settings = settings
        self._extra_env = dict(extra_env or {})
        self._workers = workers
        self._on_event = on_event
        self._progress = progress
        self._state_paths = StatePaths.of(settings)
        self._supervisor = FileLock(self._state_paths.supervisor_lock)
        self._processes_lock = FileLock(self._state_paths.processes_lock)
        self._processes: list[ManagedProcess] = []
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def settings(self) -> Settings:
        """The settings with the broker's address, once started."""
        return self._settings

    @property
    def ingest_url(self) -> str:
        """Base address of ingest, once started."""
        return str(self.status()["ingest"][0]["url"])

    async def start(self) -> None:
        """Return when all do their job.

        Raises AlreadyUpError, BrokerUnavailableError if the broker that the settings name cannot be
        reached, SettingsError if there are more workers than partitions, and StackError.
        """
        await self._take_locks()
        try:
            await self._start()
        except (ProcessError, PortTakenError) as error:
            await self.stop()
            raise StackError(str(error)) from error
        except BaseException:
            await self.stop()
            raise

    async def wait(self) -> None:
        """For ever; raises what made the supervision of a part end, which should not happen.

        Not to wait any longer leaves the supervision as it is.
        """
        done, _ = await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()

    async def stop(self) -> None:
        """End all, readers first; safe to repeat. If it is cancelled, what is left is ended by force."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        try:
            for group in _STOP_ORDER:
                await asyncio.gather(
                    *(self._stop(process) for process in self._processes if process.group == group)
                )
        finally:
            for process in self._processes:
                if process.child is not None:  # we were cancelled
                    process.child.abandon()
            self._processes.clear()
            if self._supervisor.held:
                state.clear(self._state_paths)
            self._supervisor.release()
            self._processes_lock.release()

    def status(self) -> Status:
        """What runs and where; see the state module for its shape."""
        status = state.nothing_runs(self._settings.namespace, self._settings.kafka.bootstrap)
        for process in self._processes:
            child = process.child
            if child is None:
                continue  # not started yet, or about to be started again
            entry = {"pid": process.pid, **process.describe()}
            if isinstance(status[process.group], list):
                status[process.group].append(entry)
            else:
                status[process.group] = entry
        return status

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def _take_locks(self) -> None:
        try:
            self._supervisor.acquire(wait_seconds=0.3)  # a command that looks holds it for a moment
        except LockedError:
            raise AlreadyUpError(f"the stack of {self._state_paths.state_dir} runs already") from None
        waiting = StackEvent(EventType.WAITING, "stack", "for the processes of an earlier one to end")
        loop = asyncio.get_running_loop()
        try:
            await asyncio.to_thread(
                self._processes_lock.acquire,
                wait_seconds=STARTUP_SECONDS,
                on_wait=lambda: loop.call_soon_threadsafe(self._report, waiting),
            )
        except LockedError as error:
            self._supervisor.release()
            raise StackError(f"processes of an earlier stack do not end ({error})") from error
        except BaseException:
            self._supervisor.release()
            raise

    async def _start(self) -> None:
        self._write_state()
        held = (self._processes_lock.descriptor,)
        if self._given.kafka.bootstrap is None:
            await self._start_broker(held)
        await require_partitions(self._settings, self._workers)
        processes = ServiceProcesses(
            self._settings, extra_env=self._extra_env, held=held, workers=self._workers
        ).all()
        await _all([self._start_processes(processes), self._start_monitoring(processes, held)])
        self._write_state()

    async def _start_broker(self, held: tuple[int, ...]) -> None:
        broker = EmbeddedKafka(
            self._state_paths.kafka,
            port=self._given.stack.kafka_port,
            log=self._state_paths.log("kafka"),
            progress=self._progress,
            held=held,
        )
        await self._start_processes([KafkaProcess(broker)])
        kafka = self._given.kafka.model_copy(update={"bootstrap": broker.bootstrap})
        self._settings = self._given.model_copy(update={"kafka": kafka})

    async def _start_processes(self, processes: Sequence[ManagedProcess]) -> None:
        """Start them at once, and keep them from then on."""
        keepers = [Supervisor(process, self._report) for process in processes]
        self._processes.extend(processes)
        await _all([supervisor.start() for supervisor in keepers])
        for supervisor in keepers:
            self._tasks.append(asyncio.create_task(supervisor.keep()))

    async def _start_monitoring(self, services: list[HttpProcess], held: tuple[int, ...]) -> None:
        """What is installed; it is no reason to fail if it does not start."""
        stack = self._given.stack
        processes: list[ManagedProcess] = []
        prometheus_url = None
        if binary := monitoring.prometheus_binary():
            prometheus = monitoring.prometheus_process(binary, self._state_paths, stack, services, held)
            prometheus_url = prometheus.url
            processes.append(prometheus)
        else:
            self._report(StackEvent(EventType.ABSENT, "prometheus", monitoring.HOW_TO_GET["prometheus"]))
        if home := monitoring.grafana_home():
            processes.append(monitoring.grafana_process(home, self._state_paths, stack, prometheus_url, held))
        else:
            self._report(StackEvent(EventType.ABSENT, "grafana", monitoring.HOW_TO_GET["grafana"]))
        self._processes.extend(processes)
        await asyncio.gather(*(self._start_optional(process) for process in processes))

    async def _start_optional(self, process: ManagedProcess) -> None:
        supervisor = Supervisor(process, self._report)
        try:
            await supervisor.start()
            ready = True
        except ProcessError as error:
            self._report(StackEvent(EventType.FAILED, process.name, error.reason))
            ready = False
        self._tasks.append(asyncio.create_task(supervisor.keep(started=ready)))

    async def _stop(self, process: ManagedProcess) -> None:
        running = process.pid is not None
        if running:
            self._report(StackEvent(EventType.STOPPING, process.name, pid=process.pid))
        await process.stop()
        if running:
            self._report(StackEvent(EventType.STOPPED, process.name))

    def _report(self, event: StackEvent) -> None:
        if event.event_type is not EventType.STOPPED:
            self._write_state()
        if self._on_event is not None:
            self._on_event(event)

    def _write_state(self) -> None:
        if self._supervisor.held:
            state.write(self._state_paths, self.status())


async def _all(coroutines: Sequence[Coroutine[Any, Any, None]]) -> None:
    """Run them at once; the first error ends the others and is raised."""
    tasks = [asyncio.create_task(each) for each in coroutines]
    try:
        await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise
