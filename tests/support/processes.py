"""Services as processes, for tests that kill them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from services.runtime.settings import Settings


def eventually(claim: Callable[[], bool], seconds: float, what: str) -> None:
    """Wait until a claim is true. If it is not in time, fail and say what was expected."""
    deadline = time.monotonic() + seconds
    while not claim():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:.0f} s: {what}")
        time.sleep(0.05)


class Service:
    """``python -m fanpulse serve <name> [arguments]`` with the settings of a test and its log in a file."""

    def __init__(
        self, name: str, settings: Settings, log: Path, port: int, *arguments: str, **variables: str
    ) -> None:
        key = {"ingest": "INGEST_PORT"}.get(name, f"{name.upper()}_METRICS_PORT")
        self.environment = {
            **os.environ,
            "FANPULSE_KAFKA_BOOTSTRAP": str(settings.kafka.bootstrap),
            "FANPULSE_NAMESPACE": settings.namespace,
            "FANPULSE_STATE_DIR": str(settings.state_dir),
            f"FANPULSE_{key}": str(port),
            **variables,
        }
        self.url = f"http://127.0.0.1:{port}"
        self.log = log
        self._command = [sys.executable, "-m", "fanpulse", "serve", name, *arguments]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The running process."""
        assert self._process is not None, "not started"
        return self._process

    def start(self) -> Self:
        """Start the process without waiting."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(self._command, env=self.environment, stdout=log, stderr=log)
        return self

    def wait_ready(self, seconds: float = 30) -> Self:
        """Wait until /readyz says 200."""
        try:
            eventually(self._ready, seconds, f"{self._command[4]} ready")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.log.read_text(errors='replace')[-3000:]}") from None
        return self

    def _ready(self) -> bool:
        assert self.process.poll() is None, (
            f"ended with {self.process.returncode}:\n{self.log.read_text(errors='replace')[-3000:]}"
        )
        try:
            with urllib.request.urlopen(f"{self.url}/readyz", timeout=2) as answer:
                return bool(answer.status == 200)
        except (OSError, urllib.error.HTTPError):
            return False

    def metrics(self) -> dict[str, float]:
        """Samples of /metrics by their full name, labels included."""
        return self.metrics_of(self.url)

    @staticmethod
    def metrics_of(url: str) -> dict[str, float]:
        """The samples of any service."""
        with urllib.request.urlopen(f"{url}/metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        pairs = (line.rsplit(" ", 1) for line in lines if line and not line.startswith("#"))
        return {name: float(value) for name, value in pairs}

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def kill(self) -> None:
        """Send SIGKILL, and wait for the end."""
        self.process.kill()
        self.process.wait(10)

    def stop(self, seconds: float = 20) -> int:
        """Send SIGTERM and wait; returns the exit status."""
        self.process.terminate()
        return self.process.wait(seconds)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None and self._process.poll() is None:
            self.signal(signal.SIGCONT)
            self.kill()
