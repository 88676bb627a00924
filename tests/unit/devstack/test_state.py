"""The state file carries more than the status: what other commands must know of the running stack."""

from __future__ import annotations

from pathlib import Path

from fanpulse.devstack import state
from fanpulse.devstack.lock import FileLock
from fanpulse.devstack.state_paths import StatePaths

ALIASES = {"GansuHeritage": ("文化和自然遗产日",), "Alone": ()}


def test_hashtag_aliases_are_those_of_the_running_stack(tmp_path: Path) -> None:
    """They are read back unchanged while the supervisor lives, and are not part of the status."""
    state_paths = StatePaths(tmp_path, "default")
    status = state.nothing_runs("", "127.0.0.1:1")
    supervisor = FileLock(state_paths.supervisor_lock)
    supervisor.acquire()
    state.write(state_paths, status, ALIASES)
    assert state.hashtag_aliases(state_paths) == ALIASES
    assert state.read(state_paths) == status
    supervisor.release()
    assert state.hashtag_aliases(state_paths) is None
