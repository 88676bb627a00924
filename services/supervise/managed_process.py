"""A part of the stack that runs as a process: how it is started, asked and stopped."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from services.supervise.child import Child, ChildError, tail
from services.supervise.probes import http_status


class ProcessError(RuntimeError):
    """A part cannot be started; `reason` says why, with the tail of its log on further lines."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name}: {reason}")
        self.reason = reason


class ManagedProcess(ABC):
    """A part of the stack; `group` is its key in the status."""

    name: str
    group: str
    #: From SIGTERM to SIGKILL.
    stop_seconds: float = 10.0
    #: From launch to ready; a start that takes longer has failed.
    start_seconds: float = 60.0

    @property
    @abstractmethod
    def child(self) -> Child | None:
        """Its process, from launch to stop; it may have ended."""

    @property
    def pid(self) -> int | None:
        child = self.child
        return child.pid if child is not None and child.returncode is None else None

    @abstractmethod
    async def launch(self) -> None:
        """Start the process. Raises ProcessError."""

    @abstractmethod
    async def ready(self) -> bool:
        """Whether it does its job."""

    @abstractmethod
    async def healthy(self) -> bool:
        """Whether it answers at all."""

    @abstractmethod
    async def stop(self) -> None:
        """End it in an orderly way; by force after `stop_seconds`. Safe to repeat."""

    @abstractmethod
    async def kill(self) -> None:
        """End it by force."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """Its entry in the status, without the pid."""

    @property
    @abstractmethod
    def address(self) -> str:
        """Where it is reached, for people."""

    @property
    @abstractmethod
    def log(self) -> Path | None:
        """Where its output goes; None if to our standard error."""

    def how_it_ended(self) -> str:
        """The exit status in words."""
        status = self.child.returncode if self.child else None
        how = (
            f"killed by signal {-status}"
            if status is not None and status < 0
            else f"ended with status {status}"
        )
        return f"{how}{self.where_to_look()}"

    def why_it_ended(self) -> str:
        """The same, and the last of the log."""
        return f"{self.how_it_ended()}{self.end_of_log()}"

    def where_to_look(self) -> str:
        """The end of a sentence that names the log."""
        return f"; its log is {self.log}" if self.log else ""

    def end_of_log(self) -> str:
        """The last of the log, on further lines."""
        return f"\n{tail(self.log)}" if self.log else ""


class HttpProcess(ManagedProcess):
    """A process that tells its state by HTTP."""

    def __init__(
        self,
        name: str,
        group: str,
        command: Sequence[str],
        *,
        url: str,
        entry: Mapping[str, Any],
        log: Path | None,
        env: Mapping[str, str],
        cwd: Path | None = None,
        held: Sequence[int] = (),
        health_path: str = "/healthz",
        ready_path: str = "/readyz",
    ) -> None:
        """`entry` is its entry in the status; `log` and `held`: see Child."""
        self.name = name
        self.group = group
        self.url = url
        self.command = tuple(command)
        self._entry = dict(entry)
        self._log = log
        self.env = dict(env)
        self._cwd = cwd
        self._held = tuple(held)
        self._health_path = health_path
        self._ready_path = ready_path
        self._child: Child | None = None

    @property
    def child(self) -> Child | None:
        return self._child

    @property
    def log(self) -> Path | None:
        return self._log

    async def launch(self) -> None:
        try:
            self._child = Child(
                self.command,
                log=self._log,
                env=self.env,
                cwd=self._cwd,
                grace_seconds=self.stop_seconds,
                held=self._held,
            )
        except (ChildError, OSError) as error:
            raise ProcessError(self.name, str(error)) from error

    async def ready(self) -> bool:
        return await http_status(self.url + self._ready_path) == 200

    async def healthy(self) -> bool:
        return await http_status(self.url + self._health_path) == 200

    async def stop(self) -> None:
        if self._child is not None:
            await self._child.stop(self.stop_seconds)
            self._child = None

    async def kill(self) -> None:
        if self._child is not None:
            await self._child.kill()

    def describe(self) -> dict[str, Any]:
        return dict(self._entry)

    @property
    def address(self) -> str:
        return self.url
