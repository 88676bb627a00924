"""Alerts as plain lines on standard output."""

from __future__ import annotations

import asyncio
import sys
from typing import TextIO

from schemas.alerts import Milestone, Spike
from services.alerts.delivery import DeliveryError


class TerminalChannel:
    """Writes one line per alert. The stream may block (a pager, a full pipe): a thread waits for it."""

    name = "terminal"

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stdout

    async def deliver(self, alert: Milestone | Spike) -> None:
        """Write the sentence of the alert."""
        try:
            await asyncio.to_thread(self._write, line(alert))
        except (OSError, ValueError) as error:  # closed at the other end, or by ourselves
            raise DeliveryError(f"standard output cannot be written to: {error}") from error

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()

    async def close(self) -> None:
        """Nothing is held."""


def line(alert: Milestone | Spike) -> str:
    """The line of an alert. What would steer a terminal, or break the line, is shown as U+FFFD."""
    return "".join(char if char.isprintable() else "\ufffd" for char in alert.text) + "\n"
