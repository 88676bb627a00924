"""A slip and its void on a real broker: totals are those without it, and the audit agrees."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from schemas.alerts import ALERT, Spike
from schemas.topics import ALERTS, qualified
from services.runtime.settings import Settings
from services.runtime.topic_scan import Record, read_topic
from tests.support import stream
from tests.support.audit_stream import START_MS
from tests.support.ports import free_port
from tests.support.processes import Service, eventually
from tests.support.publishing import write_events

LIKE = {
    "kind": "interaction", "v": 1, "occurred_at": START_MS, "platform": "twitter", "account": "GansuTravel",
    "action": "like", "hashtags": ["gansuheritage"],
}  # fmt: skip
RULES = """
[[milestone]]
name = "likes"
scope = "account"
metric = "like"
thresholds = [2, 1_000]
"""
SLIP = LIKE | {"event_id": "slip", "quantity": 1_000_000_000}


@pytest.fixture
def worker(settings: Settings, tmp_path: Path) -> Service:
    """An aggregator that is not started yet."""
    return Service(
        "aggregate", settings, tmp_path / "w.log", free_port(), FANPULSE_AGGREGATE_FLUSH_INTERVAL_MS="100"
    )


def fanpulse(settings: Settings, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run a command."""
    environment = {
        **os.environ,
        "FANPULSE_KAFKA_BOOTSTRAP": str(settings.kafka.bootstrap),
        "FANPULSE_NAMESPACE": settings.namespace,
        "FANPULSE_STATE_DIR": str(settings.state_dir),
        "COLUMNS": "200",
        **more,
    }
    command = [sys.executable, "-m", "fanpulse", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)


def told(settings: Settings) -> list[tuple[str, int]]:
    """Kind and threshold of what the alert log has, in order."""
    records = asyncio.run(read_topic(settings, qualified(settings.namespace, ALERTS.name)))
    alerts = [ALERT.validate_json(record.value) for record in records if record.value]
    return [(alert.kind, alert.threshold) for alert in alerts if not isinstance(alert, Spike)]


def likes(settings: Settings) -> dict[str, Any]:
    """Gross and net likes, as `fanpulse totals` shows them."""
    found = json.loads(fanpulse(settings, "totals", "--format", "json").stdout)["accounts"]
    (row,) = (each for each in found if each["action"] == "like")
    return {"total": row["total"], "net": row["net"]}


def test_a_slip_is_voided_once_and_the_audit_agrees(
    settings: Settings, worker: Service, tmp_path: Path
) -> None:
    """Dry run, void, void again, an id that is not there; then the figures, and the recount."""
    records = [[LIKE | {"event_id": "a"}, SLIP], [LIKE | {"event_id": "b", "action": "unlike"}, SLIP]]
    asyncio.run(
        write_events(
            settings,
            (Record(1, n, START_MS, None, json.dumps(each).encode()) for n, each in enumerate(records)),
        )
    )
    rules = tmp_path / "rules.toml"
    rules.write_text(RULES)
    alerts = Service(
        "alerts", settings, tmp_path / "a.log", free_port(),
        FANPULSE_ALERTS_RULES=str(rules), FANPULSE_ALERTS_TERMINAL="false",
    )  # fmt: skip
    with worker, alerts:
        worker.wait_ready()
        alerts.wait_ready()
        eventually(lambda: asyncio.run(stream.counted_all(settings)), 60, "everything counted")
        assert likes(settings) == {"total": 1_000_000_001, "net": 1_000_000_000}

        slip = [("milestone", 2), ("milestone", 1_000)]
        eventually(lambda: told(settings) == slip, 60, "milestones of the slip")

        dry = fanpulse(settings, "void", "slip", "--dry-run")
        assert (dry.returncode, "1,000,000,000 like of twitter GansuTravel" in dry.stdout) == (0, True), dry
        assert "offset 0, index 1" in dry.stdout
        assert likes(settings)["total"] == 1_000_000_001

        why = ("--reason", "typed twice", "--by", "Li", "--yes")
        done = fanpulse(settings, "void", "slip", *why)
        assert done.returncode == 0, done
        assert "twitter GansuTravel like: 1,000,000,001 -> 1" in done.stdout
        assert likes(settings) == {"total": 1, "net": 0}

        again = fanpulse(settings, "void", "slip", "nobody", *why)
        assert again.returncode == 1
        assert "already voided: slip, by Li at" in again.stdout
        assert "nobody is not in the log" in again.stderr
        assert likes(settings) == {"total": 1, "net": 0}
        eventually(lambda: len(told(settings)) == 4, 60, "retractions")
        true = Record(1, 9, START_MS, None, json.dumps(LIKE | {"event_id": "c"}).encode())
        asyncio.run(write_events(settings, [true]))
        again = [*slip, ("retraction", 2), ("retraction", 1_000), ("milestone", 2)]
        eventually(lambda: told(settings) == again, 60, "the true milestone")
    audit = fanpulse(settings, "audit", FANPULSE_ALERTS_RULES=str(rules))
    assert audit.returncode == 0, audit.stdout
    assert "VERDICT: AGREES\n" in audit.stdout
    assert "by Li at" in audit.stdout
