"""Where a stack keeps its files: all are in the state folder, named by namespace."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from services.runtime.settings import Settings


@dataclass(frozen=True, slots=True)
class StatePaths:
    """Paths of the stack of one namespace."""

    state_dir: Path
    name: str

    @classmethod
    def of(cls, settings: Settings) -> StatePaths:
        return cls(settings.state_dir.absolute(), settings.namespace or "default")

    @property
    def state(self) -> Path:
        """The state file: what runs and where, for other commands."""
        return self.state_dir / "stack" / f"{self.name}.json"

    @property
    def ports(self) -> Path:
        """The ports that were chosen."""
        return self.state_dir / "stack" / f"{self.name}.ports.json"

    @property
    def supervisor_lock(self) -> Path:
        """The lock that the supervisor holds while it lives."""
        return self.state_dir / "stack" / f"{self.name}.supervisor.lock"

    @property
    def processes_lock(self) -> Path:
        """The lock that is held until the supervisor and every process of the stack are gone."""
        return self.state_dir / "stack" / f"{self.name}.processes.lock"

    @property
    def kafka(self) -> Path:
        return self.state_dir / "kafka" / self.name

    @property
    def prometheus(self) -> Path:
        return self.state_dir / "prometheus" / self.name

    @property
    def grafana(self) -> Path:
        return self.state_dir / "grafana" / self.name

    def log(self, service: str) -> Path:
        return self.state_dir / "logs" / self.name / f"{service}.log"
