"""A file lock between processes. It lasts as long as any process keeps the file's descriptor open."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable
from pathlib import Path

from services.runtime.private import make_folder

RETRY_SECONDS = 0.1


class LockedError(RuntimeError):
    """Another process holds the lock."""


class FileLock:
    """An advisory lock on a file. A process that inherits the descriptor keeps the lock too."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None

    @property
    def descriptor(self) -> int:
        """The open descriptor; only while the lock is held."""
        assert self._descriptor is not None, "the lock is not held"
        return self._descriptor

    @property
    def held(self) -> bool:
        return self._descriptor is not None

    def acquire(self, *, wait_seconds: float = 0.0, on_wait: Callable[[], object] | None = None) -> None:
        """Take the lock; blocks for at most `wait_seconds`. Raises LockedError.

        Calls `on_wait` once if it has to wait.
        """
        make_folder(self.path.parent)
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
        """Release the lock; processes that inherited the descriptor may still hold it."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def is_locked(path: Path) -> bool:
    """Whether a process holds the lock now."""
    lock = FileLock(path)
    if not path.exists():
        return False
    try:
        lock.acquire()
    except LockedError:
        return True
    lock.release()
    return False
