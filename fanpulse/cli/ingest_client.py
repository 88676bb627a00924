"""The client of ingest for commands: address and key from options, else from the stack and the settings."""

from __future__ import annotations

from collections.abc import Callable

from fanpulse.cli import context
from fanpulse.load.client import IngestClient
from services.runtime.redaction import protect
from services.runtime.settings import Settings


def connect(
    settings: Settings,
    url: str | None,
    api_key: str | None,
    patience_seconds: float,
    on_wait: Callable[[str, float], None],
) -> IngestClient:
    """A client; nothing is sent yet. Raises AddressError."""
    key = api_key or (settings.api_key.get_secret_value() if settings.api_key else None)
    if api_key:
        protect([api_key])
    return IngestClient(
        url or context.ingest_url(settings), api_key=key, patience_seconds=patience_seconds, on_wait=on_wait
    )
