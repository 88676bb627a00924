"""Delivery of decided alerts to people: a channel, and what it promises.

A channel gets every alert at least once and in the order of decision; the alert's id tells a repetition.
"""

from __future__ import annotations

from typing import Protocol

from schemas.alerts import Milestone, Spike


class DeliveryError(RuntimeError):
    """The alert cannot be delivered by this channel, now or later. The message says why, on one line."""


class Channel(Protocol):
    """A way to tell people. ``name`` is its label in metrics and part of its consumer group's name."""

    @property
    def name(self) -> str:
        """Stable: a new name starts anew, without the alerts of before."""

    async def deliver(self, alert: Milestone | Spike) -> None:
        """Return when the alert has been taken. May take its time to try again, within bounds.

        Raises DeliveryError if it is given up.
        """

    async def close(self) -> None:
        """Release what is held."""
