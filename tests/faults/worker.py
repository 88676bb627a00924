"""A worker under test: ``fanpulse serve aggregate`` as it is, with failpoints; broken if the build says so.

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
from fanpulse.cli import main
from fanpulse.cli.app import build_app
from tests.faults import builds, failpoints

build_app()  # imports the modules of all commands, before the fork
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class ProcessRun:
    """What one process of a worker is started with."""

    environment: dict[str, str]
    build: str
    orders: Path
    marks: Path
    log: Path


def run(process_run: ProcessRun) -> None:
    """The process: from its start to its end."""
    if sys.platform == "linux":  # a worker must not outlive the tests, however they end
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    os.environ.clear()
    os.environ.update(process_run.environment)
    log = os.open(process_run.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.dup2(log, 1)
    os.dup2(log, 2)
    builds.install(process_run.build)
    failpoints.install(failpoints.Failpoints(process_run.orders, process_run.marks))
    sys.argv = ["fanpulse", "serve", "aggregate"]
    main()
