"""API keys: kept as hashes, compared in constant time."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Mapping

from services.ingest.problems import Problem


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
        digest = hashlib.sha256(key).digest()
        # All hashes are compared, so that the time tells nothing about which one came near.
        if not any([hmac.compare_digest(digest, each) for each in self._hashes]):
            raise Problem(
                401,
                "an API key is needed, as `Authorization: Bearer KEY` or `X-API-Key: KEY`",
                close=True,
                headers={"www-authenticate": 'Bearer realm="fanpulse"'},
            )
