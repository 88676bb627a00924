"""Files of one user: what fanpulse keeps for itself is for its owner alone.

A command sets its umask to 0077 when it starts, and its children inherit that. What a user asks for by name,
such as a report or an export, has the modes that the user's own umask gives it.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from services.runtime.settings import SettingsError

OTHERS = 0o077
#: What fanpulse keeps in the state folder: folders and a file, by name.
KEPT = ("actor.key", "cache", "grafana", "kafka", "load", "logs", "prometheus", "stack")
_users_umask: int | None = None


@contextlib.contextmanager
def private_files() -> Iterator[None]:
    """Within it, new files and folders are for their owner alone."""
    global _users_umask
    before = os.umask(OTHERS)
    os.umask(before | OTHERS)
    _users_umask, outer = before, _users_umask
    try:
        yield
    finally:
        os.umask(before)
        _users_umask = outer


@contextlib.contextmanager
def files_for_the_user() -> Iterator[None]:
    """Within it, new files have the modes of the user's umask. For files that the user names."""
    if _users_umask is None:
        yield
        return
    ours = os.umask(_users_umask)
    try:
        yield
    finally:
        os.umask(ours)


def make_folder(path: Path) -> None:
    """Make a folder, and what is missing above it, for its owner alone. Does nothing to one that exists."""
    missing = [each for each in (path, *path.parents) if not each.exists()]
    for each in reversed(missing):
        each.mkdir(mode=0o700, exist_ok=True)
    if not path.is_dir():
        path.mkdir()  # raises what is wrong


def is_open(path: Path) -> bool:
    """Whether other users may read, list or change it; false if it does not exist."""
    try:
        return bool(path.stat().st_mode & OTHERS)
    except OSError:
        return False


def open_paths(state_dir: Path) -> list[Path]:
    """What of the state folder other users can get at."""
    if not is_open(state_dir):
        return []
    kept = [path for name in KEPT if is_open(path := state_dir / name)]
    return [state_dir, *kept] if _is_ours_alone(state_dir) else kept


def close_state(state_dir: Path) -> None:
    """Make the state folder, and take from others what they can get at in it.

    A folder that holds more than fanpulse's own keeps its mode, but for what is ours in it. Raises
    SettingsError if something cannot be closed, or OSError if the folder cannot be made.
    """
    make_folder(state_dir)
    for path in open_paths(state_dir):
        try:
            path.chmod(stat.S_IMODE(path.stat().st_mode) & ~OTHERS)
        except OSError as error:
            raise SettingsError(
                f"{path} can be read or changed by other users, and that cannot be mended "
                f"({error.strerror}); run `chmod -R go= {path}` as its owner, or set FANPULSE_STATE_DIR to "
                "a folder of your own"
            ) from None


def _is_ours_alone(state_dir: Path) -> bool:
    """Whether the folder holds nothing but what fanpulse keeps; never a shared one such as /tmp."""
    mode = state_dir.stat().st_mode
    if mode & stat.S_ISVTX or state_dir.stat().st_uid != os.geteuid():
        return False
    return all(path.name in KEPT for path in state_dir.iterdir())
