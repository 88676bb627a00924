"""The settings of a demo: the broker and folders of the user's settings, and its own values for all the rest.

Otherwise a demo could post to the user's webhook, or take the ports of the real stack.
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

#: Two hours pass in two minutes, so clock records are written, and figures published, more often than usual.
_CLOCK_MS = 200
_FLUSH_MS = 250
_SESSION_SECONDS = 6.0


def demo_settings(loaded: Settings) -> Settings:
    """The settings of the demo's services. They choose free ports."""
    return loaded.model_copy(
        update={
            "namespace": NAMESPACE,
            "log_format": "json",
            "own_accounts": (),
            "hashtag_aliases": dict(ALIASES),
            "ingest": IngestSettings(
                clock="event",
                clock_interval_ms=_CLOCK_MS,
                vip_actors=tuple(vip_setting()),
                # These actors are not real people, so the real stream's key is not needed.
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
