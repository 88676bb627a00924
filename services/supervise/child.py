"""A child process that cannot outlive its parent: it runs under a reaper (reaper.py)."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from services.runtime.private import make_folder

REAPER = Path(__file__).with_name("reaper.py")
LOG_BYTES = 5 * 2**20
POLL_SECONDS = 0.05


class ChildError(RuntimeError):
    """The command cannot be run. The message says why."""


class Child:
    """A running command. Its output goes to a bounded log, or to our standard error.

    A child does not belong to an event loop: you may start it in one and stop it in another. Waiting polls,
    which costs nothing for a few processes.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        log: Path | None,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        grace_seconds: float = 5.0,
        log_bytes: int = LOG_BYTES,
        inherited_fds: Sequence[int] = (),
    ) -> None:
        """Start the command and return once it runs. Raises ChildError if it cannot be run.

        The reaper keeps the descriptors `inherited_fds` open until the command has ended, so a file lock on
        one of them is released no earlier. `grace_seconds` is the time between SIGTERM and SIGKILL if this
        process dies.
        """
        if log is not None:
            make_folder(log.parent)
        options = {
            "log": None if log is None else str(log),
            "log_bytes": log_bytes,
            "grace_seconds": grace_seconds,
            "private": list(inherited_fds),
        }
        self.command = tuple(command)
        self.log = log
        self.started_at = time.monotonic()
        self._returncode: int | None = None
        self._received = b""
        self._reaper = subprocess.Popen(
            [sys.executable, "-I", "-S", str(REAPER), json.dumps(options), *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=None if env is None else dict(env),
            cwd=cwd,
            start_new_session=True,
            pass_fds=inherited_fds,
            bufsize=0,
        )
        self.pid = self._read_pid()
        os.set_blocking(self._stdout(), False)

    @property
    def reaper_pid(self) -> int:
        return self._reaper.pid

    @property
    def returncode(self) -> int | None:
        """Exit status, negative if a signal ended the command; None while it runs."""
        if self._returncode is None:
            self._poll_exit()
        return self._returncode

    def send(self, number: int) -> None:
        """Send a signal to the command, or with a negative number to its process group.

        Does nothing if the command has ended.
        """
        if self._reaper.stdin is not None and not self._reaper.stdin.closed:
            with contextlib.suppress(OSError):
                self._reaper.stdin.write(f"{number}\n".encode())

    async def wait(self) -> int:
        """Wait until the command and its process group have ended; returns the exit status."""
        while (status := self.returncode) is None:  # noqa: ASYNC110 - not bound to a loop, see above
            await asyncio.sleep(POLL_SECONDS)
        return status

    async def stop(self, grace_seconds: float) -> int:
        """Send SIGTERM, and SIGKILL after the grace; returns the exit status. If cancelled, kill at once."""
        self.send(signal.SIGTERM)
        try:
            with contextlib.suppress(TimeoutError):
                return await asyncio.wait_for(self.wait(), grace_seconds)
        except asyncio.CancelledError:
            self.send(-signal.SIGKILL)
            raise
        return await self.kill()

    async def kill(self) -> int:
        """Send SIGKILL to the process group, and wait for its end."""
        self.send(-signal.SIGKILL)
        return await self.wait()

    def abandon(self) -> None:
        """Close the lifeline without waiting: the reaper then ends the command."""
        if self._reaper.stdin is not None:
            self._reaper.stdin.close()

    def _stdout(self) -> int:
        assert self._reaper.stdout is not None
        return self._reaper.stdout.fileno()

    def _read_pid(self) -> int:
        assert self._reaper.stdout is not None
        line = self._reaper.stdout.readline().decode(errors="replace")
        word, _, rest = line.strip().partition(" ")
        if word == "pid":
            return int(rest)
        self._reap()
        raise ChildError(rest or f"{self.command[0]}: its reaper ended at once")

    def _poll_exit(self) -> None:
        try:
            data = os.read(self._stdout(), 4096)
        except BlockingIOError:
            return
        self._received += data
        if data and b"\n" not in self._received:
            return
        word, _, rest = self._received.decode(errors="replace").strip().partition(" ")
        if word == "exit":
            status = int(rest)
        else:  # the reaper itself was killed
            status = -signal.SIGKILL
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
        self._reap()
        self._returncode = status

    def _reap(self) -> None:
        self.abandon()
        self._reaper.wait()
        if self._reaper.stdout is not None:
            self._reaper.stdout.close()


def tail(log: Path, lines: int = 20) -> str:
    """The last lines of a log, for an error message; empty if there is no log."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 16_384))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-lines:])
