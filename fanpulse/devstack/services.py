"""The processes of fanpulse's own services in a stack."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence

from fanpulse.devstack.ports import Ports
from fanpulse.devstack.state_paths import StatePaths
from services.runtime.settings import Section, Settings
from services.supervise.addresses import reachable
from services.supervise.environment import as_environment
from services.supervise.managed_process import HttpProcess


class ServiceProcesses:
    """Makes the managed processes of ingest, aggregate and alerts, which differ in a few names."""

    def __init__(
        self, settings: Settings, *, extra_env: Mapping[str, str], inherited_fds: Sequence[int], workers: int
    ) -> None:
        """`settings` must name the broker. `extra_env` overrides the variables made from the settings."""
        self._settings = settings
        self._state_paths = StatePaths.of(settings)
        self._inherited_fds = tuple(inherited_fds)
        self._env = {**os.environ, "PYTHONUNBUFFERED": "1", **as_environment(settings), **extra_env}
        self._workers = ["aggregate", *(f"aggregate-{number}" for number in range(2, workers + 1))]
        self._ports = Ports(self._state_paths.ports).choose(
            "ingest",
            *self._workers,
            "alerts",
            fixed={
                "ingest": _explicit(settings.ingest, "port"),
                "alerts": _explicit(settings.alerts, "metrics_port"),
                **self._fixed_of_workers(),
            },
        )

    def all(self) -> list[HttpProcess]:
        """All processes: ingest, the aggregators, alerts."""
        return [
            self._process("ingest", "ingest", "FANPULSE_INGEST_PORT", self._settings.ingest.host),
            *(
                self._process(
                    name,
                    "aggregate",
                    "FANPULSE_AGGREGATE_METRICS_PORT",
                    self._settings.aggregate.metrics_host,
                )
                for name in self._workers
            ),
            self._process(
                "alerts", "alerts", "FANPULSE_ALERTS_METRICS_PORT", self._settings.alerts.metrics_host
            ),
        ]

    def _fixed_of_workers(self) -> dict[str, int]:
        """If aggregate.metrics_port is set, the workers' ports count up from it."""
        first = _explicit(self._settings.aggregate, "metrics_port")
        return {name: first + index for index, name in enumerate(self._workers)} if first else {}

    def _process(self, name: str, service: str, port_variable: str, host: str) -> HttpProcess:
        port = self._ports[name]
        url = f"http://{reachable(host)}:{port}"
        return HttpProcess(
            name,
            service,
            [sys.executable, "-P", "-m", "fanpulse", "serve", service],
            url=url,
            entry={"url": url} if service == "ingest" else {"metrics": f"{url}/metrics"},
            log=self._state_paths.log(name),
            env={**self._env, port_variable: str(port)},
            inherited_fds=self._inherited_fds,
        )


def _explicit(section: Section, key: str) -> int:
    """The port that the settings give; 0 if they leave the choice to us."""
    return int(getattr(section, key)) if key in section.model_fields_set else 0
