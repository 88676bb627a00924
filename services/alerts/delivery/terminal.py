"""Alerts as plain lines on standard output."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import TextIO

from schemas.alerts import Milestone, Retraction, Spike
from schemas.printable import printable_line
from services.alerts.delivery import DeliveryError
from services.runtime.settings import AlertsSettings


class TerminalChannel:
    """Writes one line per alert. The stream may block (a pager, a full pipe): a thread waits for it."""

    name = "terminal"

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stdout

    async def deliver(self, alert: Milestone | Retraction | Spike) -> None:
        """Write the sentence of the alert."""
        try:
            await asyncio.to_thread(self._write, line(alert))
        except (OSError, ValueError) as error:  # closed at the other end, or by this process
            raise DeliveryError(f"standard output cannot be written to: {error}") from error

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()

    async def close(self) -> None:
        """Do nothing: the stream is not this channel's."""


def make_terminal(alerts: AlertsSettings, on_retry: Callable[[str], None]) -> TerminalChannel | None:
    """The channel, if its setting asks for it. It tries nothing again."""
    return TerminalChannel() if alerts.terminal else None


def line(alert: Milestone | Retraction | Spike) -> str:
    """The line of an alert. A character that would steer a terminal or break the line is escaped."""
    return printable_line(alert.text) + "\n"
