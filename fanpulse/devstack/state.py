"""The state file: what runs and where. The supervisor writes it, and every other command reads it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fanpulse.devstack.lock import is_locked
from fanpulse.devstack.state_paths import StatePaths
from services.runtime.private import make_folder

#: Keys of the state file that are not part of the status.
_INTERNAL = ("supervisor", "hashtag_aliases")

Status = dict[str, Any]
Aliases = Mapping[str, tuple[str, ...]]


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


def write(state_paths: StatePaths, status: Status, hashtag_aliases: Aliases) -> None:
    """Replace the state file in one step, so that no reader sees half of it.

    ``hashtag_aliases`` are the settings that the stack counts with, which may differ from those of a reader.
    """
    content = {"supervisor": os.getpid(), "hashtag_aliases": hashtag_aliases, **status}
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


def hashtag_aliases(state_paths: StatePaths) -> dict[str, tuple[str, ...]] | None:
    """The alias groups that the running stack counts with, by display name; None if no stack runs."""
    content = _read_live(state_paths)
    if content is None:
        return None
    return {name: tuple(members) for name, members in content["hashtag_aliases"].items()}


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
    fresh.write_text(text)
    fresh.replace(path)
