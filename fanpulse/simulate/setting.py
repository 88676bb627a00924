"""The settings of a demo: the user's broker and folders, and for the rest its own, whatever the user has set.

Otherwise a demo would post to the user's webhook, or try to listen where the real stack does.
"""

from __future__ import annotations

from pydantic import SecretStr

from fanpulse.simulate.audience import vip_setting
from fanpulse.simulate.organisation import ACCOUNTS, ALIASES, NAMESPACE
from services.runtime.settings import (
    AggregateSettings,
    AlertsSettings,
    IngestSettings,
    Settings,
    StackSettings,
)

#: Two hours pass in two minutes, so the present is written, and figures are published, more often than usual.
_CLOCK_MS = 200
_FLUSH_MS = 250
_SESSION_SECONDS = 6.0


def demo_settings(loaded: Settings) -> Settings:
    """What the services of a demo are run with. Ports are free ones."""
    return loaded.model_copy(
        update={
            "namespace": NAMESPACE,
            "log_format": "json",
            "hashtag_aliases": dict(ALIASES),
            "ingest": IngestSettings(
                clock="event",
                clock_interval_ms=_CLOCK_MS,
                vip_actors=tuple(vip_setting()),
                # Nobody is behind these actors, and the real stream's key is not needed.
                actor_key=SecretStr("the actors of the demo are made up"),
            ),
            "aggregate": AggregateSettings(
                flush_interval_ms=_FLUSH_MS,
                session_timeout_seconds=_SESSION_SECONDS,
                tracked_accounts=tuple(f"{each.platform}:{each.handle}" for each in ACCOUNTS),
                tracked_hashtags=tuple(ALIASES),
            ),
            "alerts": AlertsSettings(terminal=False),
            "stack": StackSettings(),
        }
    )
