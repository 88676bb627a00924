"""The channels that there are. A new one is a module in this folder, a line here and its settings.

A channel's module has a class that is a ``Channel``, and a function that makes one from the settings of
``alerts``, or returns None if they do not ask for it. Channels that post over HTTP share ``posting.Poster``.
"""

from __future__ import annotations

from collections.abc import Callable

from services.alerts.delivery import Channel
from services.alerts.delivery.terminal import make_terminal
from services.alerts.delivery.webhook import make_webhook
from services.alerts.metrics import AlertsMetrics
from services.runtime.settings import AlertsSettings

OnRetry = Callable[[str], None]
"""To be called whenever a delivery is tried again, with the problem."""

#: Name -> what makes the channel. The name is a label of metrics and part of a consumer group's name, so it
#: never changes.
CHANNELS: dict[str, Callable[[AlertsSettings, OnRetry], Channel | None]] = {
    "terminal": make_terminal,
    "webhook": make_webhook,
}


def make_channels(
    alerts: AlertsSettings,
    metrics: AlertsMetrics,
    on_retry: Callable[[str, str], None] = lambda channel, problem: None,
) -> list[Channel]:
    """The channels that the settings ask for. ``on_retry`` gets the name of the channel and the problem
    whenever a delivery is tried again. Raises SettingsError."""

    def of(name: str) -> OnRetry:
        def note(problem: str) -> None:
            metrics.retries.labels(name).inc()
            on_retry(name, problem)

        return note

    made = (make(alerts, of(name)) for name, make in CHANNELS.items())
    return [channel for channel in made if channel is not None]
