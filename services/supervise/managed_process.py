"""A service that runs as a process: how to start it, probe it and stop it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from services.supervise.child import Child, ChildError, tail
from services.supervise.probes import http_status


class ProcessError(RuntimeError):
    """A process cannot be started. `reason` says why, with the tail of its log on further lines."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name}: {reason}")
        self.reason = reason


class ManagedProcess(ABC):
    """A process that a Supervisor keeps running. `group` is its key in the stack's status."""

    name: str
    group: str
    #: Time from SIGTERM to SIGKILL.
    stop_seconds: float = 10.0
    #: Time from launch to ready. A start that takes longer has failed.
    start_seconds: float = 60.0

    @property
    @abstractmethod
    def child(self) -> Child | None:
        """The child process, from launch to stop. It may have ended."""

    @property
    def pid(self) -> int | None:
        child = self.child
        return child.pid if child is not None and child.returncode is None else None

    @abstractmethod
    async def launch(self) -> None:
        """Start the process. Raises ProcessError."""

    @abstractmethod
    async def ready(self) -> bool:
        """Whether the service does its job."""

    @abstractmethod
    async def healthy(self) -> bool:
        """Whether the process answers at all."""

    @abstractmethod
    async def stop(self) -> None:
        """Stop the process gracefully, or by force after `stop_seconds`. Safe to repeat."""

    @abstractmethod
    async def kill(self) -> None:
        """Kill the process."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """The entry in the stack's status, without the pid."""

    @property
    @abstractmethod
    def address(self) -> str:
        """Where clients reach the service, for people."""

    @property
    @abstractmethod
    def log(self) -> Path | None:
        """The file that takes the output; None if it goes to our standard error."""

    def exit_status_text(self) -> str:
        """The exit status in words."""
        status = self.child.returncode if self.child else None
        how = (
            f"killed by signal {-status}"
            if status is not None and status < 0
            else f"ended with status {status}"
        )
        return f"{how}{self.log_hint()}"

    def exit_reason(self) -> str:
        """The exit status in words, and the tail of the log."""
        return f"{self.exit_status_text()}{self.log_tail()}"

    def log_hint(self) -> str:
        """The end of a sentence: where the log is."""
        return f"; its log is {self.log}" if self.log else ""

    def log_tail(self) -> str:
        """The tail of the log, on further lines."""
        return f"\n{tail(self.log)}" if self.log else ""


class HttpProcess(ManagedProcess):
    """A process whose state is probed over HTTP."""

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
        inherited_fds: Sequence[int] = (),
        health_path: str = "/healthz",
        ready_path: str = "/readyz",
    ) -> None:
        """`entry` is the entry in the stack's status. For `log` and `inherited_fds` see Child."""
        self.name = name
        self.group = group
        self.url = url
        self.command = tuple(command)
        self._entry = dict(entry)
        self._log = log
        self.env = dict(env)
        self._cwd = cwd
        self._inherited_fds = tuple(inherited_fds)
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
                inherited_fds=self._inherited_fds,
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
