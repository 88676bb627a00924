"""Actors: the VIP list knows them by their real ids, the log by pseudonyms."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from msgspec import UNSET

from schemas.structs import Event, Remembered

PSEUDONYM_BYTES = 16
#: Few actors do most of what happens at a time; so many pseudonyms are kept.
_REMEMBERED = 65_536


class Pseudonymizer:
    """Marks VIPs, drops the names of all others, and replaces ids by pseudonyms.

    A pseudonym is a keyed BLAKE2b of ``platform:id``, 32 hex characters: the same actor has the same one as
    long as the key stays. With ``key`` None ids are left as they are. VIPs are named ``platform:id``.
    """

    def __init__(self, vips: Iterable[str], key: bytes | None) -> None:
        assert key is None or key, "an empty key would hide nobody"
        self._vips = frozenset(vips)
        # Copying a keyed hash is cheaper than keying a new one.
        self._keyed = hashlib.blake2b(key=key, digest_size=PSEUDONYM_BYTES) if key is not None else None
        self._pseudonyms = Remembered(self._pseudonym, most=_REMEMBERED)

    def pseudonymize(self, platform: str, actor: Event) -> None:
        """Do this to an actor, in place."""
        name = f"{platform}:{actor.id}"
        if name in self._vips:
            actor.verified = True
        elif actor.name is not UNSET:
            actor.name = UNSET
        if self._keyed is not None:
            actor.id = self._pseudonyms[name]

    def _pseudonym(self, name: str) -> str:
        assert self._keyed is not None
        digest = self._keyed.copy()
        digest.update(name.encode())
        return digest.hexdigest()
