"""The key of the actor pseudonyms: from the settings, or created once and kept in the state folder."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from services.runtime.private import make_folder
from services.runtime.settings import Settings, SettingsError

FILE = "actor.key"
#: BLAKE2b takes keys of up to 64 bytes.
_MAX_BYTES = 64
_MADE_BYTES = 32


def actor_key(settings: Settings, *, create: bool = True) -> bytes | None:
    """The key, or None if the log keeps raw actor ids. Raises SettingsError.

    Without ``create`` a key that does not exist yet is None too.
    """
    if settings.ingest.actor_ids == "raw":
        return None
    if settings.ingest.actor_key is None:
        if not create and not (settings.state_dir / FILE).exists():
            return None
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
        make_folder(folder)
        try:
            return _read(path)
        except FileNotFoundError:
            # Written under another name and linked, so that two processes that start together share one key.
            mine = folder / f".{FILE}.{os.getpid()}"
            descriptor = os.open(mine, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "w") as file:
                file.write(secrets.token_hex(_MADE_BYTES))
                file.flush()
                os.fsync(file.fileno())  # an empty file after a power failure would be no key
            try:
                os.link(mine, path)
            except FileExistsError:
                pass
            finally:
                mine.unlink()
            return _read(path)
    except OSError as error:
        raise SettingsError(
            f"the key of actor pseudonyms cannot be read or stored in {path} ({error.strerror}); "
            "set FANPULSE_STATE_DIR to a folder of this user, or FANPULSE_INGEST_ACTOR_KEY"
        ) from error


def _read(path: Path) -> bytes:
    """Raises SettingsError for what is no key: with another one the same actor would be somebody else."""
    try:
        key = bytes.fromhex(path.read_text("ascii").strip())
    except ValueError:  # UnicodeDecodeError is one
        raise SettingsError(_damaged(path, "is not in hex digits")) from None
    if len(key) != _MADE_BYTES:
        raise SettingsError(_damaged(path, f"has {len(key)} bytes and not {_MADE_BYTES}"))
    if path.stat().st_mode & 0o077:
        raise SettingsError(f"{path} can be read by other users; run `chmod 600 {path}`")
    return key


def _damaged(path: Path, how: str) -> str:
    return (
        f"{path}, the key of the actor pseudonyms, {how}; restore it from a backup, or remove it for a new "
        "key, under which the same actor has another pseudonym"
    )
