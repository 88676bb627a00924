"""The OpenAPI page in a real browser that can reach nothing but the service."""

from __future__ import annotations

import html
import re
import subprocess
from pathlib import Path

from services.runtime.settings import Settings
from tests.support.ports import free_port
from tests.support.processes import Service

#: Every name but the service's own address fails to resolve.
_OFFLINE = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage",
)  # fmt: skip


def dom(url: str, profile: Path) -> str:
    """The page's text once its scripts have run, as an HTML document."""
    done = subprocess.run(
        ["chromium", *_FLAGS, _OFFLINE, f"--user-data-dir={profile}", "--virtual-time-budget=15000",
         "--dump-dom", url],
        check=True, capture_output=True, timeout=90,
    )  # fmt: skip
    return html.unescape(done.stdout.decode())


def test_the_page_shows_the_operation_without_any_network(settings: Settings, tmp_path: Path) -> None:
    """The post is there with its path, its summary, and the example that can be sent as it is."""
    with Service("ingest", settings, tmp_path / "ingest.log", free_port()) as service:
        page = dom(f"{service.wait_ready().url}/docs#/events/events_v1_events_post", tmp_path / "profile")
        redoc = dom(f"{service.url}/redoc", tmp_path / "profile")
    text = re.sub(r"<[^>]+>|\u200b", "", page)
    assert "Take events in" in text
    assert "/v1/events" in text
    assert "Failed to load" not in text
    assert "tw-1800000000000000001-like-77" in text
    assert "Take events in" in redoc
