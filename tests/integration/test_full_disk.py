"""The broker's disk is full, on a real file system: nothing acknowledged is lost, and ingest goes on."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from fanpulse.devstack.kafka import EmbeddedKafka
from schemas.topics import EVENTS, qualified
from services.runtime.kafka import create_topics
from services.runtime.settings import KafkaSettings, Settings
from services.runtime.topic_scan import read_topic
from tests.integration.test_outage import SOON, has, port_of, readiness
from tests.support.ports import free_port
from tests.support.posting import Posters
from tests.support.processes import Service, eventually

DISK = "96m"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own; skipped where this user may mount none."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only who may mount a file system can fill one")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def ids_of(value: bytes) -> list[str]:
    """The ids of the events of a record."""
    return [entry["event_id"] for entry in json.loads(value) if "event_id" in entry]


def fill(folder: Path) -> Path:
    """A file that takes all the room there is."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(64 * 1024))
        except OSError:
            return ballast


@pytest.mark.timeout(300)
def test_a_full_disk_of_the_broker_loses_nothing_that_was_acknowledged(
    tmp_path: Path, small_disk: Path
) -> None:
    """Clients are answered 503 with Retry-After and ingest is not ready. With room again, and the broker
    started again, it goes on by itself: what was answered 202 is in the log once."""
    broker = EmbeddedKafka(small_disk / "kafka")
    asyncio.run(broker.start())
    settings = Settings(state_dir=tmp_path / "state", kafka=KafkaSettings(bootstrap=broker.bootstrap))
    try:
        asyncio.run(create_topics(settings))
        with Service("ingest", settings, tmp_path / "log", free_port(), **SOON) as service:
            service.wait_ready(90)
            with Posters(port_of(service), clients=4, batch=200, padding=190) as posters:
                eventually(lambda: len(posters.acknowledged) > 5000, 60, "5,000 acknowledged")
                ballast = fill(small_disk)
                eventually(lambda: readiness(service)[0] == 503, 120, "not ready")
                full = posters.statuses[503]
                eventually(lambda: posters.statuses[503] > full + 20, 60, "20 more answers 503")
                assert service.process.poll() is None
                ballast.unlink()
                asyncio.run(broker.kill())  # it has ended by itself, or goes on without its only folder
                asyncio.run(broker.start())
                eventually(lambda: readiness(service)[0] == 200, 120, "ready again")
                before = len(posters.acknowledged)
                eventually(lambda: len(posters.acknowledged) > before + 5000, 60, "it goes on")
            assert service.stop(40) == 0
            assert not has(service, "producer_failed")
        records = asyncio.run(read_topic(settings, qualified(settings.namespace, EVENTS.name)))
        found = Counter(each for record in records for each in ids_of(record.value or b"[]"))
        assert posters.acknowledged <= set(found)
        assert max(found.values()) == 1
        assert None not in posters.retry_after
    finally:
        asyncio.run(broker.stop())
