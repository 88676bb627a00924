"""How the aggregator ends its process when it can no longer count exactly."""

from __future__ import annotations

import os
import threading
from collections.abc import Awaitable

import structlog

from services.runtime.stream import StreamError

log = structlog.get_logger(__name__)

EXIT_FAILED = 70
#: The log or the totals are not what they were: a restart does not mend it.
EXIT_WRONG_DATA = 1


def exit_process(reason: str, error: BaseException | None = None) -> None:
    """End the process at once: what is in memory is not stored, what is stored is right."""
    if isinstance(error, StreamError):
        log.critical("aggregator ends itself", reason=str(error))
        os._exit(EXIT_WRONG_DATA)
    log.critical("aggregator ends itself", reason=reason, exc_info=error)
    os._exit(EXIT_FAILED)


def exit_after(seconds: float) -> None:
    """End the process if it has not ended in time, although all is stored and dropped.

    Faust waits for ever for a consumer that broke off while it was being stopped. The status is that of a
    failure, since a failure may have begun the end.
    """
    timer = threading.Timer(seconds, exit_process, [f"Faust has not ended within {seconds:.0f} s"])
    timer.daemon = True
    timer.start()


async def or_exit(work: Awaitable[None], reason: str) -> None:
    """Await something; if it fails, end the process."""
    try:
        await work
    except Exception as error:  # noqa: BLE001 # whatever it is, the state in memory can no longer be trusted
        exit_process(f"{reason}: {error}", error)
