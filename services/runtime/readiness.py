"""Whether a service can do its work: a produce, fetch or delivery that worked not long ago, or a fault."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Hashable, Iterable
from datetime import UTC, datetime
from typing import Never

import structlog
from prometheus_client import CollectorRegistry, Gauge

#: How often a change is looked for, to log it.
_LOOK_SECONDS = 1.0

Clock = Callable[[], float]
"""Seconds, monotonic."""

_log = structlog.get_logger(__name__)


class Fault:
    """What a service cannot do, and since when (seconds of the clock)."""

    __slots__ = ("reason", "since")

    def __init__(self, reason: str, since: float) -> None:
        self.reason = reason
        self.since = since


Condition = Callable[[], Fault | None]
"""Asked whether something is at fault now."""


class LastSuccess:
    """An act that is done again and again, such as a request to the broker.

    It is a fault once the last success is longer ago than ``within_seconds``.
    """

    def __init__(self, problem: str, within_seconds: float, clock: Clock = time.monotonic) -> None:
        """``problem``: what to say of the fault; the error of the last attempt follows."""
        self._problem = problem
        self._within = within_seconds
        self._clock = clock
        self._at = clock()
        self._error = ""

    def succeeded(self) -> None:
        """It has worked."""
        self._at, self._error = self._clock(), ""

    def failed(self, error: str) -> None:
        """It has not; ``error`` is one line."""
        self._error = error

    def fault(self) -> Fault | None:
        """As a condition."""
        if self._clock() - self._at <= self._within:
            return None
        return Fault(f"{self._problem}: {self._error}" if self._error else self._problem, self._at)


class Failing:
    """An act that is done now and then, such as a delivery.

    It is a fault once it has failed for longer than ``within_seconds``, without a success between.
    """

    def __init__(self, problem: str, within_seconds: float, clock: Clock = time.monotonic) -> None:
        """``problem``: what to say of the fault; the error of the last attempt follows."""
        self._problem = problem
        self._within = within_seconds
        self._clock = clock
        self._since: float | None = None
        self._error = ""

    def succeeded(self) -> None:
        """It has worked."""
        self._since = None

    def failed(self, error: str) -> None:
        """It has not; ``error`` is one line."""
        self._since = self._clock() if self._since is None else self._since
        self._error = error

    def seconds(self) -> float:
        """How long it has been failing; 0 if it works."""
        return 0.0 if self._since is None else self._clock() - self._since

    def fault(self) -> Fault | None:
        """As a condition."""
        if self._since is None or self.seconds() <= self._within:
            return None
        return Fault(f"{self._problem}: {self._error}", self._since)


class Standstill:
    """Marks that must move, such as when each partition was fetched last.

    It is a fault once one of them has not moved for longer than ``within_seconds``.
    """

    def __init__(self, problem: str, within_seconds: float, clock: Clock = time.monotonic) -> None:
        """``problem``: what to say of the fault; the names of the marks that stand still follow."""
        self._problem = problem
        self._within = within_seconds
        self._clock = clock
        self._marks: dict[int, tuple[Hashable, float]] = {}

    def saw(self, marks: Iterable[tuple[int, Hashable]]) -> None:
        """The marks as they are now, by number; others that were seen before are gone."""
        now, before = self._clock(), self._marks
        self._marks = {
            number: before[number] if number in before and before[number][0] == mark else (mark, now)
            for number, mark in marks
        }

    def seconds(self) -> float:
        """How long the one that has not moved for longest has not; 0 if there is none."""
        return self._clock() - min((at for _, at in self._marks.values()), default=self._clock())

    def fault(self) -> Fault | None:
        """As a condition."""
        oldest = min((at for _, at in self._marks.values()), default=None)
        if oldest is None or self._clock() - oldest <= self._within:
            return None
        still = sorted(n for n, (_, at) in self._marks.items() if self._clock() - at > self._within)
        return Fault(f"{self._problem} {', '.join(map(str, still))}", oldest)


class Holds:
    """A state that must hold, such as that partitions are assigned. It is a fault at once if it does not."""

    def __init__(self, problem: str, holds: Callable[[], bool], clock: Clock = time.monotonic) -> None:
        self._problem = problem
        self._holds = holds
        self._clock = clock
        self._since: float | None = clock()

    def fault(self) -> Fault | None:
        """As a condition; it is since the first time that you asked and it did not hold."""
        if self._holds():
            self._since = None
            return None
        self._since = self._clock() if self._since is None else self._since
        return Fault(self._problem, self._since)


class Readiness:
    """Why a service is not ready, and since when. A service begins with a phase, and ends it by itself.

    The metric ``fanpulse_not_ready_seconds`` is 0 while the service is ready.
    """

    def __init__(self, registry: CollectorRegistry, phase: str, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._conditions: list[Condition] = []
        self._phase: Fault | None = Fault(phase, clock())
        self._logged: str | None = None
        Gauge(
            "fanpulse_not_ready_seconds",
            "Seconds since the service last could do its work; 0 while it is ready.",
            registry=registry,
        ).set_function(self.seconds)

    def require(self, *conditions: Condition) -> None:
        """The service is ready only while none of these is at fault."""
        self._conditions += conditions

    def enter(self, phase: str | None) -> None:
        """The service is on its way to its work, or has begun it (None)."""
        if phase is None:
            self._phase = None
        elif self._phase is None:
            self._phase = Fault(phase, self._clock())
        else:
            self._phase.reason = phase

    @property
    def fault(self) -> Fault | None:
        """The phase, or the first condition that is at fault."""
        if self._phase is not None:
            return self._phase
        return next((fault for each in self._conditions if (fault := each())), None)

    def reason(self) -> str | None:
        """Why the service is not ready; None if it is."""
        fault = self.fault
        return None if fault is None else fault.reason

    def seconds(self) -> float:
        """How long it has not been; 0 if it is ready."""
        fault = self.fault
        return 0.0 if fault is None else self._clock() - fault.since

    def answer(self) -> tuple[int, dict[str, str]]:
        """Status and body of the answer to ``/readyz``."""
        fault = self.fault
        if fault is None:
            return 200, {"status": "ready"}
        since = datetime.fromtimestamp(time.time() - (self._clock() - fault.since), UTC)
        return 503, {
            "status": "waiting",
            "reason": fault.reason,
            "since": since.isoformat(timespec="seconds").replace("+00:00", "Z"),
        }

    async def watch(self) -> Never:
        """Log that the service is ready no more, and that it is again; until cancelled."""
        while True:
            self.log_change()
            await asyncio.sleep(_LOOK_SECONDS)

    def log_change(self) -> None:
        """Log what has changed since the last call. What is only on its way is not logged."""
        fault = None if self._phase is not None else self.fault
        if fault is not None and self._logged is None:
            self._logged = fault.reason
            _log.error("not_ready", reason=fault.reason, seconds=round(self._clock() - fault.since))
        elif fault is None and self._logged is not None and self._phase is None:
            _log.info("ready_again", after=self._logged)
            self._logged = None
