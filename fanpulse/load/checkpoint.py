"""How far a file has been loaded, so that an interrupted load resumes there.

A checkpoint belongs to a command: these files with this content, these rules, this destination. A file that
has changed since is another file, and is loaded from its start (its rows keep their ids, so they count once).
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from hashlib import blake2b
from pathlib import Path

from fanpulse.load.parsing.rules import Rules
from services.runtime.private import make_folder

_HEAD_BYTES = 2**20


@dataclass(frozen=True)
class Checkpoint:
    """Every row up to a place has been answered; ``end`` and ``lines`` are those of the last such row."""

    end: int = 0
    lines: int = 0
    rows: int = 0
    accepted: int = 0
    rejected: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    done: bool = False


class CheckpointFile:
    """The checkpoint of one file within one command, as a small JSON file in the state folder."""

    def __init__(self, folder: Path, key: str, path: str) -> None:
        self._file = folder / f"{key}.json"
        self._path = path

    def read(self) -> Checkpoint | None:
        """The checkpoint, if there is one that can be read."""
        try:
            found = json.loads(self._file.read_text(encoding="utf-8"))
            return Checkpoint(**found["checkpoint"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write(self, checkpoint: Checkpoint) -> None:
        """Keep a checkpoint; a crash or a full disk leaves this one or the one before. Raises OSError."""
        make_folder(self._file.parent)
        draft = self._file.with_suffix(f".{os.getpid()}.tmp")
        try:
            text = json.dumps({"file": self._path, "checkpoint": asdict(checkpoint)})
            draft.write_text(text, encoding="utf-8")
            draft.replace(self._file)
        except OSError as error:
            with contextlib.suppress(OSError):
                draft.unlink()
            raise OSError(error.errno, error.strerror, str(self._file)) from error

    def clear(self) -> None:
        """Forget it."""
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            self._file.unlink()


def checkpoints(
    folder: Path, paths: Sequence[str], rules: Rules, destination: str
) -> list[CheckpointFile | None]:
    """The checkpoint of each file of a command; None for a pipe, which cannot be read again.

    Raises OSError if a file cannot be read.
    """
    identities = [_identity(path) for path in paths]
    rest = [
        rules.kind,
        dict(rules.maps),
        dict(rules.sets),
        rules.time_unit,
        rules.zone,
        rules.time_format,
        destination,
    ]
    common = json.dumps([identities, rest], sort_keys=True, default=str)
    return [
        CheckpointFile(folder, blake2b(f"{index} {common}".encode(), digest_size=16).hexdigest(), path)
        if is_regular(path)
        else None
        for index, path in enumerate(paths)
    ]


def is_regular(path: str) -> bool:
    """Whether a path is a file that can be read again."""
    try:
        return stat.S_ISREG(Path(path).stat().st_mode)
    except OSError:
        return False


def _identity(path: str) -> list[object]:
    """What distinguishes a file from others and from its changed self: size, time of change, first bytes."""
    if not is_regular(path):
        return [path]
    with Path(path).open("rb") as file:
        status = os.fstat(file.fileno())
        return [
            status.st_size,
            status.st_mtime_ns,
            blake2b(file.read(_HEAD_BYTES), digest_size=16).hexdigest(),
        ]
