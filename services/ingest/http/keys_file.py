"""The keys file on disk: read at the start, and again whenever it changes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Never

import structlog

from services.ingest.pipeline.keys import Key, KeysError, read_keys
from services.runtime.settings import SettingsError

MAX_BYTES = 2**20
POLL_SECONDS = 1.0

_log = structlog.get_logger(__name__)


class KeysFile:
    """Hands the keys on when they change. A file that cannot be used leaves the keys as they are."""

    def __init__(
        self, path: Path, use: Callable[[list[Key]], None], tell: Callable[[bool], None] = lambda failed: None
    ) -> None:
        """``tell`` is told whether the newest file could not be used."""
        self._path = path
        self._use = use
        self._tell = tell
        self._seen: bytes | str = b""

    def load(self) -> None:
        """Read it at the start. Raises KeysError, one line."""
        data = self._read()
        self._use(read_keys(data))
        self._seen = data

    def reload(self) -> None:
        """Read it again, if it has changed. A problem is logged once, and the keys stay."""
        try:
            data = self._read()
        except KeysError as error:
            self._unusable(str(error), error)
            return
        if data == self._seen:
            return
        try:
            keys = read_keys(data)
        except KeysError as error:
            self._unusable(data, error)
            return
        self._use(keys)
        self._seen = data
        self._tell(False)
        _log.info("keys_changed", file=str(self._path), names=[key.name for key in keys])

    def _unusable(self, seen: bytes | str, error: KeysError) -> None:
        if seen != self._seen:
            _log.error("keys_file_unusable", file=str(self._path), reason=str(error), keys="unchanged")
        self._seen = seen
        self._tell(True)

    async def watch(self) -> Never:
        """Look every second."""
        while True:
            await asyncio.sleep(POLL_SECONDS)
            self.reload()

    def _read(self) -> bytes:
        return _read(self._path)


def read_keys_file(path: Path) -> list[Key]:
    """The keys of a file, once. Raises SettingsError."""
    try:
        return read_keys(_read(path))
    except KeysError as error:
        raise unusable(path, error) from error


def unusable(path: Path, error: KeysError) -> SettingsError:
    """The error of a start without keys."""
    return SettingsError(f"ingest.keys_file {path}: {error}")


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise KeysError(f"it cannot be read: {error.strerror or error}") from None
    if len(data) > MAX_BYTES:
        raise KeysError(f"it is larger than {MAX_BYTES} bytes")
    return data
