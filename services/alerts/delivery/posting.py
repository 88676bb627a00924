"""POST requests to a receiver that may be away for a while.

Trying again, backoff and ``Retry-After`` are the work of httpx-retries. This module says which answers are
worth another attempt, and bounds the whole: ten attempts, at most two minutes apart.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import httpx
import structlog
from httpx_retries import Retry, RetryTransport

from services.alerts.delivery import DeliveryError

ATTEMPTS = 10
ATTEMPT_SECONDS = 10.0
LONGEST_PAUSE_SECONDS = 120.0
#: Answers that may be different later.
_PASSING = frozenset({408, 425, 429, *range(500, 600)})

log = structlog.get_logger(__name__)

Sign = Callable[[httpx.Request], Mapping[str, str]]
"""Gives headers of one attempt."""


class Poster:
    """Posts until the receiver answers 2xx, one request at a time.

    5xx, 408, 425, 429 and network errors are tried again. The pauses double from 1 s, with jitter, or are as
    long as the receiver asks if that is longer. Any other answer is final, and so is the last attempt.
    Proxies of the environment are used.
    """

    def __init__(
        self,
        channel: str,
        *,
        on_retry: Callable[[str], None],
        sign: Sign = lambda request: {},
        attempts: int = ATTEMPTS,
    ) -> None:
        """``sign`` is asked for headers before every attempt; ``on_retry`` gets the problem before every
        pause.
        """
        self._attempts = attempts
        self._client = httpx.AsyncClient(timeout=ATTEMPT_SECONDS, headers={"User-Agent": "fanpulse"})
        retry = _Retry(
            total=attempts - 1,
            allowed_methods=["POST"],
            status_forcelist=_PASSING,
            retry_on_exceptions=[httpx.TransportError],
            backoff_factor=0.5,  # doubled before the first pause
            backoff_jitter=0.5,  # so that many senders do not come back at once
            respect_retry_after_header=True,
            max_backoff_wait=LONGEST_PAUSE_SECONDS,
        )

        def before_pause(problem: str, attempt: int) -> None:
            on_retry(problem)
            log.warning("delivery_tried_again", channel=channel, problem=problem, attempt=attempt)

        retry.before_pause = before_pause
        self._transport = RetryTransport(_Attempt(self._client, sign), retry)

    async def post(self, url: str, body: str, headers: Mapping[str, str] | None = None) -> None:
        """Post a JSON text. Raises DeliveryError when it is given up."""
        headers = {"Content-Type": "application/json", **(headers or {})}
        request = self._client.build_request("POST", url, content=body, headers=headers)
        try:
            response = await self._transport.handle_async_request(request)
        except httpx.TransportError as error:
            raise DeliveryError(f"{_problem(error)}, at the last of {self._attempts} attempts") from error
        await response.aclose()  # without its body, which may be long and is of no interest
        if response.is_success:
            return
        last = f", at the last of {self._attempts} attempts" if response.status_code in _PASSING else ""
        raise DeliveryError(f"{_problem(response)}{last}")

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()


class _Retry(Retry):
    """Reports each pause, and never waits less than the backoff, however little the receiver asks for."""

    before_pause: Callable[[str, int], None]

    def increment(self) -> _Retry:
        following = super().increment()
        assert isinstance(following, _Retry)
        following.before_pause = self.before_pause
        return following

    def parse_retry_after(self, retry_after: str) -> float:
        return max(super().parse_retry_after(retry_after), self.backoff_strategy())

    async def asleep(self, response: httpx.Response | Exception) -> None:
        self.before_pause(_problem(response), self.attempts_made)
        await super().asleep(response)


class _Attempt(httpx.AsyncBaseTransport):
    """Sends a request once, with the headers of this attempt."""

    def __init__(self, client: httpx.AsyncClient, sign: Sign) -> None:
        self._client = client
        self._sign = sign

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        request.headers.update(self._sign(request))
        return await self._client.send(request, stream=True)


def _problem(outcome: Any) -> str:
    """Why an attempt failed, on one line."""
    if isinstance(outcome, httpx.Response):
        return f"the receiver answered {outcome.status_code}"
    return f"{type(outcome).__name__}: {outcome}".rstrip(": ")
