"""A supervisor that keeps running after the command that started it has returned.

The command and the supervisor share a socket until the stack is ready. The supervisor sends one JSON object
per line: ``event`` and ``progress``, then ``ready`` with the status, or ``failed`` with a reason and an exit
code. The command answers ``detach``. If the command ends without that answer, by Ctrl-C or kill, the
supervisor stops.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import logging.handlers
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.text import Text

from fanpulse.devstack.console_reporter import line
from fanpulse.devstack.jars import Progress
from fanpulse.devstack.state import Status
from fanpulse.devstack.state_paths import StatePaths
from services.runtime.private import make_folder
from services.supervise.child import tail
from services.supervise.events import EventType, OnEvent, StackEvent

LOG_BYTES = 2**20


class DetachError(RuntimeError):
    """The detached stack did not start. `code` is the exit code of the command."""

    def __init__(self, reason: str, code: int) -> None:
        super().__init__(reason)
        self.code = code


def start(state_paths: StatePaths, arguments: list[str], on_event: OnEvent, progress: Progress) -> Status:
    """Run ``fanpulse up`` with these arguments in its own process, and return the status once it is ready.

    Blocks. Raises DetachError. Nothing is left running after that, nor after an interrupt.
    """
    ours, theirs = socket.socketpair()
    errors = state_paths.log("supervisor.err")
    make_folder(errors.parent)
    with ours, theirs, errors.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "fanpulse", "up", *arguments, "--link", str(theirs.fileno())],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            pass_fds=(theirs.fileno(),),
        )
        theirs.close()
        try:
            status = follow(ours, on_event, progress)
            if status is not None:
                ours.sendall(b"detach\n")
                return status
        except BaseException:
            ours.close()
            process.wait()
            raise
        code = process.wait()
    raise DetachError(f"the supervisor ended with status {code}\n{tail(errors)}", 1)


def follow(link: socket.socket, on_event: OnEvent, progress: Progress) -> Status | None:
    """Pass on what the supervisor sends until it is ready; None if it goes away. Raises DetachError."""
    with link.makefile("rb") as lines:
        for each in lines:
            message = json.loads(each)
            match message:
                case {"event": event}:
                    on_event(StackEvent(**event | {"event_type": EventType(event["event_type"])}))
                case {"progress": [name, *arguments]}:
                    getattr(progress, name)(*arguments)
                case {"ready": status}:
                    return dict(status)
                case {"failed": reason, "code": code}:
                    raise DetachError(reason, code)
    return None


class Link:
    """The supervisor's end of the socket; also a Progress."""

    def __init__(self, descriptor: int) -> None:
        os.set_inheritable(descriptor, False)
        self._socket = socket.socket(fileno=descriptor)
        self._socket.setblocking(True)

    def event(self, event: StackEvent) -> None:
        self._send({"event": asdict(event)})

    def ready(self, status: Status) -> None:
        self._send({"ready": status})

    def failed(self, reason: str, code: int) -> None:
        self._send({"failed": reason, "code": code})

    def start(self, total_bytes: int) -> None:
        self._send({"progress": ["start", total_bytes]})

    def advance(self, count: int) -> None:
        self._send({"progress": ["advance", count]})

    def stop(self) -> None:
        self._send({"progress": ["stop"]})

    async def command_gone(self) -> None:
        """Return when the command has gone away; never return if it said ``detach`` before."""
        loop = asyncio.get_running_loop()
        readable = asyncio.Event()
        # Not in a thread: its read would outlast us.
        loop.add_reader(self._socket, readable.set)
        try:
            await readable.wait()
        finally:
            loop.remove_reader(self._socket)
        if self._receive() == b"detach\n":
            await asyncio.Event().wait()

    def close(self) -> None:
        """Send no more."""
        self._socket.close()

    def _receive(self) -> bytes:
        with contextlib.suppress(OSError):
            return self._socket.recv(64)
        return b""

    def _send(self, message: dict[str, Any]) -> None:
        with contextlib.suppress(OSError):
            self._socket.sendall(json.dumps(message).encode() + b"\n")


class _EventHandler(logging.handlers.RotatingFileHandler):
    """A log that loses lines while the disk is full, and has no other trouble with it."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Do nothing."""


@contextlib.contextmanager
def event_log(path: Path) -> Iterator[OnEvent]:
    """A listener that writes each event as a line of a bounded log."""
    make_folder(path.parent)
    handler = _EventHandler(path, maxBytes=LOG_BYTES, backupCount=1, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))

    def report(event: StackEvent) -> None:
        text = line(event)
        if text is not None:
            plain = Text.from_markup(text).plain
            handler.emit(logging.makeLogRecord({"msg": plain, "levelno": logging.INFO}))

    try:
        yield report
    finally:
        handler.close()
