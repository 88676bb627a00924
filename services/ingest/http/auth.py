"""API keys: kept as hashes, compared in constant time. Each stands for a client with rules of its own."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from schemas.fields import MAX_QUANTITY
from services.ingest.http.problems import Problem
from services.ingest.pipeline.access import AccessRules, Bounds
from services.ingest.pipeline.keys import Key, check_hash
from services.ingest.pipeline.rate import EventRate
from services.runtime.settings import Settings, SettingsError

#: The name of clients that need no key.
ANYONE = "anyone"


@dataclass(frozen=True, eq=False)
class Client:
    """Who sends a request.

    ``label`` begins the source of its dead letters; it is empty for a key without a name.
    """

    name: str = ANYONE
    label: str = ""
    rules: AccessRules | None = None
    rate: EventRate | None = None
    key: Key | None = None

    def check_rate(self) -> None:
        """Raises Problem (429) if it has sent more than it may."""
        if self.rate is not None and (wait := self.rate.wait_seconds()):
            raise Problem(
                429,
                f"the key {self.name!r} may send {self.rate.per_second:g} events a second; "
                f"send the same events again in {wait} s",
                retry_after=wait,
            )

    def spend(self, events: int) -> None:
        """It has sent events."""
        if self.rate is not None:
            self.rate.spend(events)


class ApiKeys:
    """Finds the client of a request by the SHA-256 of its key; without any key all are ``anyone``."""

    def __init__(
        self,
        hashes: Iterable[str] = (),
        *,
        bounds: Bounds | None = None,
        own_accounts: Iterable[tuple[str, str]] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``hashes``: of keys without name and scope. ``own_accounts``: the only ones accepted; empty: any.

        ``clock``: monotonic seconds.
        """
        self._bounds = bounds
        self._own = frozenset(own_accounts)
        self._clock = clock
        self._anyone = Client(rules=self._rules(None))
        self._plain = {
            bytes.fromhex(each): Client(f"key-{each[:8].lower()}", rules=self._anyone.rules)
            for each in hashes
        }
        self._clients = dict(self._plain)

    @property
    def names(self) -> list[str]:
        """The names of all clients."""
        return [client.name for client in self._clients.values()] or [ANYONE]

    def use(self, keys: Iterable[Key]) -> None:
        """Take these keys instead of the named ones so far. A key that has not changed keeps its rate."""
        named = {}
        for key in keys:
            digest = bytes.fromhex(key.sha256)
            old = self._clients.get(digest)
            named[digest] = old if old is not None and old.key == key else self._named(key)
        self._clients = {**self._plain, **named}

    def client_of(self, headers: Mapping[bytes, bytes]) -> Client:
        """Raises Problem (401) if the request has no key, or not one of ours."""
        if not self._clients:
            return self._anyone
        key = headers.get(b"x-api-key")
        if key is None:
            scheme, _, token = headers.get(b"authorization", b"").partition(b" ")
            key = token.strip() if scheme.lower() == b"bearer" else b""
        digest = hashlib.sha256(key).digest() if key else b""  # no key is no key, whatever the hashes are
        # All hashes are compared, so that the time tells nothing about which one came near.
        found = [client for each, client in self._clients.items() if hmac.compare_digest(digest, each)]
        if not found:
            raise Problem(
                401,
                "an API key is needed, as `Authorization: Bearer KEY` or `X-API-Key: KEY`",
                headers={"www-authenticate": 'Bearer realm="fanpulse"'},
            )
        return found[0]

    def _named(self, key: Key) -> Client:
        rate = None if key.events_per_second is None else EventRate(key.events_per_second, self._clock)
        return Client(key.name, key.name, self._rules(key), rate, key)

    def _rules(self, key: Key | None) -> AccessRules | None:
        bounds = self._bounds or Bounds(MAX_QUANTITY)
        if key is not None:
            return AccessRules(key.bounds(bounds), own_accounts=self._own, scope=key.scope, key_name=key.name)
        if self._bounds is None and not self._own:
            return None
        return AccessRules(bounds, own_accounts=self._own)


def check_access(settings: Settings) -> None:
    """Raises SettingsError if anybody on the network could send events, or a hash is malformed."""
    ingest = settings.ingest
    for each in ingest.api_key_hashes:
        try:
            check_hash(each)
        except ValueError as error:
            raise SettingsError(f"ingest.api_key_hashes has a value that is {error}") from None
    if len({each.lower() for each in ingest.api_key_hashes}) < len(ingest.api_key_hashes):
        raise SettingsError("ingest.api_key_hashes has the same hash twice; remove one")
    if not ingest.api_key_hashes and ingest.keys_file is None and not _is_loopback(ingest.host):
        raise SettingsError(
            f"ingest.host is {ingest.host}, which others can reach, and there is no API key; set "
            "FANPULSE_INGEST_API_KEY_HASHES (SHA-256 of each key) or FANPULSE_INGEST_KEYS_FILE, or "
            "FANPULSE_INGEST_HOST=127.0.0.1"
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
