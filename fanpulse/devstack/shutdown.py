"""Ends a running stack from another process."""

from __future__ import annotations

import os
import signal
import time

import psutil

from fanpulse.devstack import state
from fanpulse.devstack.lock import FileLock, LockedError, is_locked
from fanpulse.devstack.state_paths import StatePaths

#: More than an orderly stop takes at its longest: every service, then the broker, to its own limit.
ORDERLY_SECONDS = 75.0
FORCED_SECONDS = 30.0
FIRST_WORD_SECONDS = 5.0
POLL_SECONDS = 0.05


class ShutdownError(RuntimeError):
    """Something of the stack does not end."""


def runs(state_paths: StatePaths) -> bool:
    """Whether anything of the stack is left: its supervisor, or what a killed one left to its guards."""
    return state.is_up(state_paths) or is_locked(state_paths.processes_lock)


def shut_down(state_paths: StatePaths) -> bool:
    """End the stack and return when all of it is gone; False if nothing ran; blocks. Raises ShutdownError."""
    if not runs(state_paths):
        return False
    pid = _signal(state_paths, signal.SIGTERM)
    if not _gone_within(state_paths, pid, ORDERLY_SECONDS):
        _signal(state_paths, signal.SIGKILL)  # its guards see to the rest
        if not _gone_within(state_paths, pid, FORCED_SECONDS):
            raise ShutdownError(
                f"processes of the stack do not end; their logs are in {state_paths.log('x').parent}"
            )
    return True


def _signal(state_paths: StatePaths, number: signal.Signals) -> int | None:
    """Send it to the supervisor, whose process id is returned; None if only what it left behind is there."""
    deadline = time.monotonic() + FIRST_WORD_SECONDS
    while state.is_up(state_paths):
        pid = state.supervisor_pid(state_paths)
        if pid is not None:
            os.kill(pid, number)
            return pid
        if time.monotonic() > deadline:  # it holds the lock and has not written its state: it is starting
            raise ShutdownError("the stack is just starting or stopping; try again in a moment")
        time.sleep(POLL_SECONDS)
    return None


def _gone_within(state_paths: StatePaths, pid: int | None, seconds: float) -> bool:
    """Whether both locks become free in time, and the supervisor, which lets go of them last, ends."""
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
