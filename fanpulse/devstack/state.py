"""The state file: what runs and where. The supervisor writes it, and every other command reads it."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any

from fanpulse.devstack.launched import Launched
from fanpulse.devstack.lock import is_locked
from fanpulse.devstack.state_paths import StatePaths
from services.runtime.private import make_folder

#: Keys of the state file that are not part of the status.
_INTERNAL = ("supervisor", "launched")

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


def write(state_paths: StatePaths, status: Status, launched: Launched) -> None:
    """Replace the state file in one step, so that no reader sees half of it.

    ``launched`` is what the stack was started with, which may differ from the settings of a reader.
    """
    content = {"supervisor": os.getpid(), "launched": launched.as_json(), **status}
    _replace(state_paths.state, json.dumps(content, indent=1) + "\n")


def clear(state_paths: StatePaths) -> None:
    """Remove the state file: nothing runs any more."""
    state_paths.state.unlink(missing_ok=True)


def is_up(state_paths: StatePaths) -> bool:
    """Whether a supervisor of this stack lives."""
    return is_locked(state_paths.supervisor_lock)


def supervisor_pid(state_paths: StatePaths) -> int | None:
    """Process id of the supervisor; None if no supervisor lives, or if it has only just started."""
    pid = (_read_live(state_paths) or {}).get("supervisor")
    return pid if isinstance(pid, int) else None


def launched(state_paths: StatePaths) -> Launched | None:
    """What the running stack was started with; None if no stack runs."""
    content = _read_live(state_paths)
    if content is None:
        return None
    try:
        return Launched.read(content["launched"])
    except (KeyError, TypeError):  # of another version of fanpulse
        return None


def running(state_dir: Path) -> list[str]:
    """The namespaces whose stacks run with this state folder, sorted; that without a name is empty."""
    found = []
    for file in (state_dir.absolute() / "stack").glob("*.json"):
        state_paths = StatePaths(state_dir.absolute(), file.stem)
        content = _read_live(state_paths)
        if content is not None and isinstance(content.get("namespace"), str):
            found.append(content["namespace"])
    return sorted(found)


def read(state_paths: StatePaths) -> Status | None:
    """The status as the supervisor last wrote it; None if no supervisor lives."""
    content = _read_live(state_paths)
    if content is None:
        return None
    return {key: value for key, value in content.items() if key not in _INTERNAL}


def _read_live(state_paths: StatePaths) -> dict[str, Any] | None:
    """The state file; None if no supervisor lives.

    A killed supervisor leaves its file behind, but nothing that the file names runs any more.
    """
    content = _read(state_paths.state)
    return content if content is not None and is_up(state_paths) else None


def _read(path: Path) -> dict[str, Any] | None:
    try:
        data = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return data if isinstance(data, dict) else None


def _replace(path: Path, text: str) -> None:
    make_folder(path.parent)
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        fresh.write_text(text)
        fresh.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            fresh.unlink()
        raise OSError(error.errno, error.strerror, str(path)) from error
