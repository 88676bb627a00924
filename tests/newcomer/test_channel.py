"""A newcomer's task, done: a Slack channel for alerts, in three source files.

What is written here is all that it takes: the channel's module, its line in the registry and its setting.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.alerts.test_delivery import ALERT_SENT, Receiver

ROOT = Path(__file__).parents[2]
SOURCES = ("schemas", "services", "fanpulse")

CHANNEL = '''"""Alerts as messages in Slack, by an incoming webhook (docs.slack.dev/messaging)."""

from __future__ import annotations

import html
import json
from collections.abc import Callable

from schemas.alerts import Milestone, Spike
from services.alerts.delivery.posting import Poster
from services.runtime.settings import AlertsSettings


class SlackChannel:
    """Posts the sentence of each alert."""

    name = "slack"

    def __init__(self, url: str, on_retry: Callable[[str], None]) -> None:
        self._url = url
        self._poster = Poster(self.name, on_retry=on_retry)

    async def deliver(self, alert: Milestone | Spike) -> None:
        """Post the message. Raises DeliveryError when it is given up."""
        await self._poster.post(self._url, json.dumps({"text": html.escape(alert.text, quote=False)}))

    async def close(self) -> None:
        """Close the connections."""
        await self._poster.close()


def make_slack(alerts: AlertsSettings, on_retry: Callable[[str], None]) -> SlackChannel | None:
    """The channel, if its setting asks for it."""
    return SlackChannel(alerts.slack_url.get_secret_value(), on_retry) if alerts.slack_url else None
'''
#: File -> (line that is there, line that is added after it).
LINES = {
    "services/alerts/delivery/registry.py": [
        (
            "from services.alerts.delivery import Channel\n",
            "from services.alerts.delivery.slack import make_slack\n",
        ),
        ('    "terminal": make_terminal,\n', '    "slack": make_slack,\n'),
    ],
    "services/runtime/settings.py": [
        (
            '    terminal: bool = Field(True, description="print each alert as a line on standard output")\n',
            '    slack_url: SecretStr | None = Field(None, description="incoming webhook of Slack")\n',
        ),
    ],
}
#: The alerts service is made as its command makes it; its Slack channel delivers an alert read from input.
PROGRAM = """
import asyncio, sys
from schemas.alerts import ALERT
from services.alerts.service import AlertsService
from services.runtime.settings import load_settings

async def main():
    service = AlertsService(load_settings())
    channels = {channel.name: channel for channel in service._channels}
    await channels["slack"].deliver(ALERT.validate_json(sys.stdin.read()))
    retries = service.registry.get_sample_value(
        "fanpulse_alerts_delivery_retries_total", {"channel": "slack"}
    )
    print(*channels, retries, sys.modules["services.alerts.delivery.slack"].__file__)
    for channel in channels.values():
        await channel.close()

asyncio.run(main())
"""


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """A copy of the sources, with the channel."""
    for name in SOURCES:
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "services/alerts/delivery/slack.py").write_text(CHANNEL)
    for path, lines in LINES.items():
        text = (tmp_path / path).read_text()
        for before, added in lines:
            assert text.count(before) == 1, f"{path} no longer has the line {before}"
            text = text.replace(before, before + added)
        (tmp_path / path).write_text(text)
    return tmp_path


def touched(sources: Path) -> list[str]:
    """The files of the copy that are not those of the repository."""
    files = [file for name in SOURCES for file in sorted((sources / name).rglob("*")) if file.is_file()]
    return [str(path) for file in files if _differs(file, ROOT / (path := file.relative_to(sources)))]


def _differs(file: Path, original: Path) -> bool:
    return not original.is_file() or original.read_bytes() != file.read_bytes()


def deliver(sources: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the program on the copy."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FANPULSE_")}
    return subprocess.run(
        [sys.executable, "-c", PROGRAM],
        input=ALERT_SENT.model_dump_json(),
        cwd=sources,
        env=environment | variables | {"PYTHONPATH": str(sources)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_slack_channel_touches_three_files(sources: Path) -> None:
    """Its module, the registry and the settings; nothing else of the sources knows of it."""
    assert touched(sources) == [
        "services/alerts/delivery/registry.py",
        "services/alerts/delivery/slack.py",
        "services/runtime/settings.py",
    ]


def test_the_slack_channel_delivers_each_alert_once(sources: Path) -> None:
    """The message arrives once, as Slack takes it; a receiver that was away for a moment is tried again, and
    the channel is in the metrics under its name."""
    with Receiver([(503, {})]).serve() as receiver:
        answer = deliver(sources, FANPULSE_ALERTS_SLACK_URL=receiver.url)
    assert answer.returncode == 0, answer.stderr
    module = sources / "services/alerts/delivery/slack.py"
    assert answer.stdout.splitlines()[-1] == f"terminal slack 1.0 {module}"
    bodies = [json.loads(body) for _, body in receiver.requests]
    assert bodies == [{"text": ALERT_SENT.text}] * 2, "one that was not taken, and one that was"
    assert {headers["Content-Type"] for headers, _ in receiver.requests} == {"application/json"}


def test_without_its_setting_there_is_no_slack_channel(sources: Path) -> None:
    """A channel that nobody asked for is not made."""
    answer = deliver(sources)
    assert answer.returncode != 0
    assert "KeyError: 'slack'" in answer.stderr
