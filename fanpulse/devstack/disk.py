"""The disk of the state folder: how much is free, and what to say when it is full."""

from __future__ import annotations

import shutil
from pathlib import Path

#: With less, the broker cannot unpack its libraries or write a segment.
FULL_BYTES = 64 * 2**20


def free_bytes(folder: Path) -> int:
    """Free space on the disk of a folder that may not exist yet."""
    existing = next((each for each in (folder, *folder.absolute().parents) if each.exists()), Path("/"))
    return shutil.disk_usage(existing).free


def shortage(folder: Path) -> str | None:
    """The line for a folder whose disk is full; None if there is room."""
    try:
        free = free_bytes(folder)
    except OSError:
        return None
    if free >= FULL_BYTES:
        return None
    return (
        f"the disk of {folder} is full ({in_words(free)} free): free some space there, or set "
        "FANPULSE_STATE_DIR to a folder on another disk"
    )


def in_words(count: int) -> str:
    """A size for people: 3.2 GB, 27 MB."""
    return f"{count / 1e9:.1f} GB" if count >= 10**9 else f"{count / 1e6:.0f} MB"
