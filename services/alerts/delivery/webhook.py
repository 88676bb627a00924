"""Alerts as signed HTTP requests, by the Standard Webhooks specification (standardwebhooks.com)."""

from __future__ import annotations

import asyncio
import base64
import binascii
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx
import structlog
from standardwebhooks import Webhook

from schemas.alerts import Milestone, Spike
from services.alerts.delivery import DeliveryError

log = structlog.get_logger(__name__)

_PREFIX = "whsec_"
_SECRET_BYTES = range(24, 65)
#: Answers that may be another one later, besides 5xx.
_TRY_AGAIN = frozenset({408, 425, 429})

Sleep = Callable[[float], Awaitable[object]]


class WebhookSetupError(ValueError):
    """Address or secret of the webhook cannot be used. The message is one line."""


@dataclass(frozen=True, slots=True)
class Retries:
    """How often and how long an alert is tried. The default gives up after some ten minutes at most."""

    attempts: int = 10
    first_pause_seconds: float = 1.0
    longest_pause_seconds: float = 120.0
    timeout_seconds: float = 10.0  # of one attempt

    def pause_seconds(self, failed: int, asked: float | None, chance: float) -> float:
        """Pause after the ``failed``-th attempt: what the receiver asked for, or exponential with jitter.

        ``chance`` is in [0, 1): the pause is between half of and the whole exponential step, so that many
        senders do not come back at once. Never longer than the longest pause.
        """
        step = self.first_pause_seconds * 2.0 ** (failed - 1) * (0.5 + chance / 2)
        return min(max(step, asked or 0.0), self.longest_pause_seconds)


class WebhookChannel:
    """Posts each alert as JSON, signed, until the receiver answers 2xx.

    5xx, 408, 425, 429 and network errors are tried again; any other answer gives the alert up, and so does
    the last attempt. Every attempt is signed anew, under the same ``webhook-id``: the alert's.
    """

    name = "webhook"

    def __init__(
        self,
        url: str,
        secret: str,
        *,
        retries: Retries | None = None,
        on_retry: Callable[[], None] = lambda: None,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        """Raises WebhookSetupError if the address or the secret cannot be used."""
        self._url = _checked_url(url)
        self._signer = Webhook(_checked_secret(secret))
        self._retries = retries or Retries()
        self._on_retry = on_retry
        self._sleep = sleep
        self._client = httpx.AsyncClient(
            timeout=self._retries.timeout_seconds,
            headers={"User-Agent": "fanpulse", "Content-Type": "application/json"},
        )

    async def deliver(self, alert: Milestone | Spike) -> None:
        """Post the alert. Raises DeliveryError when it is given up."""
        body = alert.model_dump_json()
        for attempt in range(1, self._retries.attempts + 1):
            problem, asked = await self._attempt(alert.id, body)
            if problem is None:
                return
            if attempt == self._retries.attempts:
                raise DeliveryError(f"{problem}, at the last of {attempt} attempts")
            # S311: jitter needs no secrecy.
            pause = self._retries.pause_seconds(attempt, asked, random.random())  # noqa: S311
            self._on_retry()
            log.warning(
                "webhook_tried_again", alert=alert.id, problem=problem, attempt=attempt, pause_seconds=pause
            )
            await self._sleep(pause)

    async def _attempt(self, alert_id: str, body: str) -> tuple[str | None, float | None]:
        """One request: None if it was taken, else what was wrong, and the seconds to wait if it was said.

        Raises DeliveryError if trying again is no use.
        """
        now = datetime.now(UTC)
        headers = {
            "webhook-id": alert_id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": self._signer.sign(alert_id, now, body),
        }
        try:
            # Streamed: the answer's body is of no interest, however long it is.
            async with self._client.stream("POST", self._url, content=body, headers=headers) as response:
                if response.is_success:
                    return None, None
                problem = f"the receiver answered {response.status_code}"
                if response.status_code in _TRY_AGAIN or response.is_server_error:
                    return problem, retry_after(response.headers.get("retry-after"), now)
                raise DeliveryError(problem)
        except httpx.TransportError as error:
            return f"{type(error).__name__}: {error}".rstrip(": "), None

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()


def retry_after(header: str | None, now: datetime) -> float | None:
    """Seconds that a Retry-After header asks to wait: a number, or a date. None if it says nothing."""
    if header is None:
        return None
    if header.strip().isdigit():
        return float(header)
    try:
        at = parsedate_to_datetime(header)
    except ValueError:
        return None
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    return max(0.0, (at - now).total_seconds())


def _checked_url(url: str) -> str:
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise WebhookSetupError(f"alerts.webhook_url is no URL ({error})") from error
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise WebhookSetupError("alerts.webhook_url is no http or https URL")
    return url


def _checked_secret(secret: str) -> str:
    """The secret as the library takes it. It is never part of a message."""
    hint = "write whsec_ and 24 to 64 random bytes in base64, e.g. of `openssl rand -base64 32`"
    if not secret.startswith(_PREFIX):
        raise WebhookSetupError(f"alerts.webhook_secret does not begin with {_PREFIX}; {hint}")
    try:
        key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except binascii.Error:
        raise WebhookSetupError(f"alerts.webhook_secret is not base64 after {_PREFIX}; {hint}") from None
    if len(key) not in _SECRET_BYTES:
        raise WebhookSetupError(f"alerts.webhook_secret has {len(key)} bytes; {hint}")
    return secret
