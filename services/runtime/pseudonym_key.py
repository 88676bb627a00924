"""The key of the actor pseudonyms: from the settings, or made once and kept in the state folder."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from services.runtime.settings import Settings, SettingsError

FILE = "actor.key"
#: BLAKE2b takes keys of up to 64 bytes.
_MAX_BYTES = 64


def actor_key(settings: Settings) -> bytes | None:
    """The key, or None if actor ids are to be left as they are. Raises SettingsError."""
    if settings.ingest.actor_ids == "raw":
        return None
    if settings.ingest.actor_key is None:
        return _kept(settings.state_dir)
    key = settings.ingest.actor_key.get_secret_value().encode()
    if not 16 <= len(key) <= _MAX_BYTES:
        raise SettingsError(
            f"ingest.actor_key: it has {len(key)} bytes; set FANPULSE_INGEST_ACTOR_KEY to 16 to {_MAX_BYTES}"
        )
    return key


def _kept(folder: Path) -> bytes:
    path = folder / FILE
    try:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            return _read(path)
        except FileNotFoundError:
            # Written under another name and linked, so that two processes that start agree on one key.
            mine = folder / f".{FILE}.{os.getpid()}"
            descriptor = os.open(mine, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "w") as file:
                file.write(secrets.token_hex(32))
            try:
                os.link(mine, path)
            except FileExistsError:
                pass
            finally:
                mine.unlink()
            return _read(path)
    except OSError as error:
        raise SettingsError(
            f"the key of actor pseudonyms cannot be kept in {path} ({error.strerror}); "
            "set FANPULSE_STATE_DIR to a writable folder, or FANPULSE_INGEST_ACTOR_KEY"
        ) from error


def _read(path: Path) -> bytes:
    return bytes.fromhex(path.read_text())
