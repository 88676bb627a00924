"""Checks who can get at what: the state folder, the settings file, and the keys file with its mistakes."""

from __future__ import annotations

import os
import stat
import tomllib
from collections.abc import Iterator
from pathlib import Path

from fanpulse.devstack.checks.finding import Finding, fail, ok, warn
from services.ingest.pipeline.access import matcher
from services.ingest.pipeline.keys import Key, KeysError, read_keys
from services.runtime.private import is_open, open_paths
from services.runtime.redaction import is_secret_name
from services.runtime.settings import CONFIG_DEFAULT, CONFIG_VARIABLE, Settings, own_accounts

_WRITABLE = stat.S_IWGRP | stat.S_IWOTH


def access(settings: Settings) -> Iterator[Finding]:
    """All findings about who can read and write."""
    yield state_files(settings.state_dir)
    yield from settings_file(Path(os.environ.get(CONFIG_VARIABLE) or CONFIG_DEFAULT))
    if settings.ingest.keys_file is not None:
        yield from keys_file(settings.ingest.keys_file, settings)


def state_files(state_dir: Path) -> Finding:
    """Whether other users can get at what fanpulse keeps."""
    if _mode(state_dir) & stat.S_IWOTH and not _mode(state_dir) & stat.S_ISVTX:
        return fail(
            "private",
            f"every user can replace what is in {state_dir}",
            f"run `chmod go-w {state_dir}`, or set FANPULSE_STATE_DIR to a folder of your own",
        )
    found = open_paths(state_dir)
    if found:
        names = " ".join(map(str, found))
        advice = f"run `chmod go= {names}`; `fanpulse up` and `fanpulse serve` do so too"
        return warn("private", f"other users can get at {names}", advice)
    return ok("private", "what fanpulse keeps is for you alone")


def settings_file(path: Path) -> Iterator[Finding]:
    """A settings file may hold secrets, and says where the services read and write."""
    if _mode(path) & _WRITABLE:
        yield fail("settings", f"other users can change {path}", f"run `chmod go-w {path}`")
    elif is_open(path) and _holds_a_secret(path):
        yield warn(
            "settings", f"other users can read {path}, which holds a secret", f"run `chmod 600 {path}`"
        )


def _holds_a_secret(path: Path) -> bool:
    def secret(table: dict[str, object]) -> bool:
        return any(
            secret(value) if isinstance(value, dict) else isinstance(value, str) and is_secret_name(name)
            for name, value in table.items()
        )

    try:
        return secret(tomllib.loads(path.read_text("utf-8")))
    except (OSError, ValueError):
        return False


def keys_file(path: Path, settings: Settings) -> Iterator[Finding]:
    """Mistakes in a keys file that can be used, such as keys that can never write anything."""
    try:
        keys = read_keys(path.read_bytes())
    except (OSError, KeysError):
        return  # which the check of the files says
    if _mode(path) & _WRITABLE:
        yield fail("keys", f"other users can change {path}", f"run `chmod go-w {path}`")
    plain = {each.lower() for each in settings.ingest.api_key_hashes}
    for key in keys:
        yield from _mistakes(key, plain, settings)


def _mistakes(key: Key, plain: set[str], settings: Settings) -> Iterator[Finding]:
    if key.sha256 in plain:
        yield fail(
            "keys",
            f"the key {key.name!r} is in ingest.api_key_hashes too, where it has no bounds",
            "take it out of ingest.api_key_hashes",
        )
    if key.actions is not None and key.kinds is not None and "interaction" not in key.kinds:
        yield warn(
            "keys",
            f"the key {key.name!r} has actions, but may not write interactions",
            'add "interaction" to its kinds, or leave its actions out',
        )
    own = own_accounts(settings)
    if key.accounts and own and settings.ingest.foreign_accounts == "reject":
        pattern = matcher(key.accounts)
        if not any(pattern.fullmatch(f"{platform}:{account}") for platform, account in own):
            yield fail(
                "keys",
                f"the key {key.name!r} may write for none of own_accounts",
                f"it has accounts = {list(key.accounts)}: correct them, or own_accounts",
            )


def _mode(path: Path) -> int:
    try:
        return path.stat().st_mode
    except OSError:
        return 0
