"""A worker under test: ``fanpulse aggregate`` as it is, with failpoints, and broken if that is asked for.

It is forked from a process that has imported everything, which saves a second and a half of CPU at each of
the hundreds of starts. Nothing else is shared with that process.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

import services.aggregate.service  # noqa: F401 # before the fork
from fanpulse.cli import build_app, main
from tests.faults import builds, failpoints

build_app()  # imports the modules of all commands, before the fork
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Life:
    """What a process is started with."""

    environment: dict[str, str]
    build: str
    orders: Path
    marks: Path
    log: Path


def run(life: Life) -> None:
    """The process: from its start to its end."""
    if sys.platform == "linux":  # a worker must not outlive the tests, however they end
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    os.environ.clear()
    os.environ.update(life.environment)
    log = os.open(life.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.dup2(log, 1)
    os.dup2(log, 2)
    builds.install(life.build)
    failpoints.install(failpoints.Failpoints(life.orders, life.marks))
    sys.argv = ["fanpulse", "aggregate"]
    main()
