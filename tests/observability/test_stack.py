"""The services, a broker, Prometheus and kcat together: what README shows works as it is shown."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from schemas.topics import TOPICS, qualified
from services.runtime.settings import Settings
from tests.observability.prometheus import Prometheus
from tests.support.ports import free_port
from tests.support.processes import Service, eventually

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
ACCOUNTS = (("twitter", "GansuTravel"), ("facebook", "VisitGansu"), ("instagram", "visitgansu"))


def blocks(language: str) -> list[str]:
    """The fenced blocks of README in a language."""
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


PROMQL = [
    " ".join(line for line in part.splitlines() if not line.startswith("#"))
    for block in blocks("promql")
    for part in block.strip().split("\n\n")
]
KCAT = [line for block in blocks("sh") for line in block.splitlines() if line.startswith("kcat")]


class Stack(NamedTuple):
    """The services of the test, and who watches them."""

    ingest: Service
    prometheus: Prometheus
    settings: Settings
    sent: int


def post(url: str, body: bytes) -> Any:
    """Post a body; the answer's."""
    request = urllib.request.Request(f"{url}/v1/events", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def send(url: str, events: list[dict[str, Any]]) -> None:
    """Post events; all have to be accepted."""
    assert post(url, json.dumps(events).encode()) == {"accepted": len(events), "rejected": []}


def minute_of_events(number: int) -> list[dict[str, Any]]:
    """Likes, some taken back, and a reading of each account, as of now."""
    now = int(time.time() * 1000)
    events: list[dict[str, Any]] = []
    for platform, account in ACCOUNTS:
        common = {"occurred_at": now, "platform": platform, "account": account}
        for index, action in enumerate(["like"] * 8 + ["unlike", "repost"]):
            events.append(
                {"kind": "interaction", "event_id": f"{account}-{platform}-{number}-{index}", **common}
                | {"action": action, "hashtags": ["#GansuHeritage"], "broadcast_id": "fuxi-2026"}
            )
        reading = {"kind": "reading", "metric": "followers", "value": 200_000 + number}
        events.append({"event_id": f"{account}-{platform}-{number}-followers", **common, **reading})
    return events


@pytest.fixture(scope="module")
def stack(kafka: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Ingest, one aggregator, alerts and a Prometheus that scrapes them, with some traffic behind them."""
    folder = tmp_path_factory.mktemp("stack")
    settings = Settings(state_dir=folder / "state", namespace="", kafka={"bootstrap": kafka.bootstrap})
    with contextlib.ExitStack() as running:
        services = {
            name: running.enter_context(Service(name, settings, folder / f"{name}.log", free_port()))
            for name in ("ingest", "aggregate", "alerts")
        }
        for service in services.values():
            service.wait_ready(60)
        shutil.copytree(ROOT / "prometheus", folder / "config")
        targets = {name: service.url.removeprefix("http://") for name, service in services.items()}
        prometheus = running.enter_context(Prometheus(folder, targets))
        batches = 0
        for batches in range(1, 9):
            send(services["ingest"].url, minute_of_events(batches))
            # Traffic over time: a rate needs counters that rise between scrapes.
            prometheus.until(
                "sum(fanpulse_events_counted_total)",
                lambda found, counted=33 * batches: [value for _, value in found] == [counted],
                f"batch {batches} is counted",
            )
        with pytest.raises(urllib.error.HTTPError, match="400"):
            post(services["ingest"].url, b'{"kind":"interaction"')
        yield Stack(services["ingest"], prometheus, settings, batches)


@pytest.mark.timeout(240)
def test_prometheus_scrapes_every_service(stack: Stack) -> None:
    """Debian's Prometheus with our configuration: three targets, all up, none with a scrape error."""

    def targets() -> set[tuple[str, str, str]]:
        found = stack.prometheus.get("targets", state="active")["activeTargets"]
        return {(each["labels"]["job"], each["health"], each["lastError"]) for each in found}

    jobs = ("fanpulse-ingest", "fanpulse-aggregate", "fanpulse-alerts")
    wanted = {(job, "up", "") for job in jobs}
    eventually(lambda: targets() == wanted, 40, f"all up; are {targets()}")


def test_recorded_sums_are_what_was_sent(stack: Stack) -> None:
    """To the unit: per account, net of withdrawals, per hashtag, and per broadcast."""
    sent = stack.sent
    for expr, value in {
        'account:fanpulse_account_events:total{account="GansuTravel",action="like"}': 8 * sent,
        'account:fanpulse_account_events:net{account="GansuTravel",action="like"}': 7 * sent,
        'hashtag:fanpulse_hashtag_events:total{hashtag="gansuheritage",action="repost"}': 3 * sent,
        'sum(broadcast:fanpulse_broadcast_events:total{broadcast="fuxi-2026"})': 30 * sent,
        'fanpulse_account_reading{account="visitgansu",metric="followers"}': 200_000 + sent,
        'account:fanpulse_account_reading_gained:total{account="visitgansu",metric="followers"}': sent - 1,
        "sum(namespace:fanpulse_events_counted:total)": 33 * sent,
    }.items():
        stack.prometheus.until(
            expr, lambda found, value=value: [each for _, each in found] == [value], f"is {value}"
        )


@pytest.mark.parametrize("expr", PROMQL, ids=range(len(PROMQL)))
def test_a_query_of_readme_has_an_answer(stack: Stack, expr: str) -> None:
    """As it stands there, with figures."""
    stack.prometheus.until(expr, lambda found: any(value == value for _, value in found), "README")


@pytest.mark.parametrize("command", KCAT, ids=[command.split()[4] for command in KCAT])
def test_a_kcat_command_of_readme_shows_json(stack: Stack, command: str) -> None:
    """As it stands there, in a shell; every line is JSON, or the text of an alert."""
    lines: list[str] = []

    def shown() -> bool:
        run = subprocess.run(
            ["bash", "-ec", f"set -o pipefail; {command}"],
            env={"PATH": "/usr/bin:/bin", "KAFKA": str(stack.settings.kafka.bootstrap), "LC_ALL": "C.UTF-8"},
            capture_output=True, text=True, check=True, timeout=60,
        )  # fmt: skip
        assert run.stderr == ""
        lines[:] = run.stdout.splitlines()
        return bool(lines)

    eventually(shown, 40, command)
    if " jq -r " in command:
        assert any("200,000 followers" in line for line in lines)
    elif "-f '%k %s" in command:
        decoder = json.JSONDecoder()
        assert all(isinstance(decoder.raw_decode(line)[0], list) for line in lines)
    else:
        assert all(json.loads(line) for line in lines)
    if "engagement.events.v1" in command:
        events = [json.loads(line) for line in lines]
        assert sum(event["kind"] != "clock" for event in events) == 33 * stack.sent


def test_readme_shows_a_command_for_every_topic_that_people_look_at() -> None:
    """And none for a topic that does not exist."""
    names = {command.split()[4] for command in KCAT}
    assert names <= {qualified("", topic.name) for topic in TOPICS}
    assert len(names) == 4
    assert len(PROMQL) >= 6
