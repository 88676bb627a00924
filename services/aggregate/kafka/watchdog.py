"""Ends a worker that is alive and does nothing, so that it is started again.

Faust and its consumer have states from which they do not come back by themselves: a coordination task that
ended with an error nobody reads, a recovery that never resumes, a stream that stands still. From outside
they look well. Each check here has a name, and a time that it may fail before the process ends. A check that
cannot be run fails at once: a worker that cannot be watched is not taken for a healthy one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

#: Says what is wrong now; None if nothing is.
Check = Callable[[], str | None]


@dataclass
class Watchdog:
    """Runs checks with a given clock (seconds); ``on_failure`` gets the reason once one has failed too
    long."""

    checks: Mapping[str, tuple[Check, float]]
    on_failure: Callable[[str], None]
    clock: Callable[[], float]
    _since: dict[str, float] = field(default_factory=dict)

    def poll(self) -> None:
        """Run every check once."""
        now = self.clock()
        for name, (check, patience_seconds) in self.checks.items():
            try:
                problem = check()
            except Exception as error:  # noqa: BLE001 # whatever it is, nobody knows how the worker is
                self.on_failure(f"health check {name} cannot be run: {error!r}")
                continue
            if problem is None:
                self._since.pop(name, None)
            elif now - self._since.setdefault(name, now) >= patience_seconds:
                self.on_failure(f"{problem} for {now - self._since[name]:.0f} s")


@dataclass
class Progress:
    """Whether something that should move does. ``read`` gives the work left, and a mark that moves with work
    done; ``problem`` is what to say after the work left."""

    read: Callable[[], tuple[int, int]]
    problem: str = "records wait and none is counted"
    _mark: int | None = None

    def check(self) -> str | None:
        """A problem if work is left and the mark has not moved since the last poll."""
        left, mark = self.read()
        moved, self._mark = mark != self._mark, mark
        return f"{left} {self.problem}" if left and not moved else None
