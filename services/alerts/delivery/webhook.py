"""Alerts as signed HTTP requests, by the Standard Webhooks specification (standardwebhooks.com)."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

import httpx
from standardwebhooks import Webhook

from schemas.alerts import Milestone, Retraction, Spike
from services.alerts.delivery.posting import ATTEMPTS, Poster
from services.runtime.settings import AlertsSettings, SettingsError

_PREFIX = "whsec_"
_SECRET_BYTES = range(24, 65)


class WebhookChannel:
    """Posts each alert as JSON, signed, until the receiver answers 2xx (see Poster).

    Every attempt has a signature and a timestamp of its own, under the same ``webhook-id``: the alert's.
    """

    name = "webhook"

    def __init__(
        self, url: str, secret: str, *, on_retry: Callable[[str], None], attempts: int = ATTEMPTS
    ) -> None:
        """Raises SettingsError if the address or the secret cannot be used."""
        self._url = _checked_url(url)
        self._signer = Webhook(_checked_secret(secret))
        self._poster = Poster(self.name, on_retry=on_retry, sign=self._sign, attempts=attempts)

    async def deliver(self, alert: Milestone | Retraction | Spike) -> None:
        """Post the alert. Raises DeliveryError when it is given up."""
        await self._poster.post(self._url, alert.model_dump_json(), {"webhook-id": alert.id})

    def _sign(self, request: httpx.Request) -> Mapping[str, str]:
        now = datetime.now(UTC)
        return {
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": self._signer.sign(
                request.headers["webhook-id"], now, request.content.decode()
            ),
        }

    async def close(self) -> None:
        """Close the connections."""
        await self._poster.close()


def make_webhook(alerts: AlertsSettings, on_retry: Callable[[str], None]) -> WebhookChannel | None:
    """The channel, if its settings ask for it. Raises SettingsError."""
    if alerts.webhook_url is None:
        if alerts.webhook_secret is not None:
            raise SettingsError("alerts.webhook_secret is set, but alerts.webhook_url is not; set both")
        return None
    if alerts.webhook_secret is None:
        raise SettingsError(
            "alerts.webhook_url is set, but a webhook is always signed: set FANPULSE_ALERTS_WEBHOOK_SECRET"
        )
    return WebhookChannel(alerts.webhook_url, alerts.webhook_secret.get_secret_value(), on_retry=on_retry)


def _checked_url(url: str) -> str:
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:  # which says what part of the address is wrong, and that may be secret
        raise SettingsError("alerts.webhook_url is no URL") from None
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise SettingsError("alerts.webhook_url is no http or https URL")
    return url


def _checked_secret(secret: str) -> str:
    """The secret as the library takes it. It is never part of a message."""
    hint = "write whsec_ and 24 to 64 random bytes in base64, e.g. of `openssl rand -base64 32`"
    if not secret.startswith(_PREFIX):
        raise SettingsError(f"alerts.webhook_secret does not begin with {_PREFIX}; {hint}")
    try:
        key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except binascii.Error:
        raise SettingsError(f"alerts.webhook_secret is not base64 after {_PREFIX}; {hint}") from None
    if len(key) not in _SECRET_BYTES:
        raise SettingsError(f"alerts.webhook_secret has {len(key)} bytes; {hint}")
    return secret
