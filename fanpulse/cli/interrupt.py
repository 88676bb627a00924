"""Ctrl-C that lets a command finish its current work."""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType, TracebackType


class Interrupt:
    """Inside the `with` block the first SIGINT or SIGTERM asks to stop; a second raises KeyboardInterrupt.

    ``asked()`` is true after the first; ``code`` is then the exit code, 128 plus the signal.
    """

    def __init__(self, on_first: Callable[[], None]) -> None:
        self._on_first = on_first
        self._number = 0
        self._before: dict[int, object] = {}

    def asked(self) -> bool:
        """Whether a signal has asked to stop."""
        return self._number != 0

    @property
    def code(self) -> int:
        """The exit code after a signal."""
        return 128 + self._number

    def __enter__(self) -> Interrupt:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._number:
            raise KeyboardInterrupt
        self._number = number
        self._on_first()
