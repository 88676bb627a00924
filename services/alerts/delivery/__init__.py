"""Delivery of decided alerts to people: a channel, and what it promises.

A channel gets every alert at least once and in the order of decision. A repeated delivery has the same alert
id. ``registry`` lists the channels; each is a module of this folder.
"""

from __future__ import annotations

from typing import Protocol

from schemas.alerts import Milestone, Retraction, Spike


class DeliveryError(RuntimeError):
    """This channel gives the alert up. The message says why, on one line."""


class Channel(Protocol):
    """A way to tell people. ``name`` is its label in metrics and part of its consumer group's name."""

    @property
    def name(self) -> str:
        """Never to be changed: a new name is a new channel, which gets no earlier alerts."""

    async def deliver(self, alert: Milestone | Retraction | Spike) -> None:
        """Return when the receiver has taken the alert. May try again for some minutes, not for ever.

        Raises DeliveryError when it gives the alert up.
        """

    async def close(self) -> None:
        """Release connections and files."""
