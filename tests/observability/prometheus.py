"""A Prometheus process of the test run, and its HTTP API."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.support.ports import free_port
from tests.support.processes import eventually

Sample = tuple[dict[str, str], float]


class Prometheus:
    """Runs with the configuration in `folder`/config; `targets` are addresses by the name of a service."""

    def __init__(self, folder: Path, targets: Mapping[str, str]) -> None:
        self._folder = folder
        self._log = folder / "log"
        self.url = f"http://127.0.0.1:{free_port()}"
        (folder / "config" / "targets").mkdir()
        for name, address in targets.items():
            (folder / "config" / "targets" / f"{name}.json").write_text(json.dumps([{"targets": [address]}]))
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [
                    "prometheus",
                    f"--config.file={self._folder / 'config' / 'prometheus.yml'}",
                    f"--storage.tsdb.path={self._folder / 'data'}",
                    f"--web.listen-address={self.url.removeprefix('http://')}",
                    "--log.level=warn",
                ],
                stdout=log,
                stderr=log,
            )
        eventually(self._ready, 30, "prometheus is ready")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None
        self._process.terminate()
        self._process.wait(20)

    def _ready(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self._log.read_text()
        try:
            with urllib.request.urlopen(f"{self.url}/-/ready", timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def get(self, path: str, **parameters: str) -> Any:
        """The `data` of an answer of the API; an AssertionError with its words if it is an error."""
        address = f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(address, timeout=10) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{parameters}: {error.read().decode()}") from None

    def query(self, expr: str) -> list[Sample]:
        """An instant query: labels and value of each series."""
        result = self.get("query", query=expr)["result"]
        return [(each["metric"], float(each["value"][1])) for each in result]

    def query_range(self, expr: str, seconds: int = 60) -> list[Any]:
        """A range query over the last seconds, a step a second."""
        now = time.time()
        data = self.get("query_range", query=expr, start=str(now - seconds), end=str(now), step="1")
        result: list[Any] = data["result"]
        return result

    def until(self, expr: str, claim: Callable[[list[Sample]], bool], what: str, seconds: float = 40) -> None:
        """Ask again until the claim about the answer holds."""
        eventually(lambda: claim(self.query(expr)), seconds, f"{what}: {expr}")
