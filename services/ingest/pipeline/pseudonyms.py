"""Actors: the VIP list knows them by their real ids, the log and dead letters by pseudonyms."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec import UNSET

from schemas.structs import Event, Remembered

PSEUDONYM_BYTES = 16
#: Few actors do most of what happens at a time; so many pseudonyms are kept.
_REMEMBERED = 65_536


#: A pseudonym as dead letters have it. Sent to ingest again, it is not hashed a second time.
_KEPT = re.compile(f"~([0-9a-f]{{{2 * PSEUDONYM_BYTES}}})")
REDACTED = "~redacted"
#: An actor in what cannot be read as JSON: its object up to the first brace, or up to the end.
_ACTOR = re.compile(rb'("actor"\s*:\s*)(?:\{[^{}]*\}?|"(?:[^"\\]|\\.)*"?|[^,{}\[\]]*)', re.DOTALL)
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


def _without_actors(raw: bytes) -> bytes:
    return _ACTOR.sub(rb'\1"' + REDACTED.encode() + b'"', raw)


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
            kept = _KEPT.fullmatch(actor.id)
            actor.id = kept[1] if kept else self._pseudonyms[name]

    def redact(self, raw: bytes) -> bytes:
        """The bytes of a rejected event without the id and the name of its actor.

        An id is replaced by its pseudonym, so that the event can be sent again; who is on the VIP list stays
        marked as verified. Of what is no JSON object, everything that looks like an actor is taken out.
        """
        if self._keyed is None or not (b"actor" in raw or b"\\u" in raw):
            return raw
        try:
            event = _decode(raw)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            event = None
        if not isinstance(event, dict):
            return _without_actors(raw)
        if "actor" not in event:
            return _without_actors(raw) if b"\\u" not in raw else _without_actors(_encode(event))
        actor = self._redacted(event.get("platform"), event.pop("actor"))
        rest = _without_actors(_encode(event))
        return rest[:-1] + (b"," if event else b"") + b'"actor":' + _encode(actor) + b"}"

    def _redacted(self, platform: Any, actor: Any) -> Any:
        if actor is None:
            return None
        if not isinstance(actor, dict):
            return REDACTED
        name = f"{str(platform).lower()}:{actor.get('id')}"
        kept = {key: value for key, value in actor.items() if key not in ("id", "name")}
        if "id" in actor:
            known = isinstance(actor["id"], str) and _KEPT.fullmatch(actor["id"])
            kept["id"] = actor["id"] if known else f"~{self._pseudonyms[name]}"
        if name in self._vips:
            kept["verified"] = True
        return kept

    def _pseudonym(self, name: str) -> str:
        assert self._keyed is not None
        digest = self._keyed.copy()
        digest.update(name.encode())
        return digest.hexdigest()
