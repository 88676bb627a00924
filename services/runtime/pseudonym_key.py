"""The key of the actor pseudonyms: from the settings, or created once and kept in the state folder."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from services.runtime.settings import Settings, SettingsError

FILE = "actor.key"
#: BLAKE2b takes keys of up to 64 bytes.
_MAX_BYTES = 64


def actor_key(settings: Settings) -> bytes | None:
    """The key, or None if the log keeps raw actor ids. Raises SettingsError."""
    if settings.ingest.actor_ids == "raw":
        return None
    if settings.ingest.actor_key is None:
        return _load_or_create(settings.state_dir)
    key = settings.ingest.actor_key.get_secret_value().encode()
    if not 16 <= len(key) <= _MAX_BYTES:
        raise SettingsError(
            f"ingest.actor_key has {len(key)} bytes; FANPULSE_INGEST_ACTOR_KEY takes 16 to {_MAX_BYTES} bytes"
        )
    return key


def _load_or_create(folder: Path) -> bytes:
    path = folder / FILE
    try:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            return _read(path)
        except FileNotFoundError:
            # Written under another name and linked, so that two processes that start together share one key.
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
            f"the key of actor pseudonyms cannot be stored in {path} ({error.strerror}); "
            "set FANPULSE_STATE_DIR to a writable folder, or FANPULSE_INGEST_ACTOR_KEY"
        ) from error


def _read(path: Path) -> bytes:
    return bytes.fromhex(path.read_text())
