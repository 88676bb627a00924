"""Runs one command and ends it when the parent process dies, however that happens.

One file that needs only the standard library: ``services.supervise.child`` runs it as ``python -I -S
reaper.py OPTIONS COMMAND...``, once for each process.

Contract with the parent:

- OPTIONS is JSON: ``log`` (the file that takes the command's output; null: our standard error),
  ``log_bytes`` (the size at which the log is moved to ``<log>.1`` and a new one begins), ``grace_seconds``,
  ``private`` (inherited descriptors to keep open without passing them on: a lock on one of them is released
  only when this process ends).
- Standard input is the lifeline. Each line is the number of a signal to send to the command; a negative
  number goes to its whole process group. At end of file the group gets SIGTERM, and SIGKILL
  ``grace_seconds`` later.
- Standard output says ``pid N`` once the command runs, or ``failed REASON``; then ``exit N`` when the command
  has ended, negative if by a signal. By then its whole process group has ended.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import selectors
import signal
import sys
import time

PR_SET_PDEATHSIG = 1
CHUNK_BYTES = 65536
DRAIN_SECONDS = 1.0


class BoundedLog:
    """A log file and its predecessor, each at most about ``limit`` bytes. A full disk only loses lines."""

    def __init__(self, path: str, limit: int) -> None:
        self.path = path
        self.limit = limit
        self.descriptor = self._open()
        self.size = os.fstat(self.descriptor).st_size

    def _open(self) -> int:
        return os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def write(self, data: bytes) -> None:
        with contextlib.suppress(OSError):
            if self.size + len(data) > self.limit and self.size:
                os.replace(self.path, self.path + ".1")  # noqa: PTH105 - pathlib is slow to import
                os.close(self.descriptor)
                self.descriptor = self._open()
                self.size = 0
            self.size += os.write(self.descriptor, data)


def report(line: str) -> None:
    """Send a line to the parent, if it still listens."""
    with contextlib.suppress(OSError):
        os.write(1, line.encode(errors="replace") + b"\n")


def die_with(reaper_pid: int) -> None:
    """Called in the command's process: die when the reaper dies (Linux; elsewhere the parent ensures it)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != reaper_pid:
            os._exit(1)


def spawn(command: list[str], output: int) -> int:
    """Run the command in its own session and return its pid. Raises OSError if it cannot be run."""
    reaper_pid = os.getpid()
    error_read, error_write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setsid()
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE, signal.SIGCHLD):
                signal.signal(number, signal.SIG_DFL)
            nothing = os.open(os.devnull, os.O_RDONLY)
            os.dup2(nothing, 0)
            os.dup2(output, 1)
            os.dup2(output, 2)
            die_with(reaper_pid)
            os.execvp(command[0], command)  # noqa: S606 - that is what a reaper is for
        except OSError as error:
            os.write(error_write, f"{command[0]}: {error.strerror}".encode())
        finally:
            os._exit(127)
    os.close(error_write)
    reason = os.read(error_read, CHUNK_BYTES).decode(errors="replace")
    os.close(error_read)
    if reason:
        os.waitpid(pid, 0)
        raise OSError(reason)
    return pid


class Reaper:
    """The loop over lifeline, output and the command's end; ``output`` is None if it goes elsewhere."""

    def __init__(self, pid: int, output: int | None, log: BoundedLog | None, grace_seconds: float) -> None:
        self.pid = pid
        self.output = output
        self.log = log
        self.grace_seconds = grace_seconds
        self.kill_at: float | None = None
        self.pending = b""
        self.selector = selectors.DefaultSelector()

    def run(self, wakeup: int) -> int:
        """Run until the command has ended; returns its exit status, negative if a signal ended it."""
        self.selector.register(0, selectors.EVENT_READ, self.on_lifeline)
        if self.output is not None:
            self.selector.register(self.output, selectors.EVENT_READ, self.on_output)
        self.selector.register(wakeup, selectors.EVENT_READ, lambda: self.on_signals(wakeup))
        while True:
            wait = None if self.kill_at is None else max(0.0, self.kill_at - time.monotonic())
            for key, _ in self.selector.select(wait):
                key.data()
            if self.kill_at is not None and time.monotonic() >= self.kill_at:
                self.send(-signal.SIGKILL)
                self.kill_at = time.monotonic() + self.grace_seconds
            ended, status = os.waitpid(self.pid, os.WNOHANG)
            if ended:
                self.send(-signal.SIGKILL)  # processes that the command started and left behind
                self.drain()
                return os.waitstatus_to_exitcode(status)

    def send(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if number < 0:
                os.killpg(self.pid, -number)
            else:
                os.kill(self.pid, number)

    def end(self) -> None:
        """Ask the command to end, once, and schedule SIGKILL in case it does not."""
        if self.kill_at is None:
            self.send(-signal.SIGTERM)
            self.kill_at = time.monotonic() + self.grace_seconds

    def on_lifeline(self) -> None:
        data = os.read(0, CHUNK_BYTES)
        if not data:
            self.selector.unregister(0)
            self.end()
            return
        *lines, self.pending = (self.pending + data).split(b"\n")
        for line in lines:
            self.send(int(line))

    def on_output(self) -> None:
        assert self.output is not None
        assert self.log is not None
        data = os.read(self.output, CHUNK_BYTES)
        if data:
            self.log.write(data)
        else:
            self.selector.unregister(self.output)

    def on_signals(self, wakeup: int) -> None:
        numbers = os.read(wakeup, CHUNK_BYTES)
        if set(numbers) - {signal.SIGCHLD}:
            self.end()

    def drain(self) -> None:
        """Read the last of the output, for a moment only: another process may keep the pipe open."""
        deadline = time.monotonic() + DRAIN_SECONDS
        self.selector.close()
        if self.output is None or self.log is None:
            return
        os.set_blocking(self.output, False)
        while time.monotonic() < deadline:
            try:
                data = os.read(self.output, CHUNK_BYTES)
            except BlockingIOError:
                time.sleep(0.01)
                continue
            if not data:
                return
            self.log.write(data)


def main() -> None:
    options = json.loads(sys.argv[1])
    for descriptor in options["private"]:
        os.set_inheritable(descriptor, False)
    wakeup_read, wakeup_write = os.pipe()
    os.set_blocking(wakeup_write, False)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD):
        signal.signal(number, lambda *_: None)
    signal.set_wakeup_fd(wakeup_write)
    log, output_read, output_write = None, None, 2
    try:
        if options["log"]:
            log = BoundedLog(options["log"], options["log_bytes"])
            output_read, output_write = os.pipe()
        pid = spawn(sys.argv[2:], output_write)
    except OSError as error:
        report("failed " + " ".join(str(error).split()))
        return
    if output_read is not None:
        os.close(output_write)
    report(f"pid {pid}")
    status = Reaper(pid, output_read, log, options["grace_seconds"]).run(wakeup_read)
    report(f"exit {status}")


if __name__ == "__main__":
    main()
