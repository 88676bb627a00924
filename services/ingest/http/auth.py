"""API keys: kept as hashes, compared in constant time."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from collections.abc import Iterable, Mapping

from services.ingest.http.problems import Problem
from services.runtime.settings import Settings, SettingsError

_OF_NOTHING = hashlib.sha256(b"").hexdigest()


class ApiKeys:
    """Checks the key of a request against the SHA-256 hashes of the settings; without hashes all pass."""

    def __init__(self, hashes: Iterable[str]) -> None:
        self._hashes = [bytes.fromhex(each) for each in hashes]

    def check(self, headers: Mapping[bytes, bytes]) -> None:
        """Raises Problem (401) if the request has no key, or not one of ours."""
        if not self._hashes:
            return
        key = headers.get(b"x-api-key")
        if key is None:
            scheme, _, token = headers.get(b"authorization", b"").partition(b" ")
            key = token.strip() if scheme.lower() == b"bearer" else b""
        digest = hashlib.sha256(key).digest() if key else b""  # no key is no key, whatever the hashes are
        # All hashes are compared, so that the time tells nothing about which one came near.
        if not sum(hmac.compare_digest(digest, each) for each in self._hashes):
            raise Problem(
                401,
                "an API key is needed, as `Authorization: Bearer KEY` or `X-API-Key: KEY`",
                headers={"www-authenticate": 'Bearer realm="fanpulse"'},
            )


def check_access(settings: Settings) -> None:
    """Raises SettingsError if anybody on the network could send events, or a hash is malformed."""
    ingest = settings.ingest
    for each in ingest.api_key_hashes:
        if len(each) != 64 or not all(digit in "0123456789abcdefABCDEF" for digit in each):
            raise SettingsError(
                "ingest.api_key_hashes: each is the SHA-256 of a key in 64 hex digits; "
                "make one with `printf %s KEY | sha256sum`"
            )
        if each.lower() == _OF_NOTHING:
            raise SettingsError(
                "ingest.api_key_hashes has the SHA-256 of an empty key, which everybody has; "
                "make a key with `openssl rand -hex 24`, and its hash with `printf %s KEY | sha256sum`"
            )
    if not ingest.api_key_hashes and not _is_loopback(ingest.host):
        raise SettingsError(
            f"ingest.host is {ingest.host}, which others can reach, and there is no API key; set "
            "FANPULSE_INGEST_API_KEY_HASHES (SHA-256 of each key), or FANPULSE_INGEST_HOST=127.0.0.1"
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
