"""Stops a running stack from another process."""

from __future__ import annotations

import os
import signal
import time

import psutil

from fanpulse.devstack import state
from fanpulse.devstack.lock import FileLock, LockedError, is_locked
from fanpulse.devstack.state_paths import StatePaths

#: Longer than the slowest graceful stop: every service and then the broker, each up to its own limit.
ORDERLY_SECONDS = 75.0
FORCED_SECONDS = 30.0
STATE_FILE_SECONDS = 5.0
POLL_SECONDS = 0.05


class ShutdownError(RuntimeError):
    """A process of the stack does not end."""


def runs(state_paths: StatePaths) -> bool:
    """Whether any process of the stack is left: the supervisor, or what its reapers have yet to end."""
    return state.is_up(state_paths) or is_locked(state_paths.processes_lock)


def shut_down(state_paths: StatePaths) -> bool:
    """Stop the stack and return when it is gone; False if nothing ran. Blocks. Raises ShutdownError."""
    if not runs(state_paths):
        return False
    pid = _signal(state_paths, signal.SIGTERM)
    if not _gone_within(state_paths, pid, ORDERLY_SECONDS):
        _signal(state_paths, signal.SIGKILL)  # the reapers then end the rest
        if not _gone_within(state_paths, pid, FORCED_SECONDS):
            raise ShutdownError(
                f"processes of the stack do not end; their logs are in {state_paths.log('x').parent}"
            )
    return True


def _signal(state_paths: StatePaths, number: signal.Signals) -> int | None:
    """Signal the supervisor and return its process id; None if only processes it left behind are there."""
    deadline = time.monotonic() + STATE_FILE_SECONDS
    while state.is_up(state_paths):
        pid = state.supervisor_pid(state_paths)
        if pid is not None:
            os.kill(pid, number)
            return pid
        if time.monotonic() > deadline:  # it holds the lock but has not written its state: it is starting
            raise ShutdownError("the stack is just starting or stopping; try again in a moment")
        time.sleep(POLL_SECONDS)
    return None


def _gone_within(state_paths: StatePaths, pid: int | None, seconds: float) -> bool:
    """Whether both locks become free in time, and the supervisor, which releases them last, ends."""
    deadline = time.monotonic() + seconds
    for path in (state_paths.supervisor_lock, state_paths.processes_lock):
        lock = FileLock(path)
        try:
            lock.acquire(wait_seconds=max(0.0, deadline - time.monotonic()))
        except LockedError:
            return False
        lock.release()
    while pid is not None and _lives(pid):
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


def _lives(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
