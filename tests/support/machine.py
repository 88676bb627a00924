"""Who may use the machine, where several processes run tests (pytest-xdist)."""

from __future__ import annotations

import fcntl
import os
import tempfile
from pathlib import Path


class Machine:
    """A lock that many tests share, or one has alone. Without other processes it does nothing."""

    def __init__(self, run: str | None) -> None:
        """``run``: the same for all processes of a run; None if there is only one."""
        self._descriptors: tuple[int, int] | None = None
        self._alone: bool | None = None
        if run is not None:
            folder = Path(tempfile.gettempdir()) / f"fanpulse-tests-{os.getuid()}"
            folder.mkdir(exist_ok=True)
            names = (folder / f"{run}.{part}" for part in ("queue", "lock"))
            queue, lock = (os.open(name, os.O_CREAT | os.O_RDWR, 0o600) for name in names)
            self._descriptors = queue, lock

    def hold(self, *, alone: bool) -> None:
        """Wait for the lock. Whoever wants it alone is in the queue, so that no other test begins."""
        if self._descriptors is None or self._alone is alone:
            return
        self.release()
        queue, lock = self._descriptors
        fcntl.flock(queue, fcntl.LOCK_EX)
        fcntl.flock(lock, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        fcntl.flock(queue, fcntl.LOCK_UN)
        self._alone = alone

    def release(self) -> None:
        """Give the lock back, if it is held."""
        if self._descriptors is not None and self._alone is not None:
            fcntl.flock(self._descriptors[1], fcntl.LOCK_UN)
            self._alone = None


MACHINE = Machine(os.environ.get("PYTEST_XDIST_TESTRUNUID"))
