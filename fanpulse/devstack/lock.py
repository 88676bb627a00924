"""A lock between processes: whoever holds the file's descriptor open. It ends with its last holder."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable
from pathlib import Path

RETRY_SECONDS = 0.1


class LockedError(RuntimeError):
    """Another process holds the lock."""


class FileLock:
    """An advisory lock on a file; descriptors inherited by other processes prolong it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None

    @property
    def descriptor(self) -> int:
        """The open descriptor; only while held."""
        assert self._descriptor is not None, "the lock is not held"
        return self._descriptor

    @property
    def held(self) -> bool:
        return self._descriptor is not None

    def acquire(self, *, wait_seconds: float = 0.0, on_wait: Callable[[], object] | None = None) -> None:
        """Take the lock, waiting for it at most so long; blocks. Raises LockedError.

        `on_wait` is called once if it has to wait.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        deadline = time.monotonic() + wait_seconds
        waited = False
        try:
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() >= deadline:
                        raise LockedError(f"{self.path} is held by another process") from None
                if on_wait and not waited:
                    on_wait()
                waited = True
                time.sleep(RETRY_SECONDS)
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor

    def release(self) -> None:
        """Let go; others that inherited the descriptor may still hold the lock."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def is_locked(path: Path) -> bool:
    """Whether some process holds the lock now."""
    lock = FileLock(path)
    if not path.exists():
        return False
    try:
        lock.acquire()
    except LockedError:
        return True
    lock.release()
    return False
