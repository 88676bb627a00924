"""How the aggregator ends its process when it can no longer count exactly."""

from __future__ import annotations

import os
import threading
from collections.abc import Awaitable, Callable, Mapping

import structlog

from services.runtime.lifecycle import STOP_SECONDS
from services.runtime.stream import StreamError

log = structlog.get_logger(__name__)

EXIT_FAILED = 70
#: The log or the totals are not what they were: a restart does not mend it.
EXIT_WRONG_DATA = 1
#: How long storing may take at the end. It is a part of STOP_SECONDS, after which the process ends anyway.
STORE_SECONDS = 6.0


def exit_process(reason: str, error: BaseException | None = None) -> None:
    """End the process at once: what is in memory is not stored, what is stored is right."""
    if isinstance(error, StreamError):
        log.critical("aggregator ends itself", reason=str(error))
        os._exit(EXIT_WRONG_DATA)
    log.critical("aggregator ends itself", reason=reason, exc_info=error)
    os._exit(EXIT_FAILED)


class OrderlyEnd:
    """The end of the process in bounded time, whatever Faust and the broker do."""

    def __init__(self, unstored: Callable[[], Mapping[int, int]] = dict) -> None:
        """``unstored``: how many records are counted and not stored, by partition."""
        self._unstored = unstored
        self._status = EXIT_FAILED  # a failure may begin the end, too

    def ask(self) -> None:
        """A signal asks to end. Call it once."""
        self._status = 0
        self.end_after(STOP_SECONDS)

    def end_after(self, seconds: float) -> None:
        """End if the process has not ended by itself then.

        Faust waits for ever for a consumer that broke off while it was being stopped.
        """
        timer = threading.Timer(seconds, self.end, [f"Faust has not ended within {seconds:.0f} s"])
        timer.daemon = True
        timer.start()

    def end(self, reason: str) -> None:
        """End at once, and say what is not stored: the next owner counts it again, from the log."""
        unstored = {partition: records for partition, records in self._unstored().items() if records}
        if unstored:
            log.error(
                "ended without storing: these records are counted again from the log",
                records=sum(unstored.values()),
                partitions=sorted(unstored),
                reason=reason,
            )
        else:
            log.warning("ended at once: all that was counted is stored", reason=reason)
        os._exit(self._status)


async def or_exit(work: Awaitable[None], reason: str) -> None:
    """Await something; if it fails, end the process."""
    try:
        await work
    except Exception as error:  # noqa: BLE001 # whatever it is, the state in memory can no longer be trusted
        exit_process(f"{reason}: {error}", error)
