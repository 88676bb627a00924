"""The whole stack under one supervisor."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

from fanpulse.devstack import monitoring, state
from fanpulse.devstack.disk import free_bytes, in_words, shortage
from fanpulse.devstack.jars import Progress
from fanpulse.devstack.kafka import EmbeddedKafka
from fanpulse.devstack.kafka_process import KafkaProcess
from fanpulse.devstack.launched import Launched
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

#: Within this time the reapers end an earlier stack whose supervisor was killed.
STARTUP_SECONDS = 30.0
#: Time between two looks at the free space.
DISK_SECONDS = 5.0
#: Events that a full disk may have led to.
_TROUBLE = (EventType.EXITED, EventType.FAILED, EventType.HUNG)
#: Readers stop before the services whose records they read; the broker stops last.
_STOP_ORDER = ("alerts", "aggregate", "ingest", "grafana", "prometheus", "kafka")


class StackError(RuntimeError):
    """The stack did not start. The message says why, with the tail of a log on further lines."""


class AlreadyUpError(RuntimeError):
    """A stack with this state folder and namespace already runs."""


class Stack:
    """Kafka, ingest, aggregate, alerts, and Prometheus and Grafana if they are installed.

    They run from `start` to `stop`; a process that dies or hangs is restarted. No process outlives this one,
    however it ends, and a start that fails or is cancelled leaves none running. Use as ``async with``.
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
        """If the settings name no broker, the stack includes an embedded one.

        `extra_env` holds further variables for the services, `workers` is the number of aggregators, and
        `progress` receives the progress of the broker's download.
        """
        self._given = settings
        self._settings = settings
        self._extra_env = dict(extra_env or {})
        self._workers = workers
        self._launched = Launched.of(settings, workers)
        self._on_event = on_event
        self._progress = progress
        self._state_paths = StatePaths.of(settings)
        self._supervisor_lock = FileLock(self._state_paths.supervisor_lock)
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
        """Start the stack and return when every process is ready.

        Raises AlreadyUpError, StackError, BrokerUnavailableError if the broker that the settings name cannot
        be reached, and SettingsError if there are more workers than partitions.
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
        """Wait for ever. If a supervisor fails, which should not happen, raise its error.

        Cancelling the wait does not stop the stack.
        """
        done, _ = await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()

    async def stop(self) -> None:
        """Stop all processes, readers first; safe to repeat. If cancelled, kill those that are left."""
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
            if self._supervisor_lock.held:
                state.clear(self._state_paths)
            self._supervisor_lock.release()
            self._processes_lock.release()

    def status(self) -> Status:
        """What runs and where; the state module describes its shape."""
        status = state.nothing_runs(self._settings.namespace, self._settings.kafka.bootstrap)
        for process in self._processes:
            child = process.child
            if child is None:
                continue  # not started yet, or about to restart
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
            self._supervisor_lock.acquire(wait_seconds=0.3)  # a command that checks it holds it for a moment
        except LockedError:
            raise AlreadyUpError(f"the stack of {self._state_paths.state_dir} is already running") from None
        waiting = StackEvent(EventType.WAITING, "stack", "for the processes of an earlier stack to end")
        loop = asyncio.get_running_loop()
        try:
            await asyncio.to_thread(
                self._processes_lock.acquire,
                wait_seconds=STARTUP_SECONDS,
                on_wait=lambda: loop.call_soon_threadsafe(self._report, waiting),
            )
        except LockedError as error:
            self._supervisor_lock.release()
            raise StackError(f"processes of an earlier stack do not end ({error})") from error
        except BaseException:
            self._supervisor_lock.release()
            raise

    async def _start(self) -> None:
        self._write_state(must=True)
        self._tasks.append(asyncio.create_task(self._watch_disk()))
        inherited_fds = (self._processes_lock.descriptor,)
        if self._given.kafka.bootstrap is None:
            await self._start_broker(inherited_fds)
        await require_partitions(self._settings, self._workers)
        processes = ServiceProcesses(
            self._settings, extra_env=self._extra_env, inherited_fds=inherited_fds, workers=self._workers
        ).all()
        await _run_all([self._start_processes(processes), self._start_monitoring(processes, inherited_fds)])
        self._write_state()

    async def _start_broker(self, inherited_fds: tuple[int, ...]) -> None:
        broker = EmbeddedKafka(
            self._state_paths.kafka,
            port=self._given.stack.kafka_port,
            log=self._state_paths.log("kafka"),
            progress=self._progress,
            inherited_fds=inherited_fds,
            stall_seconds=self._given.stack.broker_stall_seconds,
            on_wait=lambda text: self._report(StackEvent(EventType.WAITING, "kafka", text)),
        )
        await self._start_processes([KafkaProcess(broker)])
        kafka = self._given.kafka.model_copy(update={"bootstrap": broker.bootstrap})
        self._settings = self._given.model_copy(update={"kafka": kafka})

    async def _start_processes(self, processes: Sequence[ManagedProcess]) -> None:
        """Start the processes at the same time, and keep them running from then on."""
        supervisors = [Supervisor(process, self._report) for process in processes]
        self._processes.extend(processes)
        await _run_all([supervisor.start() for supervisor in supervisors])
        for supervisor in supervisors:
            self._tasks.append(asyncio.create_task(supervisor.keep_running()))

    async def _start_monitoring(self, services: list[HttpProcess], inherited_fds: tuple[int, ...]) -> None:
        """Start Prometheus and Grafana if they are installed. The stack runs even if they fail to start."""
        stack = self._given.stack
        processes: list[ManagedProcess] = []
        prometheus_url = None
        if binary := monitoring.prometheus_binary():
            prometheus = monitoring.prometheus_process(
                binary, self._state_paths, stack, services, inherited_fds
            )
            prometheus_url = prometheus.url
            processes.append(prometheus)
        else:
            self._report(StackEvent(EventType.ABSENT, "prometheus", monitoring.why_absent("prometheus")))
        if home := monitoring.grafana_home():
            processes.append(
                monitoring.grafana_process(home, self._state_paths, stack, prometheus_url, inherited_fds)
            )
        else:
            self._report(StackEvent(EventType.ABSENT, "grafana", monitoring.why_absent("grafana")))
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
        self._tasks.append(asyncio.create_task(supervisor.keep_running(started=ready)))

    async def _stop(self, process: ManagedProcess) -> None:
        running = process.pid is not None
        if running:
            self._report(StackEvent(EventType.STOPPING, process.name, pid=process.pid))
        await process.stop()
        if running:
            self._report(StackEvent(EventType.STOPPED, process.name))

    def _report(self, event: StackEvent) -> None:
        if event.event_type in _TROUBLE and (full := shortage(self._state_paths.state_dir)):
            event = replace(event, text="; ".join(filter(None, (event.text, full))))
        if event.event_type is not EventType.STOPPED:
            self._write_state()
        if self._on_event is not None:
            self._on_event(event)

    def _write_state(self, *, must: bool = False) -> None:
        """Write the state file. Once the stack runs a full disk is no reason to end it: with ``must`` False
        the file stays as it was, and the next event tries again."""
        if not self._supervisor_lock.held:
            return
        try:
            state.write(self._state_paths, self.status(), self._launched)
        except OSError:
            if must:
                raise

    async def _watch_disk(self) -> None:
        """Say once when the disk of the state folder is full, and once when there is room again."""
        folder, was_full = self._state_paths.state_dir, False
        while True:
            full = shortage(folder)
            if full and not was_full:
                self._report(StackEvent(EventType.WAITING, "disk", f"for space: {full}"))
            elif was_full and not full:
                self._report(
                    StackEvent(EventType.READY, "disk", f"{in_words(free_bytes(folder))} free again")
                )
            was_full = bool(full)
            await asyncio.sleep(DISK_SECONDS)


async def _run_all(coroutines: Sequence[Coroutine[Any, Any, None]]) -> None:
    """Run the coroutines at the same time; the first error cancels the others and is raised."""
    tasks = [asyncio.create_task(each) for each in coroutines]
    try:
        await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise
