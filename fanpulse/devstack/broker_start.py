"""Waits for a broker that starts: for as long as it makes progress."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path

from services.supervise.child import tail

#: Time between two lines about a start that takes long.
REPORT_SECONDS = 5.0
_COMPLETED = re.compile(r"\((\d+)/(\d+) completed in ")
_SEGMENT = re.compile(r"Recovering unflushed segment (\d+)\. .* for (\S+?)\.?$")
_LINE = re.compile(r"^\S+ [A-Z]+ +\S+: (.*)$")
_SHOWN_CHARACTERS = 120
#: So many lines at the end of the log are looked at.
_LINES = 60


class StalledError(RuntimeError):
    """The broker has done nothing for too long. The message says for how long, and what it did last."""


class StartWatch:
    """Follows the log of a starting broker: a line that says something new is progress. Who tries the same
    again and again makes none."""

    def __init__(
        self,
        log: Path,
        stall_seconds: float,
        report: Callable[[str], object],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`report` gets a text for people if the start takes longer than usual; not more than one in
        REPORT_SECONDS, and none that says the same as before."""
        self._log = log
        self._stall_seconds = stall_seconds
        self._report = report
        self._clock = clock
        self._size = self._look()
        self._said = set(messages(tail(log, _LINES)))
        self._moved_at = self._reported_at = clock()
        self._reported = ""

    def check(self) -> None:
        """Look once; call it again and again. Raises StalledError."""
        now = self._clock()
        if (size := self._look()) != self._size:
            self._size = size
            if new := set(messages(tail(self._log, _LINES))) - self._said:
                self._said |= new
                self._moved_at = now
        if now - self._moved_at > self._stall_seconds:
            doing = activity(tail(self._log, _LINES))
            raise StalledError(
                f"no progress for {self._stall_seconds:.0f} s{f'; waiting {doing}' if doing else ''}; "
                "stack.broker_stall_seconds is how long that may take"
            )
        if now - self._reported_at >= REPORT_SECONDS:
            text = activity(tail(self._log, _LINES)) or "for its first line"
            self._reported_at = now
            if text != self._reported:
                self._reported = text
                self._report(text)

    def _look(self) -> tuple[int, int, int]:
        try:
            status = self._log.stat()
        except OSError:
            return (0, 0, 0)
        return (status.st_ino, status.st_size, status.st_mtime_ns)


def messages(lines: str) -> list[str]:
    """The lines of a log without their times."""
    return [found[1] if (found := _LINE.match(line)) else line for line in lines.splitlines() if line.strip()]


def activity(lines: str) -> str:
    """What the broker does, by the last lines of its log: how much of its data is loaded, or the last."""
    said = messages(lines)
    for line in reversed(said):
        if completed := _COMPLETED.search(line):
            done, total = int(completed[1]), int(completed[2])
            return f"while it loads its data: {done} of {total} partitions, {100 * done // max(total, 1)} %"
        if segment := _SEGMENT.search(line):
            return f"while it recovers its data: segment {segment[1]} of {segment[2]}"
    text = " ".join(said[-1].split()) if said else ""
    return f"for it: {text[:_SHOWN_CHARACTERS]}" if text else ""
