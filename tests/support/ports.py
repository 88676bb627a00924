"""Free ports."""

from __future__ import annotations

import fcntl
import os
import random
import tempfile
from pathlib import Path

from services.supervise.addresses import is_free

#: Below those that the stack chooses from, and below the ephemeral ones of all systems.
_RANGE = range(10_000, 20_000)
#: Held open, and locked, as long as this process lives: nobody else is given the port.
_given: dict[int, int] = {}


def free_port() -> int:
    """A port that is free at the moment. Each call gives another port, in each process that runs tests."""
    folder = Path(tempfile.gettempdir()) / f"fanpulse-tests-{os.getuid()}"
    folder.mkdir(exist_ok=True)
    while True:
        port = random.choice(_RANGE)
        if port in _given:
            continue
        reserved = os.open(folder / f"port-{port}", os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(reserved, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(reserved)
            continue
        if is_free(port):
            _given[port] = reserved
            return port
        os.close(reserved)
