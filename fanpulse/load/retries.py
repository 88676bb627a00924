"""When a request to ingest is tried again, and after how long: the policy of every client, on httpx-retries.

The library tries again, counts attempts, and reads Retry-After; what is ours is the wait itself: a client
says why it waits, can be stopped meanwhile, and gives up after a time instead of a number of attempts.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable

import httpx
from httpx_retries import Retry

#: Answers after which the same request may well succeed.
PASSING_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})
_WITHOUT_END = 10**9


class PostRetry(Retry):
    """Retries of POSTs whose events have ids, so that sending them again counts nothing twice.

    ``first_seconds`` is the delay before the second attempt; it doubles up to ``longest_seconds``, and jitter
    keeps several clients from coming back at the same instant. A longer Retry-After is respected, up to
    ``longest_retry_after_seconds``. A subclass waits in ``sleep`` or ``asleep``, and ends the retries there
    by raising.
    """

    def __init__(
        self,
        *,
        first_seconds: float = 0.2,
        longest_seconds: float = 5.0,
        longest_retry_after_seconds: float = 60.0,
        statuses: Iterable[int] = PASSING_STATUSES,
    ) -> None:
        super().__init__(
            total=_WITHOUT_END,
            allowed_methods=["POST"],
            status_forcelist=statuses,
            backoff_factor=first_seconds / 2,  # the library doubles before the first retry
            backoff_jitter=0.3,
            max_backoff_wait=longest_seconds,
        )
        self.longest_retry_after_seconds = longest_retry_after_seconds

    def increment(self) -> Retry:
        """The same policy with one more attempt made."""
        # The library would make a new object of its own arguments alone.
        later = object.__new__(type(self))
        later.__dict__.update(self.__dict__, attempts_made=self.attempts_made + 1)
        return later

    def delay(self, response: httpx.Response | Exception) -> float:
        """Seconds to wait after an answer or an error."""
        asked = 0.0
        if isinstance(response, httpx.Response) and (header := response.headers.get("retry-after")):
            with contextlib.suppress(ValueError):
                asked = min(self.parse_retry_after(header), self.longest_retry_after_seconds)
        # 2 ** attempts is beyond a float after a thousand attempts, and at the limit long before.
        steady = self.attempts_made > 64
        return max(self.max_backoff_wait if steady else self.backoff_strategy(), asked)
