"""The state file: what runs and where, written by the supervisor and read by every other command."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from fanpulse.devstack.lock import is_locked
from fanpulse.devstack.state_paths import StatePaths

#: Keys of the state file that are not part of the status.
_INTERNAL = ("supervisor",)

Status = dict[str, Any]


def nothing_runs(namespace: str, bootstrap: str | None = None) -> Status:
    """The status when there is no stack."""
    return {
        "namespace": namespace,
        "kafka": {"bootstrap": bootstrap, "pid": None},
        "ingest": [],
        "aggregate": [],
        "alerts": [],
        "prometheus": None,
        "grafana": None,
    }


def write(state_paths: StatePaths, status: Status) -> None:
    """Replace the state file at once, so that no reader sees half of it."""
    _replace(state_paths.state, json.dumps({"supervisor": os.getpid(), **status}, indent=1) + "\n")


def clear(state_paths: StatePaths) -> None:
    """Nothing runs any more."""
    state_paths.state.unlink(missing_ok=True)


def is_up(state_paths: StatePaths) -> bool:
    """Whether a supervisor lives."""
    return is_locked(state_paths.supervisor_lock)


def supervisor_pid(state_paths: StatePaths) -> int | None:
    """Process id of the supervisor; None if there is none, or if it has only just begun."""
    pid = (_read(state_paths.state) or {}).get("supervisor")
    return pid if isinstance(pid, int) and is_up(state_paths) else None


def read(state_paths: StatePaths) -> Status | None:
    """The status as the supervisor last wrote it; None if no supervisor lives.

    A file left behind by a killed supervisor is not believed: nothing it names runs any more.
    """
    status = _read(state_paths.state)
    if status is None or not is_up(state_paths):
        return None
    return {key: value for key, value in status.items() if key not in _INTERNAL}


def _read(path: Path) -> Status | None:
    try:
        data = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return data if isinstance(data, dict) else None


def _replace(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.write_text(text)
    fresh.replace(path)
